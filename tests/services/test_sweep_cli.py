"""The main job as a user does it, against a real MLflow server: killed, interrupted, repeated, the server away."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from mlflow.tracking import MlflowClient

from tests.command import project_of
from tests.services.mlflow_server import MlflowServer

HYPERDERM = Path(sys.executable).with_name("hyperderm")
TRIALS, IMAGES, EVERY = 3, 96, 32
NAME = "kill"

EXPERIMENT = f"""
from hyperderm.config import DataConfig, Experiment, SweepConfig, TrainingConfig
from hyperderm.learners.shsgan import ShsGanConfig

def experiment(profile):
    return Experiment(
        name="tiny", profile=profile, data=DataConfig(size=16, diagnoses="all"),
        learner=ShsGanConfig(generator_width=4, critic_width=4),
        training=TrainingConfig(batch_size=4, images={IMAGES}, validate_every={EVERY}, validation_samples=8),
        sweep=SweepConfig(trials={TRIALS}, concurrent=1, grace_images={IMAGES}, startup_trials=2),
    )
"""
SPACE = """
from optuna.distributions import FloatDistribution

VERSION = 1

def space(experiment):
    return {"learner.lr_generator": FloatDistribution(1e-4, 1e-2, log=True)}
"""


@pytest.fixture
def project(tmp_path):
    for folder, name, text in (("experiments", "tiny", EXPERIMENT), ("search_spaces", "tiny", SPACE)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "__init__.py").touch()
        (tmp_path / folder / f"{name}.py").write_text(text)
    return tmp_path


def sweep(store: Path) -> list[str]:
    return ["sweep", "tiny", "--profile", "small", "--store", str(store), "--name", NAME]


def start(project: Path, store: Path, uri: str, *flags: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [str(HYPERDERM), *sweep(store), *flags],
        cwd=project,
        env={**os.environ, "MLFLOW_TRACKING_URI": uri, "COLUMNS": "120"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ended(project: Path) -> int:
    """How many trials the study holds as ended."""
    path = project / "runs" / NAME / "study.db"
    if not path.exists():
        return 0
    try:
        with sqlite3.connect(path) as study:
            return study.execute("select count(*) from trials where state in ('COMPLETE', 'PRUNED', 'FAIL')").fetchone()[0]
    except sqlite3.OperationalError:
        return 0


def wait_for(condition, seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen in {seconds} s"
        time.sleep(0.05)


@pytest.fixture
def at_once(command, project, phantom_store):
    """Run the sweep's command where it ends before Ray starts."""

    def at_once(uri: str, code: int, *flags: object) -> str:
        with project_of(project, MLFLOW_TRACKING_URI=uri, COLUMNS="120"):
            done = command(*sweep(phantom_store), *flags)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    return at_once


def finish(process: subprocess.Popen[str], code: int, seconds: float = 180) -> str:
    output, _ = process.communicate(timeout=seconds)
    assert process.returncode == code, output
    assert "Traceback" not in output, output
    return output


def tree(client: MlflowClient) -> tuple[list, list]:
    experiment = client.get_experiment_by_name("tiny")
    runs = client.search_runs([experiment.experiment_id], max_results=100)
    parents = [r for r in runs if "mlflow.parentRunId" not in r.data.tags]
    children = [r for r in runs if "mlflow.parentRunId" in r.data.tags]
    return parents, sorted(children, key=lambda r: r.info.run_name)


@pytest.mark.slow  # its short forms: test_kill.py, tests/studies/test_sweep.py, tests/tracking/test_runs_server.py
@pytest.mark.timeout(700)
def test_killed_driver_and_lost_server_end_as_an_undisturbed_sweep(
    project, phantom_store, at_once, mortal, tmp_path_factory
):
    server = MlflowServer(tmp_path_factory.mktemp("server"))
    server.start()
    try:
        first = start(project, phantom_store, server.uri)
        wait_for(lambda: ended(project) >= 1, 240, "the first trial's end")
        family = psutil.Process(first.pid).children(recursive=True)
        first.kill()
        first.communicate(timeout=30)
        wait_for(lambda: not any(p.is_running() and "Trial" in p.name() for p in family), 30, "the end of the trials")
        done = ended(project)
        assert 1 <= done < TRIALS

        second = start(project, phantom_store, server.uri)
        wait_for(lambda: ended(project) > done or second.poll() is not None, 240, "a further trial's end")
        server.stop()
        assert "wait for" in finish(second, 0)
        assert ended(project) == TRIALS

        server.start()
        third = at_once(server.uri, 0)
        assert "nothing to do" in third
        assert "--trials 6" in third
        check_tree(MlflowClient(server.uri))

        refused = at_once(server.uri, 2, "--set", "learner.n_critic=3")
        assert "learner.n_critic: 2 -> 3" in refused
        assert "--name" in refused
        mortal.extend(family)  # Ray's agents outlive a killed driver by 60 s
    finally:
        server.stop()


def check_tree(client: MlflowClient) -> None:
    parents, children = tree(client)
    assert len(parents) == 1
    assert len(children) == TRIALS
    parent = parents[0]
    assert parent.info.status == "FINISHED"
    for tag in ("git_commit", "lock_sha256", "manifest", "fold"):
        assert parent.data.tags[f"hyperderm.{tag}"]
    names = {f.path for f in client.list_artifacts(parent.info.run_id)}
    assert {"leaderboard.md", "leaderboard.csv", "search.png", "search.html", "config.json"} <= names
    for number, child in enumerate(children):
        assert child.info.run_name.startswith(f"{number:03d} lr_g=")
        assert child.info.status == "FINISHED"
        assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert set(child.data.params) == {"learner.lr_generator"}
        steps = [m.step for m in client.get_metric_history(child.info.run_id, "validation/spectral_energy_distance")]
        assert sorted(steps) == list(range(0, IMAGES + 1, EVERY)), "each report once, steps in images seen"
        assert [m.step for m in client.get_metric_history(child.info.run_id, "validation/generator_updates")]
        assert {"lesions.png", "spectra.png", "over_training.png", "config.json"} <= {
            f.path for f in client.list_artifacts(child.info.run_id)
        }


@pytest.mark.slow
@pytest.mark.timeout(700)
def test_interrupted_sweep_closes_its_runs_and_goes_on(project, phantom_store):
    uri = f"sqlite:///{project / 'mlflow.db'}"
    first = start(project, phantom_store, uri)
    wait_for(lambda: ended(project) >= 1, 240, "the first trial's end")
    first.send_signal(signal.SIGINT)
    assert "the same command goes on" in finish(first, 130)
    parents, children = tree(MlflowClient(uri))
    assert [p.info.status for p in parents] == ["KILLED"]
    assert "RUNNING" not in {c.info.status for c in children}
    finish(start(project, phantom_store, uri), 0)
    assert ended(project) == TRIALS
    more = finish(start(project, phantom_store, uri, "--trials", str(TRIALS + 1)), 0)
    assert "3 of 4 trials done" in more
    parents, children = tree(MlflowClient(uri))
    assert [p.info.status for p in parents] == ["FINISHED"]
    assert [c.info.status for c in children] == ["FINISHED"] * (TRIALS + 1)
