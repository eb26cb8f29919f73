"""What Tune tells of a failed trial."""

import pickle
from pathlib import Path

import pytest
from ray.exceptions import ActorDiedError, RayTaskError
from ray.train._internal.storage import StorageContext
from ray.tune.experiment import Trial

from hyperderm.cluster import tune_driver
from hyperderm.cluster.session import Cluster
from hyperderm.cluster.trial import KEY, PARTS
from hyperderm.cluster.tune_driver import (
    LEAVE_S,
    Interrupt,
    StudyCallback,
    error_text,
    final_error,
    last_line,
    reason_to_resume,
)
from hyperderm.errors import OutOfMemory, StorageAway, UnexpectedError, WorkerLost
from hyperderm.training.in_parts import HALVES
from tests.cluster.sweeps import Memory, search, tiny


def a_trial(folder: Path) -> Trial:
    storage = StorageContext(storage_path=str(folder), experiment_dir_name="sweep", trial_dir_name="trial")
    trial = Trial("anything", stub=True, storage=storage)
    trial.init_local_path()
    return trial


def test_a_failure_is_told_before_tune_has_copied_it_to_its_storage(ray_cluster: Cluster, tmp_path: Path):
    trial = a_trial(tmp_path)
    trial.handle_error(OSError(28, "No space left on device"))
    assert trial.get_error() is None  # what Tune copies in the background has not come yet
    assert "No space left on device" in last_line(error_text(trial))


def test_only_the_last_failure_is_told(ray_cluster: Cluster, tmp_path: Path):
    """Storage that went away and came back is not why a trial died of something else."""
    trial = a_trial(tmp_path)
    trial.handle_error(StorageAway("the S3 server went away"))
    trial.handle_error(OSError(28, "No space left on device"))
    assert "went away" not in error_text(trial)
    assert last_line(error_text(trial)).endswith("No space left on device")


def test_a_trial_without_an_error_file_is_told_as_such(ray_cluster: Cluster, tmp_path: Path):
    assert error_text(a_trial(tmp_path)) == ""
    assert "Ray's logs" in last_line("\n")


def failed(folder: Path, error: Exception) -> Trial:
    """A trial as Tune leaves it, with a text in which nothing of the error can be found."""
    trial = a_trial(folder)
    trial.handle_error(error)
    Path(trial.error_file).write_text("Failure # 1\nOSError: [Errno 28] No space left on device\n")
    return trial


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (KeyError("x"), "KeyError: 'x' (unforeseen; worker logs: /logs)"),
        (UnexpectedError("Odd: no such thing (3)"), "Odd: no such thing (3) (unforeseen; worker logs: /logs)"),
    ],
)
def test_the_kind_of_a_failure_is_the_error_s_whatever_the_text_says(ray_cluster: Cluster, tmp_path: Path, error, said):
    def wrapped() -> RayTaskError:
        return RayTaskError("step", "OSError: [Errno 28] No space left on device", error, "actor", 1, "127.0.0.1")

    assert final_error(failed(tmp_path, wrapped()), "/logs") == (None, said)
    told = said.partition(" (unforeseen")[0]
    assert reason_to_resume(failed(tmp_path, wrapped())) == (None, f"{told}; it goes on from its checkpoint")


def test_a_lost_worker_is_one_whatever_the_text_says(ray_cluster: Cluster, tmp_path: Path):
    assert isinstance(final_error(failed(tmp_path, ActorDiedError()), "/logs")[0], WorkerLost)


class Tuned:
    """What the callback sees of a trial of Tune."""

    def __init__(self, error: BaseException | None = None, folder: Path | None = None) -> None:
        self.trial_id, self.config, self.last_result = "a", {KEY: "0"}, {"node_ip": "10.0.0.1"}
        self.pickled_error_file = self.error_file = None
        if error is not None and folder is not None:
            self.pickled_error_file = str(folder / "error.pkl")
            Path(self.pickled_error_file).write_bytes(pickle.dumps(error))


def test_a_driver_that_ends_first_tells_its_trials_and_waits_for_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    told: list[list] = []
    monkeypatch.setattr(tune_driver, "tell_to_leave", lambda processes: told.append(list(processes)))
    now = [0.0]
    monkeypatch.setattr(tune_driver.time, "monotonic", lambda: now[0])
    memory = Memory()
    made = search(tmp_path, tiny(), memory)
    interrupt, trial = Interrupt(made), Tuned()
    interrupt.trains(trial, {"node_ip": "10.0.0.1", "pid": 7})
    assert (interrupt.stop_all(), told) == (False, [])
    made.interrupted = True
    assert (interrupt.stop_all(), told) == (False, [[("10.0.0.1", 7)]])
    assert [sentence for _, _, sentence in memory.events] == [
        "running trials save their state first; a second Ctrl-C ends at once"
    ]
    now[0] += LEAVE_S - 1
    assert not interrupt.stop_all()
    now[0] += 2
    assert interrupt.stop_all()  # it never saved: no longer than that
    now[0] = 0.0
    interrupt.ended(trial)
    assert interrupt.stop_all()
    assert len(told) == 1


def test_a_trial_that_the_monitor_ended_begins_in_parts(tmp_path: Path):
    made = search(tmp_path, tiny(), Memory())
    callback = StudyCallback(made, Interrupt(made))
    killed, lost = Tuned(OutOfMemory("Ray ended a worker", "Wait."), tmp_path), Tuned()
    callback.on_trial_recover(0, [], killed)
    callback.on_trial_recover(0, [], lost)
    assert killed.config[PARTS] == HALVES
    assert PARTS not in lost.config
