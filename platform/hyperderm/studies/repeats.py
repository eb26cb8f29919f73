"""Repeats of a sweep's best trial with other seeds: the winner of a search alone is lucky, since it was chosen by its score.
All trials of a search share one seed as well, so a seed that suits them flatters the whole search.

A repeat trains the winner's configuration with a seed of its own, to the end: nothing is stopped early. The seeds are those
that follow the winner's own: seed + 1 to seed + K. Repeats are jobs like trials, but the search never sees them. Each keeps
its files and its record in `repeats/<configuration>/seed-<seed>/` of the sweep's folder, where `<configuration>` is the
beginning of the fingerprint of what shapes the result, without the seed. So no repeat runs twice, and if the search finds
another winner, the repeats of the old one stay, but are not taken for repeats of the new one.
"""

import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, ClassVar, Literal

import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial
from pydantic import Field

from hyperderm.cluster.observer import Observer, Outcome
from hyperderm.cluster.study import Study
from hyperderm.config import Experiment
from hyperderm.durable import write_whole
from hyperderm.errors import ConfigError, StudyError
from hyperderm.identity import shaping
from hyperderm.strict import Strict, fingerprint, json_of, parse
from hyperderm.studies.ranks import BEST_IMAGES, REACHED, TrialScores, values_of, winner
from hyperderm.tags import REPEAT_TAG, TRIAL_TAG

FOLDER, RECORD = "repeats", "repeat.json"
"""The folder of all repeats in the folder of a sweep, and the record in the folder of each."""
SEED = "seed"


@dataclass(frozen=True)
class Winner:
    """The best trial of a search.

    Attributes:
        number: the number of the trial.
        score: its value of the (first) objective.
        values: its swept values.
        experiment: its whole configuration.
        digest: the fingerprint of what shapes its result, without the seed.
    """

    number: int
    score: float
    values: Mapping[str, Any]
    experiment: Experiment
    digest: str


def winner_of(study: optuna.Study, base: Experiment) -> Winner | None:
    """Return the best trial of a study (`ranks.winner`), or None if no trial has finished.

    Args:
        study: the study of the search.
        base: the configuration that the swept values override, as the trials get it.
    """
    best = winner(study)
    if best is None:
        return None
    experiment = base.override(best.params)
    shapes = {path: value for path, value in shaping(experiment).items() if path != SEED}
    return Winner(best.number, values_of(best)[0], dict(best.params), experiment, fingerprint(shapes))


@dataclass(frozen=True)
class RepeatJob:
    """One repeat, as observers know it (see `cluster.observer.Job`).

    Attributes:
        winner: the trial that is repeated.
        experiment: its configuration with the seed of the repeat.
    """

    winner: Winner
    experiment: Experiment
    group: ClassVar[str] = ""
    kind: ClassVar[str] = "repeat of"

    @property
    def key(self) -> str:
        """Return the key of the repeat, made from the fingerprint of its configuration and its seed."""
        return f"repeat-{self.winner.digest[:12]}-{self.experiment.seed}"

    @property
    def label(self) -> str:
        """Return the name for people, such as `trial 003, seed 1`."""
        return f"trial {self.winner.number:03d}, seed {self.experiment.seed}"

    @property
    def folder(self) -> str:
        """Return the folder of the repeat, relative to the folder of the sweep."""
        return f"{FOLDER}/{self.winner.digest[:12]}/seed-{self.experiment.seed}"

    @property
    def values(self) -> Mapping[str, Any]:
        """Return the swept values and the seed."""
        return {**self.winner.values, SEED: self.experiment.seed}

    @property
    def params(self) -> Mapping[str, object]:
        """Return the swept values and the seed."""
        return self.values

    @property
    def tags(self) -> Mapping[str, str]:
        """Return the tags that tell a repeat, and the trial that it repeats."""
        return {TRIAL_TAG: str(self.winner.number), REPEAT_TAG: str(self.winner.number)}


class Record(Strict):
    """What is known of a repeat; the driver writes it to `repeat.json` at every report."""

    digest: str
    """The fingerprint of the configuration, `Winner.digest`."""
    seed: int
    outcome: Literal["finished", "failed"] | None = None
    """How the repeat ended; None while it is open."""
    reason: str = ""
    """Why it failed."""
    best_images: int | None = None
    """The number of images that the kept checkpoint has seen."""
    reached: Mapping[int, tuple[float, ...]] = Field(default_factory=dict)
    """By number of images, what chose the checkpoint that was kept then, and its one or two objectives."""
    seconds: float = 0.0

    @property
    def score(self) -> float | None:
        """The (first) objective at the kept checkpoint; None before the first validation."""
        return self.reached[max(self.reached)][1] if self.reached else None

    @property
    def images(self) -> int:
        """The number of images seen at the last validation."""
        return max(self.reached, default=0)


@dataclass(frozen=True)
class Repeated:
    """The repeats of the winner of a search.

    Attributes:
        winner: the trial that is repeated.
        records: what is known of each repeat that has begun, by ascending seed.
        others: the number of repeats of other trials, which were the best ones before.
    """

    winner: Winner
    records: tuple[Record, ...]
    others: int = 0

    @property
    def scores(self) -> list[float]:
        """The scores of the repeats that finished."""
        return [each.score for each in self.records if each.outcome == "finished" and each.score is not None]

    @property
    def failed(self) -> list[Record]:
        """The repeats that failed."""
        return [each for each in self.records if each.outcome == "failed"]

    @property
    def open(self) -> list[Record]:
        """The repeats that have begun and not ended."""
        return [each for each in self.records if each.outcome is None]

    @property
    def mean(self) -> float | None:
        """The mean score of the repeats that finished; None if there is none."""
        return fmean(self.scores) if self.scores else None

    @property
    def spread(self) -> float | None:
        """The standard deviation (n - 1) of their scores; None for fewer than two."""
        return stdev(self.scores) if len(self.scores) > 1 else None

    @property
    def place(self) -> Literal["below", "above", "within"] | None:
        """Where the winner's own score lies, seen from the range of the repeats; None for fewer than two of them."""
        if len(self.scores) < 2:
            return None
        score = self.winner.score
        return "below" if score < min(self.scores) else "above" if score > max(self.scores) else "within"


