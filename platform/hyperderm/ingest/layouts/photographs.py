"""Folders of dermoscopy photographs (PH2, ISIC): pictures, optional masks, and a table of diagnoses.

    <root>/images/<name>.jpg                     or .jpeg .png .bmp .tif .tiff
    <root>/masks/<name>.png                      optional; also <name>_segmentation, _lesion, _mask, or _00, _01 … a lesion
    <root>/<any>.csv                             optional; tables of diagnoses and of patients: `source_tables`

Names are compared as described in `naming`.

First every picture and every mask is turned by its own EXIF orientation; if that changed anything, a lesion's origin holds
`exif_orientation` and `mask_exif_orientation`.

A photograph becomes a cube of three bands, sorted by rising wavelength: sRGB is made linear (IEC 61966-2-1) before it is
cropped and resized. The wavelengths are nominal: they lie near the peaks of the sRGB primaries and are not measured.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hyperderm.cubes.pseudo_rgb import srgb_decode
from hyperderm.errors import CubeError, NoImage
from hyperderm.ingest.annotations.mask_files import Masks, match_masks, number_of, readings
from hyperderm.ingest.annotations.mask_image import DAMAGED, upright
from hyperderm.ingest.formats.damage import check_machine
from hyperderm.ingest.formats.scene import SetAside
from hyperderm.ingest.layouts.naming import Names, files_below, files_in, folders, relative
from hyperderm.ingest.layouts.source_tables import NOTHING, Said, Tables, read_tables
from hyperderm.ingest.layouts.unused_files import leftovers
from hyperderm.ingest.lesions import Image as ImageRead

NOMINAL_NM: tuple[float, ...] = (465.0, 545.0, 610.0)
"""The nominal wavelengths (nm) of blue, green and red."""
SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff"}
OWN = "photograph/"
"""The beginning of every photograph's id."""
LAYOUT = "images/<name>.jpg (or .png, .bmp, .tif), optional masks/<name>.png and a .csv with columns image and label"


@dataclass(frozen=True)
class Source:
    """One photograph.

    Attributes:
        path: the path of the picture.
        masks: the masks that mark the photograph's lesions.
        said: what the tables say of the photograph.
        fault: why the photograph cannot be used, "" if its names are in order.
    """

    path: Path
    masks: tuple[Path, ...] = ()
    said: Said = NOTHING
    fault: str = ""

    @property
    def name(self) -> str:
        """Return the photograph's name in tables and annotations."""
        return self.path.stem

    @property
    def image_id(self) -> str:
        """Return the photograph's id, which never equals the id of a cube.

        If no table names a patient, the id is also the photograph's group.
        """
        return f"{OWN}{self.name}"


def is_layout(root: Path) -> bool:
    """Return whether `root` looks like a folder of photographs."""
    return any(path.suffix.lower() in SUFFIXES for path in _files(root, "images"))


def scan(root: Path, tables: Tables | None = None) -> list[Source]:
    """List the photographs under `root` by name, without opening any.

    Args:
        root: the source folder.
        tables: the tables of the source; None: they are read here.

    Raises:
        CubeError: there is no photograph, or a table cannot be used.
    """
    pictures = _pictures(root)
    if not pictures:
        raise CubeError(f"{root} holds no photographs", f"Expected {LAYOUT}; name the folder that holds images/")
    said = (read_tables(root) if tables is None else tables).of([path.stem for path in pictures]).said
    masks = _masks(root, pictures)
    alike: dict[str, list[str]] = {}
    for path in pictures:
        alike.setdefault(path.stem, []).append(path.name)
    sources = []
    for path in pictures:
        name, fault = path.stem, masks.faults.get(path.stem, "")
        if len(alike[name]) > 1:
            fault = f"{' and '.join(alike[name])} are called alike. Rename one of them."
        sources.append(Source(path, tuple(masks.of.get(name, ())), said.get(name, NOTHING), fault))
    return sources


