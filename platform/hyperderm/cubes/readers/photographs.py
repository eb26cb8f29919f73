"""Folders of dermoscopy photographs (PH2, ISIC): pictures, masks where there are any, and a table of diagnoses.

    <root>/images/<name>.jpg                     or .jpeg .png .bmp .tif .tiff
    <root>/masks/<name>.png                      optional; also <name>_segmentation.png, <name>_lesion.png
    <root>/<any>.csv                             optional; a column of image names and one of diagnoses

Pictures and masks are turned the way their EXIF orientation says, each by its own, before anything else; where that changed
something, a lesion's origin holds `exif_orientation` and `mask_exif_orientation`.

A photograph becomes a cube of three bands: sRGB made linear (IEC 61966-2-1) before it is cropped and resized, bands by
rising wavelength. The wavelengths are nominal: those near the peaks of the sRGB primaries, not measured ones.
"""

import csv
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

from hyperderm.cubes import crop
from hyperderm.cubes.cube import DIAGNOSES, Cube, Lesion
from hyperderm.cubes.pseudo_rgb import srgb_decode
from hyperderm.cubes.readers.hsidermoscopy import SetAside
from hyperderm.cubes.readers.mask_image import read_turned_mask, upright
from hyperderm.errors import CubeError

NOMINAL_NM: tuple[float, ...] = (465.0, 545.0, 610.0)
"""Blue, green, red."""
SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff"}
LAYOUT = "images/<name>.jpg (or .png, .bmp, .tif), optional masks/<name>.png and a .csv with columns image and label"
NAME_COLUMNS = ("image", "image_id", "image_name", "isic_id")
LABEL_COLUMNS = ("label", "diagnosis", "dx")
LABELS: dict[str, str] = {
    **{name: name for name in DIAGNOSES},
    "mel": "melanoma",
    "atypical_nevus": "dysplastic_nevus",
    "common_nevus": "nevus",
    "nv": "nevus",
    "seborrheic_keratosis": "seborrhoeic_keratosis",
}
"""What tables call a diagnosis, in lower case and with underscores, to ours."""

_MASK_ENDINGS = ("", "_segmentation", "_lesion")
# What Pillow raises on damaged pictures (its PNG reader reports a broken file as SyntaxError).
_DAMAGED = (OSError, SyntaxError, ValueError, EOFError, zlib.error, struct.error, Image.DecompressionBombError)


@dataclass(frozen=True)
class Source:
    """One photograph; `label` is the table's word for it, None where there is no table, "" where the table leaves it out."""

    path: Path
    mask: Path | None
    label: str | None


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
    labels = _labels(root)
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


def read(source: Source, root: Path, size: int, wavelengths_nm: Sequence[float]) -> tuple[list[Lesion], list[SetAside]]:
    """Read one photograph, cut out its lesion (without a mask: the centre) and resize it to `size` x `size`.

    Returns:
        The lesion, and what had to be set aside: the photograph or its mask, never both in silence.
    """
    file = _relative(source.path, root)
    try:
        diagnosis = _diagnosis(source.label)
        linear, turned = _linear(source.path)
    except CubeError as error:
        return [], [SetAside(file, str(error))]
    origin: dict[str, Any] = {
        "file": file,
        "sha256": hashlib.sha256(source.path.read_bytes()).hexdigest(),
        "linearised": "sRGB, IEC 61966-2-1",
    }
    if turned != 1:
        origin["exif_orientation"] = turned
    box: crop.Box = (0, 0, *linear.shape[:2])
    mask: NDArray[np.bool_] | None = None
    if source.mask:
        try:
            mask, box, turned = _around(source.mask, linear.shape[:2], size)
        except CubeError as error:
            return [], [SetAside(_relative(source.mask, root), str(error))]
        origin["mask_file"] = _relative(source.mask, root)
        if turned != 1:
            origin["mask_exif_orientation"] = turned
    top, left, bottom, right = box
    cube = crop.resize(linear[top:bottom, left:right], size)
    name = f"photograph/{source.path.stem}"  # patients are unknown: a photograph is a group of its own
    nm = np.asarray(wavelengths_nm, dtype=np.float64)
    return [Lesion(name, name, name, diagnosis, Cube(cube, nm), mask, {**origin, "crop": list(box)})], []


def _linear(path: Path) -> tuple[NDArray[np.float32], int]:
    """Return a picture as (H, W, 3) linear light in [0, 1], bands blue, green, red, and the orientation that turned it."""
    try:
        with Image.open(path) as stored:
            image, turned = upright(stored)
            if image.mode in {"1", "L", "LA", "I", "F", "I;16", "I;16B"}:
                raise CubeError(f"the picture has no colours (mode {image.mode})")
            pixels = np.asarray(image.convert("RGB"), dtype=np.float64)
    except _DAMAGED as error:
        raise CubeError("the picture cannot be read, damaged or truncated") from error
    return srgb_decode(pixels[..., ::-1] / 255).astype(np.float32), turned


def _around(path: Path, shape: tuple[int, ...], size: int) -> tuple[NDArray[np.bool_], crop.Box, int]:
    """Return the mask as it lies in the crop around it, that crop, and the orientation that turned the mask."""
    mask, turned = read_turned_mask(path)
    if mask.shape != shape:
        raise CubeError(f"the mask has {mask.shape[0]} x {mask.shape[1]} pixels, its photograph {shape[0]} x {shape[1]}")
    box = crop.scaled_box(crop.mask_box(mask), mask.shape)
    top, left, bottom, right = box
    return crop.resize_mask(mask[top:bottom, left:right], size), box, turned


def _diagnosis(label: str | None) -> str | None:
    if label is None:
        return None
    if not label:
        raise CubeError("the table of diagnoses does not name it")
    found = LABELS.get(label.strip().lower().replace(" ", "_"))
    if found is None:
        raise CubeError(f"the table calls it {label!r}, which is none of {', '.join(DIAGNOSES)}")
    return found


def _labels(root: Path) -> dict[str, str] | None:
    """Return image name (without suffix) to label from the one table in `root` that has both columns; None without one."""
    tables = []
    for path in [p for p in _files(root) if p.suffix.lower() == ".csv"]:
        try:
            with path.open(encoding="utf-8-sig", newline="") as stream:
                rows = list(csv.DictReader(stream))
        except (UnicodeDecodeError, csv.Error) as error:
            raise CubeError(f"{path.name} cannot be read as a table ({error})", "Save it as CSV in UTF-8.") from error
        columns = {name.strip().lower(): name for name in (rows[0] if rows else {}) if name}
        name = next((columns[c] for c in NAME_COLUMNS if c in columns), None)
        label = next((columns[c] for c in LABEL_COLUMNS if c in columns), None)
        if name and label:
            tables.append((path.name, {Path(r[name] or "").stem: (r[label] or "").strip() for r in rows}))
    if len(tables) > 1:
        raise CubeError(f"{root} holds {len(tables)} tables: {', '.join(t for t, _ in tables)}", "Leave one of them.")
    return tables[0][1] if tables else None


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if not p.name.startswith(".") and not p.is_dir())


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()
