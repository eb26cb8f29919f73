"""Values of a metric of two sets at a stated size: its mean, its interval, and what two samples of real cubes give.

A metric is given as a function of rows: which rows of the first set and which of the second take part. So it may read
features, or matrices of all pairs that were computed once (`pair_matrices`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hyperderm.errors import StoreError
from hyperderm.statistics.intervals import critical

Rows = NDArray[np.intp]
OfRows = Callable[[Rows, Rows], float]
DRAWS = 64
"""Default number of samples that are drawn for an interval or a floor; the error of the interval's width is then about a
tenth."""


@dataclass(frozen=True)
class AtSize:
    """A metric between samples of a stated size.

    Attributes:
        value: the mean over the samples drawn.
        low: lower end, see the function that made it.
        high: upper end.
        size: number of rows in each of both samples.
        draws: number of values over which the mean was taken.
    """

    value: float
    low: float
    high: float
    size: int
    draws: int


def subsampled(of: OfRows, n: int, m: int, size: int, draws: int = DRAWS, seed: int = 0) -> AtSize:
    """Return a metric between samples of `size` of n and of m rows; `distribution.by_subsampling` says how and how well.

    Raises:
        StoreError: `size` is not between 2 and the smaller number of rows − 1, or `draws` is below 8.
    """
    _check_size(size, min(n, m) - 1, draws)
    rng = np.random.default_rng([seed, size])
    x, y = drawn(rng, n, size), drawn(rng, m, size)
    values = [of(x, y)]
    for draw in range(1, draws):
        x, y = (drawn(rng, n, size), y) if draw % 2 else (x, drawn(rng, m, size))
        values.append(of(x, y))
    steps = np.square(np.diff(values)) / 2
    parts = np.array([steps[::2].mean(), steps[1::2].mean()])
    jackknife = parts @ [size / (n - size), size / (m - size)]
    error = np.sqrt(jackknife + 2 * parts.sum() / draws)
    value, half = float(np.mean(values)), float(critical(draws / 2) * error)
    return AtSize(value, value - half, value + half, size, draws)


def at_smaller(of: OfRows, n: int, m: int, draws: int = DRAWS, seed: int = 0, most: int | None = None) -> AtSize:
    """Return a metric at the size of the smaller set, with a 95 % interval from samples of half that size.

    The value is the mean over samples of the larger set, drawn without replacement. The delete-d jackknife of half samples
    estimates the variance of the metric over all rows (Shao & Wu, Annals of Statistics 17, 1989), so the half-width of
    `subsampled` at half the size stands for the interval of the value at the whole size.

    Args:
        of: the metric.
        n: number of rows of the first set.
        m: number of rows of the second.
        draws: number of samples, at least 8.
        seed: seed of the samples.
        most: the largest size that is used, for sets whose metric would take too long; None: no limit.

    Raises:
        StoreError: a set has fewer than 4 rows, or `draws` is below 8.
    """
    size = min(n, m, most or n)
    if size < 4:
        raise StoreError(f"sets of {n} and {m} cubes are too small for an interval", "Use 4 cubes of each or more.")
    half = subsampled(of, n, m, size // 2, draws, seed)
    rng = np.random.default_rng([seed, size, 1])
    count = 1 if n == m == size else max(8, draws // 4)
    value = float(np.mean([of(drawn(rng, n, size), drawn(rng, m, size)) for _ in range(count)]))
    width = (half.high - half.low) / 2
    return AtSize(value, value - width, value + width, size, draws)


def floored(of: OfRows, groups: Sequence[str], size: int, draws: int = DRAWS, seed: int = 0) -> AtSize:
    """Return a metric between disjoint samples of `size` real cubes; `distribution.real_floor` says more.

    Args:
        of: the metric; both arguments are rows of the real cubes.
        groups: name of the group of each row; no group lies in both samples.
        size: number of cubes of each sample.
        draws: number of pairs of samples, at least 8.
        seed: seed of the draws.

    Raises:
        StoreError: `size` is below 2 or larger than `largest_floor`, or `draws` is below 8.
    """
    numbers = np.unique(groups, return_inverse=True)[1]
    _check_size(size, largest_floor(groups), draws)
    rng = np.random.default_rng([seed, size])
    values = []
    for _ in range(draws):
        a, b = _disjoint(rng, numbers, size)
        values.append(of(a, b))
    low, high = np.quantile(values, [0.025, 0.975])
    return AtSize(float(np.mean(values)), float(low), float(high), size, draws)


def largest_floor(groups: Sequence[str]) -> int:
    """Return the largest size of two disjoint samples of real cubes that surely share no group."""
    counts = np.unique(groups, return_counts=True)[1]
    return (len(groups) - int(counts.max()) + 1) // 2 if len(counts) else 0


def drawn(rng: np.random.Generator, count: int, size: int) -> Rows:
    """Return `size` of `count` rows in random order, without replacement."""
    return rng.permutation(count)[:size]


def _disjoint(rng: np.random.Generator, groups: Rows, size: int) -> tuple[Rows, Rows]:
    """Return the rows of two samples without a common group; the last group of a sample gives only some of its rows."""
    order = rng.permutation(groups.max() + 1)[groups]  # a random place for each group
    rows = rng.permutation(len(groups))
    rows = rows[np.argsort(order[rows], kind="stable")]  # group after group, inside a group at random
    first = rows[:size]
    return first, rows[~np.isin(groups[rows], groups[first])][:size]


def _check_size(size: int, most: int, draws: int) -> None:
    if not 2 <= size <= most:
        raise StoreError(f"size = {size} is not possible with these sets", f"Use 2 to {most}.")
    if draws < 8:
        raise StoreError(f"draws = {draws} are too few for an interval", "Use 8 or more.")
