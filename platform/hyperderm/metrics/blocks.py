"""What metrics of single cubes and of pairs of cubes share: checks of the cubes, and passage in blocks of bounded memory."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hyperderm.errors import CubeError

Values = NDArray[np.float64]
AT_ONCE = 2**18
"""Number of values of each cube tensor that are processed together: 2 MiB in float64, 4 bands of 256 x 256. With
more, what is made of them leaves the processor's cache, and SSIM takes twice the time."""


def band_values(function: Callable[..., Tensor], *cubes: Tensor, least: int = 1) -> Values:
    """Apply a function of single-band images to every band of every cube.

    Args:
        function: takes one tensor (P, H, W) float64 for each of `cubes`, the same bands of each, and returns (P,).
        cubes: one or more tensors (N, B, H, W) of one shape, of any number type.
        least: the smallest height and width that the function accepts.

    Returns:
        (N, B).

    Raises:
        CubeError: see `check`; or a value is not finite.
    """
    check(*cubes, least=least)
    count, bands, height, width = cubes[0].shape
    planes = max(1, AT_ONCE // (height * width))
    together, step = max(1, planes // bands), min(planes, bands)
    found = np.empty((count, bands))
    for i in range(0, count, together):
        for b in range(0, bands, step):
            blocks = [x[i : i + together, b : b + step].double() for x in cubes]
            _check_finite(blocks, i)
            values = function(*(block.reshape(-1, height, width) for block in blocks))
            found[i : i + together, b : b + step] = values.reshape(blocks[0].shape[:2]).cpu().numpy()
    return found


def cube_values(function: Callable[..., Tensor], *cubes: Tensor, least: int = 1) -> Values:
    """Apply a function of whole cubes: like `band_values`, but it takes (n, B, H, W) float64 and returns (n,).

    Returns:
        (N,).

    Raises:
        CubeError: see `check`; or a value is not finite.
    """
    check(*cubes, least=least)
    found = np.empty(len(cubes[0]))
    step = max(1, AT_ONCE // cubes[0].shape[1:].numel())
    for i in range(0, len(found), step):
        blocks = [x[i : i + step].double() for x in cubes]
        _check_finite(blocks, i)
        found[i : i + step] = function(*blocks).cpu().numpy()
    return found


def check(*cubes: Tensor, least: int = 1) -> None:
    """Check that all tensors have one shape (N, B, H, W) with B, H, W above 0.

    Raises:
        CubeError: the shapes differ or are not (N, B, H, W), or an image is smaller than `least` pixels.
    """
    shapes = [tuple(x.shape) for x in cubes]
    if len(shapes[0]) != 4 or 0 in shapes[0][1:]:
        raise CubeError(f"cubes of shape {shapes[0]}", "Give (N, B, H, W).")
    if len(set(shapes)) > 1:
        raise CubeError(
            f"cubes of shape {shapes[0]} cannot be compared with cubes of {shapes[1]}", "Give pairs of one shape."
        )
    height, width = shapes[0][2:]
    if min(height, width) < least:
        raise CubeError(f"images of {height} x {width} px are too small for this metric", f"Give {least} px or more.")


def check_range(data_range: float) -> None:
    """Check a range of values that the caller gives.

    Raises:
        CubeError: it is not a positive finite number.
    """
    if not (np.isfinite(data_range) and data_range > 0):
        raise CubeError(f"data_range = {data_range}", "Give a positive number: the range of reflectance that counts.")


def _check_finite(blocks: list[Tensor], first: int) -> None:
    for block in blocks:
        bad = ~torch.isfinite(block).flatten(1).all(1)
        if bad.any():
            raise CubeError(
                f"cube {first + int(bad.int().argmax())} has values that are not finite", "Leave such cubes out."
            )
