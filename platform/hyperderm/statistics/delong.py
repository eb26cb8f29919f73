"""DeLong's test of two correlated AUROCs on the same lesions, a cross-check of the paired bootstrap.

The test treats lesions as independent and trainings as fixed, so it may be more confident than the bootstrap.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri
from scipy.stats import rankdata

from hyperderm.statistics.panel import Panel, same_lesions

Array = NDArray[np.float64]


class Delong(NamedTuple):
    """A difference of AUROCs with its variance."""

    difference: float
    variance: float

    def interval(self) -> tuple[float, float]:
        """Return the 95 % normal interval."""
        half = float(ndtri(0.975)) * self.variance**0.5
        return self.difference - half, self.difference + half

    @property
    def p(self) -> float:
        """The two-sided p value; 1 if difference and variance are both 0."""
        if self.variance <= 0:
            return 1.0 if self.difference == 0 else 0.0
        return float(2 * ndtr(-abs(self.difference) / self.variance**0.5))


def placements(truth: ArrayLike, score: ArrayLike) -> tuple[Array, Array]:
    """Return DeLong's placements V10 (m,) of the m melanomas and V01 (n,) of the n negatives.

    V10 is the share of negatives below each melanoma, V01 the share of melanomas above each negative; ties count ½, and the
    mean of each is the AUROC. They are computed by midranks in O(N log N) (Sun & Xu, IEEE SPL 2014).
    """
    y, x = np.asarray(truth) == 1, np.asarray(score, np.float64)
    m, n = int(y.sum()), int((~y).sum())
    ranks = rankdata(x)
    return (ranks[y] - rankdata(x[y])) / n, 1 - (ranks[~y] - rankdata(x[~y])) / m


def delong_test(truth: ArrayLike, score: ArrayLike, other: ArrayLike) -> Delong:
    """Return AUROC(score) − AUROC(other) with its variance (DeLong, DeLong & Clarke-Pearson 1988).

    Args:
        truth: (N,) truth, melanoma = 1, with at least two lesions of each class.
        score: (N,) scores of the first model.
        other: (N,) scores of the second model for the same lesions.
    """
    (a10, a01), (b10, b01) = placements(truth, score), placements(truth, other)
    up, down = a10 - b10, a01 - b01
    return Delong(float(up.mean()), float(up.var(ddof=1) / len(up) + down.var(ddof=1) / len(down)))


def combined(arm: Panel, reference: Panel) -> Delong | None:
    """Combine DeLong's tests over folds and seeds.

    Folds are independent. The seeds of a fold share their lesions: the standard error of their mean is taken as the mean of
    their standard errors, which is its largest possible value.

    Returns:
        The combined test, or None if a fold has fewer than two lesions of a class.
    """
    same_lesions(arm, reference)
    if any(min(fold.truth.sum(), (~fold.truth).sum()) < 2 for fold in arm.folds):
        return None
    tests = [
        [delong_test(a.truth, *scores) for scores in zip(a.probability, b.probability, strict=True)]
        for a, b in zip(arm.folds, reference.folds, strict=True)
    ]
    difference = np.mean([np.mean([test.difference for test in fold]) for fold in tests])
    errors = [np.mean([test.variance**0.5 for test in fold]) for fold in tests]
    return Delong(float(difference), float(np.square(errors).sum()) / len(tests) ** 2)
