"""`sweep --repeat` and `compare --sweeps` as a user runs them, with Ray and MLflow."""

import contextlib
import csv
import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from mlflow.artifacts import load_text
from mlflow.tracking import MlflowClient

from hyperderm import workflows
from hyperderm.errors import ConfigError, StudyError
from hyperderm.studies.named_runs import checkpoint_of_run
from tests.command import project_of
from tests.services.test_sweep_cli import project, tree  # noqa: F401 - a fixture

OWN = "spectral_energy_distance"


@pytest.fixture
def here(project, phantom_store, ray_cluster, monkeypatch):  # noqa: F811
    """A project whose sweeps run on the session's Ray, a way to sweep in it, and its MLflow."""
    from hyperderm.workflows import run_sweep

    uri = f"sqlite:///{project / 'mlflow.db'}"
    monkeypatch.setattr(run_sweep, "connect", lambda _: contextlib.nullcontext(ray_cluster))

    def sweep(name: str, **more):
        return workflows.sweep("tiny", profile="small", store=str(phantom_store), name=name, **more)

    with project_of(project, MLFLOW_TRACKING_URI=uri, COLUMNS="160"):
        yield SimpleNamespace(sweep=sweep, runs=project / "runs", client=MlflowClient(uri), folder=project)


@pytest.mark.slow  # its short form is in tests/studies/test_repeats.py
@pytest.mark.timeout(300)
def test_the_best_trial_is_repeated_and_sweeps_are_compared(here, capsys):
    ended = here.sweep("a", trials=2, repeat=2)
    assert ended.exit_code == 0
    winner = int(checkpoint_of_run("a", here.runs)[0].parent.name)
    said = " ".join(capsys.readouterr().out.split())
    assert f"repeating trial {winner}, the best one, with the seeds 1 to 2; none is stopped early" in said
    assert f"Trial {winner} repeated with other seeds: " in said
    (parent,), children = tree(here.client)
    assert [child.info.run_name.split(" lr_")[0] for child in children] == sorted(
        ["000", "001", *(f"trial {winner:03d}, seed {seed}" for seed in (1, 2))]
    )
    scores = {}
    for child in [each for each in children if "hyperderm.repeat" in each.data.tags]:
        assert (child.data.tags["hyperderm.repeat"], child.info.status) == (str(winner), "FINISHED")
        seed = int(child.data.params["seed"])
        history = here.client.get_metric_history(child.info.run_id, f"validation/{OWN}")
        scores[seed] = min(metric.value for metric in history if metric.step)
        (place,) = here.runs.glob(f"a/repeats/*/seed-{seed}")
        state = torch.load(place / "best.pt", weights_only=True)
        assert state["metrics"][OWN] == pytest.approx(scores[seed])
        assert json.loads((place / "repeat.json").read_text())["outcome"] == "finished"
    assert scores[1] != scores[2]
    assert ended.repeats.scores == [pytest.approx(scores[1]), pytest.approx(scores[2])]
    assert parent.data.metrics["repeats/mean"] == pytest.approx((scores[1] + scores[2]) / 2)
    assert "over 2 seeds" in parent.data.tags["hyperderm.repeats"]
    assert "| 1 | finished |" in load_text(f"runs:/{parent.info.run_id}/leaderboard.md")
    assert load_text(f"runs:/{parent.info.run_id}/repeats.csv").count("\n") == 4

    assert here.sweep("a", trials=2, repeat=2).exit_code == 0
    assert "nothing to do" in capsys.readouterr().out
    assert int(checkpoint_of_run("a", here.runs)[0].parent.name) == winner, "not a repeat"

    shutil.copytree(here.runs / "a", here.runs / "b", ignore=shutil.ignore_patterns("tune", "repeats"))
    found = workflows.compare_sweeps(["tiny"], out=here.folder / "compared")
    assert [sweep.name for sweep in found.sweeps] == ["a", "b"]
    assert [(budget.unit, budget.whole) for budget in found.budgets] == [
        ("images", False), ("images", True), ("seconds", False), ("seconds", True),
    ]  # fmt: skip
    assert found.budgets[1].amount == 2 * 96
    assert [line.rank for budget in found.budgets for line in budget.lines] == [1, 1] * 4
    assert all(trial.timed for sweep in found.sweeps for trial in sweep.trials)
    assert {path.name for path in (here.folder / "compared").iterdir()} == {
        "compare_sweeps.md", "compare_sweeps.csv", "best_so_far.png",
    }  # fmt: skip
    with (here.folder / "compared" / "compare_sweeps.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    (mean,) = [row for row in rows if row["ranked_by"] == "mean"]
    assert (mean["sweep"], float(mean["mean"])) == ("a", pytest.approx(parent.data.metrics["repeats/mean"]))
    assert "not repeated in b" in (here.folder / "compared" / "compare_sweeps.md").read_text()


def test_a_sweep_without_a_finished_trial_has_nothing_to_repeat(here, capsys, monkeypatch):
    from hyperderm.workflows import run_sweep

    monkeypatch.setattr(run_sweep, "_train", lambda search, *_: search.finish(search.ask().key, "it failed"))
    with pytest.raises(StudyError, match="--repeat 2: no trial of this sweep has finished"):
        here.sweep("c", trials=1, repeat=2)
    assert "Trial 0 failed: it failed" in capsys.readouterr().out
    assert not (here.runs / "c" / "repeats").exists()


@pytest.mark.parametrize("count", [0, -2])
def test_a_count_below_one_is_refused(count):
    with pytest.raises(ConfigError, match=f"--repeat {count} is refused. Give the number of repeats, 1 or more"):
        workflows.sweep("shsgan", repeat=count)
