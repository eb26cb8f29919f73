"""What a study tells whoever listens: tracking and the progress line implement this, and studies know neither."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal, Protocol

from hyperderm.config import Experiment

Outcome = Literal["finished", "stopped early", "failed"]


class Job(Protocol):
    """One trial of a sweep, one job of a grid, or a single run, as listeners know it."""

    @property
    def key(self) -> str:
        """Tell it from the others of its study; "" where it is the only one."""

    @property
    def label(self) -> str:
        """Name it for people, such as `trial 003`."""

    @property
    def kind(self) -> str:
        """Name its kind where a study has several, such as `cell`; else "trial"."""

    @property
    def group(self) -> str:
        """Name the group of runs that it stands in, such as an arm of a grid; "" where there are no groups."""

    @property
    def folder(self) -> str:
        """Say where its files lie, relative to its study's."""

    @property
    def experiment(self) -> Experiment | None:
        """Return what trains; None where nothing does."""

    @property
    def values(self) -> Mapping[str, Any]:
        """Return the swept values."""

    @property
    def params(self) -> Mapping[str, object]:
        """Return what MLflow shows as its parameters."""

    @property
    def tags(self) -> Mapping[str, str]:
        """Return what its run carries beside its study's tags."""


class Observer(Protocol):
    """Is told on the driver, in the order in which things happen; it must return quickly and never raise."""

    def started(self, job: Job, resumed: bool) -> None:
        """A job was handed out."""

    def reported(self, job: Job, images: int, metrics: Mapping[str, float]) -> None:
        """A job reported after `images` real images."""

    def noted(self, job: Job, sentence: str) -> None:
        """Something happened to a job that a person should know, and it is not its end."""

    def finished(self, job: Job, outcome: Outcome, reason: str) -> None:
        """A job ended; `reason` says why it failed or was stopped early."""

    def interrupted(self, job: Job) -> None:
        """The study stops while this job runs; the next driver goes on with it."""


class Observers:
    """Several observers as one."""

    def __init__(self, observers: Iterable[Observer] = ()) -> None:
        self._all = list(observers)

    def add(self, *observers: Observer) -> None:
        """Let more listen."""
        self._all += observers

    def started(self, job: Job, resumed: bool) -> None:
        """Tell all."""
        for each in self._all:
            each.started(job, resumed)

    def reported(self, job: Job, images: int, metrics: Mapping[str, float]) -> None:
        """Tell all."""
        for each in self._all:
            each.reported(job, images, metrics)

    def noted(self, job: Job, sentence: str) -> None:
        """Tell all."""
        for each in self._all:
            each.noted(job, sentence)

    def finished(self, job: Job, outcome: Outcome, reason: str) -> None:
        """Tell all."""
        for each in self._all:
            each.finished(job, outcome, reason)

    def interrupted(self, job: Job) -> None:
        """Tell all."""
        for each in self._all:
            each.interrupted(job)
