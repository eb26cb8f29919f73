"""The leak audit of what our own verbs leave: a sweep, a set of its winner, a training with it, and a grid; all clean."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.services.grids import HYPERDERM, make_project

SPACE = """
from optuna.distributions import FloatDistribution
VERSION = 1
def space(experiment):
    return {"learner.lr_generator": FloatDistribution(1e-4, 1e-2, log=True)}
"""
CLASSIFIER = """
from hyperderm.config import DataConfig, Experiment, TaskConfig, TrainingConfig
from hyperderm.learners.classifier import ClassifierConfig

def experiment(profile):
    return Experiment(
        name="cnn", profile=profile, data=DataConfig(size=16), task=TaskConfig(), learner=ClassifierConfig(lr=1e-3),
        training=TrainingConfig(batch_size=8, images=64, validate_every=32),
    )
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_project_of_our_own_verbs_is_clean(tmp_path: Path, phantom_store: Path):
    project = make_project(tmp_path / "project")
    (project / "experiments" / "cnn.py").write_text(CLASSIFIER)
    (project / "search_spaces").mkdir()
    for name, text in (("__init__", ""), ("tiny", SPACE)):
        (project / "search_spaces" / f"{name}.py").write_text(text)
    uri = f"sqlite:///{project / 'mlflow.db'}"

    def run(*words: object, code: int = 0) -> str:
        done = subprocess.run(
            [str(HYPERDERM), *map(str, words)],
            cwd=project,
            env={**os.environ, "MLFLOW_TRACKING_URI": uri, "COLUMNS": "200"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    small = ("--profile", "small", "--store", phantom_store)
    run("sweep", "tiny", *small, "--trials", 2, "--name", "searched", "--set", 'data.diagnoses=["melanoma"]')
    run("generate", "--run", "searched", "--count", 12, "--store", "made")
    run("train", "cnn", *small, "--name", "joined", "--set", "synthetic.store=made")
    searches = 'searches={"tiny":{"0":"runs/searched"}}'
    run("ablation", "tiny", *small, "--name", "grid", "--set", "folds=[0,1]", "--set", searches)
    said = run("audit", "leaks")
    assert "1 search, 2 generators, 3 synthetic sets, 17 classifiers; 2 test roles opened 16 times; 4 stores read" in said
    assert "no leak found, nothing unknown." in said
