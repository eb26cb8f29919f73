"""TIFF: one greyscale page per band, or one page whose samples are the bands (chunky or planar); read by `tifffile`.

A large stack that ImageJ saves in one piece after a single page is read as tifffile's series describes it. Pages may also be
the rows of a cube: the axis that is as long as the list of wavelengths holds the bands (`axes`). Pages that are marked as
smaller copies are left out; pixels that hold GDAL's no-data value are missing.

Wavelengths come from the first page's ImageDescription if it is JSON with `wavelengths_nm` (as tifffile's `metadata=` writes
it), from a line `wavelengths_nm=[…]` in ImageJ's description, or from the emission wavelengths of OME channels. Counts stay
counts. Only pages of the file itself are read: other files that OME data may name are not opened.
"""

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from hyperderm.errors import CubeError, NoImage
from hyperderm.ingest.formats import ome
from hyperderm.ingest.formats.axes import BANDS_FIRST, BANDS_LAST, PAGES, PLANES, Axes
from hyperderm.ingest.formats.pixels import DAMAGED, damaged, make_scene, name_below, no_data, numbers, oriented
from hyperderm.ingest.formats.scene import Found, ReadOptions, Scene
from hyperderm.ingest.formats.wavelengths import Listed, in_nm
from hyperderm.strict import json_of

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage

_T = TypeVar("_T")

NAME: str = "tiff"
SUFFIXES = {".tif", ".tiff", ".btf"}

_KIND = "a TIFF file"
_NO_DATA = 42113
_AXES = ("YX", "YXS", "SYX", "ZYX")
ORIENTATION = 274
_UNCOMPRESSED, _WHITE_IS_ZERO, _PALETTE = 1, 0, 3
_DENSEST = 1100  # bytes that deflate, the densest of TIFF's compressions here, makes of one


def find(folder: Path, files: Sequence[Path], root: Path) -> list[Found]:
    """Return one scene per file."""
    return [Found(name_below(p, root), p, (p,), NAME) for p in files if p.suffix.lower() in SUFFIXES]


@dataclass(frozen=True)
class _Stack:
    """The contents of an open file: the array, its possible axes, and the file's further information."""

    array: NDArray[Any]
    axes: Axes
    listed: Listed | None
    missing: NDArray[np.bool_] | None
    orientation: int
    facts: dict[str, Any]


def read(found: Found, asked: ReadOptions) -> Scene:
    """Read one stack as (rows, columns, bands), turned by its orientation tag.

    Raises:
        CubeError: the file is damaged or truncated, its pages differ in size, it has a single greyscale page, several pages
            of several samples or palette colours, or wavelengths or axes do not fit.
    """

    def take(tif: "TiffFile", pages: "list[TiffPage]") -> _Stack:
        pages = [page for page in pages if not page.is_reduced] or pages  # without smaller copies of others
        image = ome.image_of(tif, len(pages), asked.key) if tif.is_ome else None
        pages = pages if image is None else [pages[i] for i in image.planes]
        _check_description(tif, image)
        array, axes = _array(tif, pages)
        value = _no_data(pages[0])
        return _Stack(
            array,
            axes,
            None if asked.wavelengths_nm else _wavelengths(tif, pages[0].description, image),
            None if value is None else no_data(array, value),
            _orientation(pages),
            {"pages": len(pages)} | ({"image": image.name} if image and image.several else {}),
        )

    stack = _opened(found.path, take)
    facts = stack.facts | ({"orientation": stack.orientation} if stack.orientation != 1 else {})
    scene = make_scene(stack.array, stack.listed, asked, facts, stack.axes, stack.missing)
    if stack.orientation == 1:
        return scene
    if scene.facts.get("axes", "BHW") != "BHW":
        raise CubeError(f"its pages are no pictures, yet an orientation tag turns them ({stack.orientation})")
    return replace(scene, reflectance=np.ascontiguousarray(oriented(scene.reflectance, stack.orientation)))


def read_page(path: Path) -> tuple[NDArray[Any], int]:
    """Read a file of one greyscale page as (rows, columns), not turned, and return its orientation tag too.

    Raises:
        CubeError: the file is damaged, or is anything else than one greyscale page.
    """

    def take(tif: "TiffFile", pages: "list[TiffPage]") -> tuple[NDArray[Any], int]:
        if len(pages) > 1 or pages[0].axes != "YX":
            raise CubeError("no greyscale picture of one page")
        return pages[0].asarray(), _orientation(pages)

    return _opened(path, take)


def _opened(path: Path, take: "Callable[[TiffFile, list[TiffPage]], _T]") -> _T:
    """Open a file, prove that all its pixels are present, and return the result of `take`."""
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
    """Collect tifffile's log messages on a list of pages that ends too early; otherwise pages would be lost silently."""
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
    """Raise ValueError if the file (`size` bytes) lacks pixels, CubeError if they are inverted or numbers of a palette."""
    if page.photometric in {_WHITE_IS_ZERO, _PALETTE}:
        raise CubeError("its pixels are inverted or numbers of a palette (photometric interpretation 0 or 3)")
    counts, offsets = page.databytecounts, page.dataoffsets
    if len(counts) != len(offsets) or any(c <= 0 or o + c > size for o, c in zip(offsets, counts, strict=True)):
        raise ValueError("pixels lie beyond its end")
    if sum(counts) * (1 if page.compression == _UNCOMPRESSED else _DENSEST) < page.size * page.bitspersample // 8:
        raise ValueError("it holds fewer pixels than it says")


