"""Cubes and label maps as files that other programs read: npy, TIFF and ENVI."""

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import cv2
import numpy as np
import tifffile
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from hyperderm.store.export_files import file_name
from hyperderm.studies.scenes import Scenes

CUBE, LABELS, TIFF = "reconstruction.npy", "labels.npy", "labels.tif"
PICTURES = "labels"
"""Folder of the label maps of several scenes as pictures."""
MASK_FOLDER = "masks"
"""Folder with a folder of lesion masks for each way to make them."""
CUBE_ENVI, LABELS_ENVI = ("reconstruction.hdr", "reconstruction.img"), ("labels.hdr", "labels.img")


class CubeFiles:
    """Cubes that are written as scenes come, so that they need not stay in memory: npy, and ENVI for a single scene.

    npy: float32 (H, W, B), or (N, H, W, B) of several scenes in their order. ENVI: float32, interleaved by pixel, with the
    wavelengths in nm where they are known, and the map information of an ENVI source.
    """

    def __init__(self, folder: Path, scenes: Scenes) -> None:
        shape = scenes.shape if scenes.single else (len(scenes.roles), *scenes.shape)
        self._scenes, self._done = scenes, 0
        self._cubes = open_memmap(folder / CUBE, mode="w+", dtype=np.float32, shape=shape)
        self._envi = _envi_cube(folder / CUBE_ENVI[0], scenes) if scenes.single else None

    def __enter__(self) -> Self:
        return self

    def keep(self, cube: NDArray[np.float32]) -> None:
        """Write the next scene (H, W, B)."""
        if self._scenes.single:
            self._cubes[:] = cube
        else:
            self._cubes[self._done] = cube
        if self._envi is not None:
            self._envi[:] = cube
        self._done += 1

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for held in (self._cubes, self._envi):
            if held is not None:
                held.flush()
        del self._cubes, self._envi


def write_labels(folder: Path, scenes: Scenes, labels: NDArray[np.int16], names: Sequence[str], colours: Any) -> None:  # noqa: ANN401
    """Write label maps, −1 where a pixel is masked.

    npy: int16 (H, W), or (N, H, W) of several scenes. TIFF: int16, a page a scene, with the georeference of a GeoTIFF. ENVI
    classification, for a single scene: class 0 is "masked", class k + 1 is cluster k; with the map information of an ENVI
    source. A picture for each of several scenes: PNG in the colours of the clusters, black where a pixel is masked.

    Args:
        folder: where they go.
        scenes: the scenes.
        labels: (N, H, W).
        names: names of the clusters.
        colours: (K, 3) their colours, 0 to 1.
    """
    maps = labels[0] if scenes.single else labels
    np.save(folder / LABELS, maps)
    tifffile.imwrite(folder / TIFF, maps, photometric="minisblack", extratags=scenes.place.tiff)
    if not scenes.single:
        _pictures(folder / PICTURES, scenes, labels, np.asarray(colours))
    else:
        from spectral.io import envi  # type: ignore[import-untyped]

        shown = [[0, 0, 0], *np.round(255 * np.asarray(colours)).astype(int).tolist()]
        classes = ["masked", *names]
        envi.save_classification(
            str(folder / LABELS_ENVI[0]),
            labels[0] + np.int16(1),
            class_names=classes,
            class_colors=shown,
            ext=".img",
            dtype=np.int16,
            byteorder=0,
            force=True,
            metadata=scenes.place.envi,
        )


def write_masks(folder: Path, number: int, name: str, masks: Mapping[str, NDArray[np.bool_] | None]) -> None:
    """Write the lesion masks of a scene as PNG, 255 on the lesion, below a folder for each way to make them.

    Args:
        folder: where `MASK_FOLDER` goes.
        number: the scene's place in the order.
        name: the scene's name, which its files hold.
        masks: way to mask (H, W); None: no lesion was found, and nothing is written.
    """
    for way, mask in masks.items():
        if mask is not None:
            place = folder / MASK_FOLDER / re.sub(r"\W+", "_", way)
            place.mkdir(parents=True, exist_ok=True)
            _png(place / f"{file_name(number, name)}.png", mask.astype(np.uint8) * 255)


def _png(path: Path, picture: NDArray[np.uint8]) -> None:
    if not cv2.imwrite(str(path), picture):
        raise OSError(f"{path} cannot be written")


def _pictures(folder: Path, scenes: Scenes, labels: NDArray[np.int16], colours: NDArray[np.float64]) -> None:
    """Write one PNG a scene, whose name begins with its place in the order and holds the lesion's id."""
    palette = np.round(255 * np.concatenate([colours, np.zeros((1, 3))])).astype(np.uint8)  # −1 is the last one
    folder.mkdir()
    for number, (name, found) in enumerate(zip(scenes.roles, labels, strict=True)):
        _png(folder / f"{file_name(number, name)}.png", palette[found][..., ::-1])


def _envi_cube(header: Path, scenes: Scenes) -> Any:  # noqa: ANN401 - an array in a file, which spectral does not type
    from spectral.io import envi

    height, width, bands = scenes.shape
    facts: dict[str, Any] = {
        "lines": height,
        "samples": width,
        "bands": bands,
        "data type": 4,
        "interleave": "bip",
        "byte order": int(sys.byteorder == "big"),
        "description": "reconstruction by the spectral autoencoder of hyperderm",
    }
    facts |= scenes.place.envi
    if scenes.measured:
        facts |= {"wavelength": [f"{nm:.10g}" for nm in scenes.bands], "wavelength units": "Nanometers"}
    return envi.create_image(str(header), facts, ext=".img", force=True).open_memmap(writable=True)
