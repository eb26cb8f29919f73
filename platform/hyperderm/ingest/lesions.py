"""Turn one image and its marks into lesions: which marks are used, the crop, the size, the names.

The marks in order of precedence are: an annotation file that the user named, mask pictures beside the image, and the
automatic mask if the user asked for it. A whole image without a mark is a lesion only if its layout allows it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperderm.cubes import crop
from hyperderm.cubes.bands import needed_bands, to_bands
from hyperderm.cubes.cube import NOTES, Cube, Lesion
from hyperderm.errors import CubeError
from hyperderm.ingest.annotations.annotation_file import Annotations
from hyperderm.ingest.annotations.automatic import automatic_mask
from hyperderm.ingest.annotations.mask_picture import check_size, read_mask_picture
from hyperderm.ingest.formats.scene import SetAside
from hyperderm.ingest.missing_values import complete

Mask = NDArray[np.bool_]
MOST = 0.9
"""A mask that covers more than this share of a frame is reported: it may be no lesion, or be inverted."""
WHOLE = "none: the whole frame"
"""The name of the mask in a lesion's origin if nothing marks the lesion."""


@dataclass(frozen=True)
class LesionMarks:
    """The sources of lesion marks other than mask pictures; can be pickled.

    Attributes:
        annotations: a file of an annotation tool, or None.
        digest: the sha256 of that file.
        names: image id → the image's name in that file.
        torn: the image ids that a name in the file may mean, among others.
        automatic: whether a lesion is searched automatically if nothing marks one.
    """

    annotations: Annotations | None = None
    digest: str = ""
    names: Mapping[str, str] = field(default_factory=dict)
    torn: frozenset[str] = frozenset()
    automatic: bool = False

    def without_lesion(self, image_id: str) -> bool:
        """Return whether the file says that an image shows no lesion."""
        return self.annotations is not None and self.names.get(image_id) in self.annotations.empty

    def unnamed(self, image_id: str) -> str:
        """Return why an unmarked image must not count as one lesion: a file marks the lesions, but none on this image."""
        if self.annotations is None:
            return ""
        file, said = self.annotations.file, self.names.get(image_id, "")
        default = f"{file} does not say which image it means" if image_id in self.torn else f"{file} does not name it"
        return self.annotations.unmarked.get(said, default)


@dataclass(frozen=True)
class CropOptions:
    """How images are turned into lesions; can be pickled.

    Attributes:
        size: the side of the stored crops in pixels; None: the crop keeps its size.
        bands_nm: the wavelengths (K,) in nm to which every cube is brought (`bands.to_bands`); None: unchanged.
        marker: the sources of lesion marks (`LesionMarks`).
        groups: image id → group (the patient); empty: every image is its own group.
        scale: which files' numbers are divided by which factor, in addition to the factor in the file itself
            (`ingest.units`).
        fill: whether missing values inside a crop are filled from their neighbours.
    """

    size: int | None = 64
    bands_nm: tuple[float, ...] | None = None
    marker: LesionMarks = LesionMarks()
    groups: Mapping[str, str] = field(default_factory=dict)
    scale: tuple[tuple[str, float], ...] = ()
    fill: bool = False


