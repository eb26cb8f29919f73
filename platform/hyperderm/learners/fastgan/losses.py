"""How FastGAN's discriminator rebuilds real cubes: the spectral angle, and the mean absolute difference."""

import torch
from torch import Tensor


def spectral_angle(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean angle between the spectra of two groups of cubes, pixel by pixel, in radians: 0 … π.

    It is 2 asin(‖â − b̂‖ / 2) with unit vectors â and b̂, which has a finite gradient where the spectra agree; the inverse
    cosine has none there. A constant of 1e-12 under the roots keeps black pixels finite.

    Args:
        a: (N, B, H, W) reflectance.
        b: (N, B, H, W) reflectance.
    """
    unit = [x / (x.square().sum(1, keepdim=True) + 1e-12).sqrt() for x in (a, b)]
    chord = ((unit[0] - unit[1]).square().sum(1) + 1e-12).sqrt()
    return 2 * torch.asin((chord / 2).clamp(max=1 - 1e-6)).mean()


def absolute_difference(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean absolute difference of two groups of cubes (N, B, H, W)."""
    return (a - b).abs().mean()
