"""The terms of the unmixing net's loss. Pixels are the last axes but the second, as in cubes (N, B, H, W)."""

import torch
from torch import Tensor

CHARBONNIER = 1e-3


def charbonnier(mixed: Tensor, real: Tensor) -> Tensor:
    """Return √((mixed − real)² + ε²) with ε = 1e-3, the mean over the bands: (N, B, H, W) -> (N, H, W)."""
    return ((mixed - real).square() + CHARBONNIER**2).sqrt().mean(1)


def angle(mixed: Tensor, real: Tensor) -> Tensor:
    """Return the spectral angle (rad) of each pixel: (N, B, H, W) -> (N, H, W).

    By 2 atan2(‖u − v‖, ‖u + v‖) of the unit vectors u and v, whose gradient is finite where the angle is not 0; there, and
    for a pixel of zeros, a tiny number under the root keeps it finite.
    """
    tiny = torch.finfo(real.dtype).eps ** 2
    u, v = (x / (x.square().sum(1, keepdim=True) + tiny).sqrt() for x in (mixed, real))
    apart, along = (((u + sign * v).square().sum(1) + tiny).sqrt() for sign in (-1, 1))
    return 2 * torch.atan2(apart, along)


def total_variation(endmembers: Tensor) -> Tensor:
    """Return the mean absolute difference of neighbouring bands of endmembers (R, B); 0 for a single band."""
    if endmembers.shape[1] < 2:
        return endmembers.new_zeros(())
    return endmembers.diff(dim=1).abs().mean()


def half_norm(abundances: Tensor) -> Tensor:
    """Return Σ √a over endmembers of each pixel: (N, R, H, W) -> (N, H, W), from 1 (one endmember) to √R (all alike)."""
    return (abundances + 1e-8).sqrt().sum(1)
