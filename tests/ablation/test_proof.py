"""The grid can say yes, no, and refuse: on simulated skin, where the answer is known."""

from pathlib import Path

import pytest

from hyperderm.ablation import Ablation
from hyperderm.errors import StoreError
from hyperderm.reports.ablation.analysis import Analysis
from hyperderm.reports.ablation.analysis_types import CANNOT_TELL, HELPS
from hyperderm.reports.ablation.gather import Outcome, conclude
from hyperderm.store.ray_reader import shared_store
from hyperderm.store.reader import Store
from hyperderm.studies.ablation.grid import run_grid
from hyperderm.studies.ablation.plan import make_plan
from hyperderm.studies.ablation.queue import Queue
from hyperderm.studies.cluster import Cluster
from tests.ablation.worlds import FOLDS, copier, grid, perfect, world

RATIO = 20.0


def sets(folder: Path, store: Store, ratio: float = RATIO) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {"perfect": {}, "copier": {}}
    for fold in range(FOLDS):
        count = round(ratio * len(store.select("train", fold, ["melanoma"])))
        found["perfect"][str(fold)] = perfect(folder, store, fold, count)
        found["copier"][str(fold)] = copier(folder, store, fold, count)
    return found


def answer(asked: Ablation, store: Store, cluster: Cluster, folder: Path) -> Outcome:
    """Run the grid as the command line does, without MLflow."""
    from hyperderm.cli.ablating import write_plan
    from hyperderm.cli.ablation_run import real_set

    plan = make_plan(asked, store, {})
    folder.mkdir(parents=True)
    write_plan(folder, plan)
    queue = Queue(folder, plan.jobs, [], lambda job: 1.0)
    run_grid(plan, queue, shared_store(store), cluster, folder, {"run": "proof"})
    assert not queue.failed
    outcome = conclude(plan, folder, {}, queue.failed, [], real_set(plan))
    assert outcome is not None
    return outcome


def verdicts(analysis: Analysis) -> dict[tuple[str, str], str]:
    return {(each.arm, each.model): each.verdict for each in analysis.decisions}


def test_a_perfect_generator_helps_a_copier_does_not_and_is_flagged(ray_cluster: Cluster, tmp_path: Path):
    store = world(tmp_path / "store", melanomas=24, nevi=240)
    outcome = answer(grid(sets(tmp_path, store), RATIO), store, ray_cluster, tmp_path / "grid")
    said = verdicts(outcome.analysis)
    assert said["perfect_x20", "spectral"] == HELPS
    assert said["copier_x20", "spectral"] == CANNOT_TELL
    copies = next(c for c in outcome.analysis.contrasts if c.arm == "copier_x20" and c.reference == "oversampled_x20")
    assert copies.difference == pytest.approx(0, abs=0.01)
    page = (outcome.folder / "report.html").read_text()
    assert "MEMORISED" in page


def test_a_set_of_another_fold_is_refused(tmp_path: Path):
    store = world(tmp_path / "store", melanomas=12, nevi=24)
    leaky = {"leaky": {str(fold): perfect(tmp_path / str(fold), store, 0, 12) for fold in range(FOLDS)}}
    with pytest.raises(StoreError, match="was made for fold 0, not for fold 1"):
        make_plan(grid(leaky, 1.0), store, {})


def test_a_set_of_another_manifest_is_refused(tmp_path: Path):
    store, other = world(tmp_path / "store", 12, 24), world(tmp_path / "other", 12, 30)
    foreign = {"foreign": {str(fold): perfect(tmp_path, other, fold, 12) for fold in range(FOLDS)}}
    with pytest.raises(StoreError, match="its generator may have seen lesions that are now held back"):
        make_plan(grid(foreign, 1.0), store, {})
