"""The grid as a user runs it, against a real MLflow server: killed, repeated, changed, extended, recomputed."""

import csv
import json
import re
from pathlib import Path

import pytest
from mlflow.artifacts import download_artifacts
from mlflow.tracking import MlflowClient

from hyperderm.statistics.ablation import analyse
from hyperderm.statistics.ablation_results import Contrast
from hyperderm.statistics.predictions import Predictions
from tests.command import Command, project_of
from tests.services.grids import NAME, done, finish, make_project, start, wait_for, words
from tests.services.mlflow_server import MlflowServer

ARMS = {"real", "oversampled_x1", "tiny_x1", "tiny_only"}


@pytest.mark.timeout(600)
def test_a_grid_ends_in_a_report(tmp_path: Path, phantom_store: Path, mlflow_server: MlflowServer, command: Command):
    project, uri = make_project(tmp_path / "project"), mlflow_server.uri
    flags = ("--set", "folds=[0]")
    assert "report.html" in finish(start(project, phantom_store, uri, *flags), 0)
    check_whole(project, phantom_store, uri, command, 1, flags)


@pytest.mark.slow  # its short form, without a kill, is above; files killed at any step: tests/studies/test_state_files.py
@pytest.mark.timeout(600)
@pytest.mark.parametrize("folds", [1, 2])
def test_a_killed_grid_goes_on_and_ends_in_a_report(
    folds: int, tmp_path: Path, phantom_store: Path, mlflow_server: MlflowServer, command: Command
):
    project, uri, jobs = make_project(tmp_path / "project"), mlflow_server.uri, 10 * folds
    flags = ("--set", f"folds={list(range(folds))}")
    first = start(project, phantom_store, uri, *flags)
    wait_for(lambda: done(project) >= 3 * folds or first.poll() is not None, 240, "the third job's end")
    first.kill()
    first.communicate(timeout=30)
    before = done(project)
    assert 3 * folds <= before < jobs

    said = finish(start(project, phantom_store, uri, *flags), 0)
    told = int(re.search(rf"(\d+) of {jobs} jobs done", said).group(1))
    assert before <= told < jobs  # a worker may end its job before it notices that the driver is gone
    assert "report.html" in said
    check_whole(project, phantom_store, uri, command, folds, flags)


def check_whole(project: Path, store: Path, uri: str, command: Command, folds: int, flags: tuple[str, ...]) -> None:
    """Everything was done once; the same command does nothing, and another size is refused."""
    assert done(project) == 10 * folds
    check_tree(MlflowClient(uri), project, 2 * folds)
    check_numbers(project)
    with project_of(project, MLFLOW_TRACKING_URI=uri, COLUMNS="120"):
        again = command(*words(store, *flags))
        assert again.returncode == 0, again.stderr
        assert "nothing to do" in again.stdout
        assert "(delete its folder, and this command computes it anew)" in again.stdout
        refused = command(*words(store, *flags, "--set", "size=24"))
        assert refused.returncode == 2
        assert "size: 16 -> 24" in refused.stderr
        assert "--name" in refused.stderr


def check_tree(client: MlflowClient, project: Path, cells_of_arm: int) -> None:
    """Grid -> arm -> cell, each once, closed; generators and sets under an arm of their own."""
    experiment = client.get_experiment_by_name("tiny")
    runs = {r.info.run_id: r for r in client.search_runs([experiment.experiment_id], max_results=200)}
    grids = [r for r in runs.values() if r.info.run_name == NAME]
    assert len(grids) == 1
    grid = grids[0]
    arms = [r for r in runs.values() if r.data.tags.get("mlflow.parentRunId") == grid.info.run_id]
    assert {r.info.run_name for r in arms} == ARMS | {"generators"}
    assert len(arms) == len(ARMS) + 1
    for arm in arms:
        cells = [r for r in runs.values() if r.data.tags.get("mlflow.parentRunId") == arm.info.run_id]
        assert len(cells) == cells_of_arm
        assert {r.info.status for r in cells} == {"FINISHED"}
        assert len({r.info.run_name for r in cells}) == cells_of_arm
        if arm.info.run_name != "generators":
            assert all("test/auroc" in r.data.metrics for r in cells)
            assert {r.data.params["model"] for r in cells} == {"spectral", "small_cnn"}
    assert {r.info.status for r in runs.values() if r in arms or r is grid} == {"FINISHED"}
    local = download_artifacts(
        run_id=grid.info.run_id, artifact_path="predictions.parquet", tracking_uri=client.tracking_uri
    )
    assert Path(local).read_bytes() == (project / "runs" / NAME / "predictions.parquet").read_bytes()


def check_numbers(project: Path) -> None:
    """Every number of the report follows from the predictions artifact alone."""
    folder = project / "runs" / NAME
    declared = json.loads((folder / "plan.json").read_text())["declared"]
    analysis = analyse(
        Predictions.from_parquet(folder / "predictions.parquet"), [Contrast(*each["contrast"]) for each in declared]
    )
    page = (folder / "report" / "report.html").read_text()
    with (folder / "report" / "arms.csv").open() as file:
        rows = {(row["arm"], row["model"], row["metric"]): row for row in csv.DictReader(file)}
    numbers = 0
    for result in analysis.arms:
        for metric, estimate in result.metrics.items():
            row = rows[result.arm, result.model, metric]
            assert row["value"] == ("" if estimate.value is None else str(estimate.value))
            numbers += estimate.value is not None
    assert numbers > 60
    with (folder / "report" / "contrasts.csv").open() as file:
        for row, contrast in zip(csv.DictReader(file), analysis.contrasts, strict=True):
            assert (row["arm"], row["reference"], row["model"]) == (contrast.arm, contrast.reference, contrast.model)
            assert float(row["difference"]) == contrast.difference
            assert float(row["adjusted_low"]) == contrast.adjusted_low
            shown = f"{abs(contrast.difference):.3f}"
            assert shown in page
