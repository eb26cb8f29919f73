"""What leaves a trial open and what ends it, without a cluster."""

import errno
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from optuna.trial import TrialState

from hyperderm.cluster import trial
from hyperderm.cluster.gpu_share import bound_gpu
from hyperderm.cluster.messages import end_message
from hyperderm.errors import (
    CheckpointError,
    ClusterError,
    ConfigError,
    DiskFull,
    FileTrouble,
    MachineTrouble,
    NonFiniteLoss,
    OutOfMemory,
    StorageAway,
    StoreError,
    StudyError,
    TooLarge,
    UnexpectedError,
    WorkerLost,
)
from hyperderm.learners.base import Batch
from hyperderm.learners.shsgan.learner import ShsGan
from hyperderm.training.in_parts import in_parts
from hyperderm.training.report import Report
from tests.cluster.sweeps import Memory, ask, search, tiny
from tests.training.tiny import steady, tiny_data

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "latest.pt")


@pytest.mark.parametrize(
    "error", [NonFiniteLoss("gp is NaN at step 3", "Lower it."), ConfigError("no such size", "Use 32.")]
)
def test_a_trial_s_own_doing_is_its_result(error):
    found = end_message(error)
    assert (found["failure"], found["done"]) == (str(error), True)
    assert "trouble" not in found


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (FULL, DiskFull),
        (OSError(errno.EROFS, os.strerror(errno.EROFS), "latest.pt"), FileTrouble),
        (CheckpointError("latest.pt cannot be read", "Move it away."), CheckpointError),
        (StoreError("part-00001.parquet cannot be read", "Restore it."), FileTrouble),
        (ClusterError("the group ended", "See."), FileTrouble),
    ],
)
def test_trouble_that_stays_is_no_result(error, kind):
    found = end_message(error)
    assert type(found["trouble"]) is kind
    assert (found["failure"], found["done"]) == ("", True)


@pytest.mark.parametrize("error", [StorageAway("gone"), MemoryError(), OSError(errno.EIO, os.strerror(errno.EIO), "x")])
def test_trouble_that_may_pass_is_raised_so_that_ray_repeats_the_trial(error):
    with pytest.raises(MachineTrouble):
        end_message(error)


def test_what_nobody_foresaw_is_raised_as_it_is():
    with pytest.raises(KeyError):
        end_message(KeyError("x"))


class Odd(Exception):
    """As many a library's: its pickle holds one argument, and it needs two."""

    def __init__(self, code: int, what: str) -> None:
        super().__init__(f"{what} ({code})")


def test_what_cannot_be_made_again_from_a_pickle_arrives_with_its_name():
    """Ray would hand on no error of its own but a text, or none that can be read."""
    with pytest.raises(UnexpectedError) as caught:
        end_message(Odd(3, "no such thing"))
    arrived = pickle.loads(pickle.dumps(caught.value))
    assert (str(arrived), arrived.exit_code) == ("Odd: no such thing (3)", 1)


@pytest.mark.parametrize("error", [NonFiniteLoss("loss is NaN at step 3", "Lower it."), StudyError("what", "Mend it.")])
def test_the_end_of_a_trial_carries_its_error_as_data(error):
    found = pickle.loads(pickle.dumps(end_message(error)))["cause"]
    assert (type(found), found.what, found.remedy, found.exit_code) == (type(error), error.what, error.remedy, 2)


@pytest.mark.parametrize(("free", "kind"), [(1, TooLarge), (40, TooLarge), (5, OutOfMemory)])
def test_a_full_gpu_is_trouble_of_this_trial_alone_unless_others_hold_it(monkeypatch, free, kind):
    """Of 80 GiB this process holds 75, or the other 35; or others hold 70 of it."""
    held = {1: 75, 40: 38, 5: 5}[free]
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (free * 2**30, 80 * 2**30))
    monkeypatch.setattr(torch.cuda, "get_per_process_memory_fraction", lambda: 1.0)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda: held * 2**30)
    error = torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")
    if kind is TooLarge:
        said = end_message(error)["trouble"]
        assert type(said) is TooLarge
        assert "this configuration does not fit it. Run the same command on a GPU with more" in str(said)
        assert not said.in_a_row  # an overnight sweep goes on with its other trials
    else:
        with pytest.raises(MachineTrouble, match=r"of which others hold 70\.0.*gpus_per_worker=1"):
            end_message(error)


def test_a_trial_that_fills_its_share_of_a_gpu_is_told_so(monkeypatch):
    """Of 80 GiB this process may take 20 and holds 18; 30 are free, or neighbours have left 1."""
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda: 18 * 2**30)
    monkeypatch.setattr(torch.cuda, "get_per_process_memory_fraction", lambda: 0.25)
    error = torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (30 * 2**30, 80 * 2**30))
    said = str(end_message(error)["trouble"])
    assert "this trial's share of the GPU's memory is full (0.25 of 80 GiB)" in said
    assert "sweep.gpus_per_worker" in said
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (1 * 2**30, 80 * 2**30))
    with pytest.raises(MachineTrouble, match=r"of which others hold 61\.0"):
        end_message(error)


