"""Scenes whose pixels are looked at one by one: a single cube in a file, or the lesions of a store that may be read."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hyperderm.cubes.diagnosis import UNKNOWN
from hyperderm.errors import ConfigError, CubeError
from hyperderm.ingest.formats.georeference import NOWHERE, Georeference, georeference
from hyperderm.ingest.formats.scene import ReadOptions
from hyperderm.ingest.formats.scene_files import find_scenes, read_pixels
from hyperderm.learners.held_out_pixels import held_out_blocks
from hyperderm.segmentation.clustering import finite
from hyperderm.store.manifest import FOLD_FREE
from hyperderm.store.reader import Store
from hyperderm.strict import json_of
from hyperderm.tags import FOLD_TAG, MANIFEST_TAG, STORE_TAG

FEWEST_BANDS = 2
REMEDY = "Give a cube of real numbers with rows, columns and bands: ENVI, TIFF, MATLAB or npy."
MOST_PIXELS = 200_000
"""Largest number of pixels that are drawn to learn from, evenly from all scenes; fewer of long spectra (`MOST_VALUES`)."""
MOST_VALUES = 24_000_000

Cubes = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Frame:
    """One scene.

    Attributes:
        name: the lesion's id, or the name of the file.
        diagnosis: of the lesion, or `store.reader.UNKNOWN`.
        role: train or validation; "" where there are no folds.
        cube: (H, W, B) float32; NaN or infinite where nothing was measured.
        mask: (H, W) bool, drawn by hand; None if there is none.
        origin: where the lesion comes from (`cubes.cube.Lesion.origin`); empty for a file.
    """

    name: str
    diagnosis: str
    role: str
    cube: Cubes
    mask: NDArray[np.bool_] | None = None
    origin: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Scenes:
    """Scenes of one shape and one set of bands.

    Attributes:
        name: the file's name without folders, or the store's.
        address: where the scenes come from, for people.
        shape: (H, W, B).
        bands: (B,) nm, strictly increasing; the numbers of the bands from 1 where nothing says the wavelengths.
        measured: whether `bands` are wavelengths.
        roles: name to role of every scene, in the order in which `frames` yields them.
        frames: reads the scenes, one after the other.
        masked: whether at least one scene has a mask drawn by hand.
        tags: what the scenes are in the terms of MLflow: fingerprint, address and fold of a store; empty for a file.
        phantom: whether the scenes are simulated, so that their truth may be known.
        place: where on Earth the pixels of a cube in a file lie, as far as the file says it.
    """

    name: str
    address: str
    shape: tuple[int, int, int]
    bands: tuple[float, ...]
    measured: bool
    roles: dict[str, str]
    frames: Callable[[], Iterator[Frame]]
    masked: bool
    tags: dict[str, str]
    phantom: bool = False
    place: Georeference = NOWHERE

    @property
    def single(self) -> bool:
        """Whether there is one scene."""
        return len(self.roles) == 1

    @property
    def folded(self) -> bool:
        """Whether the scenes have roles."""
        return set(self.roles.values()) != {""}


def of_file(path: Path, asked: ReadOptions) -> Scenes:
    """Read the cube in a file (ENVI, TIFF, MATLAB, npy), or in a folder that holds the bands of one.

    Raises:
        CubeError: there is no cube, there are several, or it cannot be read. ConfigError: it has one band.
    """
    found, left = find_scenes(path)
    if len(found) != 1:
        names = ", ".join(each.name for each in found[:5])
        reasons = "; ".join(f"{each.name}: {why}" for each, why in left[:3])
        what = f"{path} holds {len(found)} cubes ({names})" if found else f"{path} holds no cube ({reasons or 'no file'})"
        raise CubeError(what, "Name the file of one.")
    try:
        scene = read_pixels(found[0], asked, path)
    except CubeError as error:
        if str(path) in error.what:
            raise
        raise CubeError(f"{path}: {error.what}", error.remedy or REMEDY) from error
    cube = scene.reflectance
    shape = _shape(cube.shape, str(path))
    known = scene.wavelengths_nm
    bands = tuple(float(k + 1) for k in range(shape[2])) if known is None else tuple(known.tolist())
    name = path.name.split(".")[0] or path.name
    frame = Frame(name, UNKNOWN, "", cube)
    return Scenes(
        name, str(path), shape, bands, known is not None, {name: ""}, lambda: iter((frame,)), False, {},
        place=georeference(found[0]),
    )  # fmt: skip


def of_store(store: Store, fold: int | None) -> Scenes:
    """Return the lesions of a store that may be looked at: train and validation of a fold, or all of a store without folds.

    Raises:
        StoreError: the store holds photographs, or has no such fold. ConfigError: its cubes have one band.
    """
    if fold is None:
        roles = dict.fromkeys(store.every("all"), "")
    else:
        train, validation = (store.select(role, fold, "all") for role in ("train", "validation"))
        roles = dict.fromkeys(train, "train") | dict.fromkeys(validation, "validation")
    manifest = store.manifest
    shape = _shape(manifest.shape, store.location.uri)
    ordered = {str(name): roles[name] for name in store.index().column("lesion_id").to_pylist() if name in roles}
    tags = {
        MANIFEST_TAG: manifest.fingerprint,
        STORE_TAG: store.location.uri,
        FOLD_TAG: FOLD_FREE if fold is None else str(fold),
    }
    return Scenes(
        store.name,
        store.location.uri,
        shape,
        tuple(manifest.wavelengths_nm),
        True,
        ordered,
        lambda: _lesions(store, ordered),
        bool(store.with_masks() & set(ordered)),
        tags,
        manifest.source.get("verb") == "phantom" or _simulated(store),
    )


def _simulated(store: Store) -> bool:
    """Return whether the first lesion says that it is drawn by the phantom."""
    first = next(store.tables(["origin"]), None)
    return first is not None and len(first) > 0 and "phantom" in json_of(first.column("origin")[0].as_py())


def _shape(shape: tuple[int, ...], place: str) -> tuple[int, int, int]:
    height, width, bands = shape
    if bands < FEWEST_BANDS:
        raise ConfigError(f"{place}: a cube of one band has no spectra", "Give a cube of 2 bands or more.")
    return height, width, bands


def _lesions(store: Store, roles: dict[str, str]) -> Iterator[Frame]:
    for part in store.tables(["lesion_id", "diagnosis", "cube", "mask", "has_mask", "origin"]):
        chosen = part.filter(pa.compute.is_in(part.column("lesion_id"), value_set=pa.array(list(roles), pa.string())))
        if not len(chosen):
            continue
        cubes, masks = (chosen.column(name).combine_chunks().to_numpy_ndarray() for name in ("cube", "mask"))
        facts = chosen.select(["lesion_id", "diagnosis", "has_mask", "origin"]).to_pylist()
        for row, cube, mask in zip(facts, cubes, masks, strict=True):
            yield Frame(
                row["lesion_id"],
                row["diagnosis"] or UNKNOWN,
                roles[row["lesion_id"]],
                cube,
                mask.astype(np.bool_) if row["has_mask"] else None,
                json_of(row["origin"]),
            )


@dataclass(frozen=True, eq=False)
class Sample:
    """Pixels that were drawn from scenes.

    Attributes:
        spectra: (n, B) float32, finite.
        place: (n, 2) x and y from 0 to 1 over the width and the height of the scene.
        held: (n,) bool, True for pixels that are only scored: those of validation, or of held-out blocks.
        scene: (n,) number of each pixel's scene, in the order of `Scenes.roles`.
        pixel: (n,) index of each pixel in its scene, row by row.
        masked: number of pixels of all scenes that are NaN or infinite in a band.
        total: number of pixels of all scenes.
    """

    spectra: Cubes
    place: NDArray[np.float64]
    held: NDArray[np.bool_]
    scene: NDArray[np.intp]
    pixel: NDArray[np.intp]
    masked: int
    total: int

    def fitting(self, most: int, seed: int, folded: bool) -> NDArray[np.intp]:
        """Return the indices of at most `most` pixels to which clusters are fitted, ascending.

        Where there are folds, these are pixels of train. Otherwise all pixels count: held-out blocks are held out from the
        network, so that its scores are fair, but clusters of a scene are made of the whole scene.
        """
        where = np.flatnonzero(~self.held) if folded else np.arange(len(self.spectra))
        if len(where) <= most:
            return where
        return np.sort(np.random.default_rng(seed).choice(where, most, replace=False))


def sample(scenes: Scenes, seed: int) -> Sample:
    """Draw at most `MOST_PIXELS` finite pixels, equally many of each scene, by the seed and the scene's name.

    Raises:
        ConfigError: no pixel is finite, or none that is held out, or none that is not.
    """
    height, width, bands = scenes.shape
    each = max(1, min(MOST_PIXELS, MOST_VALUES // bands) // len(scenes.roles))
    last = np.maximum(np.array([width, height]) - 1, 1)
    drawn: list[tuple[Cubes, NDArray[np.intp], NDArray[np.bool_]]] = []
    masked = 0
    for frame in scenes.frames():
        pixels = frame.cube.reshape(-1, bands)
        usable = np.flatnonzero(finite(pixels))
        masked += len(pixels) - len(usable)
        if len(usable) > each:
            rng = np.random.default_rng([seed, *frame.name.encode()])
            usable = np.sort(rng.choice(usable, each, replace=False))
        if frame.role:
            held = np.full(len(usable), frame.role == "validation")
        else:
            held = held_out_blocks([frame.name], (height, width))[0].numpy().reshape(-1)[usable]
        drawn.append((np.asarray(pixels[usable], dtype=np.float32), usable, held))
    counts = [len(index) for _, index, _ in drawn]
    pixel, held = (np.concatenate([one[at] for one in drawn]) for at in (1, 2))
    total = height * width * len(scenes.roles)
    if not len(pixel):
        raise ConfigError(f"none of the {total} pixels is finite in all bands", "Give a cube with finite reflectance.")
    if held.all() or not held.any():
        which = "to learn from" if held.all() else "held out"
        raise ConfigError(f"none of the pixels {which} is finite in all bands", "Give a cube with more finite pixels.")
    y, x = np.divmod(pixel, width)
    return Sample(
        spectra=np.concatenate([one[0] for one in drawn]),
        place=np.stack([x, y], 1) / last,
        held=held,
        scene=np.repeat(np.arange(len(counts)), counts),
        pixel=pixel,
        masked=masked,
        total=total,
    )
