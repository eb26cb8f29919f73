"""Trials whose machine is taken away or has no memory left, on a real Ray: they lose no step and end as undisturbed ones."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch
from optuna.trial import TrialState

from hyperderm.cluster import tune_driver
from hyperderm.cluster.session import Cluster
from hyperderm.cluster.trial import Trial
from hyperderm.errors import OutOfMemory
from hyperderm.learners.base import Batch
from hyperderm.learners.shsgan.learner import ShsGan
from hyperderm.studies.sweep import run as run_trials
from hyperderm.training.in_parts import HALVES, in_parts
from tests.cluster.sweeps import Memory, run, search, tiny
from tests.training.test_loop import tensors

SETTINGS = {
    "sweep__trials": 1,
    "training__images": 64,
    "training__precision": "fp64",
}  # 16 steps of 4 images, validations after 8 and 16
PATCH = pytest.MonkeyPatch


def once(mark: Path) -> bool:
    """Whether this is the first call with `mark`, in whatever process."""
    first = not mark.exists()
    mark.touch()
    return first


def watched(folder: Path, mischief: Callable[[Batch], None]) -> type[Trial]:
    """A trial whose process does mischief before each step, and writes which batches it has computed."""
    folder.mkdir(parents=True, exist_ok=True)

    class Watched(Trial):
        def setup(self, config, **more):
            step = ShsGan.step

            def stepped(learner, batch):
                mischief(batch)
                done = step(learner, batch)
                with (folder / "steps").open("a") as stream:
                    stream.write(f"{batch.images}\n")
                return done

            ShsGan.step = stepped
            super().setup(config, **more)

    return Watched


def steps(folder: Path) -> list[int]:
    return [int(line) for line in (folder / "steps").read_text().split()]


def state(folder: Path) -> dict[str, torch.Tensor]:
    return tensors(torch.load(folder / "trials/0000/latest.pt", weights_only=True)["learner"])


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory, shared, ray_cluster) -> dict[str, torch.Tensor]:
    """The last state of the undisturbed trial."""
    folder = tmp_path_factory.mktemp("calm")
    run(folder, tiny(**SETTINGS), shared, ray_cluster, Memory())
    return state(folder)


@pytest.mark.slow  # its short forms are in tests/training/test_preemption.py and tests/cluster/test_tune_driver.py
def test_a_trial_that_is_told_to_leave_goes_on_elsewhere(tmp_path: Path, monkeypatch: PATCH, shared, ray_cluster, calm):
    def told(batch: Batch) -> None:
        if batch.images == 44 and once(tmp_path / "told"):
            os.kill(os.getpid(), signal.SIGTERM)

    memory = Memory()
    monkeypatch.setattr(tune_driver, "Trial", watched(tmp_path, told))
    made = run(tmp_path, tiny(**SETTINGS), shared, ray_cluster, memory)
    assert made.study.trials[0].state == TrialState.COMPLETE
    (note,) = memory.notes
    assert "it was told to leave its machine (SIGTERM); the state after 48 images is saved; it goes on" in note[1]
    assert memory.reports == {0: [0, 32, 64]}
    assert steps(tmp_path) == list(range(0, 64, 4))  # none is lost, none computed twice
    assert all(torch.equal(value, calm[name]) for name, value in state(tmp_path).items())


@pytest.mark.slow  # its short forms are in tests/cluster/test_tune_driver.py
def test_a_driver_that_is_told_to_end_lets_its_trials_save(tmp_path: Path, monkeypatch: PATCH, shared, ray_cluster, calm):
    """As batch systems do before a time limit: here the word comes while the trial is in the middle of its steps."""
    memory = Memory()
    made = search(tmp_path, tiny(**SETTINGS), memory)
    memory._on_report = lambda number, images: images == 32 and setattr(made, "interrupted", True)
    with monkeypatch.context() as patched:
        patched.setattr(tune_driver, "Trial", watched(tmp_path, lambda batch: time.sleep(0.3)))
        run_trials(made, shared, ray_cluster, tmp_path, {})
    assert made.study.trials[0].state == TrialState.RUNNING
    done = steps(tmp_path)
    assert 32 <= done[-1] < 60
    again = search(tmp_path, tiny(**SETTINGS), memory)
    monkeypatch.setattr(tune_driver, "Trial", watched(tmp_path, lambda batch: None))
    run_trials(again, shared, ray_cluster, tmp_path, {})
    assert again.study.trials[0].state == TrialState.COMPLETE
    assert steps(tmp_path) == list(range(0, 64, 4))
    assert all(torch.equal(value, calm[name]) for name, value in state(tmp_path).items())


def same(folder: Path, calm: dict[str, torch.Tensor]) -> bool:
    found = state(folder)
    assert found.keys() == calm.keys()
    return all(torch.allclose(found[name], value, rtol=1e-5, atol=1e-5) for name, value in calm.items())


@pytest.mark.slow  # its short forms are in tests/cluster: test_trouble.py and test_tune_driver.py
@pytest.mark.parametrize("where", ["in its own process", "by the node's monitor"])
def test_a_trial_without_memory_computes_its_batches_in_parts(
    tmp_path: Path, monkeypatch: PATCH, shared, ray_cluster, calm, where
):
    def full(batch: Batch) -> None:
        if batch.images == 36 and batch.parts == 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")

    class Monitored(watched(tmp_path, lambda batch: None)):
        def step(self):
            if self._trainer.parts == 1 and self.iteration == 2:  # as Ray tells it of an actor that it killed
                raise OutOfMemory("Ray ended a worker, because the memory of its node was nearly full", "Wait.")
            return super().step()

    memory = Memory()
    kind = watched(tmp_path, full) if where == "in its own process" else Monitored
    monkeypatch.setattr(tune_driver, "Trial", kind)
    made = run(tmp_path, tiny(**SETTINGS), shared, ray_cluster, memory)
    assert made.study.trials[0].state == TrialState.COMPLETE
    assert memory.reports == {0: [0, 32, 64]}
    notes = [sentence for _, sentence in memory.notes]
    assert any(in_parts(HALVES) in note for note in notes)
    if where == "by the node's monitor":
        assert any("the memory of its node was nearly full; it goes on from its checkpoint" in note for note in notes)
    assert same(tmp_path, calm)


@pytest.mark.slow  # its short form is in tests/cluster/test_trouble.py
def test_a_trial_that_has_too_little_memory_in_parts_too_is_left_open(
    tmp_path: Path, monkeypatch: PATCH, shared, ray_cluster
):
    def full(batch: Batch) -> None:
        if batch.images >= 8:
            raise MemoryError

    memory = Memory()
    monkeypatch.setattr(tune_driver, "Trial", watched(tmp_path, full))
    made = search(tmp_path, tiny(**SETTINGS, sweep__max_failures=0), memory)
    with pytest.raises(OutOfMemory, match=r"no memory left.*Run fewer at a time"):
        run_trials(made, shared, ray_cluster, tmp_path, {})
    assert made.study.trials[0].state == TrialState.RUNNING
    assert steps(tmp_path) == [0, 4, 0, 4]  # whole, then in parts


def processes_of(cluster: Cluster, name: str) -> list[psutil.Process]:
    """The workers of this Ray that perform an actor of this name, the youngest last."""
    session = Path(cluster.logs).parent.name
    (raylet,) = [
        each for each in psutil.process_iter(["name", "cmdline"])
        if each.info["name"] == "raylet" and any(session in word for word in each.info["cmdline"])
    ]  # fmt: skip
    found = [each for each in raylet.children(recursive=True) if name in " ".join(each.cmdline())]
    return sorted(found, key=lambda each: each.create_time())


@pytest.mark.slow
@pytest.mark.parametrize("who", ["one of its workers", "the process that waits for them"])
def test_a_group_of_workers_that_is_told_to_leave_goes_on(tmp_path: Path, shared, ray_cluster, who):
    """The workers agree on the step after which they leave, so two of a group save one state.

    The process that waits looks for the word between reports: four are left, so that it comes before the last.
    """
    settings = {**SETTINGS, "training__images": 640, "training__validate_every": 128, "sweep__workers_per_trial": 2}
    run(tmp_path / "calm", tiny(**settings), shared, ray_cluster, Memory())

    def tell(number: int, images: int) -> None:
        if images == 128 and once(tmp_path / "told"):
            wanted = "RayTrainWorker" if who == "one of its workers" else "Trial"
            processes_of(ray_cluster, wanted)[-1].send_signal(signal.SIGTERM)

    memory = Memory(tell)
    made = run(tmp_path / "told-group", tiny(**settings), shared, ray_cluster, memory)
    assert made.study.trials[0].state == TrialState.COMPLETE
    assert memory.reports == {0: list(range(0, 641, 128))}
    assert any("it was told to leave its machine (SIGTERM)" in note for _, note in memory.notes), memory.notes
    assert same(tmp_path / "told-group", state(tmp_path / "calm"))
