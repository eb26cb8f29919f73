"""The classical ways to unmix a scene: endmembers by geometry, then abundances by fully constrained least squares."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hyperderm.errors import ConfigError, nearest
from hyperderm.unmixing.fcls import fcls
from hyperderm.unmixing.nfindr import nfindr
from hyperderm.unmixing.pixels import Spectra, checked
from hyperderm.unmixing.sisal import sisal
from hyperderm.unmixing.vca import vca

METHODS = ("vca", "nfindr", "sisal")


@dataclass(frozen=True, eq=False)
class Unmixed:
    """A scene as mixtures of endmembers.

    Attributes:
        endmembers: (R, B) in the units of the pixels.
        abundances: (N, R) not negative, with sum 1; NaN for masked pixels.
        rmse: root mean square over usable pixels and bands of what the mixtures do not explain, in the units of the pixels.
        method: "vca", "nfindr" or "sisal".
        masked: number of pixels that were left out because a band is NaN or infinite.
    """

    endmembers: Spectra
    abundances: NDArray[np.float64]
    rmse: float
    method: str
    masked: int


def unmix(pixels: ArrayLike, method: str, count: int, seed: int) -> Unmixed:
    """Find endmembers by a classical method and abundances by fully constrained least squares.

    Args:
        pixels: (N, B) any unit; of unit length (`unit_length`) if brightness is not to count.
        method: one of `METHODS`.
        count: R, the number of endmembers, 2 to B.
        seed: of the random directions or first vertices; the same seed gives the same result.

    Raises:
        ConfigError: an unknown method, or pixels that cannot be unmixed into R endmembers (see `checked`).
    """
    if method not in METHODS:
        raise ConfigError(f"unmixing method {method!r} is unknown", nearest(method, METHODS))
    found = checked(pixels, count)
    endmembers = _endmembers(found.spectra, method, count, np.random.default_rng(seed))
    abundances = fcls(found.spectra, endmembers)
    rmse = reconstruction_rmse(found.spectra, endmembers, abundances)
    return Unmixed(endmembers, found.of_scene(abundances), rmse, method, found.masked)


def reconstruction_rmse(spectra: Spectra, endmembers: Spectra, abundances: NDArray[np.float64]) -> float:
    """Return the root mean square over pixels (n, B) and bands of what the mixtures do not explain."""
    return float(np.sqrt(np.square(spectra - abundances @ endmembers).mean()))


def reconstruction_errors(pixels: ArrayLike, method: str, counts: Iterable[int], seed: int) -> dict[int, float]:
    """Return the RMSE of unmixing into each number of endmembers, for `dimension.knee`; raises as `unmix` does."""
    return {count: unmix(pixels, method, count, seed).rmse for count in counts}


def _endmembers(spectra: Spectra, method: str, count: int, rng: np.random.Generator) -> Spectra:
    if method == "vca":
        return vca(spectra, count, rng)[0]
    if method == "nfindr":
        return nfindr(spectra, count, rng)[0]
    return sisal(spectra, count, rng).endmembers
