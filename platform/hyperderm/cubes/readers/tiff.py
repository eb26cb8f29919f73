"""TIFF: one greyscale page a band, or one page whose samples are the bands (chunky or planar); read by `tifffile`.

Wavelengths come from the first page's ImageDescription where that is JSON with `wavelengths_nm` (tifffile's own
`metadata=` writes it so), from a line `wavelengths_nm=[…]` of ImageJ's, or from the emission wavelengths of OME channels.
Counts stay counts. Pages are taken from the file itself only: other files that OME data may name are not opened.
"""

import contextlib
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from hyperderm.cubes.readers.pixels import DAMAGED, damaged, make_scene, name_below, numbers, oriented
from hyperderm.cubes.readers.scene import Asked, Found, Scene
from hyperderm.errors import CubeError, NoImage

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage

_T = TypeVar("_T")

NAME: str = "tiff"
SUFFIXES = {".tif", ".tiff", ".btf"}

_KIND = "a TIFF file"
ORIENTATION = 274
_UNCOMPRESSED, _WHITE_IS_ZERO, _PALETTE = 1, 0, 3
_DENSEST = 1100  # bytes that deflate, the densest of TIFF's compressions here, makes of one
_NM_PER_UNIT = {"nm": 1.0, "µm": 1000.0, "um": 1000.0}


def find(folder: Path, files: Sequence[Path], root: Path) -> list[Found]:
    """Return one scene a file."""
    return [Found(name_below(p, root), p, (p,), NAME) for p in files if p.suffix.lower() in SUFFIXES]


def read(found: Found, asked: Asked) -> Scene:
    """Read one stack as (rows, columns, bands), turned as its orientation tag says.

    Raises:
        CubeError: damaged or truncated, pages of differing size, a single greyscale page, several pages of several
            samples, colours from a palette, or wavelengths that do not fit.
    """

    def take(tif: "TiffFile", pages: "list[TiffPage]") -> tuple[NDArray[Any], list[float] | None, int, int]:
        _check_stack(pages)
        _check_description(tif)
        listed = None if asked.wavelengths_nm else _wavelengths(tif, pages[0].description)
        return _bands(pages), listed, _orientation(pages), len(pages)

    array, listed, orientation, pages = _opened(found.path, take)
    facts: dict[str, Any] = {"pages": pages}
    if orientation != 1:
        facts["orientation"] = orientation
    return make_scene(oriented(array, orientation), listed, asked, facts)


def read_page(path: Path) -> tuple[NDArray[Any], int]:
    """Read a file of one greyscale page as (rows, columns), not turned, and its orientation tag.

    Raises:
        CubeError: damaged, or anything else than one greyscale page.
    """

    def take(tif: "TiffFile", pages: "list[TiffPage]") -> tuple[NDArray[Any], int]:
        if len(pages) > 1 or pages[0].axes != "YX":
            raise CubeError("no greyscale picture of one page")
        return pages[0].asarray(), _orientation(pages)

    return _opened(path, take)


def _opened(path: Path, take: "Callable[[TiffFile, list[TiffPage]], _T]") -> _T:
    """Return what `take` makes of an open file whose pixels are all there."""
    import tifffile

    try:
        with _page_errors() as lost, tifffile.TiffFile(path) as tif:
            pages: dict[int, TiffPage] = {}
            for page in tif.pages:
                if page.offset in pages:
                    raise ValueError("its list of pages is a circle")  # tifffile would go round for ever
                if isinstance(page, tifffile.TiffPage):
                    pages[page.offset] = page
            if lost or not pages:
                raise ValueError(lost[0] if lost else "it has no page")
            for one in pages.values():
                _check_page(one, path.stat().st_size)
            return take(tif, list(pages.values()))
    except DAMAGED as error:
        if "imagecodecs" in str(error):
            raise CubeError(
                f"its pixels are compressed in a way that is not installed ({error})",
                "Save it uncompressed, or with deflate or LZW.",
            ) from error
        raise damaged(_KIND, error, path) from error


