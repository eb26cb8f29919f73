"""A folder with one greyscale image per band, as in CAVE: `<stem>_01.png` … `<stem>_31.png`, or `<stem>_450nm.png` ….

Names with nm give the wavelengths and the order; numbers give only the order. The depth of the file is kept (8 or 16 bit
counts, floats of TIFF), and its EXIF orientation is applied. At least three greyscale images of one stem form a scene;
binary images and images of two values are masks.
"""

import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hyperderm.errors import CubeError
from hyperderm.ingest.formats import tiff
from hyperderm.ingest.formats.axes import BANDS_LAST
from hyperderm.ingest.formats.damage import check_machine
from hyperderm.ingest.formats.pixels import DAMAGED, make_scene, natural, oriented
from hyperderm.ingest.formats.scene import Found, ReadOptions, Scene
from hyperderm.ingest.formats.wavelengths import in_nm

NAME: str = "band_images"
SUFFIXES = {".png", ".tif", ".tiff", ".bmp", ".pgm", ".jpg", ".jpeg"}
FEWEST = 3

_NM = r"(?P<nm>\d{2,5}(?:\.\d+)?) ?nm"
_NAMES = (
    re.compile(rf"(?P<stem>.*?){_NM}(?P<end>.*)", re.IGNORECASE),
    re.compile(rf"(?P<stem>.*?)\d+(?P<end>[ _.-]+){_NM}", re.IGNORECASE),  # a number and nm: band_01_450nm
    re.compile(r"(?P<stem>.*?)(?P<number>\d+)(?P<end>)"),
)
_GREY = {"L", "I", "F", "I;16", "I;16B", "I;16L"}
_ORIENTATION = 274


def find(folder: Path, files: Sequence[Path], root: Path) -> list[Found]:
    """Return one scene per stem with three or more greyscale images, by their names and then the pictures' headers.

    The scene is named after its folder; in the root, and if a folder holds several scenes, the stem is added to the name.
    """
    left = [p for p in files if p.suffix.lower() in SUFFIXES]
    groups: list[tuple[str, list[Path]]] = []
    for pattern in _NAMES:
        by_stem: dict[tuple[str, str, str], list[Path]] = {}
        for path in left:
            if match := pattern.fullmatch(path.stem):
                by_stem.setdefault((match["stem"], match["end"], path.suffix.lower()), []).append(path)
        for (stem, _, _), paths in by_stem.items():
            if len(paths) >= FEWEST and _are_bands(paths):
                groups.append((stem, sorted(paths, key=natural)))
                left = [p for p in left if p not in paths]
    found = []
    for stem, paths in sorted(groups):
        stem = stem.rstrip(" _.-")
        inner = stem or folder.resolve().name if folder == root or len(groups) > 1 else ""
        name = (folder.relative_to(root) / inner).as_posix()
        found.append(Found(name, folder, tuple(paths), NAME))
    return found


def read(found: Found, asked: ReadOptions) -> Scene:
    """Read the images of one scene as (rows, columns, bands), sorted by rising nm or number.

    Raises:
        CubeError: an image is damaged or coloured, the images differ in size or type, a number is missing or occurs twice,
            or the wavelengths do not fit.
    """
    paths, listed = _order([p for p in found.files if p.suffix.lower() in SUFFIXES])  # a side file may be among them
    bands: list[NDArray[Any]] = []
    turned = set()
    for path in paths:
        band, orientation = _band(path)
        turned.add(orientation)
        if bands and (band.shape, band.dtype) != (bands[0].shape, bands[0].dtype):
            raise CubeError(
                f"{path.name} is {_kind(band)}, {paths[0].name} {_kind(bands[0])}: the bands of a scene are alike"
            )
        bands.append(band)
    facts: dict[str, Any] = {"images": [p.name for p in paths]}
    if turned != {1}:
        facts["orientation"] = sorted(turned)
    own = None if listed is None else in_nm(listed, "its names", 1.0)
    return make_scene(np.stack(bands, axis=-1), own, asked, facts, BANDS_LAST)


def _order(files: Sequence[Path]) -> tuple[list[Path], list[float] | None]:
    """Return the images in the order of their bands, and their wavelengths if the names give them."""
    for pattern in _NAMES:
        matches = {path: match for path in files if (match := pattern.fullmatch(path.stem))}
        if len(matches) < len(files) or len({(m["stem"], m["end"]) for m in matches.values()}) > 1:
            continue
        if pattern is not _NAMES[-1]:
            nm = sorted((float(match["nm"]), path) for path, match in matches.items())
            return [path for _, path in nm], [value for value, _ in nm]
        order = sorted((int(match["number"]), path) for path, match in matches.items())
        numbers = [number for number, _ in order]
        if gaps := [(a + 1, b - 1) for a, b in itertools.pairwise(numbers) if b - a > 1]:
            lacking = ", ".join(f"{a}" if a == b else f"{a} to {b}" for a, b in gaps[:4]) + (", …" if gaps[4:] else "")
            raise CubeError(f"band images {numbers[0]} to {numbers[-1]} lack {lacking}")
        if len(set(numbers)) < len(numbers):
            twice = next(n for n in numbers if numbers.count(n) > 1)
            raise CubeError(f"band {twice} comes twice: {', '.join(p.name for n, p in order if n == twice)}")
        return [path for _, path in order], None
    raise CubeError("the images have no common name with a number or nm")


def _band(path: Path) -> tuple[NDArray[Any], int]:
    """Return one image (rows, columns), turned by its EXIF orientation, and that orientation."""
    if path.suffix.lower() in tiff.SUFFIXES:
        try:
            band, orientation = tiff.read_page(path)  # Pillow 13 scrambles 16-bit TIFFs that lie on their side
        except CubeError as error:
            raise CubeError(f"{path.name}: {error.what}", error.remedy) from error
    else:
        try:
            with Image.open(path) as image:
                if not _is_grey(image):
                    raise CubeError(f"{path.name} is no greyscale picture of one page (mode {image.mode})")
                orientation = int(image.getexif().get(_ORIENTATION, 1))
                band = np.asarray(image)
        except DAMAGED as error:
            check_machine(error, path)
            raise CubeError(f"{path.name} cannot be read, damaged or truncated") from error
    if band.ndim != 2:  # what numpy makes of some damaged pictures
        raise CubeError(f"{path.name} cannot be read, damaged or truncated")
    return oriented(band[..., None], orientation)[..., 0], orientation if 2 <= orientation <= 8 else 1


def _are_bands(paths: list[Path]) -> bool:
    """Return whether all are greyscale by their headers, and the first ones are not masks (at most two values).

    An unreadable picture is kept, so that read() reports it instead of returning a scene without that band.
    """
    masks = 0
    for i, path in enumerate(paths):
        try:
            with Image.open(path) as image:
                if not _is_grey(image):
                    return False
                masks += i < FEWEST and np.unique(np.asarray(image)).size <= 2
        except DAMAGED as error:
            check_machine(error, path, rights=False)
    return masks < FEWEST


def _is_grey(image: Image.Image) -> bool:
    return image.mode in _GREY and getattr(image, "n_frames", 1) == 1


def _kind(band: NDArray[Any]) -> str:
    return f"{band.shape[0]} x {band.shape[1]} {band.dtype.name}"
