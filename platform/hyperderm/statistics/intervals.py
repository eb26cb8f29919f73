"""Intervals that keep their level on few cases: Wilson for proportions, logit for AUROC, BCa for metrics without a formula.

Wilson and logit intervals never have zero width: each docstring states the rule for data without spread. BCa is None then.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit, ndtr, ndtri
from scipy.stats import t as student

from hyperderm.statistics.clustered import Variance

LEVEL = 0.95


def critical(df: float, level: float = LEVEL) -> float:
    """Return Student's two-sided critical value; for infinite `df` it is the normal one."""
    return float(student.ppf(0.5 + level / 2, max(df, 1.0)))


def wilson(share: float, size: float, quantile: float | None = None) -> tuple[float, float]:
    """Return Wilson's score interval of a proportion (Wilson 1927).

    Args:
        share: the proportion, in [0, 1].
        size: number of independent trials; it need not be whole.
        quantile: critical value; by default the normal one at 95 %.
    """
    z = float(ndtri(0.5 + LEVEL / 2)) if quantile is None else quantile
    centre = (share + z * z / (2 * size)) / (1 + z * z / size)
    half = z / (1 + z * z / size) * np.sqrt(share * (1 - share) / size + z * z / (4 * size * size))
    low = 0.0 if share == 0 else max(0.0, float(centre - half))
    high = 1.0 if share == 1 else min(1.0, float(centre + half))
    return low, high


def clustered_wilson(share: float, variance: Variance, lesions: float, groups: float) -> tuple[float, float]:
    """Return Wilson's interval of a proportion averaged over seeds, for lesions in groups.

    The number of trials is the number that would give the estimated variance V, p(1 − p) / V (Korn & Graubard 1998; with
    Wilson's interval: Dean & Pagano 2015). The critical value is Student's for the degrees of freedom of V. Near 0 and 1, V
    is unreliable. Therefore 1/(4n²), the square of half an error, is added to V and to p(1 − p)/n, so that very few errors
    count as if lesions were independent. For a share of exactly 0 or 1, every group counts as one trial.

    Args:
        share: the proportion, mean over seeds.
        variance: variance of `share`.
        lesions: number of lesions in the denominator; several seeds do not multiply it.
        groups: number of groups of these lesions.
    """
    if share in (0.0, 1.0) or variance.total <= 0:
        return wilson(share, groups)
    damping = 0.25 / lesions**2
    effect = (variance.total + damping) / (share * (1 - share) / lesions + damping)
    return wilson(share, lesions / effect, critical(variance.df))


@dataclass(frozen=True)
class Auroc:
    """An AUROC averaged over folds and seeds, with the numbers that its interval needs.

    Attributes:
        value: the AUROC, in [0, 1].
        variance: its variance, DeLong's in each fold, clustered.
        sizes: (K, 2) numbers of groups with and without melanoma in every fold.
    """

    value: float
    variance: Variance
    sizes: NDArray[np.intp]

    def limits(self, quantile: float | None = None) -> tuple[float, float]:
        """Return the interval made on the logit scale (Pepe 2003; Qin & Hotilovac 2008) and transformed back to [0, 1].

        The interval has a width even if the data show no spread. For an AUROC of 1 (or 0), `perfect_limit` gives its other
        end. For another value without spread (for example, if all scores are tied), Hanley and McNeil's variance is used.

        Args:
            quantile: critical value; by default Student's at 95 % for the variance's degrees of freedom.
        """
        c = critical(self.variance.df) if quantile is None else quantile
        sizes = tuple((max(int(p), 1), max(int(n), 1)) for p, n in self.sizes)
        if self.value in (0.0, 1.0):
            limit = perfect_limit(sizes, 2 * float(ndtr(-c)))
            return (limit, 1.0) if self.value == 1 else (0.0, 1 - limit)
        assumed = sum(hanley_mcneil(self.value, p, n) for p, n in sizes) / len(sizes) ** 2
        error = self.variance.error if self.variance.total > 0 else float(np.sqrt(assumed))
        middle = np.log(self.value / (1 - self.value))
        half = c * error / (self.value * (1 - self.value))
        return float(expit(middle - half)), float(expit(middle + half))


