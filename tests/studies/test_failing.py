"""A cell whose disk refuses, and one whose process is killed: the grid goes on, nothing is corrupt, no failure is noted."""

import errno
import os
from pathlib import Path

import pytest

from hyperderm.cluster import tune_driver
from hyperderm.cluster.observer import Observers
from hyperderm.cluster.session import Cluster
from hyperderm.cluster.shared_store import shared_store
from hyperderm.cluster.trial import Trial
from hyperderm.config import TrainingConfig
from hyperderm.errors import DiskFull
from hyperderm.grid_config import Ablation, Model
from hyperderm.learners.classifier import ClassifierConfig
from hyperderm.store.reader import open_store
from hyperderm.studies.ablation.grid import run_grid
from hyperderm.studies.ablation.plan import Plan, make_plan
from hyperderm.studies.ablation.queue import JobQueue
from hyperderm.studies.ablation.records import GridFolder, failure_of, result_of
from hyperderm.training.run_folder import PREDICTIONS

GRID = Ablation(
    name="failing",
    profile="small",
    size=16,
    folds=(0,),
    seeds=(0, 1, 2),
    arms=("real",),
    models=("small_cnn",),
    classifiers={
        "small_cnn": Model(
            learner=ClassifierConfig(lr=1e-3), training=TrainingConfig(batch_size=8, images=64, validate_every=32)
        )
    },
).override({"resources.max_failures": 1})


def run(plan: Plan, cluster: Cluster, folder: Path) -> JobQueue:
    folder.mkdir(exist_ok=True)
    queue = JobQueue(GridFolder(folder), plan.jobs, Observers(), lambda job: 1.0)
    run_grid(plan, queue, shared_store(plan.store), cluster, GridFolder(folder), {"run": "failing"})
    return queue


def refusing(number: int, victim: str) -> type[Trial]:
    """A trial whose checkpoints the disk refuses with `number` where their path holds `victim`."""

    class Refusing(Trial):
        def setup(self, config, **more):
            fsync = os.fsync

            def refuse(stream):
                path = str(Path(f"/proc/self/fd/{stream}").readlink())
                if victim in path and ".pt" in path:
                    raise OSError(number, os.strerror(number), path)
                fsync(stream)

            os.fsync = refuse
            super().setup(config, **more)

    return Refusing


@pytest.mark.slow  # its short form is in tests/cluster/test_trouble.py
def test_a_disk_that_refuses_leaves_its_cell_open_and_no_failure(
    ray_cluster: Cluster, phantom_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    plan, grid = make_plan(GRID, open_store(str(phantom_store)), {}), tmp_path / "grid"
    victim = plan.jobs[1]
    with monkeypatch.context() as patched:  # a right that is missing in one folder: the other cells end
        patched.setattr(tune_driver, "Trial", refusing(errno.EACCES, victim.key))
        queue = run(plan, ray_cluster, grid)
    assert (queue.failed, list(queue.open)) == ({}, [victim.key])
    assert queue.open[victim.key].endswith("Permission denied")
    assert {job.seed for job in plan.jobs if result_of(GridFolder(grid), job)} == {0, 2}
    assert {path.name for path in (grid / victim.folder).iterdir()} <= {"spent.json"}  # nothing half-written

    with monkeypatch.context() as patched:  # a full disk: whatever came next would meet it too
        patched.setattr(tune_driver, "Trial", refusing(errno.ENOSPC, victim.key))
        with pytest.raises(
            DiskFull, match=r"(best|latest)\.pt.*No space left on device. Free some space there; then run the same"
        ):
            run(plan, ray_cluster, grid)
    assert failure_of(GridFolder(grid), victim) is None

    again = run(plan, ray_cluster, grid)
    assert (again.failed, again.open) == ({}, {})
    assert (grid / victim.folder / PREDICTIONS).exists()


@pytest.mark.slow
def test_a_killed_cell_goes_on_from_its_checkpoint(
    ray_cluster: Cluster, phantom_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    plan = make_plan(GRID.override({"seeds": [0]}), open_store(str(phantom_store)), {})
    (job,) = plan.jobs
    mark = tmp_path / "killed"

    class Killed(Trial):
        def step(self):
            found = super().step()
            if found["images"] == 32 and not mark.exists():
                mark.touch()
                os._exit(9)
            return found

    calm = run(plan, ray_cluster, tmp_path / "calm")
    with monkeypatch.context() as patched:
        patched.setattr(tune_driver, "Trial", Killed)
        queue = run(plan, ray_cluster, tmp_path / "killed-grid")
    assert mark.exists()
    assert not queue.failed
    assert not calm.failed
    one, two = (tmp_path / name / job.folder / PREDICTIONS for name in ("calm", "killed-grid"))
    assert one.read_bytes() == two.read_bytes()
