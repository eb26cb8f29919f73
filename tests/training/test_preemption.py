"""A run that is told to leave its machine saves its state between two validations, and ends as an undisturbed one."""

import os
import signal
from pathlib import Path

import pytest
import torch

from hyperderm.errors import Preempted
from hyperderm.learners.shsgan.learner import ShsGan
from hyperderm.training.checkpoint import BEST, LATEST, CheckpointFolder
from hyperderm.training.loop import train
from hyperderm.training.preemption import asked_to_leave, listen, listening
from hyperderm.training.report import Report
from tests.training.test_loop import DATA, context, run, tensors, timeless
from tests.training.tiny import tiny
from tests.training.two_workers import told_to_leave


def told_after(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process be told in its step number `steps`, by the signal itself."""
    step, count = ShsGan.step, iter(range(1, 10**6))

    def stepped(self, batch):
        done = step(self, batch)
        if next(count) == steps:
            os.kill(os.getpid(), signal.SIGTERM)
        return done

    monkeypatch.setattr(ShsGan, "step", stepped)


def until_told(folder: Path, experiment) -> tuple[list[Report], Preempted]:
    reports: list[Report] = []
    with listening(), pytest.raises(Preempted) as told:
        reports.extend(train(experiment, DATA, context(folder)))
    return reports, told.value


@pytest.mark.parametrize("steps", [3, 6], ids=["before the first validation", "between two"])
def test_a_run_that_is_told_to_leave_loses_no_step(tmp_path: Path, monkeypatch, steps):
    experiment = tiny(learner__n_critic=3, data__flips=True)  # validations after 4, 8 and 12 steps of 4 images
    whole = run(tmp_path / "whole", experiment)
    with monkeypatch.context() as patched:
        told_after(steps, patched)
        first, told = until_told(tmp_path / "parts", experiment)
    assert f"the state after {4 * steps} images is saved" in str(told)
    assert CheckpointFolder(tmp_path / "parts").load()["images"] == 4 * steps
    assert CheckpointFolder(tmp_path / "parts").holds(BEST) == (steps > 4)
    taken = []
    with monkeypatch.context() as patched:
        step = ShsGan.step
        patched.setattr(ShsGan, "step", lambda self, batch: taken.append(batch.images) or step(self, batch))
        second = run(tmp_path / "parts", experiment)
    assert taken[0] == 4 * steps  # nothing is computed twice
    assert timeless(second[0]) == timeless(first[-1])
    assert second[0].images == first[-1].images
    for a, b in zip([*first, *second[1:]], whole, strict=True):
        assert a.images == b.images
        assert timeless(a) == timeless(b)  # the means over the steps too
    for name in (LATEST, BEST):
        a, b = (CheckpointFolder(tmp_path / w).load(name) for w in ("whole", "parts"))
        assert all(torch.equal(v, tensors(b)[k]) for k, v in tensors(a).items())
        assert tensors(a).keys() == tensors(b).keys()


def test_the_second_word_and_one_without_a_run_are_for_the_handler_before():
    reached: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: reached.append(number))
    try:
        with listening():
            signal.raise_signal(signal.SIGTERM)
            assert (asked_to_leave(), reached) == (True, [])
            signal.raise_signal(signal.SIGTERM)
            assert reached == [signal.SIGTERM]
        assert not asked_to_leave()
        listen(lambda: False)
        signal.raise_signal(signal.SIGTERM)
        assert (asked_to_leave(), len(reached)) == (False, 2)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_group_agrees_when_to_leave_and_saves_one_state(tmp_path: Path):
    """Rank 1 is told; also where fewer steps lie between two validations than between two of the group's checks."""
    torch.multiprocessing.spawn(told_to_leave, (2, tmp_path), nprocs=2)
    for every in (16, 128):
        found = [torch.load(tmp_path / f"told-{every}-{rank}.pt", weights_only=False) for rank in (0, 1)]
        at = found[0]["state"]["images"]
        assert 12 <= at < 128
        assert all(f"the state after {at} images is saved" in each["said"] for each in found)
        assert found[1]["reports"][-1] == 128
        a, b = (tensors(CheckpointFolder(tmp_path / f"{name}-{every}").load()) for name in ("calm", "told"))
        assert a.keys() == b.keys()
        assert all(torch.equal(value, b[name]) for name, value in a.items())
    assert found[0]["state"]["reported"] == 0  # between two validations
    assert found[0]["state"]["meter"]["steps"] == found[0]["state"]["images"] // 4


def test_ctrl_c_saves_the_state_too():
    with listening():
        signal.raise_signal(signal.SIGINT)
        assert asked_to_leave()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
