"""Find the lesion and the plain skin of a cube, from the cube alone.

The same two functions serve real and generated cubes, so that a difference between the spectra never comes from an annotator
on one side and a program on the other. They serve to compare spectra and are not a segmentation for diagnosis.
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Grey = NDArray[np.float64]

_SMOOTH = 0.02  # Gaussian sigma before the threshold, in shorter sides: hairs and mosaic noise, not the border
_OPEN = 0.01  # opening of the dark pixels, in shorter sides: loosens hairs
_RIM = 0.3  # the border, on the way from skin (0) to lesion (1); set once on stand-in photographs with real masks
_ROUNDS = 10  # of the illumination fit; it settles in about five
_SCALE = 0.45  # how fast a component's weight falls with its distance from the centre (0 centre, 1 middle of an edge)
_CORNER_LEVEL = 0.5  # a corner darker than this share of the bright skin is the lens, not the patient
_CORNER_RADIUS = 1.05  # and corners begin here (1 middle of an edge, 1.41 the corner itself)
_MARGIN = 0.06  # ring around the lesion that is neither, in shorter sides
_CONSTANT = 1e-5  # relative range below which an image is constant; float32 means of equal bands differ by less


def annotation_image(reflectance: NDArray[np.floating]) -> NDArray[np.float32]:
    """Reduce (H, W, B) to (H, W), the mean of all bands: the image on which the data set's lesions were annotated.

    Bands that are NaN or infinite at a pixel do not count there; a pixel without any valid band is NaN.
    """
    mean = np.mean(reflectance, axis=2, dtype=np.float64)
    if not np.isfinite(mean).all():
        known = np.isfinite(reflectance)
        count = known.sum(axis=2)
        total = np.where(known, reflectance, 0).sum(axis=2, dtype=np.float64)
        mean = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return np.asarray(mean, dtype=np.float32)


def lesion_region(reflectance: NDArray[np.floating]) -> Mask:
    """Find the lesion of an (H, W, B) cube: one connected dark region without holes.

    1. The annotation image is lightly smoothed.
    2. The depth of a pixel is its distance below a low-order trend that is fitted to the bright pixels. The trend may bend
       down towards the edges, as a vignette does, but not up, so that it cannot follow a central lesion.
    3. Otsu's threshold splits the depths into skin and lesion, without the black lens corners. The border is drawn at 30 %
       of the way from the median depth of skin to that of the lesion, because annotators include the faint rim that Otsu's
       threshold cuts through.
    4. Of the connected parts, the one with the most depth near the centre is kept, and its holes are filled.

    A gain and an offset on the annotation image change nothing, except through the rule for lens corners. Every image gets a
    region, even one without a lesion (noise of an untrained generator), and this region is never empty and never the whole
    image. The only exception is an image that is constant in space: its region is all False.
    """
    grey = annotation_image(reflectance).astype(np.float64)
    if _is_constant(grey):
        return np.zeros(grey.shape, dtype=np.bool_)
    smooth = _smoothed(grey)
    radius = _radius(grey.shape)
    inside = ~_lens_corners(grey)
    depth = _illumination(smooth, radius, inside) - smooth
    dark = (depth > _border(depth[inside])) & inside
    opened = cv2.morphologyEx(dark.astype(np.uint8), cv2.MORPH_OPEN, _disc(_OPEN, grey.shape)) > 0
    if not opened.any():
        opened = dark if dark.any() else depth == depth.max()
    weight = np.maximum(depth - depth.min(), 0.0) * np.exp(-0.5 * (radius / _SCALE) ** 2)
    region = fill_holes(heaviest_part(opened, weight))
    return region if not region.all() else region & (depth > depth.min())


def skin_region(reflectance: NDArray[np.floating], lesion: Mask) -> Mask:
    """Find plain skin: all pixels except the lesion, a margin of 6 % of the shorter side around it, and black lens corners.

    A pixel counts as a lens corner if its distance from the centre exceeds 1.05 (1 is the middle of an edge, 1.41 the
    corner) and it is darker than half the bright skin (the 75th percentile of the annotation image). The result is all True
    for an image that is constant in space and has no lesion, and empty if the lesion leaves no room.
    """
    grown = cv2.dilate(lesion.astype(np.uint8), _disc(_MARGIN, lesion.shape)) > 0
    return np.asarray(~grown & ~_lens_corners(annotation_image(reflectance).astype(np.float64)))


def _smoothed(grey: Grey) -> Grey:
    sigma = _SMOOTH * min(grey.shape)
    smooth = np.asarray(cv2.GaussianBlur(grey, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE), dtype=np.float64)
    return grey if _is_constant(smooth) else smooth


def _illumination(smooth: Grey, radius: Grey, inside: Mask) -> Grey:
    """Fit the trend a + b·x + c·y − d·r², d ≥ 0, to the bright pixels inside (asymmetric least squares).

    Pixels above the trend have nine times the weight of those below, so that the lesion hardly lowers the trend.
    """
    rows, columns = smooth.shape
    y, x = np.meshgrid(np.linspace(-1, 1, rows), np.linspace(-1, 1, columns), indexing="ij")
    terms = np.stack([np.ones(smooth.size), x.ravel(), y.ravel(), radius.ravel() ** 2], axis=1)
    target, counted = smooth.ravel(), inside.ravel().astype(np.float64)
    weight = counted
    trend = target
    for _ in range(_ROUNDS):
        fitted = _weighted_fit(terms, target, weight)
        if fitted[3] > 0:  # brighter towards the edges: that is a lesion, not a lens
            fitted = np.append(_weighted_fit(terms[:, :3], target, weight), 0.0)
        trend = terms @ fitted
        weight = counted * np.where(target > trend, 0.9, 0.1)
    return np.asarray(trend.reshape(smooth.shape))


def _weighted_fit(terms: Grey, target: Grey, weight: Grey) -> Grey:
    weighted = terms * weight[:, None]
    return np.asarray(np.linalg.lstsq(weighted.T @ terms, weighted.T @ target, rcond=None)[0], dtype=np.float64)


def _border(depths: Grey) -> float:
    """Return the depth at which the lesion begins: `_RIM` of the way between the medians of Otsu's two classes."""
    threshold = otsu_threshold(depths)
    lesion = depths > threshold
    if not lesion.any() or lesion.all():
        return threshold
    skin = float(np.median(depths[~lesion]))
    return skin + _RIM * (float(np.median(depths[lesion])) - skin)


