"""Values that were not measured (NaN, infinity, a file's no-data value), judged where a crop needs them."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hyperderm.cubes.crop import stored_box
from hyperderm.cubes.cube import NOTES
from hyperderm.errors import CubeError

MOST = 0.05
"""At most this share of a crop's values is filled."""

Reflectance = NDArray[np.float32]


def complete(
    reflectance: Reflectance, size: int | None, *, fill: bool, needed: NDArray[np.bool_] | None = None
) -> tuple[Reflectance, dict[str, Any]]:
    """Return a crop whose stored part has no missing values, and facts for a lesion's origin.

    Args:
        reflectance: the crop (H, W, B) before it is resized.
        size: the size of the stored crop; only the centre of an oblong crop is stored, and the rest does not matter.
        fill: whether missing values are computed from their neighbours in the same band; `filled` then counts them.
        needed: a mask (B,) of the bands from which the stored cube is computed; missing values of other bands become 0.
            None: all bands.

    Raises:
        CubeError: values are missing and `fill` is False, or too many values or a whole band are missing.
    """
    top, left, bottom, right = stored_box((reflectance.shape[0], reflectance.shape[1]), size)
    missing = ~np.isfinite(reflectance[top:bottom, left:right])
    if not missing.any():
        return reflectance, {}
    whole = reflectance.copy()
    part = whole[top:bottom, left:right]
    if needed is not None:
        part[missing & ~needed] = 0
        missing &= needed
    count, of = int(np.count_nonzero(missing)), missing[..., needed].size if needed is not None else missing.size
    if not count:
        return whole, {}
    _check(missing, count, of, fill=fill)
    part[...] = filled(part, missing)
    note = f"{count} of {of} values of the crop were missing and are filled from their neighbours"
    return whole, {"filled": {"values": count, "of": of}, NOTES: [note]}


def _check(missing: NDArray[np.bool_], count: int, of: int, *, fill: bool) -> None:
    """Raise CubeError if `count` of `of` missing values cannot, or must not, be filled."""
    said = f"{count} of {of} values inside the crop are missing (NaN, infinite or declared as no data)"
    if count > MOST * of:
        raise CubeError(
            f"{said}, more than the {MOST:.0%} that --fill would mend",
            "Leave this lesion out or scan it again; where the values are real, remove the file's declaration of no data.",
        )
    if lost := np.flatnonzero(missing.all(axis=(0, 1))).tolist():
        raise CubeError(
            f"{said}: nothing of band {lost[0] + 1} was measured, counted by rising wavelength",
            "Ask for --bands without it, or save the image without it.",
        )
    if not fill:
        raise CubeError(said, "Give --fill to take them from their neighbours, or leave this lesion out.")


def filled(reflectance: Reflectance, missing: NDArray[np.bool_]) -> Reflectance:
    """Return (H, W, B) with every missing value replaced by the mean of its valid neighbours in the same band.

    The neighbours are the eight pixels around a pixel, so that a single missing pixel of an image that is linear in x and y
    is restored exactly. Larger holes are filled from their border inwards.

    Args:
        reflectance: the values (H, W, B).
        missing: a mask of the same shape, True where a value is missing; no band is missing completely.
    """
    result = np.where(missing, np.float32(0), reflectance)
    kernel = np.ones((3, 3), np.float32)
    for band in np.flatnonzero(missing.any(axis=(0, 1))):
        values, known = np.ascontiguousarray(result[..., band]), (~missing[..., band]).astype(np.float32)
        while not known.all():
            sums = cv2.filter2D(values * known, -1, kernel, borderType=cv2.BORDER_CONSTANT)
            counts = cv2.filter2D(known, -1, kernel, borderType=cv2.BORDER_CONSTANT)
            now = (known == 0) & (counts > 0)
            values[now] = sums[now] / np.round(counts[now])
            known[now] = 1
        result[..., band] = values
    return result