def test_each_trial_is_bound_to_its_share_and_says_it_once(monkeypatch):
    fraction = [1.0]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_per_process_memory_fraction", lambda: fraction[0])
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda share: fraction.__setitem__(0, share))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (60 * 2**30, 80 * 2**30))
    assert bound_gpu(0.25) == "this trial may take 0.25 of the GPU's memory: 20.0 of 80 GiB"
    assert fraction == [0.25]
    assert bound_gpu(0.25) == ""  # the next trial of the same process
    assert bound_gpu(1.0) == ""
    assert fraction == [1.0]
    assert bound_gpu(0.0) == ""
    assert fraction == [1.0]


def test_a_trial_reports_its_share_with_its_first_report(monkeypatch):
    said = iter(["this trial may take half", ""])
    monkeypatch.setattr(trial, "bound_gpu", lambda gpus: next(said))
    made = trial.Trial.__new__(trial.Trial)
    made._reports = None

    def perform(*_):
        yield Report(0, {})
        yield Report(8, {}, note="it goes on")

    made._perform, made._shared, made._trainer = perform, None, trial.Trainer()
    made.reset_config({trial.RESOURCES: trial.JobResources(gpus=0.5)})
    assert [made.step()["note"] for _ in range(2)] == ["this trial may take half", "it goes on"]
    made.reset_config({trial.RESOURCES: trial.JobResources(gpus=0.5)})
    assert made.step()["note"] == ""


def states(made) -> list[TrialState]:
    return [trial.state for trial in made.study.trials]


def test_a_lost_worker_leaves_its_trial_open_and_the_next_trial_goes_on(tmp_path):
    memory = Memory()
    made = search(tmp_path, tiny(), memory)
    first, second = ask(made), ask(made)
    made.leave(first.key, WorkerLost("a worker died", "Look."))
    assert not made.interrupted
    made.report(second.key, 32, {"spectral_energy_distance": 1.0})
    made.finish(second.key)
    made.leave_open()
    assert states(made) == [TrialState.RUNNING, TrialState.COMPLETE]
    assert memory.notes == [(first.number, "left open: a worker died")]
    assert memory.events[-2:] == [("interrupted", first.number, ""), ("finished", second.number, "")]
    ask(search(tmp_path, tiny(), memory))
    assert memory.events[-1] == ("started", first.number, True)


def test_the_second_in_a_row_and_a_full_disk_end_the_sweep(tmp_path):
    made = search(tmp_path / "two", tiny(), Memory())
    keys = [ask(made).key for _ in range(3)]
    made.leave(keys[0], WorkerLost("one"))
    made.finish(keys[1], "gp is NaN")
    made.leave(keys[2], WorkerLost("two"))
    assert not made.interrupted, "one ended in between"
    made.leave(ask(made).key, WorkerLost("three"))
    assert made.interrupted
    assert made.trouble.what == "three"
    full = search(tmp_path / "full", tiny(), Memory())
    full.leave(ask(full).key, DiskFull("latest.pt: full"))
    assert full.interrupted
    assert states(full) == [TrialState.RUNNING]


class Given:
    """Data that a trial reads."""

    def load(self, experiment):
        return tiny_data()


def trained(
    folder: Path, monkeypatch: pytest.MonkeyPatch, full: Callable[[Batch], bool], **settings: object
) -> list[Report]:
    """The reports of a trial in this process, whose steps find no memory where `full` says so."""
    step = ShsGan.step

    def stepped(learner: ShsGan, batch: Batch):
        if full(batch):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")
        return step(learner, batch)

    experiment = tiny(training__images=32, training__validate_every=16, training__precision="fp64", **settings)
    with monkeypatch.context() as patched:
        patched.setattr(ShsGan, "step", stepped)
        return list(trial.Trainer().train(experiment, Given(), folder, {}))  # type: ignore[arg-type]


def test_a_trial_without_memory_is_tried_once_more_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """It goes on from its checkpoint, says so, and comes to the same; what is too large in parts too is not tried again."""
    whole = trained(tmp_path / "whole", monkeypatch, lambda batch: False)
    parts = trained(tmp_path / "parts", monkeypatch, lambda batch: batch.images >= 20 and batch.parts == 1)
    assert [report.images for report in parts] == [0, 16, 16, 32]  # the report of the checkpoint is repeated
    assert [report.note for report in parts] == ["", "", in_parts(2), ""]
    for one, two in ((whole[1], parts[1]), (whole[2], parts[3])):
        assert steady(two.metrics) == pytest.approx(steady(one.metrics), rel=1e-5, abs=1e-9)
    tries: list[int] = []
    with pytest.raises(torch.OutOfMemoryError):
        trained(tmp_path / "none", monkeypatch, lambda batch: tries.append(batch.parts) or batch.images >= 4)
    assert tries == [1, 1, 2, 2]
    tries.clear()
    with pytest.raises(torch.OutOfMemoryError):  # its losses follow the means of batches
        trained(tmp_path / "lecam", monkeypatch, lambda batch: tries.append(batch.parts) or True, learner__lecam_weight=0.1)
    assert tries == [1]
