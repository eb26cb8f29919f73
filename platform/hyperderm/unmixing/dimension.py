"""How many endmembers a scene has: HySime, from its noise, and the knee of the reconstruction error."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hyperderm.errors import ConfigError
from hyperderm.unmixing.pixels import Spectra, finite_pixels

RIDGE = 1e-12
"""Added to the correlation of bands, in units of its mean power, so that it can be inverted without noise."""
QUIET = 1e-10
"""Noise power that is assumed at least, in units of the mean power of a band: rounding to 16 bits makes more."""
FEWEST_POINTS = 3


@dataclass(frozen=True, eq=False)
class SignalSubspace:
    """What HySime found.

    Attributes:
        count: dimension of the signal's subspace, which is the number of endmembers of a linear mixture.
        costs: (B,) change of the mean squared error by each direction, ascending; the negative ones are signal.
        noise: (B,) standard deviation of the noise in each band, in the units of the pixels.
    """

    count: int
    costs: NDArray[np.float64]
    noise: NDArray[np.float64]


def hysime(pixels: ArrayLike) -> SignalSubspace:
    """Return the dimension of the signal's subspace (Bioucas-Dias & Nascimento, IEEE TGRS 46(8), 2008).

    Directions are the eigenvectors of the signal's correlation. One is kept if the pixels' power along it is more than
    twice the noise's, because then leaving it out costs more than its noise. Noise that is alike in neighbouring bands
    (not independent), or mixing that is not linear, gives a larger number: on real scenes it is an upper guess. Samson,
    which has 3 endmembers, gets 71.

    Args:
        pixels: (N, B); pixels with NaN or infinite bands are left out.

    Raises:
        ConfigError: fewer than 2 bands, or not more usable pixels than bands.
    """
    spectra = finite_pixels(pixels).spectra
    number, bands = spectra.shape
    if bands < 2 or number <= bands:
        what = f"HySime: {number} usable pixels of {bands} {'band' if bands == 1 else 'bands'}"
        raise ConfigError(what, "Give at least 2 bands and more pixels than bands, or a number to --endmembers.")
    noise = regression_noise(spectra)
    signal = spectra - noise
    directions = np.linalg.eigh(signal.T @ signal)[1]
    quiet = QUIET * np.square(spectra).mean()
    power = np.square(spectra @ directions).mean(0)
    noise_power = np.square(noise @ directions).mean(0) + quiet
    costs = np.sort(2 * noise_power - power)
    return SignalSubspace(int((costs < 0).sum()), costs, np.sqrt(np.square(noise).mean(0)))


def regression_noise(spectra: Spectra) -> Spectra:
    """Return the noise (n, B): what the least-squares regression of each band on all the others leaves.

    It is a little too large, by about R / (2 B) for white noise and R endmembers, because the other bands are noisy too.

    With the inverse P of the bands' correlation, the residual of band i is (P y)_i / P_ii: all regressions at once.
    """
    correlation = spectra.T @ spectra
    bands = len(correlation)
    precision = np.linalg.inv(correlation + RIDGE * np.trace(correlation) / bands * np.eye(bands))
    return spectra @ precision / np.diag(precision)


def knee(errors: Mapping[int, float]) -> int:
    """Return the number of endmembers at the knee of the reconstruction error.

    The curve is drawn in a unit square; its knee lies farthest below the chord from the first point to the last. An error
    that does not fall has its knee at the smallest number.

    Args:
        errors: number of endmembers to error (any unit), at least three.

    Raises:
        ConfigError: fewer than three numbers, or an error that is not finite.
    """
    counts = sorted(errors)
    values = np.array([errors[count] for count in counts], dtype=np.float64)
    if len(counts) < FEWEST_POINTS or not np.isfinite(values).all():
        told = ", ".join(f"{count}: {errors[count]:.3g}" for count in counts)
        what = f"no knee in the errors of {len(counts)} numbers of endmembers ({told})"
        raise ConfigError(what, f"Measure at least {FEWEST_POINTS} numbers with finite errors.")
    if values[0] <= values[-1]:
        return counts[0]
    across = (np.array(counts) - counts[0]) / (counts[-1] - counts[0])
    height = (values - values[-1]) / (values[0] - values[-1])
    return counts[int((1 - across - height).argmax())]
