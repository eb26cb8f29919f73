"""A grid in MLflow: grid -> arm -> cell, generators and their sets under an arm of their own."""

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import numpy as np

from hyperderm.config import Experiment
from hyperderm.strict import json_of
from hyperderm.tracking.figures import RealSet, lesion_grid, save_png, spectra
from hyperderm.tracking.runs import Status, Tracker

TRACKED = ".tracked"
"""Marks a job's folder once its end is in the journal."""
GENERATORS = "generators"
"""The arm under which generators and synthetic sets stand."""


class Job(Protocol):
    """What is tracked of `studies.ablation.job.Job`."""

    @property
    def key(self) -> str:
        """Of the run, unique in the grid."""

    @property
    def stage(self) -> str:
        """generator, synthetic or cell."""

    @property
    def label(self) -> str:
        """Name of the run."""

    @property
    def arm(self) -> str:
        """Empty but for cells."""

    @property
    def fold(self) -> int:
        """Test fold."""

    @property
    def model(self) -> str:
        """Of a cell, or the generator's name."""

    @property
    def seed(self) -> int:
        """Of a cell."""

    @property
    def folder(self) -> str:
        """Relative to the grid's."""

    @property
    def experiment(self) -> Experiment | None:
        """What trains."""


class Report(Protocol):
    """What is tracked of a report."""

    @property
    def images(self) -> int:
        """Shown so far."""

    @property
    def metrics(self) -> Mapping[str, float]:
        """By name."""


@dataclass(frozen=True)
class GridFacts:
    """What every run of a grid carries.

    Attributes:
        key: of the grid's run.
        name: shown in the UI.
        folder: the grid's.
        tags: provenance, manifest fingerprint, profile.
    """

    key: str
    name: str
    folder: Path
    tags: Mapping[str, str]


class GridTracker:
    """Implements `studies.ablation.queue.Observer` on MLflow. Every call returns at once.

    Args:
        tracker: the way to MLflow.
        facts: what all runs carry.
        real: the cubes that pictures of generators compare with.
    """

    def __init__(self, tracker: Tracker, facts: GridFacts, real: RealSet) -> None:
        self._tracker, self._facts, self._real = tracker, facts, real
        self._artist = ThreadPoolExecutor(1, thread_name_prefix="pictures")
        self._arms: set[str] = set()

    def open(self, params: Mapping[str, object], arms: Mapping[str, str], documents: Mapping[str, object]) -> None:
        """Open the grid's run and one run an arm (name -> description)."""
        key = self._facts.key
        self._tracker.open_run(key, self._facts.name, tags=self._facts.tags, params=params)
        for file, content in documents.items():
            self._tracker.log_json(key, content, file)
        for arm, description in arms.items():
            tags = {**self._facts.tags, "hyperderm.arm": arm, "mlflow.note.content": description}
            self._tracker.open_run(self._arm(arm), arm, parent=key, tags=tags)
            self._arms.add(arm)

    def catch_up(self, done: Iterable[tuple[Job, str]]) -> None:
        """Record jobs (with why they failed, or "") that ended just before a driver was killed."""
        for job, reason in done:
            if not (self._facts.folder / job.folder / TRACKED).exists():
                self.started(job, True)
                self.finished(job, reason)

    def started(self, job: Job, resumed: bool) -> None:
        """Open the job's run, or find it again."""
        arm = job.arm or GENERATORS
        tags = {**self._facts.tags, "hyperderm.fold": str(job.fold), "hyperderm.stage": job.stage, "hyperderm.arm": arm}
        params: dict[str, object] = {"arm": arm, "model": job.model, "fold": job.fold, "seed": job.seed, "cell": job.key}
        self._tracker.open_run(self._job(job), job.label, parent=self._arm(arm), tags=tags, params=params)
        if job.experiment is not None:
            self._tracker.log_json(self._job(job), job.experiment.model_dump(mode="json"), "config.json")

    def reported(self, job: Job, report: Report) -> None:
        """Log the metrics at the number of images seen."""
        self._tracker.log_metrics(self._job(job), report.metrics, report.images)

    def noted(self, job: Job, sentence: str) -> None:
        """Keep the last such sentence on the job's run."""
        self._tracker.set_tags(self._job(job), {"hyperderm.note": sentence})

    def finished(self, job: Job, reason: str) -> None:
        """Keep what the job left and close its run, in the background."""
        self._artist.submit(self._finish, job, reason)

    def interrupted(self, job: Job) -> None:
        """Close the run as KILLED; the next driver opens it again."""
        self._tracker.close_run(self._job(job), "KILLED", "interrupted; the same command goes on")

    def close(
        self, status: Status, metrics: Mapping[str, Mapping[str, float]], files: Mapping[str, Iterable[Path]], reason: str
    ) -> None:
        """Wait for what is in the background, then put results on arms and grid and close them.

        Args:
            status: FINISHED, FAILED or KILLED.
            metrics: arm (or "" for the grid) to its numbers.
            files: artifact folder to files, of the grid.
            reason: why the grid broke off or what failed, or "".
        """
        self._artist.shutdown(wait=True)
        for arm, values in metrics.items():
            self._tracker.log_metrics(self._arm(arm) if arm else self._facts.key, values, 0)
        for folder, paths in files.items():
            for path in paths:
                self._tracker.log_file(self._facts.key, path, folder)
        for arm in sorted(self._arms):
            self._tracker.close_run(self._arm(arm), "KILLED" if status == "KILLED" else "FINISHED")
        self._tracker.close_run(self._facts.key, status, reason or None)

    def _finish(self, job: Job, reason: str) -> None:
        key, folder = self._job(job), self._facts.folder / job.folder
        try:
            self._keep(job, key, folder)
        except Exception as error:  # whatever a picture or a file fails on must not lose the end of the run
            self._tracker.set_tags(key, {"hyperderm.pictures": f"not kept: {error}"})
        self._tracker.close_run(key, "FAILED" if reason else "FINISHED", reason or None)
        if folder.exists() and not reason:  # a failed job is tried again, and its end is another
            (folder / TRACKED).touch()

    def _keep(self, job: Job, key: str, folder: Path) -> None:
        for file in ("result.json", "predictions.parquet"):
            if (folder / file).exists():
                self._tracker.log_file(key, folder / file)
        if (folder / "result.json").exists():
            facts: dict[str, Any] = json_of((folder / "result.json").read_text("utf-8"))
            self._tracker.log_metrics(key, {"seconds": facts["seconds"], **facts.get("test", {})}, 0)
        samples = folder / "samples.npy"
        if samples.exists():
            generated = np.moveaxis(np.load(samples), 1, 3)
            with TemporaryDirectory() as made:
                for name, figure in {
                    "lesions.png": lesion_grid(self._real, generated, job.label, seed=0),
                    "spectra.png": spectra(self._real, generated, job.label),
                }.items():
                    save_png(figure, Path(made) / name)
                    self._tracker.log_file(key, Path(made) / name)

    def _arm(self, arm: str) -> str:
        return f"{self._facts.key}/arm/{arm}"

    def _job(self, job: Job) -> str:
        return f"{self._facts.key}/{job.key}"
