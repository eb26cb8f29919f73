"""Describe what a store holds: counts, sizes, value ranges, spectra by diagnosis and region, and cubes to look at.

The store is read twice, part by part: memory does not grow with the number of lesions, a few numbers of each excepted.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hyperderm.cubes.diagnosis import UNKNOWN
from hyperderm.cubes.pseudo_rgb import pseudo_rgb_matrix
from hyperderm.cubes.regions import lesion_region, skin_region
from hyperderm.errors import CubeError, StoreError
from hyperderm.metrics.streaming import ExactQuantiles, Moments, RunningMoments
from hyperderm.store.reader import Store
from hyperderm.store.synthetic import SyntheticOrigin, origin_of
from hyperderm.strict import json_of

WHOLE, LESION, SKIN = "whole cube", "lesion", "surrounding skin"
REGIONS = (WHOLE, LESION, SKIN)
ALL = "all"
"""In the place of a diagnosis: all lesions."""
SHARES = (0.005, 0.5, 0.995)
"""The quantiles of each band."""
MOST_SHOWN = 20
"""The most cubes of a diagnosis that are shown, if the store holds few diagnoses; otherwise half as many."""
_FEW = 3  # diagnoses
_SIDE = 128  # the longest side in pixels at which a cube is shown
_PIXELS = 1 << 17  # pixels that are counted together

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Count:
    """The numbers of lesions, of different images and groups they come from, and of lesions with a mask."""

    lesions: int
    images: int
    groups: int
    masks: int


@dataclass(frozen=True, eq=False)
class BandValues:
    """The values of all pixels of all cubes, band by band.

    Attributes:
        finite: (B,) number of finite values.
        broken: (B,) number of NaN and infinite values, which count nowhere else.
        negative: (B,) number of values below 0.
        low, high: (B,) the smallest and the largest value; NaN where there is none.
        quantiles: (B, 3) the quantiles `SHARES`, exact.
    """

    finite: NDArray[np.int64]
    broken: NDArray[np.int64]
    negative: NDArray[np.int64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    quantiles: NDArray[np.float64]


@dataclass(frozen=True)
class Size:
    """One quantity of lesions, over those whose store records it.

    Attributes:
        quantity: a key of `QUANTITIES`.
        diagnosis: the lesions, or `ALL`.
        count: the number of lesions that have it.
        low, median, high: the smallest, the middle and the largest value.
    """

    quantity: str
    diagnosis: str
    count: int
    low: float
    median: float
    high: float


QUANTITIES = {
    "frame_height": "height of the source image, px",
    "frame_width": "width of the source image, px",
    "crop_height": "height of the crop, px of the source",
    "crop_width": "width of the crop, px of the source",
    "lesion_area": "area of the lesion, px of the source",
    "mask_stored": "share of the mask that the cube shows",
    "mask_pixels": "pixels of the cube inside the mask",
    "mask_share": "share of the cube inside the mask",
}
"""The quantities of `Size`: key to title. Those of the source follow from what an ingest recorded, the others from masks."""


@dataclass(frozen=True, eq=False)
class Tile:
    """One cube as it is shown.

    Attributes:
        lesion_id: its id.
        levels: (h, w, 3) linear red, green and blue, or three times the mean of all bands; `_SIDE` pixels a side at most.
        mask: (h, w) the lesion, or None.
        skin: (h, w) plain skin, to which the white balance is set; found around the mask, or by a program without one.
    """

    lesion_id: str
    levels: NDArray[np.float32]
    mask: Mask | None
    skin: Mask


@dataclass(frozen=True)
class Fold:
    """One fold: its groups, and its lesions by diagnosis."""

    number: int
    groups: int
    lesions: Mapping[str, int]


@dataclass(frozen=True, eq=False)
class Description:
    """Everything that is said of a store.

    Attributes:
        store: the store.
        origin: of a synthetic set, what it was made from; else None.
        counts: diagnosis (`store.reader.UNKNOWN` where there is none) to numbers, the most frequent first.
        total: the numbers of the whole store.
        folds: the folds; empty if the store has none.
        bands: the values of each band.
        sizes: of each quantity that is known, all lesions first, then each diagnosis.
        spectra: (diagnosis or `ALL`, region) to the moments over lesions of their mean spectra in that region.
        tiles: diagnosis to the cubes that are shown.
        coloured: whether `Tile.levels` are colours.
    """

    store: Store
    origin: SyntheticOrigin | None
    counts: Mapping[str, Count]
    total: Count
    folds: tuple[Fold, ...]
    bands: BandValues
    sizes: tuple[Size, ...]
    spectra: Mapping[tuple[str, str], Moments]
    tiles: Mapping[str, tuple[Tile, ...]]
    coloured: bool

    @property
    def kinds(self) -> tuple[str, ...]:
        """The diagnoses, the most frequent first."""
        return tuple(self.counts)

    @property
    def regions(self) -> tuple[str, ...]:
        """The regions that any lesion has."""
        return tuple(region for region in REGIONS if self.spectra[ALL, region].count)


def describe_store(store: Store, progress: Callable[[str], None] = lambda text: None) -> Description:
    """Read a store twice and describe it.

    Args:
        store: the store, opened; of cubes or of photographs, real or synthetic.
        progress: is told what is done.

    Raises:
        StoreError: the store holds no lesion, holds abundances, or cannot be read.
    """
    manifest = store.manifest
    check_lesions(store)
    if manifest.kind == "abundances":
        raise StoreError(
            f"store {store.location.uri} holds abundances, not spectra",
            "Look at the report of `hyperderm unmix`, which made it.",
        )
    progress("reading who is who")
    index = [{**row, "diagnosis": row["diagnosis"] or UNKNOWN} for row in store.index().to_pylist()]
    reading = _Reading(store, _chosen(index))
    for turn, read in enumerate((reading.first, reading.second), 1):
        for done, part in enumerate(store.tables(["lesion_id", "diagnosis", "cube", "mask", "has_mask", "origin"])):
            progress(f"reading {turn} of 2: part {done + 1} of {len(manifest.parts)}")
            read(part)
    counts = {
        name: _count([row for row in index if row["diagnosis"] == name], reading.masks[name]) for name in _kinds(index)
    }
    return Description(
        store,
        origin_of(manifest),
        counts,
        _count(index, sum(reading.masks.values())),
        _folds(store, index),
        reading.bands(),
        tuple(_sizes(reading.sizes, tuple(counts))),
        reading.spectra(tuple(counts)),
        reading.tiles(tuple(counts)),
        reading.matrix is not None,
    )


def check_lesions(store: Store) -> None:
    """Refuse an empty store.

    Raises:
        StoreError: the store holds no lesion.
    """
    if not store.manifest.lesions:
        raise StoreError(f"store {store.location.uri} holds no lesion", "Describe one that holds some, or ingest it again.")


def _kinds(index: Sequence[Mapping[str, Any]]) -> list[str]:
    counts = Counter(row["diagnosis"] for row in index)
    return sorted(counts, key=lambda name: (-counts[name], name))


def _count(rows: Sequence[Mapping[str, Any]], masks: int) -> Count:
    return Count(len(rows), len({row["image_id"] for row in rows}), len({row["group"] for row in rows}), masks)


def _folds(store: Store, index: Sequence[Mapping[str, Any]]) -> tuple[Fold, ...]:
    folds = store.manifest.folds
    if folds is None:
        return ()
    groups = Counter(folds.groups.values())
    held = Counter((folds.groups[row["group"]], row["diagnosis"]) for row in index)
    kinds = _kinds(index)
    return tuple(Fold(number, groups[number], {name: held[number, name] for name in kinds}) for number in range(folds.count))


def _chosen(index: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the lesions that are shown, id to diagnosis: evenly spread over the sorted ids of each diagnosis."""
    kinds = _kinds(index)
    most = MOST_SHOWN if len(kinds) <= _FEW else MOST_SHOWN // 2
    found = {}
    for name in kinds:
        ids = sorted(row["lesion_id"] for row in index if row["diagnosis"] == name)
        count = min(most, len(ids))
        found.update({ids[(2 * k + 1) * len(ids) // (2 * count)]: name for k in range(count)})
    return found


class _Reading:
    """What is gathered while the parts of a store go by."""

    def __init__(self, store: Store, shown: Mapping[str, str]) -> None:
        self._store, self._shown = store, shown
        bands = store.manifest.shape[2]
        self._quantiles = ExactQuantiles(bands, SHARES)
        self._broken, self._negative = np.zeros(bands, np.int64), np.zeros(bands, np.int64)
        self._low, self._high = np.full(bands, np.inf), np.full(bands, -np.inf)
        self._moments: dict[tuple[str, str], RunningMoments] = {}
        self._tiles: dict[str, Tile] = {}
        self.sizes: dict[tuple[str, str], list[float]] = {}
        self.masks: Counter[str] = Counter()

    @cached_property
    def matrix(self) -> NDArray[np.float64] | None:
        """The matrix (3, B) from bands to red, green and blue; None if these bands give no colours."""
        if self._store.manifest.kind == "rgb":
            return np.eye(3)[::-1]  # the bands are blue, green, red
        try:
            return pseudo_rgb_matrix(self._store.manifest.wavelengths_nm)
        except CubeError:
            return None

    def first(self, part: pa.Table) -> None:
        """Gather everything but the quantiles' last digits."""
        cubes, masks = (part.column(name).combine_chunks().to_numpy_ndarray() for name in ("cube", "mask"))
        for values in _pixels(cubes):
            self._quantiles.count(values)
            known = np.isfinite(values)
            self._broken += len(values) - known.sum(0)
            self._negative += (known & (values < 0)).sum(0)
            self._low = np.minimum(self._low, np.where(known, values, np.inf).min(0))
            self._high = np.maximum(self._high, np.where(known, values, -np.inf).max(0))
        rows = part.select(["lesion_id", "diagnosis", "has_mask", "origin"]).to_pylist()
        for row, cube, mask in zip(rows, cubes, masks, strict=True):
            self._lesion(row, cube, mask.astype(bool) if row["has_mask"] else None)

    def second(self, part: pa.Table) -> None:
        """Gather the quantiles' last digits."""
        for values in _pixels(part.column("cube").combine_chunks().to_numpy_ndarray()):
            self._quantiles.refine(values)

    def bands(self) -> BandValues:
        """Return the values of the bands, after both readings."""
        found = self._quantiles
        low, high = (np.where(found.counted > 0, end, np.nan) for end in (self._low, self._high))
        return BandValues(found.counted, self._broken, self._negative, low, high, found.found())

    def spectra(self, kinds: Sequence[str]) -> dict[tuple[str, str], Moments]:
        """Return the moments of every diagnosis and of all, in every region."""
        none = RunningMoments(self._store.manifest.shape[2])
        names = [(name, region) for name in (ALL, *kinds) for region in REGIONS]
        return {name: self._moments.get(name, none).found() for name in names}

    def tiles(self, kinds: Sequence[str]) -> dict[str, tuple[Tile, ...]]:
        """Return the cubes that are shown, in the order of their ids."""
        return {
            name: tuple(self._tiles[one] for one in sorted(self._shown) if self._shown[one] == name and one in self._tiles)
            for name in kinds
        }

    def _lesion(self, row: Mapping[str, Any], cube: NDArray[np.float32], mask: Mask | None) -> None:
        kind = row["diagnosis"] or UNKNOWN
        known = np.isfinite(cube).all(2)
        regions = {WHOLE: known}
        if mask is not None:
            self.masks[kind] += 1
            regions |= {LESION: mask & known, SKIN: skin_region(cube, mask) & known}
        for region, inside in regions.items():
            if inside.any():
                mean = cube[inside].mean(0, dtype=np.float64)
                for name in (ALL, kind):
                    self._moments.setdefault((name, region), RunningMoments(cube.shape[2])).add(mean)
        for quantity, value in {**_recorded(row["origin"]), **_of_mask(mask)}.items():
            for name in (ALL, kind):
                self.sizes.setdefault((quantity, name), []).append(value)
        if row["lesion_id"] in self._shown:
            self._tiles[row["lesion_id"]] = self._tile(row["lesion_id"], np.nan_to_num(cube, posinf=0, neginf=0), mask)

    def _tile(self, name: str, cube: NDArray[np.float32], mask: Mask | None) -> Tile:
        matrix = self.matrix if self.matrix is not None else np.full((3, cube.shape[2]), 1 / cube.shape[2])
        skin = skin_region(cube, lesion_region(cube) if mask is None else mask)
        levels = np.asarray(cube @ matrix.T, dtype=np.float32)
        small = None if mask is None else _reduced(mask.astype(np.float32)) >= 0.5
        return Tile(name, _reduced(levels), small, _reduced(skin.astype(np.float32)) >= 0.5)


def _pixels(cubes: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    """Yield the pixels (n, B) of cubes (N, H, W, B), a bounded number at a time."""
    at_once = max(1, _PIXELS // (cubes.shape[1] * cubes.shape[2]))
    for start in range(0, len(cubes), at_once):
        yield cubes[start : start + at_once].reshape(-1, cubes.shape[3])


def _reduced(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    """Shrink a picture (H, W, …) by area until its longer side has `_SIDE` pixels; a smaller one stays as it is."""
    height, width = picture.shape[:2]
    scale = _SIDE / max(height, width)
    if scale >= 1:
        return picture
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), dtype=np.float32)


def _of_mask(mask: Mask | None) -> dict[str, float]:
    return {} if mask is None else {"mask_pixels": float(mask.sum()), "mask_share": float(mask.mean())}


def _recorded(text: str) -> dict[str, float]:
    """Return the quantities that follow from a row's origin; other makers of stores may have recorded none of them."""
    origin = json_of(text)
    found: dict[str, float] = {}
    frame, crop, share = (origin.get(name) for name in ("frame", "crop", "mask_share"))
    if _numbers(frame, 2):
        found |= {"frame_height": frame[0], "frame_width": frame[1]}
        if _numbers([share], 1):
            found["lesion_area"] = share * frame[0] * frame[1]
    if _numbers(crop, 4):
        found |= {"crop_height": crop[2] - crop[0], "crop_width": crop[3] - crop[1]}
    if _numbers([origin.get("mask_stored")], 1):
        found["mask_stored"] = origin["mask_stored"]
    return {name: float(value) for name, value in found.items()}


def _numbers(value: object, count: int) -> bool:
    return isinstance(value, list) and len(value) == count and all(type(each) in (int, float) for each in value)


def _sizes(values: Mapping[tuple[str, str], Sequence[float]], kinds: Sequence[str]) -> Iterator[Size]:
    for quantity in QUANTITIES:
        for name in (ALL, *kinds):
            if held := values.get((quantity, name)):
                yield Size(quantity, name, len(held), min(held), float(np.median(held)), max(held))
