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
