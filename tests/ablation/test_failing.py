"""A cell whose disk is full, and a cell whose process is killed: the grid goes on, nothing is corrupt."""

import errno
import os
from pathlib import Path

import pytest
import torch

from hyperderm.ablation import Ablation, Model
from hyperderm.config import TrainingConfig
from hyperderm.learners.configs import ClassifierConfig
from hyperderm.store.ray_reader import shared_store
from hyperderm.store.reader import open_store
from hyperderm.studies.ablation import grid as grid_module
from hyperderm.studies.ablation.grid import GridTrial, run_grid
from hyperderm.studies.ablation.plan import Plan, make_plan
from hyperderm.studies.ablation.queue import Queue
from hyperderm.studies.ablation.results import PREDICTIONS, failure_of, result_of
from hyperderm.studies.cluster import Cluster

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


def run(plan: Plan, cluster: Cluster, folder: Path) -> Queue:
    folder.mkdir(exist_ok=True)
    queue = Queue(folder, plan.jobs, [], lambda job: 1.0)
    run_grid(plan, queue, shared_store(plan.store), cluster, folder, {"run": "failing"})
    return queue


def test_a_full_disk_fails_its_cell_and_no_other(
    ray_cluster: Cluster, phantom_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    plan = make_plan(GRID, open_store(str(phantom_store)), {})
    victim = plan.jobs[1]

    class FullDisk(GridTrial):
        def setup(self, config, **more):
            save = torch.save

            def full(state, path, *args, **kwargs):
                if victim.key in str(path):
                    Path(path).write_bytes(b"half")
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
                save(state, path, *args, **kwargs)

            torch.save = full
            super().setup(config, **more)

    with monkeypatch.context() as patched:
        patched.setattr(grid_module, "GridTrial", FullDisk)
        queue = run(plan, ray_cluster, tmp_path / "grid")
    assert list(queue.failed) == [victim.key]
    assert "No space left on device" in queue.failed[victim.key]
    assert failure_of(tmp_path / "grid", victim) == queue.failed[victim.key]
    assert {job.seed for job in plan.jobs if result_of(tmp_path / "grid", job)} == {0, 2}
    left = {path.name for path in (tmp_path / "grid" / victim.folder).iterdir()}
    assert left == {"failure.json", "spent.json"}  # no half-written checkpoint

    again = run(plan, ray_cluster, tmp_path / "grid")
    assert not again.failed
    assert failure_of(tmp_path / "grid", victim) is None
    assert (tmp_path / "grid" / victim.folder / PREDICTIONS).exists()


@pytest.mark.slow
def test_a_killed_cell_goes_on_from_its_checkpoint(
    ray_cluster: Cluster, phantom_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    plan = make_plan(GRID.override({"seeds": [0]}), open_store(str(phantom_store)), {})
    (job,) = plan.jobs
    mark = tmp_path / "killed"

    class Killed(GridTrial):
        def step(self):
            found = super().step()
            if found["images"] == 32 and not mark.exists():
                mark.touch()
                os._exit(9)
            return found

    calm = run(plan, ray_cluster, tmp_path / "calm")
    with monkeypatch.context() as patched:
        patched.setattr(grid_module, "GridTrial", Killed)
        queue = run(plan, ray_cluster, tmp_path / "killed-grid")
    assert mark.exists()
    assert not queue.failed
    assert not calm.failed
    one, two = (tmp_path / name / job.folder / PREDICTIONS for name in ("calm", "killed-grid"))
    assert one.read_bytes() == two.read_bytes()