@lru_cache(maxsize=1024)
def perfect_limit(sizes: tuple[tuple[int, int], ...], alpha: float) -> float:
    """Return the lower limit of an AUROC of 1.

    This limit is the true AUROC at which every fold is ranked perfectly with probability alpha / 2. Scores are assumed to be
    binormal with equal variances (Obuchowski & Lieber 2002). A fold of m melanomas and n negatives is perfect with
    probability ∫ Φ(d − x)^m dΦ(x)^n at separation d; AUROC = Φ(d / √2). Each group counts once, and several seeds of one
    fold count as one, so the limit is conservative.

    Args:
        sizes: for each fold the numbers of groups with and without melanoma, at least 1 each.
        alpha: 1 − confidence.
    """
    x = np.linspace(-8.5, 8.5, 681)
    middle, below = (x[1:] + x[:-1]) / 2, ndtr(x)
    folds = Counter(sizes).items()

    def excess(d: float) -> float:
        beaten = ndtr(d - middle)
        chance = [times * np.log(max(np.sum(beaten**m * np.diff(below**n)), 1e-300)) for (m, n), times in folds]
        return float(np.sum(chance) - np.log(alpha / 2))

    return float(ndtr(brentq(excess, -12.0, 16.0, xtol=1e-6) / np.sqrt(2)))


def hanley_mcneil(auroc: float, positives: int, negatives: int) -> float:
    """Return the variance of an AUROC under exponential scores (Hanley & McNeil 1982, eq. 2)."""
    q1, q2 = auroc / (2 - auroc), 2 * auroc**2 / (1 + auroc)
    spread = auroc * (1 - auroc) + (positives - 1) * (q1 - auroc**2) + (negatives - 1) * (q2 - auroc**2)
    return spread / (positives * negatives)


def score_limits(auroc: float, sizes: Sequence[tuple[int, int]], level: float = LEVEL) -> tuple[float, float]:
    """Return the interval of a mean AUROC that holds every value from which it does not differ (as Wilson's for a share).

    The variance is that of Hanley & McNeil at each such value, so that few cases near 1 give a short upper and a long lower
    arm; an interval on the logit scale would run far down there.

    Args:
        auroc: the mean of the AUROCs of independent parts, in [0, 1].
        sizes: for each part, the numbers of positives and negatives.
        level: level of the interval.
    """
    quantile = critical(np.inf, level)

    def excess(value: float) -> float:
        variance = sum(hanley_mcneil(value, *each) for each in sizes) / len(sizes) ** 2
        return abs(auroc - value) - quantile * float(np.sqrt(variance))

    least, most = 1e-9, 1 - 1e-9
    inside = min(max(auroc, least), most)
    low = float(brentq(excess, least, inside)) if excess(least) > 0 else 0.0
    high = float(brentq(excess, inside, most)) if excess(most) > 0 else 1.0
    return low, high


def bca(
    estimate: float,
    draws: NDArray[np.float64],
    left_out: NDArray[np.float64],
    level: float = LEVEL,
) -> tuple[float, float] | None:
    """Return the bias-corrected and accelerated bootstrap interval (Efron 1987), or None if the draws show no spread.

    Args:
        estimate: the estimate from all lesions.
        draws: (R,) estimates from resamples of groups.
        left_out: (G,) estimates with one group left out each; NaN if such an estimate is undefined.
        level: level of the interval.
    """
    if np.ptp(draws) == 0:
        return None
    below = (draws < estimate).mean() + 0.5 * (draws == estimate).mean()
    bias = float(ndtri(np.clip(below, 0.5 / len(draws), 1 - 0.5 / len(draws))))
    pull = left_out[np.isfinite(left_out)]
    pull = pull.mean() - pull
    scale = 6 * (pull**2).sum() ** 1.5
    acceleration = float((pull**3).sum() / scale) if scale > 0 else 0.0

    def end(z: float) -> float:
        shifted = bias + z
        return float(np.quantile(draws, ndtr(bias + shifted / max(1 - acceleration * shifted, 0.1))))

    z = float(ndtri(0.5 + level / 2))
    return end(-z), end(z)