def otsu_threshold(values: Grey) -> float:
    """Return Otsu's threshold of finite values (n,), in their units, from 256 levels; equal values give their value.

    Tails beyond 0.5 % are clipped first, so that a few reflexes do not use up the levels.
    """
    low, high = np.percentile(values, [0.5, 99.5])
    if high <= low:
        low, high = float(values.min()), float(values.max())
    if high <= low:
        return float(low)
    levels = np.round(np.clip((values - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    threshold, _ = cv2.threshold(levels.reshape(1, -1), 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    return float(low + (threshold + 0.5) / 255 * (high - low))


def heaviest_part(mask: Mask, weight: Grey) -> Mask:
    """Return the connected part (8 neighbours) of a mask (H, W) with the largest sum of weights (H, W), all at least 0."""
    _, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    sums = np.bincount(labels.ravel(), weights=weight.ravel())
    sums[0] = -1.0  # what is not in the mask
    return np.asarray(labels == int(np.argmax(sums)))


def fill_holes(mask: Mask) -> Mask:
    """Fill the holes of a mask (H, W): add every part of the outside that does not touch the image's border."""
    _, labels = cv2.connectedComponents((~mask).astype(np.uint8), connectivity=4)
    border = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    return np.asarray(mask | ~np.isin(labels, border))


def _lens_corners(grey: Grey) -> Mask:
    bright = float(np.percentile(grey, 75))  # without a positive level, as untrained nets may give, no corner is black
    return np.asarray((bright > 0) & (grey < _CORNER_LEVEL * bright) & (_radius(grey.shape) > _CORNER_RADIUS))


def _radius(shape: tuple[int, ...]) -> Grey:
    """Return the distance from the centre, which is 1 at the middle of every edge (an ellipse in an oblong image)."""
    y, x = np.linspace(-1, 1, shape[0]), np.linspace(-1, 1, shape[1])
    return np.asarray(np.hypot(y[:, None], x[None, :]))


def _disc(share: float, shape: tuple[int, ...]) -> NDArray[Any]:
    """Return a round structuring element whose size is `share` of the shorter side, but at least three pixels."""
    radius = max(1, round(share * min(shape)))
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1)))


def _is_constant(grey: Grey) -> bool:
    return bool(np.ptp(grey) <= _CONSTANT * max(float(np.abs(grey).max()), 1e-30))
