"""Numbers of values that come piece by piece, in memory that does not grow with them: moments, and exact quantiles."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_HALF = 1 << 16
_SIGN = np.uint32(1 << 31)


@dataclass(frozen=True, eq=False)
class Moments:
    """Mean and spread of spectra.

    Attributes:
        count: the number of spectra.
        mean: (B,); NaN if there are none.
        sd: (B,) standard deviation between the spectra (n − 1 in the denominator); NaN for fewer than two.
    """

    count: int
    mean: NDArray[np.float64]
    sd: NDArray[np.float64]


class RunningMoments:
    """Mean and standard deviation of spectra (B,) that are added one by one (Welford 1962)."""

    def __init__(self, bands: int) -> None:
        self._count, self._mean, self._squares = 0, np.zeros(bands), np.zeros(bands)

    def add(self, spectrum: NDArray[np.floating]) -> None:
        """Add one spectrum (B,)."""
        self._count += 1
        away = spectrum - self._mean
        self._mean = self._mean + away / self._count
        self._squares = self._squares + away * (spectrum - self._mean)

    def found(self) -> Moments:
        """Return the moments of everything that was added."""
        none = np.full(len(self._mean), np.nan)
        sd = np.sqrt(self._squares / (self._count - 1)) if self._count > 1 else none
        return Moments(self._count, self._mean if self._count else none, sd)


class ExactQuantiles:
    """Exact quantiles of each band of float32 values, from two readings of the same values.

    The first reading (`count`) counts the values by the upper half of their bits, which sort as the values do. The second
    one (`refine`) counts the lower half of the bits of the few values that share their upper half with a wanted one. So the
    memory is 0.5 MB a band and 0.5 MB for each value that is looked for, whatever the number of values.

    Args:
        bands: number of bands B.
        shares: the quantiles, each in [0, 1].
    """

    def __init__(self, bands: int, shares: Sequence[float]) -> None:
        self._shares = tuple(shares)
        self._upper = np.zeros((bands, _HALF), dtype=np.int64)
        self._lower: list[dict[int, NDArray[np.int64]]] | None = None

    def count(self, values: NDArray[np.float32]) -> None:
        """Count values (N, B) of the first reading; NaN and infinite ones do not count."""
        for band, keys in enumerate(map(_keys, values.T)):
            self._upper[band] += np.bincount(keys >> 16, minlength=_HALF)

    def refine(self, values: NDArray[np.float32]) -> None:
        """Count values (N, B) of the second reading, which brings the same values in any order."""
        if self._lower is None:
            self._lower = [
                {int(half): np.zeros(_HALF, np.int64) for half in self._halves(b)} for b in range(len(self._upper))
            ]
        for wanted, column in zip(self._lower, values.T, strict=True):
            keys = _keys(column)
            upper = keys >> 16
            for half, counts in wanted.items():
                counts += np.bincount(keys[upper == half] & (_HALF - 1), minlength=_HALF)

    @property
    def counted(self) -> NDArray[np.int64]:
        """The number of finite values of each band, (B,)."""
        return np.asarray(self._upper.sum(1))

    def found(self) -> NDArray[np.float64]:
        """Return the quantiles (B, number of shares) as `numpy.quantile` interpolates; NaN for a band without values."""
        made = np.full((len(self._upper), len(self._shares)), np.nan)
        for band, count in enumerate(self.counted):
            for k, share in enumerate(self._shares if count else ()):
                place = share * (count - 1)
                low, high = (self._value(band, int(rank)) for rank in (np.floor(place), np.ceil(place)))
                made[band, k] = low + (high - low) * (place % 1)
        return made

    def _halves(self, band: int) -> NDArray[np.int64]:
        """Return the upper halves under which the wanted values of a band lie."""
        ends = np.cumsum(self._upper[band])
        places = np.array(self._shares) * (ends[-1] - 1)
        ranks = np.unique([np.floor(places), np.ceil(places)]) if ends[-1] else np.zeros(0)
        return np.unique(np.searchsorted(ends, ranks, side="right"))

    def _value(self, band: int, rank: int) -> float:
        """Return the value of this rank, 0 for the smallest."""
        assert self._lower is not None, "refine was not called"
        ends = np.cumsum(self._upper[band])
        half = int(np.searchsorted(ends, rank, side="right"))
        before = int(ends[half - 1]) if half else 0
        low = int(np.searchsorted(np.cumsum(self._lower[band][half]), rank - before, side="right"))
        key = np.uint32(half * _HALF + low)
        bits = key ^ _SIGN if key & _SIGN else ~key
        return float(np.array([bits], np.uint32).view(np.float32)[0])


def _keys(column: NDArray[np.float32]) -> NDArray[np.uint32]:
    """Return for each finite value a whole number that sorts as the value does; −0 counts as 0."""
    known = np.ascontiguousarray(column[np.isfinite(column)], dtype=np.float32) + np.float32(0)
    bits = known.view(np.uint32)
    return np.where(bits & _SIGN, ~bits, bits | _SIGN)
