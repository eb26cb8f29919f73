"""Folders of dermoscopy photographs (PH2, ISIC): pictures, masks where there are any, and a table of diagnoses.

    <root>/images/<name>.jpg                     or .jpeg .png .bmp .tif .tiff
    <root>/masks/<name>.png                      optional; also <name>_segmentation.png, <name>_lesion.png
    <root>/<any>.csv                             optional; a column of image names and one of diagnoses

Pictures and masks are turned the way their EXIF orientation says, each by its own, before anything else; where that changed
something, a lesion's origin holds `exif_orientation` and `mask_exif_orientation`.

A photograph becomes a cube of three bands: sRGB made linear (IEC 61966-2-1) before it is cropped and resized, bands by
rising wavelength. The wavelengths are nominal: those near the peaks of the sRGB primaries, not measured ones.
"""

import hashlib
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hyperderm.cubes.cube import Lesion
from hyperderm.cubes.pseudo_rgb import srgb_decode
from hyperderm.cubes.readers.cutting import How, lesions_of
from hyperderm.cubes.readers.cutting import Image as ImageRead
from hyperderm.cubes.readers.labels import diagnosis_of, read_labels
from hyperderm.cubes.readers.mask_image import upright
from hyperderm.cubes.readers.scene import SetAside
from hyperderm.errors import CubeError, NoImage

NOMINAL_NM: tuple[float, ...] = (465.0, 545.0, 610.0)
"""Blue, green, red."""
SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff"}
LAYOUT = "images/<name>.jpg (or .png, .bmp, .tif), optional masks/<name>.png and a .csv with columns image and label"
_MASK_ENDINGS = ("", "_segmentation", "_lesion")
# What Pillow raises on damaged pictures (its PNG reader reports a broken file as SyntaxError).
_DAMAGED = (OSError, SyntaxError, ValueError, EOFError, zlib.error, struct.error, Image.DecompressionBombError)


@dataclass(frozen=True)
class Source:
    """One photograph; `label` is the table's word for it, None where there is no table, "" where the table leaves it out."""

    path: Path
    mask: Path | None
    label: str | None

    @property
    def image_id(self) -> str:
        """Patients are unknown: a photograph is a group of its own, and no cube is called like one."""
        return f"photograph/{self.path.stem}"


def is_layout(root: Path) -> bool:
    """Return whether `root` looks like a folder of photographs."""
    return any(path.suffix.lower() in SUFFIXES for path in _files(root / "images"))


def scan(root: Path) -> list[Source]:
    """List the photographs under `root` by name, without opening any; the table is read.

    Raises:
        CubeError: no photograph there, or a table that cannot be used.
    """
    pictures = [path for path in _files(root / "images") if path.suffix.lower() in SUFFIXES]
    if not pictures:
        raise CubeError(f"{root} holds no photographs", f"Expected {LAYOUT}; name the folder that holds images/")
    labels = read_labels(root)
    masks = {path.stem: path for path in _files(root / "masks")}
    sources = []
    for path in pictures:
        mask = next((masks[path.stem + ending] for ending in _MASK_ENDINGS if path.stem + ending in masks), None)
        sources.append(Source(path, mask, None if labels is None else labels.get(path.stem, "")))
    return sources


def orphans(root: Path, sources: Sequence[Source]) -> list[SetAside]:
    """List every file under images/ and masks/ that no source uses."""
    used = {s.path for s in sources} | {s.mask for s in sources}
    reasons = {"images": "not a picture by its name", "masks": "mask without a photograph"}
    return [
        SetAside(_relative(path, root), reason)
        for kind, reason in reasons.items()
        for path in _files(root / kind)
        if path not in used
    ]


def read(source: Source, root: Path, how: How) -> tuple[list[Lesion], list[SetAside]]:
    """Read one photograph and cut out its lesion; without a mark its centre is taken.

    Returns:
        The lesion, and what had to be set aside: the photograph or its mask, never both in silence.
    """
    try:
        image = open_image(source, root)
    except (CubeError, OSError) as error:
        return [], [SetAside(_relative(source.path, root), str(error), image=not isinstance(error, NoImage))]
    return lesions_of(image, how)


def open_image(source: Source, root: Path) -> ImageRead:
    """Read one photograph whole, as linear light.

    Raises:
        CubeError: it cannot be used.
    """
    diagnosis = diagnosis_of(source.label)
    linear, turned = _linear(source.path)
    digest = hashlib.sha256(source.path.read_bytes()).hexdigest()
    facts: dict[str, Any] = {"sha256": digest, "linearised": "sRGB, IEC 61966-2-1"}
    if turned != 1:
        facts["exif_orientation"] = turned
    masks = [(source.image_id, source.mask, _relative(source.mask, root))] if source.mask else []
    nm = np.asarray(NOMINAL_NM, dtype=np.float64)
    return ImageRead(source.image_id, _relative(source.path, root), diagnosis, linear, nm, facts, masks)


def _linear(path: Path) -> tuple[NDArray[np.float32], int]:
    """Return a picture as (H, W, 3) linear light in [0, 1], bands blue, green, red, and the orientation that turned it."""
    try:
        with Image.open(path) as stored:
            image, turned = upright(stored)
            if image.mode in {"1", "L", "LA", "I", "F", "I;16", "I;16B"}:
                raise NoImage(
                    f"the picture has no colours (mode {image.mode})",
                    "Raw frames of a 4 x 4 mosaic camera are read with --layout mosaic.",
                )
            pixels = np.asarray(image.convert("RGB"), dtype=np.float64)
    except _DAMAGED as error:
        raise CubeError("the picture cannot be read, damaged or truncated") from error
    return srgb_decode(pixels[..., ::-1] / 255).astype(np.float32), turned


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if not p.name.startswith(".") and not p.is_dir())


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()
