"""Bring a cube to other wavelengths: take a subset of its bands, or resample the bands to a target grid.

The rule of `to_bands`:

1. If the cube holds every target wavelength (within `SAME_NM`), those bands are taken bit for bit, however narrow they are.
2. Otherwise a target stands for a Gaussian band. Its full width at half maximum is the spacing of the target grid there
   (half the distance between both neighbours; at the ends the distance to the only neighbour). A band that would reach
   beyond the cube's bands is narrowed about its centre.
3. If that width is at least `DENSER` times the spacing of the cube's bands under it, the value is an average over these
   bands, with the weights of `spectral.BandResampler`.
4. If the width is smaller, the value lies on the line through the two bands around the target, continued by at most half a
   spacing at the ends.

A constant spectrum stays constant under rules 3 and 4. Rule 4 reproduces a spectrum that is linear in wavelength exactly;
rule 3 does so up to 0.031 of the cube's spacing, because it treats every band of the cube as constant over its width.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperderm.cubes.cube import NOTES
from hyperderm.errors import CubeError

SAME_NM = 1e-6
"""Wavelengths closer than this are the same."""
DENSER = 2.0
"""A target band is averaged only if at least this many bands of the cube fit into it."""

Vector = NDArray[np.float64]


def to_bands(
    reflectance: NDArray[np.float32], wavelengths_nm: Sequence[float] | Vector, target_nm: Sequence[float] | Vector
) -> NDArray[np.float32]:
    """Return the cube (H, W, B) at other wavelengths, as (H, W, K), by the rule in the module docstring.

    Args:
        reflectance: the cube, float32.
        wavelengths_nm: (B,) nm, strictly increasing.
        target_nm: (K,) nm, strictly increasing, from half a spacing below the first band to half a spacing above the last
            band.

    Raises:
        CubeError: the wavelengths do not fit the cube or do not increase, or the target is empty or outside that range.
    """
    held = checked_nm(wavelengths_nm, reflectance.shape[2])
    if np.any(np.diff(held) <= 0):
        raise CubeError(f"wavelengths must increase from band to band, got {held.tolist()}")
    target = np.asarray(target_nm, dtype=np.float64)
    if target.ndim != 1 or target.size == 0 or not np.all(np.isfinite(target)) or np.any(np.diff(target) <= 0):
        raise CubeError(f"target bands must be wavelengths in nm that increase, got {target.tolist()}")
    nearest = np.abs(held - target[:, None]).argmin(axis=1)
    if np.all(np.abs(held[nearest] - target) <= SAME_NM):
        return np.ascontiguousarray(reflectance[..., nearest])
    return mix(reflectance, resampling_matrix(held, target))


def needed_bands(wavelengths_nm: Vector, target_nm: Sequence[float] | Vector) -> NDArray[np.bool_]:
    """Return a mask (B,) of the bands that are needed to compute a cube's values at other wavelengths.

    Raises:
        CubeError: for the same reasons as in `to_bands`.
    """
    target = np.asarray(target_nm, dtype=np.float64)
    distance = np.abs(wavelengths_nm - target[:, None])
    same = distance <= SAME_NM
    return np.asarray(same.any(axis=0) if same.any(axis=1).all() else resampling_matrix(wavelengths_nm, target).any(axis=0))


def parse_nm(option: str, text: str, *, rising: bool = True) -> tuple[float, ...]:
    """Return the N band centres from A to B nm of "A:B:N", or the listed centres of "a,b,c".

    Args:
        option: the name of the option that holds the text, for error messages.
        text: the centres in one of the two forms.
        rising: whether the centres must increase; otherwise any order is allowed, but no centre may occur twice.

    Raises:
        CubeError: the text has neither form, or its centres are in the wrong order.
    """
    try:
        if ":" in text:
            first, last, count = text.split(":")
            n = int(count)
            step = (float(last) - float(first)) / (n - 1)
            found = [float(first) + i * step for i in range(n)]
        else:
            found = [float(part) for part in text.split(",")]
    except (ValueError, ZeroDivisionError):
        raise CubeError(
            f"{option} {text!r} is neither A:B:N nor a list", f"Write {option} 465:630:16, or list them: 465,470,…"
        ) from None
    if not found or not all(0 < nm < math.inf for nm in found):
        raise CubeError(f"{option} {text!r} holds what is no wavelength", f"Give them in nm: {option} 465:630:16")
    if rising and not all(a < b for a, b in pairwise(found)):
        raise CubeError(
            f"{option} {text!r} does not rise from one band to the next", f"Give them in nm, rising: {option} 465:630:16"
        )
    if twice := [nm for nm in found if found.count(nm) > 1]:
        raise CubeError(f"{option} {text!r} holds {twice[0]:g} nm twice", "Give every band's own centre.")
    return tuple(found)


def resampling_matrix(held_nm: Vector, target_nm: Vector) -> Vector:
    """Return the weights (K, B) that compute the targets (K,) from the bands (B,) by rules 2 to 4; every row sums to one.

    Raises:
        CubeError: a target lies outside the bands; the message names it and the range of the bands.
    """
    spacing = _spacing(held_nm)
    low, high = held_nm[0] - spacing[0] / 2, held_nm[-1] + spacing[-1] / 2
    outside = [t for t in target_nm if not low - SAME_NM <= t <= high + SAME_NM]
    if outside:
        listed = ", ".join(f"{t:g}" for t in outside)
        raise CubeError(
            f"the target bands at {listed} nm lie outside the cube's bands, which cover {low:g} to {high:g} nm",
            "Ask for bands inside that range; nothing is extrapolated.",
        )
    matrix = _lines(held_nm, target_nm)
    width = np.minimum(_spacing(target_nm), 2 * np.minimum(target_nm - low, high - target_nm))
    averaged = [k for k in range(target_nm.size) if _is_denser(held_nm, spacing, target_nm[k], width[k])]
    if averaged:
        from spectral import BandResampler  # type: ignore[import-untyped]

        matrix[averaged] = BandResampler(held_nm, target_nm[averaged], spacing, width[averaged]).matrix
    return matrix


def mix(reflectance: NDArray[np.float32], matrix: NDArray[np.floating]) -> NDArray[np.float32]:
    """Multiply every spectrum of a cube (H, W, B) by a matrix (K, B); return (H, W, K) float32, summed in float64."""
    mixed = np.empty((*reflectance.shape[:2], matrix.shape[0]), np.float32)
    weights = np.asarray(matrix, dtype=np.float64).T
    for row, spectra in enumerate(reflectance):  # row by row: no float64 copy of the whole cube
        mixed[row] = spectra @ weights
    return mixed


def _spacing(nm: Vector) -> Vector:
    """Return half the distance between a band's neighbours; at the ends the distance to the only one; 0 for one band."""
    return np.gradient(nm) if nm.size > 1 else np.zeros(1)


