"""The grid can say yes, no, and refuse: on simulated skin, where the answer is known."""

from collections.abc import Callable
from pathlib import Path

import pytest

from hyperderm.cluster.observer import Observers
from hyperderm.cluster.session import Cluster
from hyperderm.cluster.shared_store import shared_store
from hyperderm.errors import StoreError
from hyperderm.grid_config import Ablation
from hyperderm.reports.ablation.gather import Outcome, conclude
from hyperderm.statistics.ablation import Analysis
from hyperderm.statistics.ablation_results import CANNOT_TELL, HELPS
from hyperderm.store.reader import Store
from hyperderm.studies.ablation.grid import run_grid
from hyperderm.studies.ablation.plan import make_plan
from hyperderm.studies.ablation.queue import JobQueue
from hyperderm.studies.ablation.records import GridFolder, record_plan
from tests.studies.worlds import FOLDS, copier, grid, perfect, world

Maker = Callable[[Path, Store, int, int], str]


def sets(folder: Path, store: Store, ratio: float, **makers: Maker) -> dict[str, dict[str, str]]:
    """A set of each maker for each fold, as large as `ratio` asks."""
    counts = {fold: round(ratio * len(store.select("train", fold, ["melanoma"]))) for fold in range(FOLDS)}
    return {
        name: {str(fold): make(folder, store, fold, count) for fold, count in counts.items()}
        for name, make in makers.items()
    }


def answer(asked: Ablation, store: Store, cluster: Cluster, folder: Path) -> Outcome:
    """Run the grid as the command line does, without MLflow."""
    from hyperderm.workflows.run_tracking import real_set

    plan = make_plan(asked, store, {})
    folder.mkdir(parents=True)
    plan = record_plan(folder, plan)
    queue = JobQueue(GridFolder(folder), plan.jobs, Observers(), lambda job: 1.0)
    run_grid(plan, queue, shared_store(store), cluster, GridFolder(folder), {"run": "proof"})
    assert not queue.failed
    real = real_set(store, plan.selections[0].validation, plan.grid.size)
    outcome = conclude(plan, GridFolder(folder), {}, queue.failed, [], real)
    assert outcome is not None
    return outcome


def verdicts(analysis: Analysis) -> dict[tuple[str, str], str]:
    return {(each.arm, each.model): each.verdict for each in analysis.decisions}


@pytest.mark.slow  # 240 new lesions a fold are drawn and judged; that a grid says no is below
def test_a_perfect_generator_helps(ray_cluster: Cluster, tmp_path: Path):
    """Twelve new melanomas for each of the 20 that a fold trains on: found against real and against the control."""
    store = world(tmp_path / "store", melanomas=60, nevi=400)
    outcome = answer(grid(sets(tmp_path, store, 12.0, perfect=perfect), 12.0), store, ray_cluster, tmp_path / "grid")
    assert verdicts(outcome.analysis) == {("perfect_x12", "spectral"): HELPS}
    assert all(each.adjusted_low > 0 for each in outcome.analysis.contrasts)
    assert "MEMORISED" not in (outcome.folder / "report.html").read_text()


@pytest.mark.slow  # its parts in short: metrics/test_memorisation.py finds copies, statistics/test_ablation.py what helps
def test_a_copier_does_not_help_and_is_flagged(ray_cluster: Cluster, tmp_path: Path):
    store = world(tmp_path / "store", melanomas=30, nevi=90)
    outcome = answer(grid(sets(tmp_path, store, 3.0, copier=copier), 3.0), store, ray_cluster, tmp_path / "grid")
    assert verdicts(outcome.analysis) == {("copier_x3", "spectral"): CANNOT_TELL}
    control = next(each for each in outcome.analysis.contrasts if each.reference == "oversampled_x3")
    assert control.difference == pytest.approx(0, abs=0.02)  # the same cubes, shown as often
    assert "MEMORISED" in (outcome.folder / "report.html").read_text()


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
