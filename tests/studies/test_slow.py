"""What takes minutes: a grid killed twice ends as an undisturbed one; a night's scheduling; every arm; the full proof."""

import csv
import json
import os
import shutil
import signal
import subprocess
import typing
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from hyperderm.cluster.session import Cluster
from hyperderm.grid_config import Ablation, ArmKind
from hyperderm.phantom.rendering import phantom
from hyperderm.statistics.ablation_results import HELPS, WOULD_HELP
from tests.bench import proof_world
from tests.services.grids import done, finish, kept, make_project, results, start, wait_for
from tests.studies.test_proof import answer, sets, verdicts
from tests.studies.worlds import copier, grid, perfect, world
from tests.training.test_photographs import pictures

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
TWO_FOLDS = ("--set", "folds=[0,1]")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_project(tmp_path / "project")


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


def table(project: Path, name: str, file: str) -> list[dict[str, str]]:
    with (project / "runs" / name / "report" / file).open() as stream:
        return list(csv.DictReader(stream))


@pytest.mark.timeout(900)
def test_killed_twice_it_gives_the_same_report(project: Path, phantom_store: Path, uri: str):
    finish(start(project, phantom_store, uri, *TWO_FOLDS, name="calm"), 0)
    for enough in (4, 12):
        driver = start(project, phantom_store, uri, *TWO_FOLDS, name="killed")
        wait_for(lambda n=enough, d=driver: done(project, "killed") >= n or d.poll() is not None, 180, f"job {enough}")
        driver.kill()
        driver.communicate(timeout=30)
        assert enough <= done(project, "killed") < 20
    finish(start(project, phantom_store, uri, *TWO_FOLDS, name="killed"), 0)
    assert results(project, "killed") == results(project, "calm")
    for file in ("arms.csv", "contrasts.csv", "cells.csv", "hardest.csv", "diagnoses.csv", "counts.csv"):
        assert table(project, "killed", file) == table(project, "calm", file)
    calm, killed = (project / "runs" / name / "predictions.parquet" for name in ("calm", "killed"))
    assert calm.read_bytes() == killed.read_bytes()


@pytest.mark.timeout(600)
def test_a_seed_and_an_arm_join_without_repeating_anything(project: Path, phantom_store: Path, uri: str):
    flags = ("--set", "folds=[0,1]", "--set", 'models=["spectral"]')
    finish(start(project, phantom_store, uri, *flags), 0)
    before = {path: path.stat().st_mtime_ns for path in kept(project)}
    more = ("--set", "seeds=[0,1]", "--set", "ratios=[1.0,2.0]")
    finish(start(project, phantom_store, uri, *flags, *more), 0)
    after = {path: path.stat().st_mtime_ns for path in kept(project)}
    assert before.items() <= after.items()
    assert {row["arm"] for row in table(project, "night", "arms.csv")} == {
        "real",
        "oversampled_x1",
        "oversampled_x2",
        "tiny_x1",
        "tiny_x2",
        "tiny_only",
    }
    assert {row["seed"] for row in table(project, "night", "cells.csv")} == {"0", "1"}


@pytest.mark.timeout(600)
def test_detached_looked_at_and_stopped_it_goes_on(project: Path, phantom_store: Path, uri: str):
    longer = ("images=9600", "validate_every=4800")  # the grid must not end before somebody has looked at it
    flags = (*TWO_FOLDS, *(word for each in longer for word in ("--set", f"classifiers.small_cnn.training.{each}")))
    said = finish(start(project, phantom_store, uri, *flags, "--detach"), 0)
    pid = int(said.split("process ")[1].split()[0])
    assert os.getsid(pid) == pid  # a session of its own: closing the terminal does not end it
    wait_for(lambda: done(project) >= 2, 180, "the second job's end")
    assert f"running, process {pid}" in finish(start(project, phantom_store, uri, *flags, "--status"), 0)
    assert "is being run by process" in finish(start(project, phantom_store, uri, *flags), 2)
    assert "has stopped" in finish(start(project, phantom_store, uri, *flags, "--stop"), 0)
    log = (project / "runs" / "night.driver.log").read_text()
    assert "interrupted: the same command goes on" in log
    assert "Traceback" not in log
    half = done(project)
    assert 2 <= half < 20
    assert "not running" in finish(start(project, phantom_store, uri, *flags, "--status"), 0)
    assert f"{half} of 20 jobs done" in finish(start(project, phantom_store, uri, *flags), 0)
    assert done(project) == 20


@pytest.mark.timeout(600)
def test_until_ends_in_time_with_a_report_and_at_waits(project: Path, phantom_store: Path, uri: str):
    flags = ("--set", "folds=[0,1]", "--set", 'models=["spectral"]')
    finish(start(project, phantom_store, uri, *flags, "--set", 'arms=["real"]'), 0)
    soon = (datetime.now() + timedelta(minutes=1)).strftime("%H:%M")
    said = finish(start(project, phantom_store, uri, *flags, "--until", soon), 0)  # two minutes are kept for the report
    assert "did not fit before --until" in said
    assert "report.html" in said
    driver = start(project, phantom_store, uri, *flags, "--at", soon)
    with pytest.raises(subprocess.TimeoutExpired):
        driver.communicate(timeout=8)
    driver.send_signal(signal.SIGINT)
    output, _ = driver.communicate(timeout=60)
    assert driver.returncode == 130
    assert "starting at" in output


