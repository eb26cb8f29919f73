"""A grid planned, run and judged by the functions that `hyperderm ablation` calls, without MLflow."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from hyperderm.cluster.observer import Observers
from hyperderm.cluster.session import Cluster
from hyperderm.config import Experiment
from hyperderm.grid_config import Ablation
from hyperderm.store.reader import Store
from hyperderm.tags import MANIFEST_TAG

if TYPE_CHECKING:
    from hyperderm.reports.ablation.gather import Outcome


def judged(
    grid: Ablation, store: Store, experiments: Mapping[str, Experiment], folder: Path, cluster: Cluster, name: str
) -> "Outcome":
    """Run a whole grid in `folder` and return what its report says.

    Args:
        grid: what is asked.
        store: the real lesions.
        experiments: name to the experiment of each generator.
        folder: a folder that exists; it gets the grid's folder `grid`.
        cluster: where jobs run.
        name: the name under which cells and sets tell where they come from.

    Raises:
        SystemExit: a job failed.
    """
    from hyperderm.cluster.shared_store import shared_store
    from hyperderm.reports.ablation.gather import conclude
    from hyperderm.studies.ablation.grid import run_grid
    from hyperderm.studies.ablation.plan import make_plan
    from hyperderm.studies.ablation.queue import JobQueue
    from hyperderm.studies.ablation.records import GridFolder, record_plan
    from hyperderm.workflows.run_tracking import real_set

    place = GridFolder(folder / "grid")
    place.path.mkdir()
    plan = record_plan(place.path, make_plan(grid, store, dict(experiments)))
    queue = JobQueue(place, plan.jobs, Observers(), lambda job: 1.0)
    origin = {"run": name, MANIFEST_TAG: store.manifest.fingerprint}
    run_grid(plan, queue, shared_store(store), cluster, place, origin)
    if queue.failed:
        raise SystemExit("\n".join(f"{queue.jobs[key].label}: {why}" for key, why in queue.failed.items()))
    held = real_set(store, plan.selections[0].validation, plan.grid.size)
    outcome = conclude(plan, place, {}, queue.failed, [], held)
    assert outcome is not None
    return outcome
