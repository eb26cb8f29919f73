"""Compare searches at equal budgets of images and of seconds, so that none wins by having been given more.

Four budgets are declared, each the largest that every sweep has spent:

- images of each trial: the smallest number of images that any finished trial was shown. A trial's score is that of the
  checkpoint it kept when it had seen so many; a report counts if its last step began within the budget, because batches of
  different sizes end at slightly different numbers.
- images in all: the smallest sweep's sum over its trials. Trials are put one behind the other by their numbers. The trials
  that fit count with their last scores, and the one that is cut with the score that it had at the cut.
- seconds of each trial: the smallest sweep's median over its finished trials. (The fastest of all trials would
  be one lucky start.)
- seconds in all: as images in all.

A learner that is fitted at once sees train in one step: its sweeps set no budget of images, and count whole in one.

A trial that was stopped early counts with the score it had. A trial that failed has no score, but its images and seconds
count. Trials that have not ended do not count.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Literal

import numpy as np

from hyperderm.errors import ConfigError
from hyperderm.studies.sweep_record import SweepRecord, TrialRecord

Unit = Literal["images", "seconds"]
RANKED_BY = {False: "median", True: "best"}
"""What ranks the sweeps at a budget of each trial (False), and at a budget of all trials together (True)."""


@dataclass(frozen=True)
class Scores:
    """The scores of one sweep at a budget.

    Attributes:
        sweep: the sweep.
        begun: number of trials that ended and that the budget reached.
        scores: the scores of those that have one, by the number of the trial.
        rank: the place of the sweep among all, from 1; equal values share a place. None without a score.
    """

    sweep: SweepRecord
    begun: int
    scores: dict[int, float]
    rank: int | None = None

    @property
    def best(self) -> float | None:
        """The lowest score."""
        return min(self.scores.values(), default=None)

    @property
    def worst(self) -> float | None:
        """The highest score."""
        return max(self.scores.values(), default=None)

    @property
    def median(self) -> float | None:
        """The median score."""
        return median(self.scores.values()) if self.scores else None

    @property
    def quartiles(self) -> tuple[float, float] | None:
        """The lower and the upper quartile, with linear interpolation; None without a score."""
        if not self.scores:
            return None
        low, high = np.quantile(list(self.scores.values()), [0.25, 0.75])
        return float(low), float(high)


@dataclass(frozen=True)
class Budget:
    """A budget with what every sweep reached in it.

    Attributes:
        unit: images or seconds.
        whole: whether all trials share the budget; otherwise each trial has it.
        amount: how much of the unit.
        lines: the scores of every sweep, by rank.
    """

    unit: Unit
    whole: bool
    amount: float
    lines: tuple[Scores, ...]

    @property
    def ranked_by(self) -> str:
        """The number that ranks the sweeps, best or median."""
        return RANKED_BY[self.whole]


@dataclass(frozen=True)
class SweepComparison:
    """Sweeps at equal budgets.

    Attributes:
        sweeps: the sweeps in the order in which they were named.
        budgets: the four budgets; those of seconds are missing if a sweep has none recorded.
    """

    sweeps: tuple[SweepRecord, ...]
    budgets: tuple[Budget, ...]

    @property
    def repeated(self) -> list[tuple[int, SweepRecord]]:
        """The sweeps with finished repeats of their best trial, with their ranks by the mean of these."""
        means = {each.name: each.repeats.mean for each in self.sweeps if each.repeats and each.repeats.mean is not None}
        found = [(1 + sum(other < means[each.name] for other in means.values()), each) for each in self.sweeps
                 if each.name in means]  # fmt: skip
        return sorted(found, key=lambda pair: pair[0])


def compare_sweeps(sweeps: Sequence[SweepRecord]) -> SweepComparison:
    """Compare sweeps at equal budgets.

    Raises:
        ConfigError: fewer than two sweeps, scores that are not of the same task, or a sweep without a finished trial.
    """
    check_alike(sweeps)
    each_images = min(trial.images for sweep in _stepping(sweeps) for trial in finished(sweep))
    budgets = [_each("images", sweeps, each_images), _whole("images", sweeps)]
    if all(trial.seconds > 0 for sweep in sweeps for trial in finished(sweep)):
        each_seconds = min(median(trial.seconds for trial in finished(sweep)) for sweep in sweeps)
        budgets += [_each("seconds", sweeps, each_seconds), _whole("seconds", sweeps)]
    return SweepComparison(tuple(sweeps), tuple(budgets))


def check_alike(sweeps: Sequence[SweepRecord]) -> None:
    """Refuse sweeps whose scores are not of the same task.

    Raises:
        ConfigError: as `compare_sweeps`; the message says which facts differ.
    """
    if len(sweeps) < 2:
        named = ", ".join(sweep.name for sweep in sweeps)
        raise ConfigError(f"fewer than two sweeps to compare: {named}", "Name two or more different ones.")
    first = sweeps[0]
    for sweep in sweeps[1:]:
        facts = dict.fromkeys([*first.facts, *sweep.facts])
        differing = [
            f"{fact} {first.facts.get(fact, 'none')} against {sweep.facts.get(fact, 'none')}"
            for fact in facts
            if first.facts.get(fact) != sweep.facts.get(fact)
        ]
        if differing:
            raise ConfigError(
                f"sweeps {first.name} and {sweep.name} cannot be compared: {'; '.join(differing)}",
                "Compare sweeps of one store, fold, size, diagnoses and objective.",
            )
    for sweep in sweeps:
        if not finished(sweep):
            raise ConfigError(f"no trial of sweep {sweep.name} has finished", "Let it go on, or leave it out.")


def finished(sweep: SweepRecord) -> list[TrialRecord]:
    """Return the trials that ran to their end."""
    return [trial for trial in sweep.trials if trial.outcome == "finished"]


def spent(trial: TrialRecord, unit: Unit) -> float:
    """Return the images or the seconds that a trial has taken of a budget."""
    return trial.images if unit == "images" else trial.seconds


def total(sweep: SweepRecord, unit: Unit) -> float:
    """Return the images or the seconds of all trials that ended, added up."""
    return math.fsum(spent(trial, unit) for trial in sweep.trials)


def best_so_far(sweep: SweepRecord, unit: Unit) -> tuple[list[float], list[float]]:
    """Return cumulative images or seconds at every report, and the best score up to each, with the trials by number."""
    across: list[float] = []
    up: list[float] = []
    offset, best = 0.0, math.inf
    for trial in sorted(sweep.trials, key=lambda trial: trial.number):
        if trial.outcome != "failed":
            for images, score in sorted(trial.scores.items()):
                across.append(offset + (images if unit == "images" else trial.seconds_when(images)))
                up.append(min(best, score))
            best = min([best, *up[-1:]])
        offset += spent(trial, unit)
    return across, up


def _each(unit: Unit, sweeps: Sequence[SweepRecord], amount: float) -> Budget:
    def score(trial: TrialRecord) -> float | None:
        if unit == "seconds":
            return trial.score_at_seconds(amount)
        return trial.score_at_images(amount + trial.batch - 1)

    lines = [Scores(sweep, len(sweep.trials), _scored(sweep.trials, score)) for sweep in sweeps]
    return Budget(unit, False, amount, _ranked(lines, lambda line: line.median))


def _whole(unit: Unit, sweeps: Sequence[SweepRecord]) -> Budget:
    amount = min(total(sweep, unit) for sweep in (_stepping(sweeps) if unit == "images" else sweeps))
    lines = []
    for sweep in sweeps:
        left, begun, scores = amount, 0, dict[int, float]()
        for trial in sorted(sweep.trials, key=lambda trial: trial.number):
            if left <= 0:
                break
            begun += 1
            # Sums of seconds that are equal but for rounding must not cut a last report off.
            room = math.inf if math.isclose(left, spent(trial, unit), rel_tol=1e-9) else left
            score = trial.score_at_images(room) if unit == "images" else trial.score_at_seconds(room)
            if score is not None:
                scores[trial.number] = score
            left -= spent(trial, unit)
        lines.append(Scores(sweep, begun, scores))
    return Budget(unit, True, amount, _ranked(lines, lambda line: line.best))


def _stepping(sweeps: Sequence[SweepRecord]) -> Sequence[SweepRecord]:
    """Return the sweeps that set budgets of images: all but those of learners that are fitted at once."""
    return [sweep for sweep in sweeps if not sweep.fit_once] or sweeps


def _scored(trials: Sequence[TrialRecord], score: Callable[[TrialRecord], float | None]) -> dict[int, float]:
    found = {trial.number: score(trial) for trial in trials}
    return {number: value for number, value in found.items() if value is not None}


def _ranked(lines: Sequence[Scores], by: Callable[[Scores], float | None]) -> tuple[Scores, ...]:
    """Return the lines with their ranks, by ascending rank; those without a score stand last."""
    values = [by(line) for line in lines]
    known = [value for value in values if value is not None]
    ranked = [
        line if value is None else replace(line, rank=1 + sum(other < value for other in known))
        for line, value in zip(lines, values, strict=True)
    ]
    return tuple(sorted(ranked, key=lambda line: math.inf if line.rank is None else line.rank))
