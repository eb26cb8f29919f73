"""Pseudo-RGB: the fixed matrix H (3 x B) that turns a cube into three channels, and pictures made with it."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hyperderm.errors import CubeError

# XYZ to linear sRGB, IEC 61966-2-1.
_XYZ_TO_SRGB = np.array([[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]])

SKIN_TONE_SRGB: tuple[int, int, int] = (216, 166, 138)
"""The 8-bit sRGB colour of a light skin, to which `display_rgb` maps the `white` levels. It is chosen, not measured."""
AT_ONCE = 32
"""The number of cubes that are projected together while a gain is fitted."""


def pseudo_rgb_matrix(wavelengths_nm: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Return H (3, B), rows R, G, B: non-negative, each summing to one.

    1. The CIE 1931 2-degree functions x, y, z are taken at every band centre (linear between the table's 5 nm steps; zero
       outside 440-660 nm).
    2. The XYZ-to-sRGB matrix turns these functions into the matching functions of the sRGB primaries. The new functions peak
       at about 600, 540 and 450 nm, so they stay separate, whereas x and y overlap almost entirely.
    3. The negative lobes are set to zero. H is then an average over bands, like a filter in front of a camera: every channel
       of a pixel lies between its smallest and its largest band value, and noise is never amplified.
    4. Every band is weighted by the width of the interval that it represents (half the gap to each neighbour; for an outer
       band the whole gap), so that densely spaced bands do not count twice.
    5. Every row is divided by its sum. HSIDermoscopy ends at 620 nm and holds no true red: R is therefore the mean of the
       bands from 568 to 620 nm (hence "pseudo"), and a grey cube gives a grey picture.

    For the 16 bands of HSIDermoscopy every band has weight in at least one row.

    Raises:
        CubeError: there are fewer than three bands, the bands do not increase, or a channel has no band.
    """
    nm = np.asarray(wavelengths_nm, dtype=np.float64)
    if nm.ndim != 1 or nm.size < 3:
        raise CubeError(f"a pseudo-RGB matrix needs at least three wavelengths, got {nm.size}")
    if np.any(np.diff(nm) <= 0):
        raise CubeError(f"wavelengths must increase, got {nm.tolist()}")
    table = _observer()
    xyz = np.stack([np.interp(nm, table[:, 0], column, left=0.0, right=0.0) for column in table[:, 1:].T])  # (3, B)
    weights = np.maximum(_XYZ_TO_SRGB @ xyz, 0.0) * np.gradient(nm)
    sums = weights.sum(axis=1, keepdims=True)
    if missing := [name for name, total in zip("RGB", sums[:, 0], strict=True) if total <= 0]:
        raise CubeError(
            f"no band between {nm[0]:g} and {nm[-1]:g} nm has weight in {', '.join(missing)}",
            "Pseudo-RGB needs bands near 460, 540 and 600 nm",
        )
    return weights / sums


def fit_gain(reflectance: NDArray[np.floating], matrix: NDArray[np.float64], percentile: float = 99.5) -> float:
    """Return the gain at which `percentile` % of all pixels of a stack (N, H, W, B) are not clipped in any channel.

    Raises:
        CubeError: the stack has no positive level to scale by.
    """
    pieces = [reflectance[at : at + AT_ONCE] for at in range(0, len(reflectance), AT_ONCE)] or [reflectance]
    brightest = np.concatenate([_project(piece, matrix).max(axis=-1) for piece in pieces])  # not all in float64 at a time
    level = float(np.percentile(brightest, percentile)) if brightest.size else 0.0
    if not (np.isfinite(level) and level > 0):
        raise CubeError(
            f"no gain can be fitted: the {percentile:g} percentile of the pseudo-RGB levels is {level:g}",
            "Give it train cubes in reflectance, before any scaling to [-1, 1]",
        )
    return 1.0 / level


def display_rgb(
    reflectance: NDArray[np.floating],
    matrix: NDArray[np.float64],
    gain: float,
    white: ArrayLike | None = None,
) -> NDArray[np.uint8]:
    """Turn (H, W, B) reflectance into an 8-bit sRGB picture for people.

    Args:
        reflectance: the cube.
        matrix: the matrix H (3, B).
        gain: the factor of the linear levels gain · H · cube, such as that of `fit_gain`.
        white: (3,) linear levels (those of plain skin), which are shown as `SKIN_TONE_SRGB`. The
            sensor's bands 10-15 are 2-7 times brighter than the others, so that without `white` everything looks orange. It
            serves for display only and never enters H, a loss or a metric.

    Raises:
        CubeError: a level of `white` is not positive.
    """
    linear = gain * _project(reflectance, matrix)
    if white is not None:
        levels = np.asarray(white, dtype=np.float64)
        if levels.shape != (3,) or not np.all(levels > 0):
            raise CubeError(f"white balance needs three positive levels, got {levels.tolist()}")
        linear = linear * (srgb_decode(np.array(SKIN_TONE_SRGB) / 255.0) / levels)
    return np.round(srgb_encode(np.clip(linear, 0.0, 1.0)) * 255.0).astype(np.uint8)


def srgb_encode(linear: NDArray[np.floating]) -> NDArray[np.float64]:
    """Convert linear light in [0, 1] to sRGB values in [0, 1] (IEC 61966-2-1)."""
    x = np.asarray(linear, dtype=np.float64)
    return np.where(x <= 0.0031308, 12.92 * x, 1.055 * np.maximum(x, 0.0031308) ** (1 / 2.4) - 0.055)


def srgb_decode(value: NDArray[np.floating]) -> NDArray[np.float64]:
    """Convert sRGB values in [0, 1] to linear light in [0, 1]: the inverse of `srgb_encode`."""
    x = np.asarray(value, dtype=np.float64)
    return np.where(x <= 0.04045, x / 12.92, ((np.maximum(x, 0.04045) + 0.055) / 1.055) ** 2.4)


def _project(reflectance: NDArray[np.floating], matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(reflectance @ matrix.T, dtype=np.float64)  # (…, B) x (B, 3)


@cache
def _observer() -> NDArray[np.float64]:
    """Return the CIE observer's table (45, 4) with the columns wavelength in nm, x, y, z."""
    path = Path(__file__).parent / "tables" / "cie1931_2deg.csv"
    rows = [line for line in path.read_text(encoding="ascii").splitlines() if line[:1].isdigit()]
    return np.array([[float(value) for value in row.split(",")] for row in rows])
