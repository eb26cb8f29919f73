"""What the machine did, told from what a trial did: real exceptions, as Ray, Tune, Train and SQLAlchemy hand them on."""

import errno
import os
import pickle
import re
import sqlite3

import pytest
import sqlalchemy
from ray.exceptions import ActorDiedError, NodeDiedError, OutOfMemoryError, RayTaskError, WorkerCrashedError
from ray.train.v2.api.exceptions import WorkerGroupError
from ray.tune import TuneError

from hyperderm.errors import (
    CheckpointError,
    ConfigError,
    DiskFull,
    FileTrouble,
    MachineTrouble,
    NonFiniteLoss,
    OutOfMemory,
    StorageAway,
    StoreError,
    StudyError,
    WorkerLost,
)
from hyperderm.trouble import cause_for, trouble_of


def test_no_error_is_raised_from_itself():
    """Ray copies an error with all its causes: among its own causes, it would do so without end."""
    lost = WorkerLost("a worker was lost", "")
    outer = caused(ValueError("a group failed"), lost)
    assert cause_for(lost, lost) is None
    assert cause_for(lost, outer) is None
    assert cause_for(MachineTrouble("", ""), outer) is outer


def from_ray(cause: Exception) -> RayTaskError:
    return RayTaskError("step", "Traceback (most recent call last):\n  …\nOSError: what", cause, "actor", 1, "127.0.0.1")


def caused(outer: Exception, cause: Exception) -> Exception:
    outer.__cause__ = cause
    return outer


def refused(number: int) -> OSError:
    return OSError(number, os.strerror(number), "runs/a/trials/0000/latest.pt")


@pytest.mark.parametrize(
    ("number", "kind", "remedy"),
    [
        (errno.ENOSPC, DiskFull, "Free some space there; then run the same command again"),
        (errno.EDQUOT, DiskFull, "Free some space there"),
        (errno.EFBIG, DiskFull, "Free some space there"),
        (errno.EACCES, FileTrouble, "Give this user the right to it"),
        (errno.EROFS, FileTrouble, "Give this user the right to it"),
        (errno.EIO, MachineTrouble, "Check the place, its disk and its rights"),
        (errno.ESTALE, MachineTrouble, "Check the place, its disk and its rights"),
        (errno.EMFILE, MachineTrouble, "Raise the limit (ulimit -n)"),
    ],
)
def test_a_disk_that_refuses_names_the_file_the_reason_and_the_remedy(number, kind, remedy):
    for error in (refused(number), from_ray(refused(number)), from_ray(refused(number)).as_instanceof_cause()):
        told = trouble_of(error)
        assert type(told) is kind
        assert told.what == f"runs/a/trials/0000/latest.pt: {os.strerror(number)}"
        assert remedy in told.remedy


def test_what_pyarrow_says_of_a_full_disk_without_a_number():
    told = trouble_of(OSError("Error writing bytes to file. Detail: [errno 28] No space left on device"))
    assert type(told) is DiskFull
    assert "No space left on device" in told.what


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (MemoryError(), OutOfMemory, "the machine has no memory left.*data.feed=stream"),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: not enough"), OutOfMemory, "memory"),
        (OutOfMemoryError("killed"), OutOfMemory, "Ray ended a worker, because the memory of its node.*RAY_mem"),
        (caused(RuntimeError("Caught unexpected exception"), OutOfMemoryError("x")), OutOfMemory, "Ray ended a worker"),
        (ActorDiedError(), WorkerLost, "a worker process or its node died.*See the worker logs"),
        (WorkerCrashedError(), WorkerLost, "a worker process or its node died"),
        (NodeDiedError("gone"), WorkerLost, "a worker process or its node died"),
        (
            WorkerGroupError("x", {0: RuntimeError("[/gloo/pair.cc:1] Connection closed by peer"), 1: ActorDiedError()}),
            WorkerLost,
            "the workers of a group lost each other",
        ),
        (WorkerGroupError("x", {1: from_ray(refused(errno.ENOSPC))}), DiskFull, "latest.pt: No space left on device"),
        (RuntimeError("CUDA error: uncorrectable ECC error encountered"), MachineTrouble, "the GPU failed.*nvidia-smi"),
        (from_ray(StorageAway("s3://b: the server went away", "Wait.")), StorageAway, "s3://b: the server went away. Wait."),
        (from_ray(CheckpointError("latest.pt cannot be read", "Move it.")), CheckpointError, "latest.pt cannot be read"),
    ],
)  # fmt: skip
def test_the_machine_is_told_with_its_remedy(error, kind, said):
    told = trouble_of(error)
    assert type(told) is kind
    assert "\n" not in str(told)
    assert re.search(said, str(told))


@pytest.mark.parametrize(
    "error",
    [
        NonFiniteLoss("gp is not finite at step 3", "Lower the rate."),
        from_ray(NonFiniteLoss("gp is not finite at step 3")),
        from_ray(NonFiniteLoss("gp is not finite at step 3")).as_instanceof_cause(),
        caused(NonFiniteLoss("gp is not finite"), refused(errno.ENOSPC)),
        ConfigError("data.size = 7"),
        StudyError("more than half of the cubes are out of range"),
        KeyError("x"),
        from_ray(KeyError("x")),
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
    ],
)
def test_what_a_trial_did_itself_and_what_nobody_foresaw_is_not_the_machine(error):
    assert trouble_of(error) is None


def handled(number: int, then: Exception) -> Exception:
    """Return `then` as it is where it was raised while an OSError was being handled."""
    then.__context__ = refused(number)
    return then


def test_what_was_handled_when_a_bug_came_is_not_its_reason():
    assert trouble_of(handled(errno.ENOENT, KeyError("x"))) is None
    assert type(trouble_of(handled(errno.ENOSPC, TuneError("Traceback …")))) is DiskFull


def test_a_database_on_a_full_disk(tmp_path):
    """SQLite's own error, once as it is and once as SQLAlchemy wraps it, on a database that may not grow."""
    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path / 'study.db'}")
    with engine.begin() as database:
        database.execute(sqlalchemy.text("create table t (x text)"))
        database.execute(sqlalchemy.text("pragma max_page_count = 2"))
        with pytest.raises(sqlalchemy.exc.OperationalError) as caught:
            database.execute(sqlalchemy.text("insert into t values (:x)"), {"x": "y" * 100_000})
    assert isinstance(caught.value.orig, sqlite3.OperationalError)
    for error in (caught.value, caught.value.orig, from_ray(caught.value.orig)):
        told = trouble_of(error)
        assert type(told) is DiskFull
        assert "database or disk is full" in told.what


@pytest.mark.parametrize("kind", [MachineTrouble, DiskFull, FileTrouble, WorkerLost, StorageAway, CheckpointError])
def test_trouble_travels_between_processes(kind):
    error = pickle.loads(pickle.dumps(kind("what", "remedy")))
    assert (type(error), error.what, error.remedy, error.exit_code) == (kind, "what", "remedy", 2)
    assert issubclass(StorageAway, StoreError)
    assert issubclass(CheckpointError, StudyError)


@pytest.mark.parametrize(
    "error",
    [
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
        OSError("libtorch_cpu.so: cannot allocate memory in static TLS block"),
        OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
        RuntimeError("can't start new thread"),
    ],
)
def test_what_has_no_memory_to_be_loaded_or_begun(error):
    told = trouble_of(error)
    assert told is not None
    assert told.what.startswith("the machine has no memory left")
    assert "a machine with more memory" in told.remedy


def test_a_package_that_is_missing_is_no_memory():
    assert trouble_of(ImportError("No module named 'x'")) is None
