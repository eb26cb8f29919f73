"""Give synthetic cubes the first two moments of train, or the power of its fine detail, band by band.

Generated cubes often betray themselves by their colour cast, their contrast, or by missing or added sensor noise. If only
melanomas are synthetic, each such mark is a sign of melanoma (METHODS section 11). Both functions compare a whole set with a
whole set, so that cubes keep their differences from each other.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Cubes = NDArray[np.float32]

FINE = 0.25
"""Spatial frequency in cycles per pixel from which on detail counts as fine: structures of less than four pixels."""
SILENT = 1e-12
"""Power (reflectance squared) below which a band has no detail that could be scaled."""


def with_moments(made: Cubes, real: Cubes) -> Cubes:
    """Return `made` with mean and standard deviation of `real` in every band, over all pixels of all cubes.

    A band that is constant in `made` gets the mean alone.

    Args:
        made: (N, B, H, W) reflectance of the cubes to be changed.
        real: (M, B, H, W) reflectance of the cubes whose moments they get.

    Returns:
        (N, B, H, W) reflectance, not clipped.
    """
    axes = (0, 2, 3)
    mean, target = (each.mean(axes, dtype=np.float64)[:, None, None] for each in (made, real))
    spread, wanted = (each.std(axes, dtype=np.float64)[:, None, None] for each in (made, real))
    gain = np.divide(wanted, spread, out=np.ones_like(spread), where=spread > 0)
    return ((made - mean) * gain + target).astype(np.float32)


def with_noise(made: Cubes, real: Cubes, seed: int, indices: Sequence[int]) -> Cubes:
    """Return `made` with the mean power of fine detail of `real`, in every band and at every frequency from `FINE` on.

    Power that `made` has too much of is filtered out: its Fourier coefficients are multiplied by the root of the ratio.
    Power that it lacks is added as Gaussian noise that is independent between bands and cubes, since nothing in a cube tells
    where its missing detail should be. Coarser detail stays as it is.

    Args:
        made: (N, B, S, S) reflectance of the cubes to be changed.
        real: (M, B, S, S) reflectance of the cubes whose power of detail they get.
        seed: seed of the noise.
        indices: (N,) the numbers of the cubes in their set; the noise of a cube depends on its number, not on its place.

    Returns:
        (N, B, S, S) reflectance, not clipped.
    """
    size = made.shape[-1]
    rings = _rings(size)
    fine = rings >= FINE * size
    have, want = (_power(each, rings) for each in (made, real))  # (B, rings)
    loud = have > SILENT
    gain = np.sqrt(np.where(loud, np.minimum(want / np.where(loud, have, 1.0), 1.0), 1.0))
    lack = np.sqrt(np.maximum(want - have, 0.0))
    gains = np.where(fine, gain[:, rings], 1.0)  # (B, S, S/2 + 1)
    lacks = np.where(fine, lack[:, rings], 0.0)
    found = np.empty_like(made)
    for row, index in enumerate(indices):
        noise = np.random.default_rng([seed, int(index)]).standard_normal(made.shape[1:])
        seen = np.fft.rfft2(made[row].astype(np.float64)) * gains + np.fft.rfft2(noise) / size * lacks
        found[row] = np.fft.irfft2(seen, s=(size, size))
    return found


def _rings(size: int) -> NDArray[np.intp]:
    """Return the radial frequency of each coefficient of `rfft2`, in whole cycles per image, (S, S/2 + 1)."""
    across, down = np.fft.rfftfreq(size), np.fft.fftfreq(size)
    return np.rint(np.hypot(down[:, None], across[None]) * size).astype(np.intp)


def _power(cubes: Cubes, rings: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return the mean squared coefficient (B, rings) of a set at each radial frequency."""
    size, bands, count = cubes.shape[-1], cubes.shape[1], int(rings.max()) + 1
    twice = np.full(rings.shape, 2.0)  # rfft2 holds one of each pair of conjugates
    twice[:, 0] = 1.0
    if size % 2 == 0:
        twice[:, -1] = 1.0
    total = np.zeros((bands, count))
    for cube in cubes:
        squares = np.abs(np.fft.rfft2(cube.astype(np.float64))) ** 2 * twice
        total += np.stack([np.bincount(rings.ravel(), band.ravel(), count) for band in squares])
    return total / (np.bincount(rings.ravel(), twice.ravel(), count) * len(cubes))
