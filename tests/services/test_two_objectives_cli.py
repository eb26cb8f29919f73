"""A sweep by two objectives as a user runs it: what MLflow holds of its front, and what is refused afterwards."""

import csv

import pytest
import torch
from mlflow.artifacts import load_text
from mlflow.tracking import MlflowClient

from hyperderm.studies.named_runs import checkpoint_of_run
from tests.services.test_sweep_cli import NAME, at_once, finish, project, start, tree  # noqa: F401 - two are fixtures

OWN, COVERAGE = "spectral_energy_distance", "held_out/spectral/coverage"
FLAGS = ("--set", f'sweep.objective=["{OWN}","{COVERAGE}"]', "--set", "training.validation_samples=16")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_front_of_three_trials_is_in_mlflow(project, phantom_store, at_once, monkeypatch):  # noqa: F811
    uri = f"sqlite:///{project / 'mlflow.db'}"
    said = finish(start(project, phantom_store, uri, *FLAGS), 0)
    assert "all trials run to their end, since successive halving ranks by one number" in said
    client, kept = MlflowClient(uri), {}
    (parent,), children = tree(client)
    for child in children:
        own, other = (
            client.get_metric_history(child.info.run_id, f"validation/{name}") for name in (OWN, f"loss/{COVERAGE}")
        )
        losses = {metric.step: metric.value for metric in other}
        best = min((metric for metric in own if metric.step), key=lambda metric: (metric.value, metric.step))
        kept[len(kept)] = best.value, losses[best.step]
        folder = project / "runs" / NAME / "trials" / f"{len(kept) - 1:04d}"
        state = torch.load(folder / "best.pt", weights_only=True)["metrics"]
        assert (state[OWN], state[f"loss/{COVERAGE}"]) == pytest.approx(kept[len(kept) - 1])
    front = [
        number
        for number, (x, y) in kept.items()
        if not any(a <= x and b <= y and (a, b) != (x, y) for a, b in kept.values())
    ]
    front.sort(key=lambda number: kept[number])
    assert parent.data.tags["hyperderm.front"] == ", ".join(map(str, front))
    assert parent.data.metrics["front_trials"] == len(front)
    names = {file.path for file in client.list_artifacts(parent.info.run_id)}
    assert {"pareto.png", "pareto.md", "search.png", "search_second.png", "search_second.html"} <= names
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    board = list(csv.DictReader(load_text(f"runs:/{parent.info.run_id}/leaderboard.csv").splitlines()))
    found = {int(row["trial"]): (float(row[OWN]), float(row[f"loss_of_{COVERAGE}"])) for row in board}
    assert found == {number: pytest.approx(values) for number, values in kept.items()}
    assert [int(row["trial"]) for row in board if row["front"] == "yes"] == front
    assert checkpoint_of_run(NAME, project / "runs")[0].parent.name == f"{front[0]:04d}"
    assert "sweep.objective: ['spectral_energy_distance', 'held_out/spectral/coverage'] -> None" in at_once(
        uri, 2, *FLAGS[2:]
    )
    assert "nothing to do" in at_once(uri, 0, *FLAGS)