def _is_denser(held: Vector, spacing: Vector, centre: float, width: float) -> bool:
    """Return whether the bands under a target band are narrow enough to be averaged."""
    under = np.abs(held - centre) <= (width + spacing) / 2
    return bool(width > 0 and under.any() and width >= DENSER * spacing[under].max())


def _lines(held: Vector, target: Vector) -> Vector:
    """Return the weights (K, B) of linear interpolation, continued beyond the outer bands."""
    weights = np.zeros((target.size, held.size))
    if held.size == 1:
        weights[:, 0] = 1.0
        return weights
    left = np.clip(np.searchsorted(held, target, side="right") - 1, 0, held.size - 2)
    share = (target - held[left]) / (held[left + 1] - held[left])
    rows = np.arange(target.size)
    weights[rows, left], weights[rows, left + 1] = 1 - share, share
    return weights


def checked_nm(wavelengths_nm: Sequence[float] | NDArray[np.float64], bands: int) -> NDArray[np.float64]:
    """Return the wavelengths of `bands` bands in their given order, which may be any.

    Raises:
        CubeError: the number of wavelengths differs from the number of bands, a wavelength is not a positive number, or one
            occurs twice.
    """
    nm = np.asarray(wavelengths_nm, dtype=np.float64)
    if nm.shape != (bands,):
        raise CubeError(f"{bands} bands but {nm.size} wavelengths")
    if not np.all(np.isfinite(nm)) or np.any(nm <= 0):
        raise CubeError(f"wavelengths must be positive, got {nm.tolist()}")
    values, counts = np.unique(nm, return_counts=True)
    if values.size < nm.size:
        twice = float(values[counts > 1][0])
        numbers = ", ".join(str(i + 1) for i in np.flatnonzero(nm == twice))
        raise CubeError(
            f"bands {numbers} have the same wavelength, {twice:g} nm",
            "Give every band's own one with --wavelengths, or save the image without the band that comes twice.",
        )
    return nm


def by_wavelength(
    reflectance: NDArray[np.float32], wavelengths_nm: Sequence[float] | NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float64], dict[str, Any]]:
    """Sort the bands of (H, W, B) by their wavelengths (B,) in nm.

    Returns:
        The bands and the rising wavelengths, and facts for a lesion's origin. If any band had to be moved, these are
        `band_order` (for every band its place in the file, counted from 0) and a note.

    Raises:
        CubeError: for the same reasons as in `checked_nm`.
    """
    nm = checked_nm(wavelengths_nm, reflectance.shape[2])
    order = np.argsort(nm)
    if np.all(order[1:] > order[:-1]):
        return reflectance, nm, {}
    how = "fall from band to band" if np.all(np.diff(nm) < 0) else "are not in order"
    note = f"the wavelengths of its file {how}: its bands were sorted by them"
    return np.ascontiguousarray(reflectance[..., order]), nm[order], {"band_order": order.tolist(), NOTES: [note]}