@dataclass(frozen=True)
class Image:
    """An image as its layout found it.

    Attributes:
        image_id: the image's id, unique in the source.
        file: the file that represents the image, relative to the source.
        diagnosis: one of `DIAGNOSES`, or None.
        reflectance: (H, W, B); NaN or infinite where nothing was measured; such values are judged inside each crop.
        wavelengths_nm: the wavelengths (B,) in nm.
        facts: facts that go into the origin of the image's lesions.
        masks: for each lesion its name, its mask picture, and the picture's name in lists.
        whole: whether the whole image is a lesion if it is unmarked.
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


def lesions_of(image: Image, how: CropOptions) -> tuple[list[Lesion], list[SetAside]]:
    """Cut out every lesion of one image.

    Returns:
        The lesions, and what had to be set aside: single marks, or the whole image (then there is no lesion). Both are empty
        if an annotation file says that there is no lesion.
    """
    if how.marker.without_lesion(image.image_id):
        return [], _against_masks(image, how.marker)
    marks, aside = _marks(image, how.marker)
    lesions = []
    for mark in marks:
        try:
            mask, box = cut(image.reflectance, mark.mask, how.size)
            facts = _facts(mark) | {"mask_stored": _share_stored(mark.mask, box, how.size)}
            lesions.append(_lesion(image, mark.lesion_id, mask, box, mark.diagnosis, facts, how))
        except CubeError as error:
            aside.append(SetAside(mark.said_in, str(error)))
    if marks or aside:
        return lesions, aside
    if unnamed := how.marker.unnamed(image.image_id):
        return [], [SetAside(image.file, unnamed)]
    if not image.whole:
        return [], [SetAside(image.file, f"no mask: masks/{image.image_id}_00.png is expected")]
    try:
        frame = (0, 0, *image.reflectance.shape[:2])
        return [_lesion(image, image.image_id, None, frame, image.diagnosis, {"mask": WHOLE}, how)], []
    except CubeError as error:
        return [], [SetAside(image.file, str(error))]


def masks_of(
    image: Image, marker: LesionMarks
) -> tuple[list[tuple[Mask, str | None]], list[SetAside], list[tuple[str, str]]]:
    """Return every mask of an image with the diagnosis of its lesion, the unusable marks, and the notes for the user.

    Each note is the name of a lesion or of the image, and a sentence.
    """
    if marker.without_lesion(image.image_id):
        return [], _against_masks(image, marker), []
    marks, aside = _marks(image, marker)
    notes = [(image.image_id, note) for note in image.facts.get(NOTES, ())]
    notes += [(mark.lesion_id, note) for mark in marks for note in _facts(mark).get(NOTES, ())]
    return [(mark.mask, mark.diagnosis) for mark in marks], aside, notes


def _against_masks(image: Image, marker: LesionMarks) -> list[SetAside]:
    """Return the mask pictures of an image on which an annotation file says that there is no lesion."""
    assert marker.annotations is not None
    reason = f"{marker.annotations.file} says that there is no lesion on {image.image_id}"
    return [SetAside(file, reason) for _, _, file in image.masks]


def cut(reflectance: NDArray[np.float32], mask: Mask, size: int | None) -> tuple[Mask, crop.Box]:
    """Crop around the mask's scaled box; return the mask, cropped and resized, and the box.

    Raises:
        CubeError: the mask cannot be used; the message says why.
    """
    check_size(mask.shape, reflectance.shape)
    box = crop.scaled_box(crop.mask_box(mask), mask.shape)
    top, left, bottom, right = box
    small = crop.resize_mask(mask[top:bottom, left:right], size)
    if not small.any():
        raise CubeError(f"the mask has no pixel left after the centre crop to {size} x {size}")
    return small, box


def _marks(image: Image, marker: LesionMarks) -> tuple[list[_Mark], list[SetAside]]:
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
            found, turned = read_mask_picture(path, image.reflectance.shape)
        except CubeError as error:
            aside.append(SetAside(file, str(error)))
            continue
        for one in found:
            name = f"{lesion_id}_label{one.label}" if one.label else lesion_id
            facts = {"mask_file": file, **one.facts} | ({"mask_exif_orientation": turned} if turned != 1 else {})
            facts |= {NOTES: list(one.notes)} if one.notes else {}
            marks.append(_Mark(name, one.mask, image.diagnosis, facts, file))
    return marks, aside


def _lesion(
    image: Image,
    lesion_id: str,
    mask: Mask | None,
    box: crop.Box,
    diagnosis: str | None,
    facts: Mapping[str, Any],
    how: CropOptions,
) -> Lesion:
    top, left, bottom, right = box
    needed = None if how.bands_nm is None else needed_bands(image.wavelengths_nm, how.bands_nm)
    part, mended = complete(image.reflectance[top:bottom, left:right], how.size, fill=how.fill, needed=needed)
    cube = Cube(crop.resize(part, how.size), image.wavelengths_nm)
    frame = list(image.reflectance.shape[:2])
    origin = {"file": image.file, **image.facts, **facts, **mended, "frame": frame, "crop": list(box)}
    origin["stored"] = list(_stored(box, how.size))
    if notes := [note for said in (image.facts, facts, mended) for note in said.get(NOTES, ())]:
        origin[NOTES] = notes
    group = how.groups.get(image.image_id, image.image_id)  # without patients, an image is a group of its own
    lesion = Lesion(lesion_id, image.image_id, group, diagnosis, cube, mask, origin)
    return lesion if how.bands_nm is None else _at_bands(lesion, how.bands_nm)


def _stored(box: crop.Box, size: int | None) -> crop.Box:
    """Return the stored part of a crop in pixels of the frame."""
    top, left, bottom, right = box
    first, start, last, end = crop.kept_box((bottom - top, right - left), size)
    return top + first, left + start, top + last, left + end


def _share_stored(mask: Mask, box: crop.Box, size: int | None) -> float:
    """Return the share of a mask that lies in the stored part of its crop."""
    top, left, bottom, right = _stored(box, size)
    return round(float(np.count_nonzero(mask[top:bottom, left:right]) / np.count_nonzero(mask)), 4)


def _facts(mark: _Mark) -> dict[str, Any]:
    """Return a mark's facts for the origin, with its share of the frame; a share of nearly 1 adds a note."""
    share = float(mark.mask.mean())
    facts = {**mark.facts, "mask_share": round(share, 4)}
    if share > MOST:
        what = "all" if share == 1 else f"{min(share, 0.999):.1%}"
        facts[NOTES] = [*mark.facts.get(NOTES, ()), f"its mask covers {what} of the frame"]
    return facts


def _at_bands(lesion: Lesion, bands_nm: tuple[float, ...]) -> Lesion:
    held = lesion.cube.wavelengths_nm
    cube = Cube(to_bands(lesion.cube.reflectance, held, bands_nm), np.asarray(bands_nm, dtype=np.float64))
    origin = {**lesion.origin, "bands_from_nm": held.tolist()}
    return replace(lesion, cube=cube, origin=origin)
