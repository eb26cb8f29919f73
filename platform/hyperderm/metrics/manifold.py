"""Fidelity and diversity of a set by nearest neighbours: precision, recall, density and coverage.

Each real cube has a ball that reaches to its k-th nearest other real cube. Precision is the share of synthetic cubes in any
ball, density the mean number of balls a synthetic cube lies in, in units of k, and coverage the share of balls that hold a
synthetic cube. Recall is precision with the roles exchanged. A cube is not its own neighbour. All four depend on the numbers
of cubes, and the floor of two real samples is far from 1 with few cubes: show it beside them (`distribution.real_floor`).
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperderm.errors import StoreError
from hyperderm.metrics.description import Metric
from hyperderm.metrics.distribution import TILE, Features, checked

NEIGHBOUR = 3
"""k of precision and recall (Kynkäänniemi et al. 2019)."""
NEIGHBOUR_COVERAGE = 5
"""k of density and coverage (Naeem et al. 2020)."""


class Manifold(NamedTuple):
    """The four metrics of a synthetic set."""

    precision: float
    recall: float
    density: float
    coverage: float


def manifold(real: Features, synthetic: Features, k: int = NEIGHBOUR, k_coverage: int = NEIGHBOUR_COVERAGE) -> Manifold:
    """Return all four metrics; the distance between features is Euclidean.

    Distances are computed tile by tile in double precision, so the memory beyond the features is some tens of megabytes for
    any number of cubes. The time grows with (n² + m² + n m) d.

    Args:
        real: (n, d) features of real cubes.
        synthetic: (m, d) features of synthetic cubes.
        k: the neighbour that gives the radius for precision and recall.
        k_coverage: the neighbour that gives the radius for density and coverage.

    Raises:
        StoreError: a set has no k-th neighbour, or k is below 1; or see `distribution.checked`.
        CubeError: see `distribution.checked`.
    """
    if min(k, k_coverage) < 1:
        raise StoreError(f"k = {k}, k_coverage = {k_coverage}: there is no such neighbour", "Use 1 or more.")
    checked(real, synthetic, max(k, k_coverage) + 1)
    centre = real.mean(0, dtype=np.float64)  # distances from a common centre lose fewer digits
    of_real = _neighbours(real, centre, max(k, k_coverage))
    real_k, real_c = of_real[:, k - 1], of_real[:, k_coverage - 1]
    synthetic_k = _neighbours(synthetic, centre, k)[:, k - 1]
    precise, inside = np.zeros(len(synthetic), bool), 0
    covered, recalled = np.zeros((2, len(real)), bool)
    for rows, columns, squares in _tiles(real, synthetic, centre):
        within = squares <= real_c[rows, None]
        inside += int(within.sum())
        covered[rows] |= within.any(1)
        precise[columns] |= (squares <= real_k[rows, None]).any(0)
        recalled[rows] |= (squares <= synthetic_k[columns]).any(1)
    density = inside / (k_coverage * len(synthetic))
    return Manifold(float(precise.mean()), float(recalled.mean()), density, float(covered.mean()))


def precision(real: Features, synthetic: Features) -> float:
    """Return the share of synthetic cubes inside the real manifold; see `manifold`."""
    return manifold(real, synthetic).precision


def recall(real: Features, synthetic: Features) -> float:
    """Return the share of real cubes inside the synthetic manifold; see `manifold`."""
    return manifold(real, synthetic).recall


def density(real: Features, synthetic: Features) -> float:
    """Return how many balls of real cubes a synthetic cube lies in, divided by k; see `manifold`."""
    return manifold(real, synthetic).density


def coverage(real: Features, synthetic: Features) -> float:
    """Return the share of real cubes whose ball holds a synthetic cube; see `manifold`."""
    return manifold(real, synthetic).coverage


def _tiles(x: Features, y: Features, centre: NDArray[np.float64]) -> Iterator[tuple[slice, slice, NDArray[np.float64]]]:
    """Yield the squared distances of tiles of rows of x and of y, with both slices."""
    for i in range(0, len(x), TILE):
        a = x[i : i + TILE] - centre
        squares = np.einsum("ij,ij->i", a, a)
        for j in range(0, len(y), TILE):
            b = y[j : j + TILE] - centre
            found = a @ b.T
            found *= -2
            found += squares[:, None]
            found += np.einsum("ij,ij->i", b, b)
            yield slice(i, i + len(a)), slice(j, j + len(b)), np.maximum(found, 0, out=found)


def _neighbours(x: Features, centre: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    """Return the squared distances (n, k) of each row to its k nearest other rows, ascending."""
    found = np.full((len(x), k), np.inf)
    for rows, columns, squares in _tiles(x, x, centre):
        if rows == columns:
            np.fill_diagonal(squares, np.inf)
        together = np.concatenate([found[rows], squares], axis=1)
        found[rows] = np.partition(together, k - 1, axis=1)[:, :k]
    return np.sort(found, axis=1)


METRICS = (
    Metric(
        key="precision",
        title="precision (k = 3)",
        function=precision,
        kind="set",
        better="higher",
        unit="",
        span=(0.0, 1.0),
        perfect=1.0,
        formula="share of synthetic s with |s − r| <= distance of r to its 3rd real neighbour, for any real r",
        source="Kynkäänniemi et al., NeurIPS 2019, eq. 1 and 2",
        cannot="It cannot see lost modes or copies, and one real outlier has a huge ball that accepts bad cubes, blurred "
        "ones or pure noise.",
    ),
    Metric(
        key="recall",
        title="recall (k = 3)",
        function=recall,
        kind="set",
        better="higher",
        unit="",
        span=(0.0, 1.0),
        perfect=1.0,
        formula="share of real r with |r − s| <= distance of s to its 3rd synthetic neighbour, for any synthetic s",
        source="Kynkäänniemi et al., NeurIPS 2019, eq. 1 and 2",
        cannot="It cannot see bad cubes: synthetic outliers have huge balls and raise it; nor the loss of modes that "
        "features do not tell apart, such as brightness in those of networks.",
    ),
    Metric(
        key="density",
        title="density (k = 5)",
        function=density,
        kind="set",
        better="as real",
        unit="",
        span=(0.0, None),
        perfect=None,
        formula="mean over synthetic s of #(real r with |s − r| <= distance of r to its 5th real neighbour) / 5",
        source="Naeem et al., ICML 2020, eq. 2",
        cannot="It cannot see lost modes, copies, nor bad cubes in the balls of real outliers. Two samples of one "
        "distribution have 1 on average, typical cubes alone more.",
    ),
    Metric(
        key="coverage",
        title="coverage (k = 5)",
        function=coverage,
        kind="set",
        better="higher",
        unit="",
        span=(0.0, 1.0),
        perfect=1.0,
        formula="share of real r with a synthetic s nearer than their 5th real neighbour",
        source="Naeem et al., ICML 2020, eq. 3",
        cannot="It cannot see bad cubes beside good ones, nor the loss of modes that features do not tell apart, such as "
        "brightness in those of networks; for two equal samples it is about 1 − 2⁻⁵, not 1.",
    ),
)
