"""Which difference in AUROC a grid can show before it runs, and how many folds and seeds a given difference needs.

The variance of a difference of two arms has a part of the lesions and a part of the trainings (seeds). With K folds and
S seeds, the first falls as 1 / K, because folds test different lesions, and the second as 1 / (K S). Both parts come from
a pilot of the same store, or from stated assumptions. The variance of a pilot is itself an estimate: that of a pilot with
two folds of two seeds is often wrong by a third.

Without a pilot, the variance of an AUROC is that of Hanley & McNeil (Radiology 143, 1982), and the two arms' AUROCs of the
same lesions are correlated (Hanley & McNeil, Radiology 148, 1983). Their table of this correlation is computed here: it
follows from the correlation of the scores in the binormal model.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import ceil

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri, owens_t
from scipy.stats import t as student

from hyperderm.statistics.intervals import critical, hanley_mcneil
from hyperderm.statistics.learning_curve import slope_coefficients
from hyperderm.statistics.multiplicity import FAMILY_LEVEL
from hyperderm.statistics.paired import LEAST_MOVE, POWER

AUROC = 0.75
"""Assumed AUROC of both arms. A lower one has a larger variance, so a better classifier shows smaller differences."""
CORRELATION = 0.7
"""Assumed correlation of the scores that two arms give the same lesion of one class."""
TRAINING_SD = 0.015
"""Assumed standard deviation of an arm's AUROC between trainings that differ in the seed alone.

