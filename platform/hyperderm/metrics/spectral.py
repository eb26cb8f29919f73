"""Spectral metrics as functions of arrays."""

import numpy as np
from numpy.typing import NDArray


def spectral_angle(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return the angle (radians) between two spectra (B,); NaN-free: a zero spectrum is at π/2 to everything."""
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    if norm == 0.0:
        return float(np.pi / 2)
    return float(np.arccos(np.clip(np.dot(a, b) / norm, -1.0, 1.0)))


def largest_relative_error(real: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Return max over bands of |other − real| / |real| between two mean spectra (B,)."""
    return float(np.max(np.abs(other - real) / np.maximum(np.abs(real), 1e-6)))
