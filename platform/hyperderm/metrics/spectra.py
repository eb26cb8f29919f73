"""Metrics of spectra: the spectral angle, the largest relative error, and the spectral energy distance of two sets."""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from torch import Tensor


def spectral_angle(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return the angle (radians) between two spectra (B,); a zero spectrum has the angle π/2 to every other, never NaN."""
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    if norm == 0.0:
        return float(np.pi / 2)
    return float(np.arccos(np.clip(np.dot(a, b) / norm, -1.0, 1.0)))


def mean_angle(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Return the mean angle (radians) between pairs of spectra (n, B); a zero spectrum has π/2 to every other."""
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    lengths = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
    cosine = np.divide((x * y).sum(1), lengths, out=np.zeros(len(x)), where=lengths > 0)
    return float(np.arccos(np.clip(cosine, -1, 1)).mean())


def largest_relative_error(real: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Return the maximum over bands of |other − real| / |real| for two mean spectra (B,)."""
    return float(np.max(np.abs(other - real) / np.maximum(np.abs(real), 1e-6)))


MEAN_FLOOR, SPREAD_FLOOR, ENERGY_FLOOR = 1e-3, 1e-4, 1e-8
"""Lower limits of mean, standard deviation and gradient energy before the logarithm. They are far below the values of any
real cube, so they only affect broken cubes."""
SCALE_FLOOR = 0.01
"""Smallest scale of a feature. A feature that varies by less than 1 % between train cubes (a dead band) is measured in units
of 1 % instead of nearly zero."""
AT_ONCE = 32
"""Number of cubes whose features are computed together on a CPU."""


def cube_features(reflectance: Tensor) -> NDArray[np.float64]:
    """Return the logarithms of mean, standard deviation and gradient energy of each band: (N, B, H, W) -> (N, 3 B).

    Gradient energy is the mean squared forward difference in x plus that in y. Cubes in RAM are processed `AT_ONCE` at a
    time, which does not change the result: a whole train role in float64, with its differences, would need six times the
    memory of the role.
    """
    if reflectance.device.type == "cpu" and len(reflectance) > AT_ONCE:
        return np.concatenate([_features(part) for part in reflectance.split(AT_ONCE)])
    return _features(reflectance)


def _features(reflectance: Tensor) -> NDArray[np.float64]:
    x = reflectance.double()
    mean = x.mean((2, 3))
    spread = x.std((2, 3), correction=0)
    energy = x.diff(dim=2).square().mean((2, 3)) + x.diff(dim=3).square().mean((2, 3))
    parts = [mean.clamp_min(MEAN_FLOOR), spread.clamp_min(SPREAD_FLOOR), energy.clamp_min(ENERGY_FLOOR)]
    return torch.cat([part.log() for part in parts], 1).cpu().numpy()


def energy_distance(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Return the unbiased energy distance 2 E|X−Y| − E|X−X'| − E|Y−Y'|, divided by the square root of the dimension.

    The terms within a set are U-statistics: pairs of a cube with itself are left out. So two samples of one distribution
    have distance 0 on average, and it may be slightly negative (Székely & Rizzo 2013, eq. 5, with unbiased within-terms).

    Args:
        x: (n, d) features, n >= 2.
        y: (m, d) features, m >= 2.
    """
    between = cdist(x, y).mean()
    return float((2.0 * between - _within(x) - _within(y)) / np.sqrt(x.shape[1]))


def _within(x: NDArray[np.float64]) -> float:
    n = len(x)
    return float(cdist(x, x).sum() / (n * (n - 1)))


class Standardiser:
    """Centre and scale of train's features, by which the features of every set are standardised."""

    def __init__(self, train: NDArray[np.float64]) -> None:
        self.centre = train.mean(0)
        self.scale = np.maximum(train.std(0), SCALE_FLOOR)

    def __call__(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return (features − centre) / scale."""
        return (features - self.centre) / self.scale
