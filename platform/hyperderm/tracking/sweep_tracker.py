"""A sweep in MLflow: one parent, one child a trial, pictures drawn beside the training."""

import io
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from hyperderm.config import Experiment
from hyperderm.store.location import Location
from hyperderm.store.run_location import below, content_of
from hyperderm.tracking.figures import RealSet, lesion_grid, save_png, spectra
from hyperderm.tracking.runs import Status, Tracker

TRACKED = ".tracked"
"""Marks a trial's folder once its end is in the journal."""


@dataclass(frozen=True)
class SweepFacts:
    """What every run of a sweep carries.

    Attributes:
        key: of the parent, unique over all sweeps of a tracking server.
        name: shown in the UI.
        folder: the sweep's; each trial has `trials/<number>` in it.
        tags: provenance, manifest fingerprint, fold, profile.
        storage: where each trial's `trials/<number>` holds its samples; None: in `folder`.
    """

    key: str
    name: str
    folder: Path
    tags: Mapping[str, str]
    storage: Location | None = None

    def provenance(self) -> dict[str, str]:
        """Return what goes into every checkpoint."""
        return {"run": self.key, **self.tags}


class SweepTracker:
    """Implements `studies.observer.Observer` on MLflow. Every call returns at once.

    Args:
        tracker: the way to MLflow.
        facts: what all runs carry.
        real: the cubes pictures compare with.
        single: one run without a parent, for `hyperderm train`.
    """

    def __init__(self, tracker: Tracker, facts: SweepFacts, real: RealSet, single: bool = False) -> None:
        self._tracker, self._facts, self._real, self._single = tracker, facts, real, single
        self._artist = ThreadPoolExecutor(1, thread_name_prefix="pictures")

    def open(self, params: Mapping[str, object], documents: Mapping[str, object]) -> None:
        """Open the parent run with its params and JSON documents (file name -> content)."""
        self._tracker.open_run(self._facts.key, self._facts.name, tags=self._facts.tags, params=params)
        for file, content in documents.items():
            self._tracker.log_json(self._facts.key, content, file)

    def catch_up(self, ended: Iterable[tuple[int, str, str]]) -> None:
        """Close the children of trials (number, outcome, reason) that ended just before a driver was killed."""
        for number, outcome, reason in ended:
            if not (self._trial(number) / TRACKED).exists():
                self.finished(number, outcome, reason)

    def started(self, number: int, experiment: Experiment, values: Mapping[str, Any], resumed: bool) -> None:
        """Open the child, or find it again."""
        key = self._child(number)
        tags = {**self._facts.tags, "hyperderm.trial": str(number)}
        name, parent = (self._facts.name, None) if self._single else (f"trial {number:03d}", self._facts.key)
        self._tracker.open_run(key, name, parent=parent, tags=tags, params=values or experiment.flat())
        self._tracker.log_json(key, experiment.model_dump(mode="json"), "config.json")

    def reported(self, number: int, images: int, metrics: Mapping[str, float]) -> None:
        """Log the metrics at the number of images seen."""
        self._tracker.log_metrics(self._child(number), metrics, images)

    def noted(self, number: int, sentence: str) -> None:
        """Keep the last such sentence on the child."""
        self._tracker.set_tags(self._child(number), {"hyperderm.note": sentence})

    def finished(self, number: int, outcome: str, reason: str) -> None:
        """Draw the pictures and close the child, in the background."""
        self._artist.submit(self._finish, number, outcome, reason)

    def interrupted(self, number: int) -> None:
        """Close the child as KILLED; the next driver opens it again."""
        self._tracker.close_run(self._child(number), "KILLED", "interrupted; the same command goes on")

    def drain(self) -> None:
        """Wait until every picture is drawn and in the journal."""
        self._artist.shutdown(wait=True)

    def close(
        self, status: Status, figures: Mapping[str, Any], texts: Mapping[str, str], best: float | None, reason: str = ""
    ) -> None:
        """Wait for the pictures, then put the summary on the parent and close it.

        Args:
            status: FINISHED, FAILED or KILLED.
            figures: PNG name -> matplotlib figure.
            texts: file name -> text (leaderboard, interactive plots).
            best: the best objective.
            reason: why the sweep broke off, if it did.
        """
        self.drain()
        key = self._facts.key
        with TemporaryDirectory() as folder:
            for name, figure in figures.items():
                save_png(figure, Path(folder) / name)
                self._tracker.log_file(key, Path(folder) / name)
        for name, text in texts.items():
            self._tracker.log_text(key, text, name)
        if best is not None:
            self._tracker.set_tags(key, {"hyperderm.best": f"{best:.6g}"})
        self._tracker.close_run(key, status, reason or None)

    def _finish(self, number: int, outcome: str, reason: str) -> None:
        key = self._child(number)
        try:
            self._draw(number, key)
        except Exception as error:  # a picture must never cost the record of a trial
            self._tracker.set_tags(key, {"hyperderm.pictures": f"not drawn: {error}"})
        self._tracker.set_tags(key, {"hyperderm.outcome": outcome})
        self._tracker.close_run(key, "FAILED" if outcome == "failed" else "FINISHED", reason or None)
        self._trial(number).mkdir(parents=True, exist_ok=True)
        (self._trial(number) / TRACKED).touch()

    def _draw(self, number: int, key: str) -> None:
        samples = content_of(below(self._facts.storage or self._facts.folder, "trials", f"{number:04d}"), "samples.npy")
        if samples is None:
            return
        generated = np.moveaxis(np.load(io.BytesIO(samples)), 1, 3)
        title = self._facts.name if self._single else f"{self._facts.name}, trial {number:03d}"
        with TemporaryDirectory() as folder:
            for name, figure in {
                "lesions.png": lesion_grid(self._real, generated, title, seed=0),
                "spectra.png": spectra(self._real, generated, title),
            }.items():
                save_png(figure, Path(folder) / name)
                self._tracker.log_file(key, Path(folder) / name)

    def _child(self, number: int) -> str:
        return self._facts.key if self._single else f"{self._facts.key}/{number}"

    def _trial(self, number: int) -> Path:
        return self._facts.folder / "trials" / f"{number:04d}"