def _array(tif: "TiffFile", pages: "list[TiffPage]") -> tuple[NDArray[Any], Axes]:
    """Return the stack as tifffile gives it, pages first, and its possible axes."""
    kinds = sorted({f"{' x '.join(map(str, p.shape))} {p.dtype}" for p in pages})
    if len(kinds) > 1:
        raise CubeError(
            f"its {len(pages)} pages differ in size or type: {', '.join(kinds[:6])}",
            "Save the bands alone, without thumbnails and other pictures.",
        )
    axes = pages[0].axes
    if axes not in _AXES:
        raise CubeError(f"its pages have axes {axes}; rows, columns and samples are understood")
    if len(pages) > 1:
        if axes != "YX":
            raise CubeError(f"{len(pages)} pages of several samples each: bands are either pages or samples, not both")
        return np.stack([page.asarray() for page in pages]), PLANES if _are_pictures(tif, pages[0]) else PAGES
    if axes != "YX":
        return pages[0].asarray(), {"YXS": BANDS_LAST, "SYX": BANDS_FIRST, "ZYX": PLANES}[axes]
    behind = _behind_one_page(tif)
    if behind is None:
        raise NoImage(
            "one greyscale page is one band, not a scene",
            "Raw frames of a 4 x 4 mosaic camera are read with --layout mosaic; files of one band, with nm in their names.",
        )
    return behind, PLANES if tif.is_imagej else PAGES


def _are_pictures(tif: "TiffFile", page: "TiffPage") -> bool:
    """Return whether the file itself says that a page is a picture, not a slice of an array with other axes."""
    if tif.is_imagej or tif.is_ome:
        return True
    try:
        shape = json_of(page.description).get("shape", ()) if tif.is_shaped else ()
        return len(shape) == 2  # tifffile was given one picture at a time
    except (ValueError, TypeError, AttributeError):
        return False


def _behind_one_page(tif: "TiffFile") -> NDArray[Any] | None:
    """Return the stack whose planes follow the one page in one piece, or None if the description names no such stack."""
    if not (tif.is_imagej or tif.is_shaped):
        return None
    series = tif.series[0]
    if len(tif.series) > 1 or series.size <= series.keyframe.size:
        if tif.is_imagej and int((tif.imagej_metadata or {}).get("images", 1)) > 1:
            raise ValueError("it holds fewer images than ImageJ wrote")
        return None
    if series.dataoffset is None or series.dataoffset + series.nbytes > tif.filehandle.size:
        raise ValueError("pixels lie beyond its end")
    array = np.squeeze(series.asarray())
    if array.ndim != 3:
        raise CubeError(f"a stack of more than bands: {' x '.join(map(str, array.shape))}", "Save one focal plane.")
    return array


def _orientation(pages: "list[TiffPage]") -> int:
    """Return the pages' orientation tag, or 1 if there is none; pages without the tag follow those with it."""
    tags = {int(p.tags[ORIENTATION].value) for p in pages if ORIENTATION in p.tags}
    if len(tags) > 1:
        raise CubeError(f"its pages have different orientation tags: {sorted(tags)}")
    return tags.pop() if tags and max(tags) in range(2, 9) else 1


def _no_data(page: "TiffPage") -> float | None:
    """Return the value that GDAL's tag declares for pixels without data; None without the tag."""
    if _NO_DATA not in page.tags:
        return None
    text = str(page.tags[_NO_DATA].value).strip(" \0")
    return numbers([text], "its GDAL_NODATA tag")[0] if text else None


def _check_description(tif: "TiffFile", image: "ome.OmeImage | None") -> None:
    """Raise CubeError if the pages are described as more than the bands of one image, or if some are missing."""
    if tif.is_imagej:
        meta = {"images": 1, "channels": 1, "slices": 1, "frames": 1, **(tif.imagej_metadata or {})}
        if int(meta["images"]) != len(tif.pages) > 1:
            raise CubeError(f"ImageJ wrote {meta['images']} images, the file has {len(tif.pages)} pages")
        axes = {key: int(meta[key]) for key in ("channels", "slices", "frames")}
    elif image is not None:
        axes = image.sizes
    else:
        return
    if sum(size > 1 for size in axes.values()) > 1:
        said = ", ".join(f"{size} {key}" for key, size in axes.items())
        raise CubeError(f"a stack of more than bands: {said}", "Save one focal plane of one time point.")


def _wavelengths(tif: "TiffFile", description: str, image: "ome.OmeImage | None") -> Listed | None:
    """Return the wavelengths that the description lists, or None if it lists none."""
    if image is not None:
        return image.listed
    said: Any = None
    if tif.is_imagej:
        said = (tif.imagej_metadata or {}).get("wavelengths_nm")
    elif description.lstrip().startswith("{"):
        try:
            said = json_of(description).get("wavelengths_nm")
        except ValueError:
            return None  # a description may begin as it likes
    if isinstance(said, str):
        said = said.strip("[]() ").split(",")
    if said is None:
        return None
    try:
        return in_nm(numbers(said, "wavelengths_nm in its description"), "its description", 1.0)
    except CubeError as error:
        return Listed(problem=error)
