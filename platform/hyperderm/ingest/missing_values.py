"""Values that were not measured: NaN, infinity and what a file declares for no data, judged where a crop needs them."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hyperderm.cubes.crop import stored_box
from hyperderm.cubes.cube import NOTES
from hyperderm.errors import CubeError

MOST = 0.05
"""Share of a crop's values that is filled at most."""

Reflectance = NDArray[np.float32]


def complete(
    reflectance: Reflectance, size: int | None, *, fill: bool, needed: NDArray[np.bool_] | None = None
) -> tuple[Reflectance, dict[str, Any]]:
    """Return a crop whose stored part has all its values, and facts for a lesion's origin.

    Args:
        reflectance: (H, W, B), the crop before it is resized.
        size: it will have; of an oblong crop only the centre is stored, and the rest does not matter.
        fill: whether missing values are taken from their neighbours in the same band; `filled` then counts them.
        needed: (B,), the bands that what is stored is made of; missing values of others become 0. None: all.

    Raises:
        CubeError: values are missing and `fill` is False, or they are too many, or a whole band.
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
    """CubeError where so many missing values cannot, or must not, be filled."""
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

    Neighbours are the eight around a pixel, so that one missing pixel of an image that is linear in x and y comes back
    exactly. Larger holes are filled from their border inwards.

    Args:
        reflectance: the values.
        missing: of the same shape, where they do not count; no band is missing wholly.
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
