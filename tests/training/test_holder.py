"""Whom a lock in a folder that machines share names: looked at without being taken, and never another process. No Ray."""

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import asdict, replace
from types import SimpleNamespace

import pytest

from hyperderm.errors import StudyError
from hyperderm.training import holder as holder_module
from hyperderm.training.holder import LOCK, Holder, current_holder, this_process
from hyperderm.training.run_folder import claim
from hyperderm.workflows import detached

DRIVER = """
import pathlib, signal, sys, time
from hyperderm.training.holder import LOCK, acquire_lock
signal.signal(signal.SIGTERM, signal.default_int_handler)
folder = pathlib.Path(sys.argv[1])
folder.mkdir(exist_ok=True)
lock = (folder / LOCK).open("a+")
acquire_lock(lock, folder.name)
print("held", flush=True)
time.sleep(120)
"""


@contextmanager
def driver(folder):
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(folder)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def grid(tmp_path, monkeypatch):
    """A grid's folder, and `--stop` on it: returns what was said."""
    monkeypatch.setattr(detached, "prepare", lambda workspace, asked: (None, tmp_path / "night"))
    monkeypatch.setattr(detached, "STOPPED_S", 10.0)
    said = []
    workspace = SimpleNamespace(say=said.append, ray_address=None)

    def stop():
        detached.stop(workspace, None)
        return said[-1]

    return SimpleNamespace(folder=tmp_path / "night", stop=stop)


def write(folder, holder):
    folder.mkdir(exist_ok=True)
    (folder / LOCK).write_text(json.dumps(asdict(holder)))


def test_the_driver_of_this_machine_is_ended_in_order(grid):
    with driver(grid.folder) as process:
        assert current_holder(grid.folder).pid == process.pid
        assert grid.stop() == "night has stopped"
        assert process.wait(10) != 0
    assert current_holder(grid.folder) is None
    assert grid.stop() == "night is not running"


def test_a_driver_of_another_machine_is_named_and_nobody_is_signalled(grid):
    """Its number is, here, that of a process which has nothing to do with it: the driver that holds the lock itself."""
    with driver(grid.folder) as process:
        write(grid.folder, replace(current_holder(grid.folder), host="node7", boot="another"))
        with pytest.raises(StudyError) as caught:
            grid.stop()
        assert f"is being run by process {process.pid} on machine node7, and this is " in caught.value.what
        assert caught.value.remedy == "Give the same command with --stop on node7."
        assert process.poll() is None
        with pytest.raises(StudyError, match=f"being run by process {process.pid} on node7"), claim(grid.folder, {"a": 1}):
            pass


def test_a_ray_job_without_its_cluster_is_told_how_to_end_it_from_here(grid):
    with driver(grid.folder):
        write(grid.folder, replace(current_holder(grid.folder), host="node7", boot="another"))
        grid.folder.with_name("night.ray_job.json").write_text(json.dumps({"job": "raysubmit_1"}))
        with pytest.raises(StudyError, match="set RAY_ADDRESS as it was"):
            grid.stop()


def test_a_number_that_another_process_has_now_is_not_signalled(grid):
    with driver(grid.folder) as process:
        write(grid.folder, replace(current_holder(grid.folder), started=1))
        with pytest.raises(StudyError, match=r"its lock is still held: nobody is signalled\. .*fuser"):
            grid.stop()
        assert process.poll() is None


def test_a_lock_of_an_earlier_version_does_not_say_whose_number_it_holds(grid):
    with driver(grid.folder) as process:
        (grid.folder / LOCK).write_text(str(process.pid))
        with pytest.raises(StudyError, match="does not say on which machine"):
            grid.stop()
        assert process.poll() is None


def test_a_lock_that_nobody_holds_counts_as_free_whatever_it_says(grid):
    write(grid.folder, this_process())
    assert current_holder(grid.folder) is None
    (grid.folder / LOCK).write_text(str(2**22 + 1))  # no process has it
    assert current_holder(grid.folder) is None
    (grid.folder / LOCK).write_text('{"pid": 1')  # a disk that was full
    assert current_holder(grid.folder) is None


def test_a_driver_may_start_while_somebody_looks(tmp_path, monkeypatch):
    """The look is stopped where it has asked: a driver that starts at that very moment gets its lock."""
    with claim(tmp_path / "night", {"a": 1}):
        pass
    ask, started = holder_module.fcntl.fcntl, []

    def looking(lock, command, argument):
        answer = ask(lock, command, argument)
        if command == holder_module.fcntl.F_OFD_GETLK:
            with driver(tmp_path / "night") as process:
                started.append(process.pid)
        return answer

    monkeypatch.setattr(holder_module.fcntl, "fcntl", looking)
    assert current_holder(tmp_path / "night") is None
    assert len(started) == 1


def test_where_the_file_system_cannot_say_the_process_itself_is_asked(grid, monkeypatch):
    def unknown(lock, command, argument):
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(holder_module.fcntl, "fcntl", unknown)
    write(grid.folder, this_process())
    assert current_holder(grid.folder) == this_process()
    write(grid.folder, replace(this_process(), started=1))
    assert current_holder(grid.folder) is None, "it has ended, and its number was given to another"
    elsewhere = Holder(1, "node7", "another", 1)
    write(grid.folder, elsewhere)
    assert current_holder(grid.folder) == elsewhere, "nobody here can tell"


def test_a_driver_that_ends_before_it_is_signalled_has_stopped(grid, monkeypatch):
    with driver(grid.folder) as process:
        holder = current_holder(grid.folder)
    assert process.poll() == -signal.SIGKILL
    assert holder_module.terminate(grid.folder, holder) == "gone"
    monkeypatch.setattr(os, "pidfd_open", lambda pid: pytest.fail("a process of this number would be signalled"))
    assert current_holder(grid.folder) is None
