"""A project with a grid of seconds, and how to drive it as a user does."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from tests.training.tiny import steady

HYPERDERM = Path(sys.executable).with_name("hyperderm")
NAME = "night"

GENERATOR = """
from hyperderm.config import DataConfig, Experiment, TrainingConfig
from hyperderm.learners.shsgan import ShsGanConfig

def experiment(profile):
    return Experiment(
        name="tiny", profile=profile, data=DataConfig(size=16, diagnoses="all"),
        learner=ShsGanConfig(generator_width=4, critic_width=4, lr_generator=1e-3, lr_critic=1e-3),
        training=TrainingConfig(batch_size=4, images=96, validate_every=48, validation_samples=8),
    )
"""
GRID = """
from hyperderm.grid_config import Ablation, Model
from hyperderm.config import TrainingConfig
from hyperderm.learners.classifier import ClassifierConfig
from hyperderm.learners.spectral_baseline import SpectralConfig

def ablation(profile):
    return Ablation(
        name="tiny", profile=profile, size=16, generators=("tiny",),
        arms=("real", "oversampled", "synthetic", "only"), models=("spectral", "small_cnn"),
        classifiers={
            "spectral": Model(
                learner=SpectralConfig(penalty=10.0), training=TrainingConfig(batch_size=16, images=16, validate_every=16)
            ),
            "small_cnn": Model(
                learner=ClassifierConfig(lr=1e-3), training=TrainingConfig(batch_size=8, images=320, validate_every=160)
            ),
        },
    )
"""


def make_project(folder: Path) -> Path:
    experiments = folder / "experiments"
    experiments.mkdir(parents=True)
    for name, text in (("__init__", ""), ("tiny", GENERATOR), ("ablation_tiny", GRID)):
        (experiments / f"{name}.py").write_text(text)
    return folder


def words(store: Path, *flags: str, name: str = NAME) -> list[str]:
    return ["ablation", "tiny", "--profile", "small", "--store", str(store), "--name", name, *flags]


def start(project: Path, store: Path, uri: str, *flags: str, name: str = NAME) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [str(HYPERDERM), *words(store, *flags, name=name)],
        cwd=project,
        env={**os.environ, "MLFLOW_TRACKING_URI": uri, "COLUMNS": "120"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def kept(project: Path, name: str = NAME) -> list[Path]:
    """The results that jobs left."""
    folder = project / "runs" / name
    return [path for stage in ("generator", "synthetic", "cell") for path in folder.glob(f"{stage}/*/result.json")]


def done(project: Path, name: str = NAME) -> int:
    """How many jobs are done."""
    return len(kept(project, name))


def wait_for(condition, seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen in {seconds} s"
        time.sleep(0.05)


def finish(process: subprocess.Popen[str], code: int, seconds: float = 200) -> str:
    output, _ = process.communicate(timeout=seconds)
    assert process.returncode == code, output
    assert "Traceback" not in output, output
    return output


def results(project: Path, name: str = NAME) -> dict[str, dict]:
    """What every job wrote, without a clock's words and hashes of files that hold these or the run's key."""
    found = {}
    for path in kept(project, name):
        content = json.loads(path.read_text())
        for clock in ("seconds", "began", "ended", "chosen_at", "test_opened"):
            content.pop(clock, None)
        if content["stage"] != "cell":
            for digest in ("checkpoint", "fingerprint", "outputs"):
                content.pop(digest, None)
            for digest in ("checkpoint", "run"):
                content.get("origin", {}).pop(digest, None)
        content["metrics"] = steady(content["metrics"])
        found[str(path.parent.relative_to(project / "runs" / name))] = content
    return found
