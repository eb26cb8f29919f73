"""Record a study in MLflow while it runs: a sweep with its trials, a grid with its arms and jobs, or a single run."""

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from hyperderm.cluster.observer import Job, Outcome
from hyperderm.metric_groups import SYSTEM, grouped, of_test_role
from hyperderm.store.location import Location
from hyperderm.store.run_location import RunLocation, below, content_of
from hyperderm.strict import json_of
from hyperderm.tags import ARM_TAG, DATA_TAG, NOTE_TAG, OUTCOME_TAG, PICTURES_TAG
from hyperderm.tracking.datasets import DataSet
from hyperderm.tracking.figures import RealSet, lesion_grid, spectra
from hyperderm.tracking.over_training import over_training_figure, reconstructions
from hyperderm.tracking.runs import Status, Tracker
from hyperderm.tracking.short_texts import trial_name, trial_note
from hyperderm.training.kept_samples import over_training, rebuilt
from hyperderm.training.run_folder import CONFIG, PREDICTIONS, RESULT, SAMPLES, Result

DESCRIPTION_TAG = "mlflow.note.content"
"""MLflow's tag for the Markdown at the top of a run's page."""
TRIAL = "trial"
"""The kind of a job that is a trial of a sweep; its key is its number."""
TRACKED = ".tracked"
"""Name of the file that marks a job's folder on the driver's disk once the end of the job is in the event log."""
KEPT = (RESULT, PREDICTIONS)
"""Files of a job that are uploaded to its run, if they exist."""


@dataclass(frozen=True)
class StudyFacts:
    """The facts that every run of a study carries.

    Attributes:
        key: the key of the study's run, unique over all studies of a tracking server.
        name: the name that the UI shows.
        folder: the folder of the study on the driver's disk.
        tags: provenance, manifest fingerprint, fold, profile.
        storage: the place in which each job's folder holds the files of its workers; if None, `folder`.
        data: the data sets that the runs of the study read.
    """

    key: str
    name: str
    folder: Path
    tags: Mapping[str, str]
    storage: Location | None = None
    data: Sequence[DataSet] = ()

    def provenance(self) -> dict[str, str]:
        """Return the facts that are written into every checkpoint."""
        return {"run": self.key, **self.tags}