It is a third of the standard error of an AUROC from 50 melanomas. Initial weights change results less than the choice of
the test data (Bouthillier et al., Accounting for variance in machine learning benchmarks, MLSys 2021)."""
MOST_SEEDS = 20
"""The largest number of seeds that is proposed."""
ENDLESS = 10**9
"""A number of seeds with which the part of the trainings is gone."""


@dataclass(frozen=True)
class Spread:
    """The variance of the difference of two arms in a grid of `folds` folds and `seeds` seeds, and what scales it.

    Attributes:
        lesions: part of the variance that only more lesions lower.
        trainings: part of the variance that more folds and more seeds lower.
        folds: number of folds of that grid.
        seeds: number of seeds of each fold; a harmonic mean if folds differ.
        melanomas: number of groups (source images) with a melanoma that these folds test.
        others: number of other groups.
        stretch: factor of Student's critical values, at least 1.
    """

    lesions: float
    trainings: float
    folds: float
    seeds: float
    melanomas: float
    others: float
    stretch: float = 1.0

    def variance(self, folds: int, seeds: int) -> float:
        """Return the variance of the difference in a grid of `folds` folds and `seeds` seeds."""
        return self._lesions(folds) + self._trainings(folds, seeds)

    def error(self, folds: int, seeds: int) -> float:
        """Return the standard error of the difference, as `Combination.error` has it."""
        least = LEAST_MOVE / (self.melanomas * folds / self.folds)
        return float(np.hypot(np.sqrt(self.variance(folds, seeds)), least))

    def df(self, folds: int, seeds: int) -> float:
        """Return Satterthwaite's degrees of freedom, if melanomas and others contribute as in a binormal model.

        A single seed gives no degrees of freedom for the part of the trainings, which is then left out here.
        """
        lesions = self._lesions(folds)
        positives, negatives = (max(count / self.folds, 2.0) for count in (self.melanomas, self.others))
        whole = 1 / positives + 1 / negatives
        halves = (1 / positives / whole) ** 2 / (positives - 1) + (1 / negatives / whole) ** 2 / (negatives - 1)
        squares = lesions**2 * halves / folds
        trainings = self._trainings(folds, seeds)
        if seeds > 1:
            squares += trainings**2 / (folds * (seeds - 1))
        total = lesions + (trainings if seeds > 1 else 0.0)
        return total**2 / squares if squares else float("inf")

    def detectable(self, folds: int, seeds: int, alpha: float) -> float:
        """Return the smallest true difference of AUROC that a two-sided test at `alpha` shows with 80 % power.

        Args:
            folds: number of folds of the planned grid.
            seeds: number of seeds of each fold.
            alpha: level of the test of one contrast; for the worst place in Holm's procedure, the family's level divided
                by the number of contrasts.
        """
        df = max(self.df(folds, seeds), 1.0)
        quantiles = self.stretch * critical(df, 1 - alpha) + float(student.ppf(POWER, df))
        return min(1.0, quantiles * self.error(folds, seeds))

    def detectable_slope(self, folds: int, seeds: int, shares: Sequence[float]) -> float:
        """Return the smallest true gain of AUROC per doubling of the melanomas that a learning curve shows with 80 % power.

        The slope is a weighted sum of the AUROCs at the shares. Each two of these are taken to differ with the variance of
        this spread, so that of the sum is half of it times the sum of the squared weights, whose own sum is 0.

        Args:
            folds: number of folds of the planned grid.
            seeds: number of seeds of each fold.
            shares: the shares of the melanomas of train, at least two different ones.
        """
        weights = np.array(slope_coefficients(shares))
        return float(np.sqrt((weights**2).sum() / 2)) * self.detectable(folds, seeds, FAMILY_LEVEL)

    def with_lesions(self, factor: float) -> "Spread":
        """Return the spread of a store with `factor` times as many lesions of each class."""
        return replace(self, lesions=self.lesions / factor, melanomas=self.melanomas * factor, others=self.others * factor)

    def _lesions(self, folds: int) -> float:
        return self.lesions * self.folds / folds

    def _trainings(self, folds: int, seeds: int) -> float:
        return self.trainings * self.folds * self.seeds / (folds * seeds)


def measured(
    lesion_variance: float,
    seed_variance: float,
    stretch: float,
    cells: Sequence[int],
    sizes: tuple[float, float],
    training_sd: float = TRAINING_SD,
) -> Spread:
    """Return the spread that a pilot measured for one contrast.

    A part of the trainings of exactly 0 means that the pilot could not see it: it has one seed, or its model is fitted
    without chance. That part is then assumed.

    Args:
        lesion_variance: `ContrastResult.lesion_variance`.
        seed_variance: `ContrastResult.seed_variance`.
        stretch: `ContrastResult.stretch`.
        cells: number of seeds of each fold that both arms have.
        sizes: numbers of groups with and without melanoma that these folds test.
        training_sd: assumed standard deviation of the AUROC of an arm between trainings; 0 for a model without chance.
    """
    seeds = 1 / float(np.mean([1 / count for count in cells]))
    trainings = seed_variance or 2 * training_sd**2 / (len(cells) * seeds)
    return Spread(lesion_variance, trainings, len(cells), seeds, *sizes, stretch)


def median(spreads: Sequence[Spread]) -> Spread:
    """Return the spread with the medians of all parts, told for one fold and one seed."""
    units = [
        (
            each.lesions * each.folds,
            each.trainings * each.folds * each.seeds,
            each.melanomas / each.folds,
            each.others / each.folds,
            each.stretch,
        )
        for each in spreads
    ]
    lesions, trainings, melanomas, others, stretch = np.median(units, 0).tolist()
    return Spread(lesions, trainings, 1, 1, melanomas, others, stretch)


def assumed(
    sizes: Sequence[tuple[int, int]],
    auroc: float = AUROC,
    correlation: float = CORRELATION,
    training_sd: float = TRAINING_SD,
) -> Spread:
    """Return the spread under assumptions, for folds that each test melanomas and other lesions, with one seed.

    Args:
        sizes: for each fold, the numbers of groups with and without melanoma, at least 1 each.
        auroc: AUROC of both arms, in (0, 1).
        correlation: correlation of both arms' scores of one lesion within its class, in [0, 1].
        training_sd: standard deviation of the AUROC of an arm between trainings.
    """
    lesions = sum(difference_variance(auroc, correlation, *each) for each in sizes) / len(sizes) ** 2
    melanomas, others = (float(sum(each)) for each in zip(*sizes, strict=True))
    return Spread(lesions, 2 * training_sd**2 / len(sizes), len(sizes), 1, melanomas, others)


def difference_variance(auroc: float, correlation: float, positives: int, negatives: int) -> float:
    """Return the variance of the difference of two AUROCs of the same lesions (Hanley & McNeil 1983, eq. 1).

    Args:
        auroc: AUROC of each arm, in (0, 1).
        correlation: correlation of both scores of one lesion within its class, in [0, 1].
        positives: number of melanomas.
        negatives: number of other lesions.
    """
    shared = auroc_correlation(auroc, correlation, positives, negatives)
    return 2 * (1 - shared) * hanley_mcneil(auroc, positives, negatives)


def auroc_correlation(auroc: float, correlation: float, positives: int, negatives: int) -> float:
    """Return the correlation of the AUROCs that two binormal classifiers reach on the same lesions.

    Arguments are those of `difference_variance`.
    """
    separation = float(ndtri(auroc))

    def covariance(scores: float) -> float:
        """Return the covariance times the number of pairs; pairs share both lesions, one, or none."""
        same, one = (_both_right(separation, each) - auroc**2 for each in (scores, scores / 2))
        return same + (positives + negatives - 2) * one

    return covariance(correlation) / covariance(1.0)


def _both_right(separation: float, correlation: float) -> float:
    """Return the probability that two standard normal variables are both below `separation` (Owen 1956)."""
    slope = np.sqrt((1 - correlation) / (1 + correlation))
    return float(ndtr(separation) - 2 * owens_t(separation, slope))


@dataclass(frozen=True)
class Enough:
    """The grid of fewest cells that shows a difference: folds 0 … `folds` − 1, each with seeds 0 … `seeds` − 1."""

    folds: int
    seeds: int


@dataclass(frozen=True)
class OutOfReach:
    """No grid of the store shows the difference.

    Attributes:
        at_most_seeds: smallest difference that all folds with `MOST_SEEDS` seeds show.
        at_any_seeds: smallest difference that all folds with any number of seeds show.
        tested: number of groups with a melanoma that all folds test.
        melanomas: number of such groups, with as many more others, that all folds with `MOST_SEEDS` seeds would need; None
            if no number of lesions suffices, because trainings differ too much.
    """

    at_most_seeds: float
    at_any_seeds: float
    tested: int
    melanomas: int | None


def needed(difference: float, spreads: Sequence[Spread], folds: int, alpha: float) -> Enough | OutOfReach:
    """Return the grid of fewest cells that shows a true difference with 80 % power for every spread.

    Two seeds are the fewest wherever trainings differ, because with one seed the declared test cannot see that they do. Of
    two grids with as many cells, that with fewer folds is returned, which trains fewer generators.

    Args:
        difference: the true difference of AUROC, above 0.
        spreads: the spread of each model, at least one.
        folds: number of folds of the store.
        alpha: level of the test of one contrast.
    """
    for k, s in _grids(folds, 2 if any(each.trainings > 0 for each in spreads) else 1):
        if _worst(spreads, k, s, alpha) <= difference:
            return Enough(k, s)
    tested = round(max(each.melanomas * folds / each.folds for each in spreads))
    return OutOfReach(
        _worst(spreads, folds, MOST_SEEDS, alpha),
        _worst(spreads, folds, ENDLESS, alpha),
        tested,
        _melanomas(difference, spreads, folds, alpha, tested),
    )


def _grids(folds: int, least: int) -> Iterator[tuple[int, int]]:
    every = [(k, s) for k in range(1, folds + 1) for s in range(least, MOST_SEEDS + 1)]
    yield from sorted(every, key=lambda grid: (grid[0] * grid[1], grid[0]))


def _worst(spreads: Sequence[Spread], folds: int, seeds: int, alpha: float) -> float:
    return max(each.detectable(folds, seeds, alpha) for each in spreads)


def _melanomas(difference: float, spreads: Sequence[Spread], folds: int, alpha: float, tested: int) -> int | None:
    """Return how many melanoma groups all folds would have to test; None if even a billion times as many are too few."""

    def excess(doublings: float) -> float:
        more = [each.with_lesions(2**doublings) for each in spreads]
        return _worst(more, folds, MOST_SEEDS, alpha) - difference

    if excess(30.0) > 0:
        return None
    return ceil(tested * 2 ** float(brentq(excess, 0.0, 30.0, xtol=1e-4)))
