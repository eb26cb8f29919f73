"""The interface by which a study informs observers, such as tracking and the progress line, without knowing them."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal, Protocol

from hyperderm.config import Experiment

Outcome = Literal["finished", "stopped early", "failed"]


class Job(Protocol):
    """One trial of a sweep, one job of a grid, or a single run, as observers see it."""

    @property
    def key(self) -> str:
        """The key that is unique within the study; "" if it is the only job."""

    @property
    def label(self) -> str:
        """The name for people, such as `trial 003`."""

    @property
    def kind(self) -> str:
        """The kind of the job if a study has several kinds, such as `cell`; otherwise "trial"."""

    @property
    def group(self) -> str:
        """The name of the job's group of runs, such as an arm of a grid; "" without groups."""

    @property
    def folder(self) -> str:
        """The folder of the job's files, relative to the folder of its study."""

    @property
    def experiment(self) -> Experiment | None:
        """The configuration that is trained; None if the job trains nothing."""

    @property
    def values(self) -> Mapping[str, Any]:
        """The swept values."""

    @property
    def params(self) -> Mapping[str, object]:
        """The parameters that MLflow shows for the job."""

    @property
    def tags(self) -> Mapping[str, str]:
        """The tags of the job's run, beside those of its study."""


class Observer(Protocol):
    """An object whose methods the driver calls in the order of events; they must return quickly and never raise."""

    def started(self, job: Job, resumed: bool) -> None:
        """Handle the start of a job."""

    def reported(self, job: Job, images: int, metrics: Mapping[str, float]) -> None:
        """Handle a job's report after `images` real images."""

    def noted(self, job: Job, sentence: str) -> None:
        """Handle an event of a job that a person should know and that does not end the job."""

    def told(self, sentence: str) -> None:
        """Handle an event of the cluster or of a server, which concerns no single job."""

    def finished(self, job: Job, outcome: Outcome, reason: str) -> None:
        """Handle the end of a job; `reason` says why the job failed or was stopped early."""

    def interrupted(self, job: Job) -> None:
        """Handle an interruption of the study while this job runs; the next driver continues the job."""


class Observers:
    """A group of observers that acts as a single observer."""

    def __init__(self, observers: Iterable[Observer] = ()) -> None:
        self._all = list(observers)

    def add(self, *observers: Observer) -> None:
        """Add further observers."""
        self._all += observers

    def started(self, job: Job, resumed: bool) -> None:
        """Pass the start of a job to all observers."""
        for each in self._all:
            each.started(job, resumed)

    def reported(self, job: Job, images: int, metrics: Mapping[str, float]) -> None:
        """Pass a job's report to all observers."""
        for each in self._all:
            each.reported(job, images, metrics)

    def noted(self, job: Job, sentence: str) -> None:
        """Pass a job's event to all observers."""
        for each in self._all:
            each.noted(job, sentence)

    def told(self, sentence: str) -> None:
        """Pass an event of the cluster or of a server to all observers."""
        for each in self._all:
            each.told(sentence)

    def finished(self, job: Job, outcome: Outcome, reason: str) -> None:
        """Pass the end of a job to all observers."""
        for each in self._all:
            each.finished(job, outcome, reason)

    def interrupted(self, job: Job) -> None:
        """Pass the interruption of a job to all observers."""
        for each in self._all:
            each.interrupted(job)
