"""From one image and what marks its lesions to lesions: which marks count, the crop, the size, the names.

Marks in the order of precedence: an annotation file the user named, mask pictures beside the image, the automatic
fallback where it was asked for. A whole image without a mark is one lesion of its own only where its layout allows it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperderm.cubes import crop
from hyperderm.cubes.annotations import Annotations
from hyperderm.cubes.annotations.automatic import automatic_mask
from hyperderm.cubes.bands import to_bands
from hyperderm.cubes.cube import Cube, Lesion
from hyperderm.cubes.readers.mask_image import read_turned_mask
from hyperderm.cubes.readers.scene import SetAside
from hyperderm.errors import CubeError

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Marker:
    """Where lesions lie, beside mask pictures; can be pickled.

    Attributes:
        annotations: a file of an annotation tool, or None.
        digest: sha256 of that file.
        names: image id to the image as that file names it.
        automatic: whether a lesion is searched for where nothing marks one.
    """

    annotations: Annotations | None = None
    digest: str = ""
    names: Mapping[str, str] = field(default_factory=dict)
    automatic: bool = False


@dataclass(frozen=True)
class How:
    """How images become lesions; can be pickled.

    Attributes:
        size: pixels of the stored crops; None: as many as the crop has.
        bands_nm: (K,) nm that every cube is brought to (`bands.to_bands`); None: as they come.
        marker: see there.
        groups: image id to group (the patient); empty: every image is a group of its own.
        scale: which files' numbers are divided by what, beside a factor that the file itself names (`store.units`).
        fill: whether missing values inside a crop are filled from their neighbours.
    """

    size: int | None = 64
    bands_nm: tuple[float, ...] | None = None
    marker: Marker = Marker()
    groups: Mapping[str, str] = field(default_factory=dict)
    scale: tuple[tuple[str, float], ...] = ()
    fill: bool = False


@dataclass(frozen=True)
class Image:
    """An image as its layout found it.

    Attributes:
        image_id: unique in the source.
        file: that stands for it, relative to the source.
        diagnosis: one of `DIAGNOSES`, or None.
        reflectance: (H, W, B).
        wavelengths_nm: (B,).
        facts: into the origin of its lesions.
        masks: name of a lesion, its mask picture, and that as it is called in lists.
        whole: whether an unmarked image is a lesion itself.
    """

    image_id: str
    file: str
    diagnosis: str | None
    reflectance: NDArray[np.float32]
    wavelengths_nm: NDArray[np.float64]
    facts: Mapping[str, Any]
    masks: Sequence[tuple[str, Path, str]] = ()
    whole: bool = True


@dataclass(frozen=True)
class _Mark:
    lesion_id: str
    mask: Mask
    diagnosis: str | None
    facts: Mapping[str, Any]
    said_in: str


def lesions_of(image: Image, how: How) -> tuple[list[Lesion], list[SetAside]]:
    """Cut out every lesion of one image.

    Returns:
        The lesions, and what had to be set aside: single marks, or the whole image (then no lesion).
    """
    marks, aside = _marks(image, how.marker)
    lesions = []
    for mark in marks:
        try:
            cube, mask, box = cut(image.reflectance, mark.mask, how.size)
            lesions.append(_lesion(image, mark.lesion_id, cube, mask, box, mark.diagnosis, _facts(mark), how))
        except CubeError as error:
            aside.append(SetAside(mark.said_in, str(error)))
    if marks or aside:
        return lesions, aside
    if not image.whole:
        return [], [SetAside(image.file, f"no mask: masks/{image.image_id}_00.png is expected")]
    try:
        frame = (0, 0, *image.reflectance.shape[:2])
        cube = crop.resize(image.reflectance, how.size)
        return [_lesion(image, image.image_id, cube, None, frame, image.diagnosis, {}, how)], []
    except CubeError as error:
        return [], [SetAside(image.file, str(error))]


def masks_of(image: Image, marker: Marker) -> tuple[list[tuple[Mask, str | None]], list[SetAside]]:
    """Return every mask of an image with the diagnosis of its lesion, and what had to be set aside."""
    marks, aside = _marks(image, marker)
    return [(mark.mask, mark.diagnosis) for mark in marks], aside


def cut(reflectance: NDArray[np.float32], mask: Mask, size: int | None) -> tuple[NDArray[np.float32], Mask, crop.Box]:
    """Crop around the mask's scaled box and resize both.

    Raises:
        CubeError: what is wrong with the mask.
    """
    if mask.shape != reflectance.shape[:2]:
        h, w = reflectance.shape[:2]
        raise CubeError(f"the mask has {mask.shape[0]} x {mask.shape[1]} pixels, its image {h} x {w}")
    box = crop.scaled_box(crop.mask_box(mask), mask.shape)
    top, left, bottom, right = box
    small = crop.resize_mask(mask[top:bottom, left:right], size)
    if not small.any():
        raise CubeError(f"the mask has no pixel left after the centre crop to {size} x {size}")
    return crop.resize(reflectance[top:bottom, left:right], size), small, box


def _marks(image: Image, marker: Marker) -> tuple[list[_Mark], list[SetAside]]:
    if marker.annotations is not None and image.image_id in marker.names:
        marks, aside = _annotated(image, marker.annotations, marker.names[image.image_id])
        if marks or aside:
            return marks, aside
    marks, aside = _pictures(image)
    if marks or aside or not marker.automatic:
        return marks, aside
    try:
        mask, facts = automatic_mask(image.reflectance)
    except CubeError as error:
        return [], [SetAside(image.file, str(error))]
    return [_Mark(f"{image.image_id}_00", mask, image.diagnosis, facts, image.file)], []


def _annotated(image: Image, annotations: Annotations, name: str) -> tuple[list[_Mark], list[SetAside]]:
    found, aside = annotations.read(name)
    marks = []
    for number, one in enumerate(found):
        said, known = one.diagnosis, image.diagnosis
        if said and known and said != known:
            reason = f"{annotations.file} calls a lesion of {image.image_id} {said}, its source says {known}"
            aside.append(SetAside(name, reason))
            continue
        marks.append(_Mark(f"{image.image_id}_{number:02d}", one.mask, said or known, {"mask": one.facts}, name))
    return marks, aside


def _pictures(image: Image) -> tuple[list[_Mark], list[SetAside]]:
    marks, aside = [], []
    for lesion_id, path, file in image.masks:
        try:
            mask, turned = read_turned_mask(path)
            facts = {"mask_file": file} | ({"mask_exif_orientation": turned} if turned != 1 else {})
            marks.append(_Mark(lesion_id, mask, image.diagnosis, facts, file))
        except CubeError as error:
            aside.append(SetAside(file, str(error)))
    return marks, aside


def _lesion(
    image: Image,
    lesion_id: str,
    reflectance: NDArray[np.float32],
    mask: Mask | None,
    box: crop.Box,
    diagnosis: str | None,
    facts: Mapping[str, Any],
    how: How,
) -> Lesion:
    frame = list(image.reflectance.shape[:2])
    origin = {"file": image.file, **image.facts, **facts, "frame": frame, "crop": list(box)}
    cube = Cube(reflectance, image.wavelengths_nm)
    group = how.groups.get(image.image_id, image.image_id)  # without patients, an image is a group of its own
    lesion = Lesion(lesion_id, image.image_id, group, diagnosis, cube, mask, origin)
    return lesion if how.bands_nm is None else _at_bands(lesion, how.bands_nm)


def _facts(mark: _Mark) -> dict[str, Any]:
    return {**mark.facts, "mask_share": round(float(mark.mask.mean()), 4)}


def _at_bands(lesion: Lesion, bands_nm: tuple[float, ...]) -> Lesion:
    held = lesion.cube.wavelengths_nm
    cube = Cube(to_bands(lesion.cube.reflectance, held, bands_nm), np.asarray(bands_nm, dtype=np.float64))
    origin = {**lesion.origin, "bands_from_nm": held.tolist()}
    return replace(lesion, cube=cube, origin=origin)