def orphans(root: Path, sources: Sequence[Source], tables: Tables | None = None) -> list[SetAside]:
    """List every file under `root` that no source uses, with the reason.

    `tables` has the same meaning as in `scan`.
    """
    tables = read_tables(root) if tables is None else tables
    used = {s.path for s in sources} | {mask for s in sources for mask in s.masks} | set(tables.paths)
    reasons: dict[Path, str] = {}
    names = Names(source.name for source in sources)
    for path in _files(root, "images"):
        if path not in used:
            of = _map_of(path, names) if path.suffix.lower() in SUFFIXES else None
            reasons[path] = f"a mask or map of {of}, by its name: masks lie in masks/" if of else "not a picture by its name"
    for top in folders(root, "images"):
        deep = [path for path in files_below(top) if path.parent != top]
        reasons |= dict.fromkeys(deep, "in a folder below images/: photographs are read from images/ itself")
    unused = _masks(root, [source.path for source in sources]).unused
    for path in _files(root, "masks"):
        if path not in used:
            reasons[path] = unused.get(path) or "mask without a photograph: call it <photograph>_00.png"
    reasons |= dict(tables.aside)
    return leftovers(root, used, reasons, "photographs")


def open_image(source: Source, root: Path) -> ImageRead:
    """Read one whole photograph as linear light.

    Raises:
        CubeError: the photograph cannot be used.
    """
    if source.fault:
        raise CubeError(source.fault)
    with source.said.added():
        linear, turned = _linear(source.path)
    diagnosis = source.said.known()
    digest = hashlib.sha256(source.path.read_bytes()).hexdigest()
    facts: dict[str, Any] = {"sha256": digest, "linearised": "sRGB, IEC 61966-2-1"}
    if turned != 1:
        facts["exif_orientation"] = turned
    numbers = ["" if (number := number_of(mask)) is None else f"_{number}" for mask in source.masks]
    masks = [
        (source.image_id + number, mask, relative(mask, root)) for number, mask in zip(numbers, source.masks, strict=True)
    ]
    nm = np.asarray(NOMINAL_NM, dtype=np.float64)
    return ImageRead(source.image_id, relative(source.path, root), diagnosis, linear, nm, facts, masks)


def _linear(path: Path) -> tuple[NDArray[np.float32], int]:
    """Return a picture as (H, W, 3) linear light in [0, 1], bands blue, green, red, and the applied EXIF orientation."""
    try:
        with Image.open(path) as stored:
            image, turned = upright(stored)
            if image.mode in {"1", "L", "LA", "I", "F", "I;16", "I;16B"}:
                raise NoImage(
                    f"the picture has no colours (mode {image.mode})",
                    "Raw frames of a 4 x 4 mosaic camera are read with --layout mosaic.",
                )
            pixels = np.asarray(image.convert("RGB"), dtype=np.float64)
    except DAMAGED as error:
        check_machine(error, path)
        raise CubeError("the picture cannot be read, damaged or truncated") from error
    return srgb_decode(pixels[..., ::-1] / 255).astype(np.float32), turned


def _pictures(root: Path) -> list[Path]:
    """Return the photographs; a picture named like another picture plus a word for mask is not a photograph."""
    found = [path for path in _files(root, "images") if path.suffix.lower() in SUFFIXES]
    names = Names(path.stem for path in found)
    return [path for path in found if _map_of(path, names) is None]


def _map_of(path: Path, names: Names) -> str | None:
    """Return the photograph whose mask or map this picture in images/ is, by its name; None for a photograph."""
    stems = [path.stem.removesuffix("_superpixels")]
    stems += [one.image for one in readings(path.stem) if one.worded and one.number is None]
    shorter = [stem for stem in stems if stem != path.stem and path.stem.startswith(stem)]
    return next((meant[0] for stem in shorter if (meant := names.whole(stem))), None)


def _masks(root: Path, pictures: Sequence[Path]) -> Masks:
    return match_masks([(path.stem, path) for path in _files(root, "masks")], [path.stem for path in pictures])


def _files(root: Path, kind: str) -> list[Path]:
    return sorted((path for folder in folders(root, kind) for path in files_in(folder)), key=lambda path: path.name)
