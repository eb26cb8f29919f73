"""What a sweep tells whoever listens: tracking and the progress line implement this; studies knows neither."""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from hyperderm.config import Experiment


class Observer(Protocol):
    """Told on the driver, in the order things happen; must return quickly and never raise."""

    def started(self, number: int, experiment: Experiment, values: Mapping[str, Any], resumed: bool) -> None:
        """A trial was handed out."""

    def reported(self, number: int, images: int, metrics: Mapping[str, float]) -> None:
        """A trial reported after `images` real images."""

    def noted(self, number: int, sentence: str) -> None:
        """Something happened to a trial that a person should know, and it is not its end."""

    def finished(self, number: int, outcome: str, reason: str) -> None:
        """A trial ended: "finished", "stopped early" or "failed"."""

    def interrupted(self, number: int) -> None:
        """The sweep stops while this trial runs; the next driver goes on with it."""


class Observers:
    """Several observers as one."""

    def __init__(self, observers: Iterable[Observer]) -> None:
        self._all = list(observers)

    def add(self, *observers: Observer) -> None:
        """Let more listen."""
        self._all += observers

    def started(self, number: int, experiment: Experiment, values: Mapping[str, Any], resumed: bool) -> None:
        """Tell all."""
        for each in self._all:
            each.started(number, experiment, values, resumed)

    def reported(self, number: int, images: int, metrics: Mapping[str, float]) -> None:
        """Tell all."""
        for each in self._all:
            each.reported(number, images, metrics)

    def noted(self, number: int, sentence: str) -> None:
        """Tell all."""
        for each in self._all:
            each.noted(number, sentence)

    def finished(self, number: int, outcome: str, reason: str) -> None:
        """Tell all."""
        for each in self._all:
            each.finished(number, outcome, reason)

    def interrupted(self, number: int) -> None:
        """Tell all."""
        for each in self._all:
            each.interrupted(number)