def repeated(folder: Path, best: Winner) -> Repeated:
    """Return what is known of the repeats of `best` in the folder of its sweep.

    Raises:
        StudyError: a record is damaged.
    """
    every = _records(folder)
    found = sorted((record for record in every if record.digest == best.digest), key=lambda record: record.seed)
    return Repeated(best, tuple(found), len(every) - len(found))


def ended_in_all(folder: Path) -> int:
    """Return how many repeats of all winners of a sweep have ended, which never becomes less.

    Raises:
        StudyError: a record is damaged.
    """
    return sum(record.outcome is not None for record in _records(folder))


class Repeats(Study[RepeatJob]):
    """Hands out the repeats of a winner that have not ended, and keeps their records.

    Args:
        folder: the folder of the sweep.
        best: the trial that is repeated.
        count: how many repeats are wanted in all; those that ended before are counted.
        observer: is told of every start, report and end of a repeat.

    Raises:
        StudyError: a record is damaged.
    """

    def __init__(self, folder: Path, best: Winner, count: int, observer: Observer) -> None:
        super().__init__(observer)
        self._folder = folder
        known = {record.seed: record for record in repeated(folder, best).records}
        jobs = jobs_of(best, range(1, count + 1))
        self._records = {
            job.key: known.get(job.experiment.seed, Record(digest=best.digest, seed=job.experiment.seed)) for job in jobs
        }
        self._begun = {job.key for job in jobs if job.experiment.seed in known}
        self._waiting = deque(job for job in jobs if self._records[job.key].outcome is None)
        self._scores: dict[str, TrialScores] = {}
        self._clocks: dict[str, float] = {}

    @property
    def wanted(self) -> int:
        """The number of repeats that are left."""
        return len(self._waiting)

    @property
    def over(self) -> bool:
        """Whether no repeat is left to hand out."""
        return not self._waiting

    def ask(self) -> RepeatJob | None:
        """Return the next repeat; None if there is none, or the study was interrupted."""
        if self.interrupted or not self._waiting:
            return None
        job = self._waiting.popleft()
        record = self._records[job.key]
        self._scores[job.key] = TrialScores(job.experiment, _as_trial(record))
        self._clocks[job.key] = time.monotonic() - record.seconds
        self._keep(job)
        return self._hand_out(job, job.key in self._begun)

    def _record_report(self, job: RepeatJob, images: int, metrics: Mapping[str, float]) -> None:
        attributes = self._scores[job.key].follow(images, metrics)
        if attributes is None:
            return
        record, values = self._records[job.key], self._scores[job.key].values
        better = BEST_IMAGES in attributes
        chosen_by = metrics[job.experiment.objective] if better else record.reached[record.images][0]
        best_images = images if better else record.best_images
        self._keep(job, best_images=best_images, reached={**record.reached, images: (chosen_by, *values)})

    def _closed(self, job: RepeatJob, failure: str) -> tuple[Outcome, str]:
        reason = failure or ("" if self._records[job.key].reached else "no finite objective was reported")
        outcome: Literal["finished", "failed"] = "failed" if reason else "finished"
        self._keep(job, outcome=outcome, reason=reason)
        return outcome, reason

    def _left(self, job: RepeatJob, why: str) -> None:
        with suppress(OSError):  # only the seconds since the last report are lost; why the job is left is told elsewhere
            self._keep(job)

    def _keep(self, job: RepeatJob, **changed: object) -> None:
        """Write the record of a repeat with these changes and the seconds up to now."""
        seconds = time.monotonic() - self._clocks[job.key]
        record = self._records[job.key].model_copy(update={**changed, "seconds": seconds})
        place = self._folder / job.folder
        place.mkdir(parents=True, exist_ok=True)
        write_whole(place / RECORD, record.model_dump_json(indent=1))
        self._records[job.key] = record


def jobs_of(best: Winner, behind: Sequence[int]) -> list[RepeatJob]:
    """Return the repeats of a winner whose seeds are that much larger than its own seed."""
    seeds = [best.experiment.seed + each for each in behind]
    return [RepeatJob(best, best.experiment.override({SEED: seed})) for seed in seeds]


def job_of(best: Winner, record: Record) -> RepeatJob:
    """Return the repeat of a winner that a record is of."""
    return RepeatJob(best, best.experiment.override({SEED: record.seed}))


def _records(folder: Path) -> list[Record]:
    return [_read(place) for place in sorted((folder / FOLDER).glob(f"*/*/{RECORD}"))]


def _read(path: Path) -> Record:
    try:
        return parse(Record, json_of(path.read_text(encoding="utf-8")))
    except (ConfigError, ValueError) as error:
        raise StudyError(
            f"{path} is damaged ({error}): nobody can tell what this repeat has reached",
            f"Remove {path.parent}: the same command then runs the repeat anew.",
        ) from None


def _as_trial(record: Record) -> FrozenTrial:
    """Return what a record holds in the form in which a study would hold it."""
    kept = {str(images): list(values) for images, values in record.reached.items()}
    return create_trial(state=TrialState.RUNNING, user_attrs={REACHED: kept} if kept else {})
