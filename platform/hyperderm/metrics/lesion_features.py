"""Spectral statistics of each lesion, which are the features of the spectral baseline; numpy only.

The baseline uses `automatic_masks` for every cube, real or synthetic. Annotated masks exist only for real cubes. With them,
the mask instead of the tissue would tell real cubes from synthetic ones, and so melanomas (often synthetic) from nevi
(never synthetic).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hyperderm.cubes.regions import lesion_region, skin_region
from hyperderm.errors import CubeError
from hyperderm.metrics.spectra import MEAN_FLOOR

Cubes = NDArray[np.float32]
Masks = NDArray[np.bool_]
Table = NDArray[np.float64]

PER_BAND = ("mean", "std", "q10", "q90", "skin", "log_ratio", "log_contrast")
SHAPE = ("area_share", "irregularity", "asymmetry", "eccentricity")
_CHUNK = 128  # cubes at a time: bounds the memory of the sort


def automatic_masks(cubes: Cubes, wavelengths: Sequence[float]) -> Masks:
    """Return the lesion mask of every cube, found from the cube alone (`cubes.regions`, on the mean of all bands).

    The mask is all False if a cube is constant in space; `lesion_features` accepts such masks. A cube of 32 px takes 2 ms.

    Args:
        cubes: (N, B, H, W) reflectance.
        wavelengths: (B,) nm; they serve to check the band axis: a mean over another axis would give plausible, wrong masks.

    Returns:
        Masks (N, H, W) bool.

    Raises:
        CubeError: the second axis is not that of the bands.
    """
    if cubes.ndim != 4 or cubes.shape[1] != len(wavelengths):
        raise CubeError(f"cubes of shape {cubes.shape} with {len(wavelengths)} wavelengths", "Give (N, B, H, W).")
    found = [lesion_region(np.moveaxis(cube, 0, -1)) for cube in cubes]
    return np.array(found, dtype=np.bool_).reshape(len(cubes), *cubes.shape[2:])


def lesion_and_skin(cubes: Cubes, masks: Masks) -> Masks:
    """Return the lesion and the plain skin (`cubes.regions.skin_region`) of every cube, neither of them ever empty.

    An empty lesion region or an empty skin region is replaced by the whole image.

    Args:
        cubes: (N, B, H, W) reflectance.
        masks: (N, H, W) bool, the lesions.

    Returns:
        (N, 2, H, W) bool, lesion first.
    """
    skins = [skin_region(np.moveaxis(cube, 0, -1), mask) for cube, mask in zip(cubes, masks, strict=True)]
    regions = np.stack([masks, np.array(skins, dtype=np.bool_).reshape(masks.shape)], axis=1)
    return np.asarray(regions | ~regions.any(axis=(2, 3), keepdims=True))


def feature_names(bands: int) -> list[str]:
    """Return the names of the columns of `lesion_features`: 7 for each band, slopes between neighbours, 4 of the shape."""
    per_band = [f"{name}_{band}" for name in PER_BAND for band in range(bands)]
    slopes = [f"log_slope_{band}_{band + 1}" for band in range(bands - 1)]
    return [*per_band, *slopes, *SHAPE]


def lesion_features(cubes: Cubes, masks: Masks) -> Table:
    """Return spectral statistics of every lesion.

    For each band within the lesion: mean, standard deviation, 10 % and 90 % quantile; the mean of plain skin around the
    lesion (`regions.skin_region`); log(lesion / skin), which does not depend on the exposure of the image; log(q90 / q10),
    the contrast within the lesion. Between neighbouring bands: the slope log(lesion_{b+1} / lesion_b). For the mask: share
    of the image; irregularity perimeter² / (4π area), about 1 for a disc; asymmetry, the share of the mask that leaves it
    when it is turned by 180° about the centroid; eccentricity of the ellipse of equal moments. In logarithms, levels below
    `spectra.MEAN_FLOOR` (0.001) are replaced by that value.

    An empty lesion region or an empty skin region is replaced by the whole image, so finite cubes give finite numbers.

    Args:
        cubes: (N, B, H, W) reflectance.
        masks: (N, H, W); to compare real with synthetic cubes, use the masks of `automatic_masks` for both.

    Returns:
        Features (N, F) in the order of `feature_names(B)`.
    """
    parts = [_chunk(cubes[i : i + _CHUNK], masks[i : i + _CHUNK]) for i in range(0, len(cubes), _CHUNK)]
    return np.concatenate(parts) if parts else np.empty((0, len(feature_names(cubes.shape[1]))))


def _chunk(cubes: Cubes, masks: Masks) -> Table:
    n, bands = cubes.shape[:2]
    pixels = cubes.reshape(n, bands, -1)
    lesion, plain = np.moveaxis(lesion_and_skin(cubes, masks).reshape(n, 2, -1), 1, 0)
    mean, std = _moments(pixels, lesion)
    skin, _ = _moments(pixels, plain)
    low, high = _quantiles(pixels, lesion, (0.1, 0.9))
    slope = np.diff(_log(mean), axis=1)
    spectral = [mean, std, low, high, skin, _log(mean) - _log(skin), _log(high) - _log(low), slope]
    return np.concatenate([*spectral, _shape(masks)], axis=1)


def _moments(pixels: Cubes, region: Masks) -> tuple[Table, Table]:
    """Return mean and standard deviation (N, B) over a region (N, P) that is not empty."""
    counted = region[:, None, :]
    mean = pixels.mean(axis=2, dtype=np.float64, where=counted)
    return mean, pixels.std(axis=2, dtype=np.float64, where=counted)


def _quantiles(pixels: Cubes, region: Masks, shares: tuple[float, ...]) -> list[Table]:
    """Return quantiles (N, B) over a region (N, P), linear between order statistics as in numpy's default.

    All cubes are sorted at once; pixels outside the region are set to +inf and so come to the end.
    """
    ordered = np.sort(np.where(region[:, None, :], pixels, np.float32(np.inf)), axis=2)
    last = region.sum(axis=1) - 1
    found = []
    for share in shares:
        at = share * last
        below = np.floor(at).astype(np.int64)
        above = np.minimum(below + 1, last)
        low, high = (np.take_along_axis(ordered, i[:, None, None], 2)[..., 0].astype(np.float64) for i in (below, above))
        found.append(low + (high - low) * (at - below)[:, None])
    return found


def _log(level: Table) -> Table:
    return np.log(np.maximum(level, MEAN_FLOOR))


def _shape(masks: Masks) -> Table:
    """Return the numbers (N, 4) named in `SHAPE`; zeros for an empty mask, which has no shape."""
    height, width = masks.shape[1:]
    area = masks.sum(axis=(1, 2), dtype=np.float64)
    some = np.maximum(area, 1.0)
    y, x = np.arange(height, dtype=np.float64), np.arange(width, dtype=np.float64)
    rows, columns = masks.sum(axis=2), masks.sum(axis=1)  # (N, H), (N, W)
    cy, cx = rows @ y / some, columns @ x / some
    yy, xx = rows @ y**2 / some - cy**2 + 1 / 12, columns @ x**2 / some - cx**2 + 1 / 12  # 1/12: a pixel's own extent
    xy = np.einsum("nhw,h,w->n", masks, y, x) / some - cy * cx
    root = np.sqrt(((yy - xx) / 2) ** 2 + xy**2)
    long, short = (yy + xx) / 2 + root, np.maximum((yy + xx) / 2 - root, 0.0)
    shape = [area / (height * width), _perimeter(masks) ** 2 / (4 * np.pi * some), _turned(masks, cy, cx, some)]
    return np.stack([*shape, np.sqrt(1 - short / long)], axis=1) * (area > 0)[:, None]


def _perimeter(masks: Masks) -> Table:
    """Return the length (N,) of the border by Cauchy and Crofton: count crossings along rows, columns and both diagonals.

    A count of pixel edges would give every disc the perimeter of its bounding square.
    """
    p = np.pad(masks, ((0, 0), (1, 1), (1, 1)))
    straight = (p[:, 1:] != p[:, :-1]).sum((1, 2)) + (p[:, :, 1:] != p[:, :, :-1]).sum((1, 2))
    diagonal = (p[:, 1:, 1:] != p[:, :-1, :-1]).sum((1, 2)) + (p[:, 1:, :-1] != p[:, :-1, 1:]).sum((1, 2))
    return np.asarray(np.pi / 8 * (straight + diagonal / np.sqrt(2)), dtype=np.float64)


def _turned(masks: Masks, cy: Table, cx: Table, area: Table) -> Table:
    """Return the share (N,) of pixels that leave the mask when it is turned by 180° about its centroid.

    Positions are rounded to the nearest pixel.
    """
    n, y, x = np.nonzero(masks)
    ty, tx = np.rint(2 * cy[n] - y).astype(np.int64), np.rint(2 * cx[n] - x).astype(np.int64)
    inside = (ty >= 0) & (ty < masks.shape[1]) & (tx >= 0) & (tx < masks.shape[2])
    kept = inside.copy()
    kept[inside] = masks[n[inside], ty[inside], tx[inside]]
    return 1 - np.bincount(n, weights=kept, minlength=len(masks)) / area
