"""All pairs of two sets of features, computed once, so that metrics of many samples of them cost little.

An interval needs a metric of some hundred samples of the same cubes. Computed anew from features of 2048 dimensions, each
costs a product of large matrices; here it only reads a part of the matrix of inner products, which holds all that a Fréchet
distance, a kernel distance, an energy distance and the four metrics of neighbours depend on. The values are those of
`distribution`, `spectra` and `manifold`.
"""

import numpy as np
from numpy.typing import NDArray

from hyperderm.errors import StoreError
from hyperderm.metrics.distribution import Features, checked
from hyperderm.metrics.manifold import NEIGHBOUR, NEIGHBOUR_COVERAGE, Manifold
from hyperderm.metrics.subsampling import Rows

Matrix = NDArray[np.float64]
MOST = 6000
"""Largest number of cubes of both sets together: a matrix of them takes 288 MB, and there is one."""


class PairMatrices:
    """The inner products of the features of two sets, the second of them usually the real one.

    Args:
        f: (n, d) features.
        g: (m, d) features; None: the same set twice, for samples of one set.

    Raises:
        StoreError: there are more than `MOST` rows; or see `distribution.checked`.
        CubeError: a feature is NaN or infinite.
    """

    def __init__(self, f: Features, g: Features | None = None) -> None:
        checked(f, f if g is None else g, 2)
        both = (f if g is None else np.concatenate([f, g])).astype(np.float64)
        if len(both) > MOST:
            raise StoreError(f"{len(both)} cubes are too many for matrices of all pairs", f"Draw {MOST} of them.")
        self._second = 0 if g is None else len(f)
        self.dimension = f.shape[1]
        mean = both.mean(0)
        both -= mean  # distances and covariances lose fewer digits
        self._centred: Matrix = both @ both.T
        self._squares: Matrix = np.diag(self._centred).copy()
        self._along: Matrix = both @ mean + mean @ mean / 2  # of two rows: what the inner product of the rows has more

    def frechet(self, x: Rows, y: Rows) -> float:
        """Return `distribution.frechet_distance` of rows x of f and y of g."""
        y = y + self._second
        within_x, within_y, between = (_centred(self._centred[np.ix_(a, b)]) for a, b in ((x, x), (y, y), (x, y)))
        spread = np.trace(within_x) / (len(x) - 1) + np.trace(within_y) / (len(y) - 1)
        roots = np.linalg.norm(between, "nuc") / np.sqrt((len(x) - 1) * (len(y) - 1))
        return max(0.0, float(self._shift(x, y) + spread - 2 * roots))

    def _shift(self, x: Rows, y: Rows) -> float:
        """Return the squared distance of the means."""
        a, b, c = (self._centred[np.ix_(p, q)].mean() for p, q in ((x, x), (y, y), (x, y)))
        return float(a + b - 2 * c)

    def _product(self, p: Rows, q: Rows) -> Matrix:
        """Return the inner products of rows, not centred."""
        return self._centred[np.ix_(p, q)] + self._along[p][:, None] + self._along[q]

    def _square(self, p: Rows, q: Rows) -> Matrix:
        """Return the squared distances of rows."""
        found = -2 * self._centred[np.ix_(p, q)]
        found += self._squares[p][:, None] + self._squares[q]
        return np.maximum(found, 0, out=found)

    def kernel(self, x: Rows, y: Rows) -> float:
        """Return `distribution.kernel_distance` of rows x of f and y of g."""
        y = y + self._second
        a, b, c = ((self._product(p, q) / self.dimension + 1) ** 3 for p, q in ((x, x), (y, y), (x, y)))
        return float(_off_diagonal(a) + _off_diagonal(b) - 2 * c.mean())

    def energy(self, x: Rows, y: Rows) -> float:
        """Return `spectra.energy_distance` of rows x of f and y of g."""
        y = y + self._second
        a, b, c = (np.sqrt(self._square(p, q)) for p, q in ((x, x), (y, y), (x, y)))
        for within in (a, b):
            np.fill_diagonal(within, 0.0)  # rounding leaves a small distance of a row to itself
        return float((2 * c.mean() - _off_diagonal(a) - _off_diagonal(b)) / np.sqrt(self.dimension))

    def manifold(self, x: Rows, y: Rows) -> Manifold:
        """Return `manifold.manifold` of the real rows y of g and the synthetic rows x of f.

        Raises:
            StoreError: one of both has no `NEIGHBOUR_COVERAGE`-th neighbour.
        """
        least = max(NEIGHBOUR, NEIGHBOUR_COVERAGE) + 1
        if min(len(x), len(y)) < least:
            raise StoreError(f"{min(len(x), len(y))} cubes have no neighbour number {least - 1}", f"Use {least} or more.")
        y = y + self._second
        of_real, of_made = (_sorted_distances(self._square(rows, rows)) for rows in (y, x))
        between = self._square(y, x)  # real, synthetic
        inside = between <= of_real[:, NEIGHBOUR_COVERAGE - 1][:, None]
        return Manifold(
            float((between <= of_real[:, NEIGHBOUR - 1][:, None]).any(0).mean()),
            float((between <= of_made[:, NEIGHBOUR - 1]).any(1).mean()),
            float(inside.sum() / (NEIGHBOUR_COVERAGE * len(x))),
            float(inside.any(1).mean()),
        )


def _centred(product: Matrix) -> Matrix:
    """Return inner products after the means of both samples are subtracted."""
    return product - product.mean(0) - product.mean(1)[:, None] + product.mean()


def _off_diagonal(matrix: Matrix) -> float:
    n = len(matrix)
    return float((matrix.sum() - np.trace(matrix)) / (n * (n - 1)))


def _sorted_distances(square: Matrix) -> Matrix:
    """Return the squared distances of each row to its nearest other rows, ascending, as many as a metric may ask for."""
    np.fill_diagonal(square, np.inf)
    return np.sort(np.partition(square, NEIGHBOUR_COVERAGE - 1, axis=1)[:, :NEIGHBOUR_COVERAGE], axis=1)