@contextlib.contextmanager
def _page_errors() -> Iterator[list[str]]:
    """Collect what tifffile only logs when its list of pages ends too early: those pages would be missing in silence."""
    lost: list[str] = []

    class Listener(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            message = record.getMessage()
            if record.levelno >= logging.ERROR and ("TiffPages" in message or "next page" in message):
                lost.append(message)
            return False  # what matters of the rest shows when pixels are read

    logger, listener = logging.getLogger("tifffile"), Listener()
    logger.addFilter(listener)
    try:
        yield lost
    finally:
        logger.removeFilter(listener)


def _check_page(page: "TiffPage", size: int) -> None:
    """ValueError where the page's pixels are not all in the `size` bytes of the file; CubeError where they are no counts."""
    if page.photometric in {_WHITE_IS_ZERO, _PALETTE}:
        raise CubeError("its pixels are inverted or numbers of a palette (photometric interpretation 0 or 3)")
    counts, offsets = page.databytecounts, page.dataoffsets
    if len(counts) != len(offsets) or any(c <= 0 or o + c > size for o, c in zip(offsets, counts, strict=True)):
        raise ValueError("pixels lie beyond its end")
    if sum(counts) * (1 if page.compression == _UNCOMPRESSED else _DENSEST) < page.size * page.bitspersample // 8:
        raise ValueError("it holds fewer pixels than it says")


def _check_stack(pages: "list[TiffPage]") -> None:
    """CubeError where the pages cannot be the bands of one image."""
    kinds = sorted({f"{' x '.join(map(str, p.shape))} {p.dtype}" for p in pages})
    if len(kinds) > 1:
        raise CubeError(f"its {len(pages)} pages differ in size or type: {', '.join(kinds[:6])}")
    axes = pages[0].axes
    if axes not in {"YX", "YXS", "SYX"}:
        raise CubeError(f"its pages have axes {axes}; rows, columns and samples are understood")
    if len(pages) > 1 and axes != "YX":
        raise CubeError(f"{len(pages)} pages of several samples each: bands are either pages or samples, not both")
    if len(pages) == 1 and axes == "YX":
        raise NoImage(
            "one greyscale page is one band, not a scene",
            "Raw frames of a 4 x 4 mosaic camera are read with --layout mosaic; files of one band, with nm in their names.",
        )


def _orientation(pages: "list[TiffPage]") -> int:
    """The pages' orientation tag, 1 where none says another; pages without it follow those with it."""
    tags = {int(p.tags[ORIENTATION].value) for p in pages if ORIENTATION in p.tags}
    if len(tags) > 1:
        raise CubeError(f"its pages have different orientation tags: {sorted(tags)}")
    return tags.pop() if tags and max(tags) in range(2, 9) else 1


def _bands(pages: "list[TiffPage]") -> NDArray[Any]:
    if len(pages) > 1:
        return np.stack([page.asarray() for page in pages], axis=-1)
    array = pages[0].asarray()
    return np.moveaxis(array, 0, -1) if pages[0].axes == "SYX" else array


def _check_description(tif: "TiffFile") -> None:
    """CubeError where the pages are said to be more than the bands of one image, or some of them are missing."""
    if tif.is_imagej:
        meta = {"images": 1, "channels": 1, "slices": 1, "frames": 1, **(tif.imagej_metadata or {})}
        if int(meta["images"]) != len(tif.pages):
            raise CubeError(f"ImageJ wrote {meta['images']} images, the file has {len(tif.pages)} pages")
        axes = {key: int(meta[key]) for key in ("channels", "slices", "frames")}
    elif tif.is_ome:
        pixels = _ome_pixels(tif)
        axes = {key: int(pixels.get(key, 1)) for key in ("SizeC", "SizeZ", "SizeT")}
    else:
        return
    if sum(size > 1 for size in axes.values()) > 1:
        said = ", ".join(f"{size} {key}" for key, size in axes.items())
        raise CubeError(f"a stack of more than bands: {said}", "Save one focal plane of one time point.")


def _wavelengths(tif: "TiffFile", description: str) -> list[float] | None:
    """Nm from the description; None where it says none."""
    if tif.is_ome:
        return _of_channels(_ome_pixels(tif))
    said: Any = None
    if tif.is_imagej:
        said = (tif.imagej_metadata or {}).get("wavelengths_nm")
    elif description.lstrip().startswith("{"):
        try:
            said = json.loads(description).get("wavelengths_nm")
        except ValueError:
            return None  # a description may begin as it likes
    if isinstance(said, str):
        said = said.strip("[]() ").split(",")
    return None if said is None else numbers(said, "wavelengths_nm in its description")


def _ome_pixels(tif: "TiffFile") -> dict[str, Any]:
    import tifffile

    image = tifffile.xml2dict(tif.ome_metadata or "")["OME"]["Image"]
    if isinstance(image, list):
        raise CubeError(f"an OME file of {len(image)} images, one is expected")
    pixels: dict[str, Any] = image["Pixels"]
    return pixels


def _of_channels(pixels: dict[str, Any]) -> list[float] | None:
    channels = pixels.get("Channel", [])
    channels = channels if isinstance(channels, list) else [channels]
    values = [c.get("EmissionWavelength") for c in channels]
    if not values or any(v is None for v in values):
        return None
    units = {c.get("EmissionWavelengthUnit", "nm") for c in channels}
    if len(units) > 1 or not units <= _NM_PER_UNIT.keys():
        raise CubeError(f"its OME channels have wavelengths in {', '.join(sorted(units))}; nm and µm are understood")
    return [v * _NM_PER_UNIT[next(iter(units))] for v in numbers(values, "the emission wavelengths of its channels")]
