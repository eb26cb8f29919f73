"""The ways to make cubes from real ones, row by row; cubes are (n, C, H, W) in the values that learners see."""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch import Tensor

FLAT = 1e-6
"""A standard deviation of rounding errors: train's range of a band is 2 wide, in float32."""


def blur_matrix(size: int, blur: float) -> Tensor:
    """Return the matrix (size, size) float32 that blurs a line of pixels by a Gaussian, with reflecting borders.

    Args:
        size: number of pixels.
        blur: standard deviation in pixels; 0 gives the identity. The Gaussian is cut off at four of them.
    """
    found: NDArray[np.float64] = gaussian_filter(np.eye(size), (blur, 0.0), mode="reflect")
    return torch.from_numpy(found).float()


def blurred(cubes: Tensor, matrix: Tensor) -> Tensor:
    """Return cubes that are blurred along both axes of their images by a `blur_matrix` (H, H), H = W."""
    return matrix @ cubes @ matrix.T


def mixed(a: Tensor, b: Tensor, share: Tensor) -> Tensor:
    """Return λa + (1 − λ)b (Zhang et al., ICLR 2018); the share λ is (n, 1, 1, 1)."""
    return share * a + (1 - share) * b


def restyled(a: Tensor, b: Tensor, share: Tensor) -> Tensor:
    """Return the cubes `a` with means and standard deviations between their own and those of `b`, channel by channel.

    The mean of each channel over the pixels of a cube becomes λμ(a) + (1 − λ)μ(b), its standard deviation
    λσ(a) + (1 − λ)σ(b) (MixStyle, equations 1 to 3: Zhou et al., ICLR 2021). In other units that are affine maps of these,
    channel by channel, the result would be the same.

    Args:
        a: the cubes that give the spatial structure; a channel whose standard deviation is below `FLAT` has none, and
            becomes constant.
        b: the cubes that give the other statistics.
        share: λ, (n, 1, 1, 1).
    """
    mean_a, mean_b = (cubes.mean((2, 3), keepdim=True) for cubes in (a, b))
    spread_a, spread_b = (cubes.std((2, 3), keepdim=True, correction=0) for cubes in (a, b))
    gain = torch.where(spread_a > FLAT, mixed(spread_a, spread_b, share) / spread_a.clamp_min(FLAT), 0.0)
    return gain * (a - mean_a) + mixed(mean_a, mean_b, share)


def towards(a: Tensor, b: Tensor, share: Tensor, axes: Tensor) -> Tensor:
    """Return a + u P(b − a), where P is the projection on orthonormal axes (D, C H W).

    Args:
        a: the cubes from which the way begins; what lies outside the span of the axes stays theirs.
        b: the cubes towards which it goes.
        share: u, (n, 1, 1, 1).
        axes: the axes.
    """
    way = ((b - a).flatten(1) @ axes.T) @ axes
    return a + share * way.view_as(a)


def flipped(cubes: Tensor, sides: Tensor) -> Tensor:
    """Return each cube flipped horizontally where `sides` (n, 2) bool says so first, vertically where it says so next."""
    across, along = sides[:, :, None, None, None].unbind(1)
    cubes = torch.where(across, cubes.flip(-1), cubes)
    return torch.where(along, cubes.flip(-2), cubes)
