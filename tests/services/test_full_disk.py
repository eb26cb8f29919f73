"""A disk that is really full: one sentence, nothing lost, and the same command goes on once there is room."""

import os
import re
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hyperderm.store.export import export_store
from hyperderm.store.reader import open_store
from tests.services import grids
from tests.services.disks import Disk, mounted
from tests.services.test_sweep_cli import EXPERIMENT, HYPERDERM, SPACE, wait_for

Mount = Callable[[Path, int], Disk]
NAME, TRIALS = "full", 2
START_S = 200
"""Seconds in which a command reaches its first checkpoint, beside other work."""
STARTED: list[subprocess.Popen[str]] = []
pytestmark = [pytest.mark.slow, pytest.mark.timeout(500)]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Mount]:
    yield from mounted(tmp_path)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    for name, text in (("experiments", EXPERIMENT.replace("trials=3", f"trials={TRIALS}")), ("search_spaces", SPACE)):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").touch()
        (folder / name / "tiny.py").write_text(text)
    return folder


@pytest.fixture(autouse=True)
def _no_command_outlives_its_test() -> Iterator[None]:
    yield
    for process in STARTED:
        if process.poll() is None:
            process.kill()
            process.communicate()
    STARTED.clear()


def begin(project: Path, *words: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [str(HYPERDERM), *words],
        cwd=project,
        env={**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{project / 'mlflow.db'}", "COLUMNS": "120"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    STARTED.append(process)
    return process


def sweep(store: Path) -> list[str]:
    return ["sweep", "tiny", "--profile", "small", "--store", str(store), "--name", NAME]


def train(store: Path) -> list[str]:
    return ["train", "tiny", "--profile", "small", "--store", str(store), "--name", NAME]


def refused(process: subprocess.Popen[str], place: str, seconds: float = 200) -> str:
    """End of a command whose disk was full: code 2, a handful of lines, the last of which names the place and the reason."""
    out, err = process.communicate(timeout=seconds)
    said = f"{out}\n--- stderr\n{err}"
    assert process.returncode == 2, said
    assert "Traceback" not in said, said
    last = err.strip().splitlines()[-1]
    told = rf"error: .*(?:{place}).*(No space left on device|disk is full).*\. (Free some|Check the place, its) space.*"
    assert re.fullmatch(told, last), said
    assert len(err.strip().splitlines()) == 1, said
    assert len([line for line in out.splitlines() if line.startswith("tracking:")]) <= 3, said
    assert len(out.strip().splitlines()) <= 25, said
    return said


def finished(process: subprocess.Popen[str], seconds: float = 200) -> str:
    out, err = process.communicate(timeout=seconds)
    assert process.returncode == 0, out + err
    assert "Traceback" not in out + err, out + err
    return out


def states(project: Path) -> dict[str, int]:
    """How many trials the study holds in each state."""
    with sqlite3.connect(project / "runs" / NAME / "study.db") as study:
        return dict(study.execute("select state, count(*) from trials group by state").fetchall())


def made(project: Path, name: str) -> bool:
    return next((project / "runs").rglob(name), None) is not None


def test_a_sweep_whose_checkpoints_find_no_room(project, phantom_store, disk):
    first = begin(project, *sweep(phantom_store))
    wait_for(lambda: made(project, "study.db") or first.poll() is not None, START_S, "the study")
    full = disk(project / "runs" / NAME / "trials", 64)
    refused(first, r"trials/0000/(samples\.npy|best\.pt|latest\.pt)")
    assert states(project) == {"RUNNING": 1}
    full.enlarge()
    finished(begin(project, *sweep(phantom_store)))
    assert states(project) == {"COMPLETE": TRIALS}


@pytest.mark.parametrize("mark", [".lock", "study.db", "latest.pt", "tune"])
def test_a_sweep_whose_whole_folder_of_runs_is_full(project, phantom_store, disk, mark):
    """From the start on (`.lock`), when the study is made, when Tune begins, or when the first checkpoint is written."""
    full = disk(project / "runs", 2**16)
    if mark == ".lock":
        full.fill()
    first = begin(project, *sweep(phantom_store))
    wait_for(lambda: mark == ".lock" or made(project, mark) or first.poll() is not None, START_S, mark)
    if mark != ".lock":
        full.fill()
    refused(first, "runs|study.db|Ray|Tune")
    full.free()
    finished(begin(project, *sweep(phantom_store)))
    assert states(project) == {"COMPLETE": TRIALS}


@pytest.mark.parametrize("mark", [".lock", "identity.json", "latest.pt"])
def test_a_training_whose_folder_of_runs_is_full(project, phantom_store, disk, mark):
    full = disk(project / "runs", 2**16)
    if mark == ".lock":
        full.fill()
    first = begin(project, *train(phantom_store))
    wait_for(lambda: mark == ".lock" or made(project, mark) or first.poll() is not None, START_S, mark)
    if mark != ".lock":
        full.fill()
    refused(first, "runs")
    full.free()
    finished(begin(project, *train(phantom_store)))
    assert made(project, "latest.pt")


@pytest.mark.parametrize("mark", [".lock", "identity.json", "result.json"])
def test_a_grid_whose_folder_of_runs_is_full(tmp_path, phantom_store, disk, mark):
    project = grids.make_project(tmp_path / "project")
    words = grids.words(phantom_store, "--set", "folds=[0]", "--set", 'arms=["real","oversampled"]')
    full = disk(project / "runs", 2**16)
    if mark == ".lock":
        full.fill()
    first = begin(project, *words)
    wait_for(lambda: mark == ".lock" or made(project, mark) or first.poll() is not None, START_S, mark)
    if mark != ".lock":
        full.fill()
    refused(first, "runs")
    assert not made(project, "failure.json")
    full.free()
    assert "report.html" in finished(begin(project, *words))
    assert grids.done(project) == 4
    assert not made(project, "failure.json")


@pytest.mark.parametrize("kib", [4, 64, 512])
def test_an_ingest_whose_disk_fills(tmp_path, phantom_store, disk, kib):
    source = tmp_path / "raw"
    export_store(open_store(phantom_store), source, "npz")
    full = disk(tmp_path / "stores", kib)
    store = full.place / "mine"
    words = ["ingest", str(source), "--store", str(store)]
    refused(begin(tmp_path, *words), "stores")
    assert list(full.place.iterdir()) == []
    full.enlarge()
    finished(begin(tmp_path, *words))
    assert open_store(store).manifest.lesions == 90
