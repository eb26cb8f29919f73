"""The first run of a sweep, killed at any instant: the same command then does what it would have done undisturbed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from mlflow.store.db import utils  # noqa: F401
from mlflow.tracking import MlflowClient

from hyperderm.cli import main
from hyperderm.store.export import export_store
from hyperderm.store.reader import open_store
from hyperderm.workflows import run_sweep  # noqa: F401 - imported before the forks, as is what makes mlflow.db
from tests.command import project_of
from tests.killing import Ended, in_child
from tests.services.test_sweep_cli import EXPERIMENT, HYPERDERM, SPACE

TRIALS, IMAGES, EVERY = 2, 64, 32
STARTED: list[subprocess.Popen[str]] = []
BEFORE_RAY = {
    "mlflow.db": (1, 4, 20, 60, 120, 200, 300, 400, 500, 600),
    "stores": (1, 2, 3, 4, 5),
    "identity.json": (1, 2, 3),
    "study.db": (1, 3, 5, 10, 20, 40, 60, 80),
}
"""What is being made, and the steps at which its maker is killed."""
AFTER = (".latest", "latest.pt", ".best", "best.pt", "samples.npy", ".tracked", "outbox.db")
"""Files below the run's folder whose first or second appearance kills the driver and its Ray."""


@pytest.fixture(scope="module")
def data(phantom_store, tmp_path_factory) -> Path:
    """Raw files to be ingested."""
    folder = tmp_path_factory.mktemp("raw") / "data"
    export_store(open_store(phantom_store), folder, "npz")
    return folder


@pytest.fixture
def project(tmp_path) -> Path:
    experiment = EXPERIMENT.replace("images=96", f"images={IMAGES}").replace("grace_images=96", f"grace_images={IMAGES}")
    for folder, text in (("experiments", experiment.replace("trials=3", f"trials={TRIALS}")), ("search_spaces", SPACE)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "__init__.py").touch()
        (tmp_path / folder / "tiny.py").write_text(text)
    return tmp_path


def words(data: Path) -> list[str]:
    return ["sweep", "tiny", "--profile", "small", "--data", str(data), "--name", "one"]


@pytest.fixture(autouse=True)
def _no_driver_outlives_its_test() -> Iterator[None]:
    yield
    for driver in STARTED:
        if driver.poll() is None:
            kill_all(driver)
    STARTED.clear()


