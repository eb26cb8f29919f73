"""Means over seeds and their differences, with t intervals: what `compare` says of runs that differ only in the seed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy import stats

LEVEL = 0.95
"""The level of every interval."""


@dataclass(frozen=True)
class Estimate:
    """A mean, or a difference of means.

    Attributes:
        value: the estimate, in the unit of the metric.
        low: lower end of the 95 % interval; None if one side has only one value.
        high: upper end of the interval.
        how: the kind of the interval.
    """

    value: float
    low: float | None
    high: float | None
    how: Literal["t", "paired", "Welch"]

    @property
    def half(self) -> float | None:
        """Half the width of the interval."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2


def mean_over(values: Sequence[float]) -> Estimate:
    """Return the mean of one value per seed, with Student's t interval.

    Raises:
        ValueError: there is no value, or a value is not finite.
    """
    x = _finite(values)
    if x.size == 1:
        return Estimate(float(x[0]), None, None, "t")
    if np.ptp(x) == 0:  # the mean of 0.4, 0.4 and 0.4 is rounded, and their spread with it
        return Estimate(float(x[0]), float(x[0]), float(x[0]), "t")
    return _around(float(x.mean()), float(x.std(ddof=1)) / math.sqrt(x.size), x.size - 1, "t")


def paired(values: Sequence[float], baseline: Sequence[float]) -> Estimate:
    """Return the mean of `values - baseline`, seed by seed, with the t interval of those differences.

    Raises:
        ValueError: there is no value, a value is not finite, or the lengths differ.
    """
    if len(values) != len(baseline):
        raise ValueError(f"{len(values)} values cannot be paired with {len(baseline)}")
    return replace(mean_over((_finite(values) - _finite(baseline)).tolist()), how="paired")


def welch(values: Sequence[float], baseline: Sequence[float]) -> Estimate:
    """Return the difference of two independent means, with Welch's interval (Welch, Biometrika 34, 1947).

    Raises:
        ValueError: a side has no value, or a value is not finite.
    """
    x, y = _finite(values), _finite(baseline)
    difference = float(x.mean() - y.mean())
    if min(x.size, y.size) == 1:
        return Estimate(difference, None, None, "Welch")
    a, b = float(x.var(ddof=1)) / x.size, float(y.var(ddof=1)) / y.size
    freedom = (a + b) ** 2 / (a**2 / (x.size - 1) + b**2 / (y.size - 1)) if a + b > 0 else 1.0
    return _around(difference, math.sqrt(a + b), freedom, "Welch")


def _finite(values: Sequence[float]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    x = np.asarray(values, dtype=np.float64).reshape(-1)
    if x.size == 0 or not np.isfinite(x).all():
        raise ValueError(f"an estimate needs finite values, got {x.tolist()}")
    return x


def _around(value: float, error: float, freedom: float, how: Literal["t", "Welch"]) -> Estimate:
    half = float(stats.t.ppf((1 + LEVEL) / 2, freedom)) * error
    return Estimate(value, value - half, value + half, how)
