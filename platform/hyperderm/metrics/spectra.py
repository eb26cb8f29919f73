"""Metrics of spectra: the spectral angle, the largest relative error, and the spectral energy distance of two sets."""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from torch import Tensor


def spectral_angle(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return the angle (radians) between two spectra (B,); NaN-free: a zero spectrum is at π/2 to everything."""
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    if norm == 0.0:
        return float(np.pi / 2)
    return float(np.arccos(np.clip(np.dot(a, b) / norm, -1.0, 1.0)))


def largest_relative_error(real: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Return max over bands of |other − real| / |real| between two mean spectra (B,)."""
    return float(np.max(np.abs(other - real) / np.maximum(np.abs(real), 1e-6)))


MEAN_FLOOR, SPREAD_FLOOR, ENERGY_FLOOR = 1e-3, 1e-4, 1e-8
"""Below these reflectances a feature's logarithm is cut: far under any real cube's, so only broken cubes meet them."""
SCALE_FLOOR = 0.01
"""A feature that differs by less than 1 % between train cubes (a dead band) counts in units of 1 %, not of nothing."""
AT_ONCE = 32
"""Cubes whose features are taken together on a CPU."""


def cube_features(reflectance: Tensor) -> NDArray[np.float64]:
    """Return log of per-band mean, standard deviation and gradient energy: (N, B, H, W) -> (N, 3 B).

    Gradient energy is the mean squared forward difference in x plus that in y. Cubes in RAM are taken `AT_ONCE` at a time,
    which changes no bit: all of a train role in float64, with its differences, would be six times the role.
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
    """Return the unbiased energy distance 2 E|X−Y| − E|X−X'| − E|Y−Y'| over the square root of the dimension.

    U-statistics: pairs of a cube with itself are left out, so two samples of one distribution score 0 on average and may
    come out slightly negative (Székely & Rizzo 2013, eq. 5, with the unbiased within-terms).

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
    """Centre and scale of train's features; every set is measured in these units."""

    def __init__(self, train: NDArray[np.float64]) -> None:
        self.centre = train.mean(0)
        self.scale = np.maximum(train.std(0), SCALE_FLOOR)

    def __call__(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return (features − centre) / scale."""
        return (features - self.centre) / self.scale
