"""Cut a lesion out of a frame and bring it to a fixed size (METHODS section 2).

Boxes are (top, left, bottom, right) in pixels; bottom and right are excluded.
"""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from hyperderm.errors import CubeError

Box = tuple[int, int, int, int]

_CHANNELS = 4  # OpenCV 5 refuses INTER_AREA on more


def mask_box(mask: NDArray[np.bool_]) -> Box:
    """Return the smallest box that holds every True pixel of an (H, W) mask.

    Raises:
        CubeError: no pixel is True.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size == 0:
        raise CubeError("the mask is empty: no pixel of it is marked")
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def scaled_box(box: Box, shape: tuple[int, int], factor: float = 1.5) -> Box:
    """Scale a box about its centre and clip it to an image of `shape` (H, W).

    Edges between pixels are rounded outwards. Within the image, the result therefore never holds less than was asked for.
    """
    top, left, bottom, right = box
    rows, columns = shape
    dy, dx = (bottom - top) * (factor - 1) / 2, (right - left) * (factor - 1) / 2
    return (
        max(0, math.floor(top - dy)),
        max(0, math.floor(left - dx)),
        min(rows, math.ceil(bottom + dy)),
        min(columns, math.ceil(right + dx)),
    )


def stored_box(shape: tuple[int, int], size: int | None) -> Box:
    """Return the part of a crop of `shape` (H, W) that `resize` to `size` keeps: the centre if the crop is not square.

    The box is rounded outwards by one pixel beyond its edges, because enlarging also reads neighbouring pixels.
    """
    rows, columns = shape
    if size is None or rows == columns:
        return 0, 0, rows, columns
    side = min(rows, columns)
    top, left = (rows - side) / 2, (columns - side) / 2
    return (
        max(0, math.floor(top) - 1),
        max(0, math.floor(left) - 1),
        min(rows, math.ceil(top + side) + 1),
        min(columns, math.ceil(left + side) + 1),
    )


def kept_box(shape: tuple[int, int], size: int | None) -> Box:
    """Return the part of a crop of `shape` (H, W) that is stored at `size`, rounded to the nearest pixel."""
    rows, columns = shape
    if size is None:
        return 0, 0, rows, columns
    to = _sized(shape, size)
    edges = [((length - size) // 2 * old / length, old * size / length) for length, old in zip(to, shape, strict=True)]
    (top, high), (left, wide) = edges
    return round(top), round(left), min(rows, round(top + high)), min(columns, round(left + wide))


def _sized(shape: tuple[int, int], size: int) -> tuple[int, int]:
    """Return the numbers of rows and columns after the shorter side has become `size`."""
    scale = size / min(shape)
    return max(size, round(shape[0] * scale)), max(size, round(shape[1] * scale))


def resize(reflectance: NDArray[np.float32], size: int | None) -> NDArray[np.float32]:
    """Bring the shorter side of (H, W, B) to `size`, then cut the centre to (size, size, B); None changes nothing.

    Shrinking averages areas, which keeps every band's mean; enlarging interpolates bilinearly.
    """
    x = np.ascontiguousarray(reflectance, dtype=np.float32)
    rows, columns = x.shape[:2]
    if size is None:
        return x
    to = _sized((rows, columns), size)
    if to != (rows, columns):
        how = cv2.INTER_AREA if size < min(rows, columns) else cv2.INTER_LINEAR
        parts = [x[..., i : i + _CHANNELS] for i in range(0, x.shape[2], _CHANNELS)]
        # OpenCV counts columns first and drops a single channel's axis.
        sized = [cv2.resize(np.ascontiguousarray(p), to[::-1], interpolation=how).reshape(*to, -1) for p in parts]
        x = np.concatenate(sized, axis=2)
    top, left = (to[0] - size) // 2, (to[1] - size) // 2
    return np.ascontiguousarray(x[top : top + size, left : left + size])


def resize_mask(mask: NDArray[np.bool_], size: int | None) -> NDArray[np.bool_]:
    """Resize an (H, W) mask as `resize` does: a pixel is True if at least half of its area was True before."""
    return np.asarray(resize(mask[..., None].astype(np.float32), size)[..., 0] >= 0.5)