def begin(project: Path, data: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{project / 'mlflow.db'}", "COLUMNS": "120"}
    STARTED.append(
        subprocess.Popen(
            [str(HYPERDERM), *words(data)],
            cwd=project, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    )  # fmt: skip
    return STARTED[-1]


def killed_here(project: Path, data: Path, place: str, step: int) -> Ended:
    """Run the command in a fork of this process, where all is imported, and kill it at a step on files of that name."""

    def run() -> None:
        sys.argv = ["hyperderm", *words(data)]
        main()

    with project_of(project, MLFLOW_TRACKING_URI=f"sqlite:///{project / 'mlflow.db'}", COLUMNS="120"):
        return in_child(run, place, step)


def kill_all(driver: subprocess.Popen[str]) -> None:
    """End a driver and the Ray that it started at once."""
    family = psutil.Process(driver.pid).children(recursive=True)
    driver.kill()
    for each in family:
        try:
            each.kill()
        except psutil.NoSuchProcess:
            continue
    driver.communicate(timeout=30)
    psutil.wait_procs(family, timeout=30)


def check_whole(project: Path, data: Path) -> None:
    """Repeat the command; it must end as if nothing had happened."""
    again = begin(project, data)
    output, _ = again.communicate(timeout=200)
    assert again.returncode == 0, output
    assert "Traceback" not in output, output
    client = MlflowClient(f"sqlite:///{project / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("tiny")
    runs = client.search_runs([experiment.experiment_id])
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = sorted((run for run in runs if run not in parents), key=lambda run: run.info.run_name)
    assert len(parents) == 1
    assert [child.info.run_name.split(" lr_")[0] for child in children] == ["000", "001"]
    assert {run.info.status for run in runs} == {"FINISHED"}
    (parent,) = parents
    note = parent.data.tags["mlflow.note.content"]
    assert "It has ended: 2 finished." in note
    assert "| `learner.lr_generator` |" in note
    assert "The test role is not opened." in note
    counted = client.get_metric_history(parent.info.run_id, "trials/finished")
    assert (counted[-1].step, counted[-1].value) == (2, 2.0)
    assert parent.data.metrics["best/score"] == pytest.approx(float(parent.data.tags["hyperderm.best"]), rel=1e-5)
    assert parent.data.tags["hyperderm.best_trial"] in {child.info.run_name for child in children}
    for run in runs:
        read = {each.tags[0].value: each.dataset.name for each in run.inputs.dataset_inputs}
        assert read.keys() == {"train", "validation"}
        assert "train of fold 0" in read["train"]
    for child in children:
        assert "reference/floor_real_vs_real" in child.data.metrics
        steps = [one.step for one in client.get_metric_history(child.info.run_id, "validation/spectral_energy_distance")]
        assert sorted(steps) == list(range(0, IMAGES + 1, EVERY)), "each report once"
        assert {"lesions.png", "spectra.png"} <= {one.path for one in client.list_artifacts(child.info.run_id)}
    board = Path(client.download_artifacts(parents[0].info.run_id, "leaderboard.csv")).read_text()
    assert len(board.strip().splitlines()) == 1 + TRIALS, board
    left = [path for path in project.rglob("*.partial*") if not path.is_relative_to(project / "mlartifacts")]
    assert left == [], "what dead makers left is removed"


KILLS = (("mlflow.db", 200), ("stores", 4), ("identity.json", 2), ("study.db", 1), ("study.db", 20))


@pytest.mark.timeout(200)
@pytest.mark.parametrize("kills", [KILLS[-1:], pytest.param(KILLS, marks=pytest.mark.slow)])
def test_kills_one_after_the_other(project, data, kills):
    """Each repetition gets past the instant before; the last one is not disturbed."""
    for place, step in kills:
        ended = killed_here(project, data, place, step)
        assert ended.signal == signal.SIGKILL, f"{place} takes fewer than {step} steps: {ended}"
    check_whole(project, data)


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize(("place", "step"), [(place, step) for place, steps in BEFORE_RAY.items() for step in steps])
def test_killed_while_its_files_are_made(project, data, place, step):
    ended = killed_here(project, data, place, step)
    assert ended.signal == signal.SIGKILL, f"{place} takes fewer than {step} steps: {ended}"
    check_whole(project, data)


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("name", AFTER)
def test_killed_while_it_trains(project, data, name, count):
    driver = begin(project, data)
    seen: set[Path] = set()
    deadline = time.monotonic() + 200
    while len(seen) < count and driver.poll() is None and time.monotonic() < deadline:
        for folder, folders, files in os.walk(project / "runs" / "one"):  # what vanishes meanwhile is passed over
            seen |= {Path(folder, each) for each in folders + files if each.startswith(name)}
        time.sleep(0.002)
    assert driver.poll() is None, driver.communicate()[0]
    kill_all(driver)
    check_whole(project, data)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_interrupted_while_the_first_database_is_made(project, data):
    driver = begin(project, data)
    deadline = time.monotonic() + 60
    while not list(project.glob(".mlflow.db.*")) and time.monotonic() < deadline:
        time.sleep(0.002)
    driver.send_signal(signal.SIGINT)
    output, _ = driver.communicate(timeout=60)
    assert driver.returncode in (130, -signal.SIGINT), output
    assert "Traceback" not in output
    assert not (project / "mlflow.db").exists()
    check_whole(project, data)
