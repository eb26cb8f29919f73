"""The data behind the plots of a study: scored trials, axes over the search space, and importance."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from hyperderm.cluster.observer import Outcome
from hyperderm.errors import StudyError
from hyperderm.tracking.short_texts import short_names, three_digits

# In 40 simulated searches over six parameters, two of them active, fANOVA as used here named the stronger one in 72 %
# at 8 trials and 95 % at 20 (55 and 65 % where every tenth trial diverged); at 5 trials in 30 %. PED-ANOVA,
# Optuna's default: 18 % at 8 and 38 % at 20.
IMPORTANCE_MIN, IMPORTANCE_FIRM = 8, 20

ENDED: Mapping[TrialState, Outcome] = {
    TrialState.COMPLETE: "finished", TrialState.PRUNED: "stopped early", TrialState.FAIL: "failed",
}  # fmt: skip
"""The states in which Optuna keeps trials that ended, and how they ended."""
_WORDS = {**ENDED, TrialState.RUNNING: "running", TrialState.WAITING: "waiting"}
_FEW = 6  # whole numbers that each get a tick
_LOG_FROM = 20.0  # the objective's axis is logarithmic when its largest value is this many times its smallest


@dataclass(frozen=True)
class Point:
    """A trial with its score: the final score or, for a trial that was stopped early, the last score it reported."""

    number: int
    value: float
    finished: bool
    params: dict[str, object]


@dataclass(frozen=True)
class Axis:
    """The axis of a parameter in a plot; positions run from 0 to 1 over the searched range."""

    path: str
    label: str
    distribution: BaseDistribution

    @property
    def choices(self) -> list[str] | None:
        """The names of the choices of a categorical parameter; None for a numerical parameter."""
        d = self.distribution
        return [three_digits(c) for c in d.choices] if isinstance(d, CategoricalDistribution) else None

    @property
    def log(self) -> bool:
        """Whether the parameter is searched on a logarithmic scale."""
        return bool(getattr(self.distribution, "log", False))

    def position(self, value: object) -> float:
        """Return the position of a value."""
        d = self.distribution
        if isinstance(d, CategoricalDistribution):
            return d.to_internal_repr(value) / max(len(d.choices) - 1, 1)  # type: ignore[arg-type]  # a choice
        low, high = self._ends
        return (self._scaled(float(value)) - low) / (high - low) if high > low else 0.5  # type: ignore[arg-type]

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """Return positions and texts: every choice, each of a few whole numbers, or the ends and middle of a range."""
        if (choices := self.choices) is not None:
            return [(i / max(len(choices) - 1, 1), name) for i, name in enumerate(choices)]
        low, high = self._ends
        if high <= low:
            return [(0.5, three_digits(self._unscaled(low)))]
        values = [self._unscaled(low + share * (high - low)) for share in (0.0, 0.5, 1.0)]
        if isinstance(d := self.distribution, IntDistribution):
            every = range(d.low, d.high + 1, d.step)
            values = list(every) if len(every) <= _FEW else sorted({round(value) for value in values})
        return [(self.position(value), three_digits(value)) for value in values]

    @property
    def _ends(self) -> tuple[float, float]:
        d = self.distribution
        if not isinstance(d, FloatDistribution | IntDistribution):
            raise TypeError(f"{self.path} has a {type(d).__name__}")
        return self._scaled(d.low), self._scaled(d.high)

    def _scaled(self, value: float) -> float:
        return math.log10(value) if self.log else float(value)

    def _unscaled(self, value: float) -> float:
        return float(10**value) if self.log else value


DEFAULT = "objective"
"""The name of the objective for studies that do not name theirs."""


class StudyPoints:
    """The points and axes of a study, which is read once.

    Args:
        study: a study that minimises one objective.

    Raises:
        StudyError: the study has several objectives, or maximises its objective.
    """

    def __init__(self, study: Study) -> None:
        if study.directions != [StudyDirection.MINIMIZE]:
            names = ", ".join(d.name.lower() for d in study.directions)
            raise StudyError(f"the study's directions are {names}", "Plots are made for one objective to minimise")
        trials = study.get_trials(deepcopy=False)
        self.name = study.study_name
        self.objective = str(study.user_attrs.get("objective", DEFAULT)).replace("_", " ")
        self.counts = Counter(_WORDS[t.state] for t in trials)
        self.failed = [t.number for t in trials if t.state is TrialState.FAIL]
        scores = [(t, _score(t)) for t in trials]
        self.points = [
            Point(t.number, value, t.state is TrialState.COMPLETE, dict(t.params))
            for t, value in scores
            if value is not None and math.isfinite(value)
        ]
        self.infinite = sum(value is not None and not math.isfinite(value) for _, value in scores)
        found = {path: d for t in trials for path, d in t.distributions.items()}
        labels = short_names(found)
        self.axes = [Axis(path, labels[path], d) for path, d in found.items()]
        self.values = np.array([p.value for p in self.points])

    @property
    def finished(self) -> list[Point]:
        """The points of trials that ran to their end."""
        return [p for p in self.points if p.finished]

    @property
    def best(self) -> Point | None:
        """The best finished point; None if there is none."""
        return min(self.finished, key=lambda p: p.value, default=None)

    @property
    def log(self) -> bool:
        """Whether the objective is drawn on a logarithmic axis."""
        v = self.values
        return bool(v.size and v.min() > 0 and v.max() > _LOG_FROM * v.min())

    @property
    def shade(self) -> NDArray[np.float64]:
        """The position of each point between the best (0) and the worst (1)."""
        v = np.log(self.values) if self.log else self.values
        spread = float(np.ptp(v)) if v.size else 0.0
        return np.asarray((v - v.min()) / spread if spread > 0 else np.zeros(v.size), dtype=np.float64)

    @property
    def best_so_far(self) -> tuple[list[int], list[float]]:
        """Return the numbers of the finished trials, and the best objective up to each."""
        points = sorted(self.finished, key=lambda p: p.number)
        return [p.number for p in points], list(accumulate((p.value for p in points), min))

    @property
    def summary(self) -> str:
        """Return one or two sentences on how many trials of each kind there are, and on the best trial."""
        order = [w for w in _WORDS.values() if self.counts[w]]
        said = ", ".join(f"{self.counts[w]} {w}" for w in order)
        total = sum(self.counts.values())
        text = f"{total} trial{'s' * (total != 1)}" + (f": {said}." if said else ".")
        if self.best is not None:
            text += f" Best: trial {self.best.number}, {three_digits(self.best.value, keep_zeros=True)}."
        if self.infinite:
            text += f" Left out, for their score is not finite: {self.infinite}."
        return text

    @property
    def nothing(self) -> str:
        """Return why no trial can be drawn; empty if some can be drawn."""
        if self.points:
            return ""
        return "No trial has been started." if not self.counts else "No trial has a finite score yet."

    @cached_property
    def importance(self) -> tuple[dict[str, float], str]:
        """Return label to share of the variance of the score, largest first, and a sentence on its reliability.

        The shares are computed by fANOVA over finished and stopped trials. Scores more than half an interquartile range
        above the upper quartile are clipped to that limit, because one diverged trial would otherwise cause all the
        variance. If there are no shares, the sentence says why.
        """
        if self.nothing:
            return {}, self.nothing
        count = len(self.points)
        if count < IMPORTANCE_MIN:
            return {}, f"Importance needs at least {IMPORTANCE_MIN} trials with a score; there {_are(count)}."
        if float(np.ptp(self.values)) == 0:
            return {}, "All trials have the same score, so no parameter matters."
        low, high = np.percentile(self.values, [25, 75])
        capped = np.minimum(self.values, high + 0.5 * (high - low)) if high > low else self.values
        shares = _fanova(self.points, capped, self.axes)
        if not shares:
            return {}, "Importance needs a parameter that was varied in every trial."
        labels = {axis.path: axis.label for axis in self.axes}
        note = f"from {count} trials" + (": a hint, no finding" if count < IMPORTANCE_FIRM else "")
        return {labels[path]: share for path, share in shares.items()}, note


def _score(trial: FrozenTrial) -> float | None:
    if trial.state is TrialState.COMPLETE:
        return trial.value
    if trial.state is TrialState.PRUNED and trial.intermediate_values:
        return trial.intermediate_values[max(trial.intermediate_values)]
    return None


def _fanova(points: list[Point], values: NDArray[np.float64], axes: list[Axis]) -> dict[str, float]:
    """Return path to share for the parameters that every trial has and that took more than one value; deterministic."""
    paths = [
        axis.path for axis in axes
        if all(axis.path in p.params for p in points) and len({p.params[axis.path] for p in points}) > 1
    ]  # fmt: skip
    if not paths:
        return {}
    loud = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # it announces every study that is made
    try:
        study = optuna.create_study()
    finally:
        optuna.logging.set_verbosity(loud)
    distributions = {axis.path: axis.distribution for axis in axes if axis.path in paths}
    for point, value in zip(points, values, strict=True):
        params = {path: point.params[path] for path in paths}
        study.add_trial(create_trial(params=params, distributions=distributions, value=float(value)))
    try:
        return get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0), params=paths)
    except RuntimeError:  # "zero total variance in all trees": scores differ by less than the forest can split
        return {}


def _are(count: int) -> str:
    return f"is {count}" if count == 1 else f"are {count}"