@pytest.mark.timeout(900)
def test_every_kind_of_arm_runs(project: Path, phantom_store: Path, uri: str):
    kinds = '["real","classic","oversampled","focal","synthetic","only","pretrain","both"]'
    flags = ("--set", "folds=[0]", "--set", f"arms={kinds}", "--set", 'ratios=[0.5,2.0,"balance"]')
    maker = project / "experiments" / "tiny.py"  # of melanomas alone: then pre-training on both classes means something
    maker.write_text(maker.read_text().replace('diagnoses="all"', 'diagnoses=("melanoma",)'))
    said = finish(start(project, phantom_store, uri, *flags), 0, 600)
    assert "left out: focal with spectral: a regression has no focal loss" in said
    arms = {(row["arm"], row["model"]) for row in table(project, "night", "arms.csv")}
    named = {"real", "classic", "focal", "tiny_only", "tiny_pretrain"}
    named |= {f"{kind}_{ratio}" for kind in ("oversampled", "tiny", "tiny_both") for ratio in ("x0.5", "x2", "balance")}
    assert {arm for arm, model in arms if model == "small_cnn"} == named
    assert {arm for arm, model in arms if model == "spectral"} == named - {"classic", "focal", "tiny_pretrain"}
    assert (project / "runs" / "night" / "report" / "dose_response.png").exists()


KINDS = (
    "real", "classic", "strong", "oversampled", "focal", "synthetic", "conditional", "melanoma_only", "both", "photographs",
    "filtered", "matched", "proportional", "rebuilt", "shuffled", "without_melanoma", "noisy_copies", "only", "pretrain",
    "pretrain_head",
)  # fmt: skip


@pytest.mark.timeout(1500)
def test_every_word_runs_with_curve_choice_and_judges(project: Path, phantom_store: Path, uri: str, tmp_path: Path):
    """One fold, one seed, one network: every arm that a grid can name reaches the report, or the plan says why not."""
    assert set(KINDS) == set(typing.get_args(ArmKind))
    asked = {
        "arms": list(KINDS), "folds": [0], "models": ["small_cnn"], "ratios": [1.0, 2.0], "curve": [0.5], "judge": True,
        "choose": "validation", "checkpoints": ["best", "latest"], "pool": 1.5, "filters": ["random", "judge", "all"],
        "photographs": pictures((one.lesion for one in phantom(12, 32, 77)), tmp_path / "rgb").location.uri,
    }  # fmt: skip
    flags = [word for name, value in asked.items() for word in ("--set", f"{name}={json.dumps(value)}")]
    shutil.copy(ROOT / "experiments" / "noisy_copies.py", project / "experiments")
    said = finish(start(project, phantom_store, uri, *flags), 0, 1200)
    rows = table(project, "night", "arms.csv")
    arms, left = {row["arm"] for row in rows}, {line.split()[2] for line in said.splitlines() if "left out: " in line}
    print(sorted(arms), sorted(left))
    planned = json.loads((project / "runs" / "night" / "plan.json").read_text())
    assert arms | left == {arm["name"] for arm in planned["arms"]}
    assert {"tiny_chosen", "tiny_chosen_control", "strong", "real@0.5", "tiny_rebuilt", "tiny_pretrain_head"} <= arms
    analysis = json.loads((project / "runs" / "night" / "report" / "analysis.json").read_text())
    compared = {row["arm"] for row in table(project, "night", "contrasts.csv")}
    assert {each["arm"] for each in analysis["decisions"]} == compared
    assert {arm["name"] for arm in planned["arms"] if arm["control"]} - left == compared
    judged = {row["arm"] for row in table(project, "night", "shortcuts.csv") if row["network_auroc"]}
    assert {"tiny_x1", "tiny_random_x1", "tiny_proportional_x1", "tiny_only", "tiny_pretrain"} <= judged
    text = (project / "runs" / "night" / "report" / "report.md").read_text()
    assert "Would more real melanomas help?" in text
    assert "tiny_chosen" in text


@pytest.mark.timeout(1500)
def test_networks_see_it_too(ray_cluster: Cluster, tmp_path: Path):
    """The full proof, in the world of the fast one: a perfect generator helps the network, a copier helps neither model."""
    store = world(tmp_path / "store", melanomas=60, nevi=400)
    made = sets(tmp_path, store, 12.0, perfect=perfect, copier=copier)
    asked: Ablation = grid(made, 12.0, models=["spectral", "small_cnn"], seeds=[0, 1])
    outcome = answer(asked, store, ray_cluster, tmp_path / "grid")
    said = verdicts(outcome.analysis)
    assert said["perfect_x12", "small_cnn"] == HELPS
    for model in asked.models:
        assert said["copier_x12", model] != HELPS
        control = next(
            c
            for c in outcome.analysis.contrasts
            if (c.arm, c.reference, c.model) == ("copier_x12", "oversampled_x12", model)
        )
        assert control.adjusted_low <= 0
    assert "MEMORISED" in (outcome.folder / "report.html").read_text()


@pytest.mark.timeout(3000)
def test_photographs_of_lesions_that_no_cube_shows_help(ray_cluster: Cluster, tmp_path: Path):
    """A generator of the project, trained by the grid on each fold: the world of seed 0 in short (see its docstring)."""
    outcome = proof_world.answer(tmp_path, proof_world.Kind(), 0, ray_cluster, classifiers=2, concurrent=2, short=True)
    said = verdicts(outcome.analysis)
    assert said.pop(("colour_unmixing_proportional_x9", "small_cnn")) == HELPS
    assert {arm for arm, _ in said} == {"copier_proportional_x9", "blurred_average_proportional_x9", "noisy_copies_x9"}
    assert HELPS not in said.values()
    (curve,) = outcome.analysis.curves
    assert curve.usefulness == WOULD_HELP
    rates = {each.arm: each for each in outcome.analysis.rates}
    assert rates["colour_unmixing_proportional_x9"].rate.low > 0