class StudyTracker:
    """Implements `cluster.observer.Observer` on MLflow. Every call returns at once.

    Args:
        tracker: the interface to MLflow.
        facts: the facts that all runs carry.
        real: the real cubes that pictures of generated cubes are compared with.
        data_of: returns the data sets of one job; None: every run reads those of the study.
    """

    def __init__(
        self,
        tracker: Tracker,
        facts: StudyFacts,
        real: RealSet,
        data_of: Callable[[Job], Sequence[DataSet]] | None = None,
    ) -> None:
        self._data_of = data_of or (lambda job: facts.data)
        self._tracker, self._facts, self._real = tracker, facts, real
        self._artist = ThreadPoolExecutor(1, thread_name_prefix="pictures")
        self._groups: set[str] = set()
        self._constants: set[str] = set()

    def open(
        self, params: Mapping[str, object], documents: Mapping[str, object], groups: Mapping[str, str] | None = None
    ) -> None:
        """Open the run of the study with its params and JSON documents, and one run per group (name to description)."""
        key = self._facts.key
        self._tracker.open_run(key, self._facts.name, tags=self._facts.tags, params=params)
        self._tracker.log_data(key, self._facts.data)
        for file, content in documents.items():
            self._tracker.log_json(key, content, file)
        for group, description in (groups or {}).items():
            tags = {**self._facts.tags, ARM_TAG: group, DESCRIPTION_TAG: description}
            self._tracker.open_run(self._group(group), group, parent=key, tags=tags)
            self._groups.add(group)

    def describe(self, note: str) -> None:
        """Put this Markdown at the top of the page of the study's run."""
        self._tracker.set_tags(self._facts.key, {DESCRIPTION_TAG: note})

    def charts(self, score: str) -> str:
        """Return a link to charts of the runs below the study's, by the best of this score; "" before it is known."""
        (metric,) = grouped({f"best_{score}": 0.0})[0]
        return self._tracker.charts_below(self._facts.key, metric) or ""

    def count(self, metrics: Mapping[str, float], ended: int) -> None:
        """Log numbers of the study's run over the number of jobs that have ended."""
        self._tracker.log_metrics(self._facts.key, metrics, ended)

    def catch_up(self, ended: Iterable[tuple[Job, Outcome, str]]) -> None:
        """Close the runs of jobs (with outcome and reason) that ended just before a driver was killed."""
        for job, outcome, reason in ended:
            if not (self._facts.folder / job.folder / TRACKED).exists():
                if job.experiment is not None or job.group:
                    self.started(job, True)
                self.finished(job, outcome, reason)

    def started(self, job: Job, resumed: bool) -> None:
        """Open the run of the job, or find it again."""
        key = self._key(job)
        parent = self._group(job.group) if job.group else self._facts.key if job.key else None
        name, tags = job.label, {**self._facts.tags, **job.tags}
        if job.kind == TRIAL and job.key:
            name = trial_name(int(job.key), job.values)
            tags[DESCRIPTION_TAG] = trial_note(self._facts.name, int(job.key), job.values)
        self._tracker.open_run(key, name, parent=parent, tags=tags, params=job.params)
        self._artist.submit(self._log_data, job)
        if job.experiment is not None:
            self._tracker.log_json(key, job.experiment.model_dump(mode="json"), CONFIG)

    def reported(self, job: Job, images: int, metrics: Mapping[str, float]) -> None:
        """Log the metrics at the number of images seen, and those that do not change once, at image 0."""
        changing, constant = grouped(metrics)
        self._tracker.log_metrics(self._key(job), changing, images)
        if constant and job.key not in self._constants:
            self._constants.add(job.key)
            self._tracker.log_metrics(self._key(job), constant, 0)

    def noted(self, job: Job, sentence: str) -> None:
        """Write the sentence to the job's run, in place of an earlier one."""
        self._tracker.set_tags(self._key(job), {NOTE_TAG: sentence})

    def told(self, sentence: str) -> None:
        """Do nothing: what it did to a job is noted there."""

    def finished(self, job: Job, outcome: Outcome, reason: str) -> None:
        """Upload the files of the job and close its run, in the background."""
        self._artist.submit(self._finish, job, outcome, reason)

    def interrupted(self, job: Job) -> None:
        """Close the run as KILLED; the next driver opens the run again."""
        self._tracker.close_run(self._key(job), "KILLED", "interrupted; the same command goes on")

    def meanwhile(self, work: Callable[[], None]) -> None:
        """Do this in the background, after the pictures that wait; the end of the study waits for it. It must not raise."""
        self._artist.submit(work)

    def drain(self) -> None:
        """Wait until all background work is in the event log."""
        self._artist.shutdown(wait=True)

    def close(
        self,
        status: Status,
        *,
        figures: Mapping[str, Any] | None = None,
        texts: Mapping[str, str] | None = None,
        files: Mapping[str, Iterable[Path]] | None = None,
        metrics: Mapping[str, Mapping[str, float]] | None = None,
        tags: Mapping[str, str] | None = None,
        reason: str = "",
    ) -> None:
        """Wait for the background work, write the summary to the study's run, and close it and the runs of its groups.

        Args:
            status: FINISHED, FAILED or KILLED.
            figures: PNG name to matplotlib figure.
            texts: file name to text (leaderboard, interactive plots).
            files: artifact folder to files.
            metrics: group (or "" for the study) to its numbers.
            tags: tags of the study's run.
            reason: why the study stopped early, or what failed.
        """
        self.drain()
        key = self._facts.key
        self._log_figures(key, figures or {})
        for name, text in (texts or {}).items():
            self._tracker.log_text(key, text, name)
        for group, values in (metrics or {}).items():
            self._tracker.log_metrics(self._group(group) if group else key, values, 0)
        for folder, paths in (files or {}).items():
            for path in paths:
                self._tracker.log_file(key, path, folder)
        if tags:
            self._tracker.set_tags(key, tags)
        for group in sorted(self._groups):
            self._tracker.close_run(self._group(group), "KILLED" if status == "KILLED" else "FINISHED")
        self._tracker.close_run(key, status, reason or None)

    def _log_data(self, job: Job) -> None:
        try:
            self._tracker.log_data(self._key(job), self._data_of(job))
        except Exception as error:  # a store that does not answer just now: what a job reads is known by its tags too
            self._tracker.set_tags(self._key(job), {DATA_TAG: f"not recorded: {error}"})

    def _finish(self, job: Job, outcome: Outcome, reason: str) -> None:
        key, folder = self._key(job), self._facts.folder / job.folder
        place = below(self._facts.storage or self._facts.folder, *job.folder.split("/"))
        try:
            self._keep(job, key, place)
        except Exception as error:  # whatever a picture or a file fails on must not lose the end of the run
            self._tracker.set_tags(key, {PICTURES_TAG: f"not drawn: {error}"})
        self._tracker.set_tags(key, {OUTCOME_TAG: outcome})
        self._tracker.close_run(key, "FAILED" if outcome == "failed" else "FINISHED", reason or None)
        if job.group and outcome == "failed":  # a failed job of a grid is tried again, and its end is another
            (folder / TRACKED).unlink(missing_ok=True)
        else:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / TRACKED).touch()

    def _keep(self, job: Job, key: str, place: RunLocation) -> None:
        """Upload the result and the predictions of a job, and draw its generated cubes beside real lesions."""
        if job.group:
            self._keep_files(key, place)
        samples = content_of(place, SAMPLES)
        if samples is None:
            return
        generated = np.moveaxis(np.load(io.BytesIO(samples)), 1, 3)
        title = job.label if job.group or not job.key else f"{self._facts.name}, {job.label}"
        drawn = {
            "lesions.png": lesion_grid(self._real, generated, title, seed=0),
            "spectra.png": spectra(self._real, generated, title),
        }
        if len(moments := over_training(place)) > 1:
            shown = {images: np.moveaxis(cubes, 1, 3) for images, cubes in moments.items()}
            drawn["over_training.png"] = over_training_figure(self._real, shown, f"{title}: the same inputs over training")
        if (pairs := rebuilt(place)) is not None:
            held, made = np.moveaxis(pairs, 2, 4)
            drawn["reconstructions.png"] = reconstructions(self._real, held, made, f"{title}: held-out lesions rebuilt")
        self._log_figures(key, drawn)

    def _keep_files(self, key: str, place: RunLocation) -> None:
        with TemporaryDirectory() as folder:
            for name in KEPT:
                content = content_of(place, name)
                if content is None:
                    continue
                (Path(folder) / name).write_bytes(content)
                self._tracker.log_file(key, Path(folder) / name)
                if name == RESULT:
                    facts: Result = json_of(content.decode())
                    scores = {of_test_role(name): value for name, value in facts.get("test", {}).items()}
                    self._tracker.log_metrics(key, {f"{SYSTEM}seconds": facts["seconds"], **scores}, 0)

    def _log_figures(self, key: str, figures: Mapping[str, Any]) -> None:
        with TemporaryDirectory() as folder:
            for name, figure in figures.items():
                figure.savefig(Path(folder) / name, format="png", dpi=figure.dpi)
                self._tracker.log_file(key, Path(folder) / name)

    def _group(self, group: str) -> str:
        return f"{self._facts.key}/arm/{group}"

    def _key(self, job: Job) -> str:
        return f"{self._facts.key}/{job.key}" if job.key else self._facts.key
