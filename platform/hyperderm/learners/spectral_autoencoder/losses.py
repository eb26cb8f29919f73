"""The terms of the spectral autoencoder's loss: mean squared error, spectral angle, and difference of gradients."""

import torch
from torch import Tensor

SHORTEST = 1e-6
"""Length that a spectrum is taken to have at least, so that a zero spectrum has an angle and a gradient."""


def mean_squared_error(rebuilt: Tensor, spectra: Tensor) -> Tensor:
    """Return the mean over pixels and bands of the squared difference of spectra (N, B), a scalar."""
    _same_shape(rebuilt, spectra)
    return (rebuilt - spectra).square().mean()


def spectral_angle(rebuilt: Tensor, spectra: Tensor) -> Tensor:
    """Return the mean spectral angle (rad, 0 to π) of pairs of spectra (N, B), a scalar.

    The angle of unit vectors u and v is 2 atan2(‖u − v‖, ‖u + v‖) (Kahan 2006). Unlike arccos(u·v), whose slope is infinite
    at parallel spectra, it is exact for small angles, and its gradient is finite everywhere: 0 for parallel and for opposite
    spectra. A zero spectrum has the angle π/2 to any other spectrum and 0 to another zero spectrum, with a finite gradient.
    """
    _same_shape(rebuilt, spectra)
    u, v = _unit(rebuilt), _unit(spectra)
    return (2 * torch.atan2(_length(u - v), _length(u + v))).mean()


def gradient_difference(rebuilt: Tensor, spectra: Tensor) -> Tensor:
    """Return the mean squared difference between the first differences along the bands of spectra (N, B), a scalar.

    It is per band step, whatever the distance of the bands in nm. Spectra need at least two bands.
    """
    _same_shape(rebuilt, spectra)
    return (rebuilt - spectra).diff(dim=1).square().mean()


def loss_terms(rebuilt: Tensor, spectra: Tensor, origin: float = 0.0) -> dict[str, Tensor]:
    """Return every term by name: `mse`, `angle` (rad) and `gradient`, not weighted.

    Args:
        rebuilt: (N, B) normalised reconstructions.
        spectra: (N, B) normalised spectra.
        origin: the normalised value of a reflectance of 0 (`Normalisation.origin`). The angle is taken between spectra as
            seen from there, so that it is that of reflectance; the other terms do not depend on it.

    Raises:
        ValueError: the shapes differ; broadcasting would compare one spectrum with several.
    """
    return {
        "mse": mean_squared_error(rebuilt, spectra),
        "angle": spectral_angle(rebuilt - origin, spectra - origin),
        "gradient": gradient_difference(rebuilt, spectra),
    }


def _unit(spectra: Tensor) -> Tensor:
    return spectra / _length(spectra).clamp_min(SHORTEST)


def _length(spectra: Tensor) -> Tensor:
    """Return the lengths (N, 1); the gradient of a zero spectrum is zero instead of NaN."""
    return torch.linalg.vector_norm(spectra, dim=1, keepdim=True)


def _same_shape(rebuilt: Tensor, spectra: Tensor) -> None:
    if rebuilt.shape != spectra.shape:
        raise ValueError(f"{tuple(rebuilt.shape)} is compared with {tuple(spectra.shape)}")
