"""What a search knows of the scores of a trial: those of the checkpoint that the trial keeps, after every validation.

A trial keeps the checkpoint with the lowest `Experiment.objective` (`training.loop`). Its values in the study are the one or
two `Experiment.objectives` at that checkpoint, so every number of a leaderboard belongs to a checkpoint that exists, and
both values of a point of a Pareto front belong to the same one.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna import Study
from optuna.trial import FrozenTrial, TrialState

from hyperderm.config import LOSS, Experiment

REACHED = "reached"
"""The attribute of a trial that holds what its checkpoints reached, where Optuna's record of one number is too little."""
SECONDS, SECONDS_AT = "seconds", "seconds_at"
"""The attributes of a trial that hold its seconds once a driver has left it, and those at each report, by images as text."""
BEST_IMAGES = "best_images"
"""The attribute of a trial that holds the number of images seen by the checkpoint that it keeps."""


@dataclass(frozen=True)
class Reached:
    """The checkpoint that a trial keeps after a validation.

    Attributes:
        chosen_by: the score that chose it.
        values: the scores that rank the trial.
    """

    chosen_by: float
    values: tuple[float, ...]


class TrialScores:
    """Follows which checkpoint a trial keeps.

    Args:
        experiment: the configuration of the search.
        trial: what an earlier driver recorded of the trial; None for a new trial.
    """

    def __init__(self, experiment: Experiment, trial: FrozenTrial | None = None) -> None:
        self._chooser, self._names = experiment.objective, experiment.objectives
        self._kept = {} if trial is None else reached(trial)

    def __bool__(self) -> bool:
        """Return whether the trial has a checkpoint."""
        return bool(self._kept)

    @property
    def images(self) -> int:
        """The number of images seen at the last validation."""
        return max(self._kept, default=0)

    @property
    def values(self) -> tuple[float, ...]:
        """The scores that rank the trial, at the checkpoint that it keeps."""
        return self._kept[self.images].values

    def follow(self, images: int, metrics: Mapping[str, float]) -> dict[str, Any] | None:
        """Take up a validation, and return the attributes that the study must keep of it; None if it says nothing new.

        A validation at image 0 has no checkpoint. One that is not finite says nothing, and one is not counted twice.
        """
        found = [metrics.get(name, math.nan) for name in (self._chooser, *self._names)]
        if images == 0 or images in self._kept or not all(map(math.isfinite, found)):
            return None
        before = self._kept[self.images] if self._kept else None
        better = before is None or found[0] < before.chosen_by
        self._kept[images] = Reached(found[0], tuple(found[1:])) if before is None or better else before
        attributes: dict[str, Any] = {BEST_IMAGES: images} if better else {}
        if self._names != (self._chooser,):
            attributes[REACHED] = {str(at): [each.chosen_by, *each.values] for at, each in self._kept.items()}
        return attributes


def reached(trial: FrozenTrial) -> dict[int, Reached]:
    """Return what a trial of a study had reached after each of its validations, by number of images."""
    if told := trial.user_attrs.get(REACHED):
        return {int(images): Reached(chosen_by, tuple(values)) for images, (chosen_by, *values) in told.items()}
    return {images: Reached(value, (value,)) for images, value in sorted(trial.intermediate_values.items())}


def seconds_of(trial: FrozenTrial) -> float:
    """Return the seconds that a trial has taken under all drivers, up to its end or its last report."""
    at_reports: Mapping[str, float] = trial.user_attrs.get(SECONDS_AT, {})
    return max([float(trial.user_attrs.get(SECONDS, 0.0)), *map(float, at_reports.values())])


def values_of(trial: FrozenTrial) -> tuple[float, ...]:
    """Return the scores of the checkpoint that a trial keeps; () before its first validation."""
    kept = reached(trial)
    return kept[max(kept)].values if kept else ()


def front(study: Study) -> list[FrozenTrial]:
    """Return the finished trials that no other one dominates, by ascending first objective; [] for one objective.

    A trial dominates another if it is at least as good in both objectives and better in one. Equal trials all count.
    """
    if len(study.directions) < 2:
        return []
    return sorted(study.best_trials, key=lambda trial: (*trial.values, trial.number))


def winner(study: Study) -> FrozenTrial | None:
    """Return the best finished trial; of a Pareto front the one with the lowest first objective. None if none has finished.

    A front has no single best. The first name of `sweep.objective` decides, and its ties are decided by the second.
    """
    if len(study.directions) > 1:
        return next(iter(front(study)), None)
    finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return study.best_trial if finished else None


def in_words(objectives: Sequence[str]) -> tuple[str, ...]:
    """Return names of objectives as people read them; keys of `hyperderm evaluate` stay as they are."""
    losses = f"{LOSS}/"
    return tuple(
        f"loss of {name.removeprefix(losses)}" if name.startswith(losses) else name.replace("_", " ") for name in objectives
    )
