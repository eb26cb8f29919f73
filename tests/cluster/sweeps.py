"""What tests of sweeps and trials share: a tiny experiment, an observer that remembers, a way to run a sweep."""

from collections.abc import Callable
from pathlib import Path

from optuna.distributions import BaseDistribution, FloatDistribution

from hyperderm.cluster.session import Cluster
from hyperderm.cluster.shared_data import SharedData
from hyperderm.config import DataConfig, Experiment, SweepConfig, TaskConfig, TrainingConfig
from hyperderm.learners.classifier import ClassifierConfig
from hyperderm.learners.shsgan import ShsGanConfig
from hyperderm.store.reader import Store
from hyperderm.store.run_location import RunLocation
from hyperderm.studies.search import Search
from hyperderm.studies.single_run import RunParts, run_single
from hyperderm.studies.sweep import run as run_trials
from hyperderm.studies.trial_job import TrialJob
from hyperderm.training.selection import select

AXES: dict[str, BaseDistribution] = {
    "learner.lr_generator": FloatDistribution(1e-4, 1e-2, log=True),
    "learner.rgb_weight": FloatDistribution(1.0, 50.0, log=True),
}


def tiny(**overrides: object) -> Experiment:
    """An experiment whose trial takes a second."""
    experiment = Experiment(
        name="tiny",
        profile="small",
        data=DataConfig(size=16, diagnoses="all"),
        learner=ShsGanConfig(generator_width=4, critic_width=4, lr_generator=1e-3, lr_critic=1e-3),
        training=TrainingConfig(batch_size=4, images=96, validate_every=32, validation_samples=8),
        sweep=SweepConfig(trials=3, grace_images=96, startup_trials=2),
    )
    return experiment.override({path.replace("__", "."): value for path, value in overrides.items()})


CLASSIFIER_AXES: dict[str, BaseDistribution] = {
    "learner.lr": FloatDistribution(1e-4, 1e-2, log=True),
    "learner.dropout": FloatDistribution(0.1, 0.5),
}


def classifier(**overrides: object) -> Experiment:
    """A classifier whose trial takes a second."""
    experiment = Experiment(
        name="told",
        profile="small",
        data=DataConfig(size=16, flips=False),
        task=TaskConfig(negatives="all_others"),
        learner=ClassifierConfig(lr=1e-3, dropout=0.3),
        training=TrainingConfig(batch_size=8, images=96, validate_every=32),
        sweep=SweepConfig(trials=2, grace_images=96, startup_trials=2),
    )
    return experiment.override({path.replace("__", "."): value for path, value in overrides.items()})


class Memory:
    """Remembers what it is told; `on_report` may do mischief."""

    def __init__(self, on_report: Callable[[int, int], None] = lambda number, images: None) -> None:
        self.events: list[tuple] = []
        self.reports: dict[int, list[int]] = {}
        self.notes: list[tuple[int, str]] = []
        self.jobs: dict = {}
        self._on_report = on_report

    def started(self, job, resumed):
        self.events.append(("started", number_of(job), resumed))
        self.jobs[number_of(job)] = job

    def reported(self, job, images, metrics):
        self.reports.setdefault(number_of(job), []).append(images)
        self._on_report(number_of(job), images)

    def noted(self, job, sentence):
        self.notes.append((number_of(job), sentence))

    def told(self, sentence):
        self.events.append(("told", 0, sentence))

    def finished(self, job, outcome, reason):
        self.events.append((outcome, number_of(job), reason))

    def interrupted(self, job):
        self.events.append(("interrupted", number_of(job), ""))


def number_of(job) -> int:
    """The number of a trial; 0 of a single run."""
    return int(job.key or 0)


def train_once(experiment: Experiment, store: Store, place: RunLocation, provenance, observer: Memory, **more) -> None:
    """One run as `hyperderm train` does it."""
    parts = RunParts(experiment, store, more.pop("selection", None) or select(store, experiment), place, provenance, **more)
    run_single(parts, TrialJob(experiment=experiment, name="run"), observer)


def search(folder: Path, experiment: Experiment, memory: Memory) -> Search:
    folder.mkdir(parents=True, exist_ok=True)
    axes = AXES if experiment.learner.role == "generator" else CLASSIFIER_AXES
    return Search(folder / "study.db", "sweep", experiment, axes, memory)


def ask(made: Search) -> TrialJob:
    """The next trial, as observers know it."""
    job = made.ask()
    assert job is not None
    return job


def run(folder: Path, experiment: Experiment, shared: SharedData, cluster: Cluster, memory: Memory) -> Search:
    """Run a sweep as the command line does."""
    made = search(folder, experiment, memory)
    run_trials(made, shared, cluster, folder, {})
    return made
