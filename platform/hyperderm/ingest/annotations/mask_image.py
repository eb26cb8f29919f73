"""Open mask pictures, and read the masks that hyperderm itself writes. `mask_picture` reads masks that users draw."""

import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from hyperderm.errors import CubeError
from hyperderm.ingest.formats.damage import check_machine
from hyperderm.ingest.formats.pixels import oriented
from hyperderm.ingest.formats.tiff import read_page

# What Pillow raises on damaged pictures (its PNG reader reports a broken file as SyntaxError).
DAMAGED = (
    OSError, SyntaxError, ValueError, EOFError, MemoryError, zlib.error, struct.error, Image.DecompressionBombError,
)  # fmt: skip
_EXACT = 2**24
"""A float32 holds every whole number up to this one exactly."""
_ONE = "Save the one that is the mask."
GREY = {"1", "L", "I", "F", "I;16", "I;16B", "I;16L", "I;16N"}
LOSSY = {"JPEG", "MPO", "WEBP", "JPEG2000"}
"""Formats whose pixels may differ from the drawn ones because of lossy compression."""


def read_mask(path: Path) -> NDArray[np.bool_]:
    """Read a picture as (H, W) bool: True where it is brighter than half its maximum, so 0/255 and 0/1 both work.

    The picture is turned by its EXIF orientation, as viewers and annotation tools show it.

    Raises:
        CubeError: the file is not a picture, is damaged, or is nowhere bright (an empty mask).
    """
    image = open_picture(path)[0]
    grey = np.asarray(image if image.mode in GREY else image.convert("L"), dtype=np.float64)
    peak = float(grey.max(initial=0.0))
    if not peak > 0:
        raise CubeError("the mask is empty: no pixel of it is marked")
    return np.asarray(grey > peak / 2)


def open_picture(path: Path) -> tuple[Image.Image, int, bool]:
    """Open and load a picture that has one frame.

    Returns:
        The upright picture, the EXIF orientation that was applied (1: none), and whether the format is `LOSSY`.

    Raises:
        CubeError: the file is not a picture, is damaged, or has several frames.
    """
    try:
        with _opened(path) as stored:
            frames = 1 if stored.format == "MPO" else getattr(stored, "n_frames", 1)
            if frames > 1:
                raise CubeError(f"the mask has {frames} frames, of which none is named", _ONE)
            image, orientation = upright(stored)
            image.load()
            return image, orientation, stored.format in LOSSY
    except DAMAGED as error:
        check_machine(error, path)
        raise CubeError("the mask is not a readable image") from error


def _opened(path: Path) -> Image.Image:
    """Open a picture, also TIFFs of float64 and int64 (as saved from NumPy arrays), whose numbers Pillow cannot hold."""
    try:
        return Image.open(path)
    except UnidentifiedImageError:
        if path.suffix.lower() not in {".tif", ".tiff"}:
            raise
        try:
            numbers, orientation = read_page(path)
        except CubeError as error:
            raise CubeError(f"the mask is not a readable image: {error.what}", error.remedy) from error
        if numbers.ndim != 2 or numbers.dtype.kind not in "fiub" or numbers.size == 0:
            raise
        if numbers.dtype.kind in "iu" and np.abs(numbers).max() > _EXACT:
            raise CubeError("the mask's numbers are larger than a mask needs", "Save it as 8-bit numbers.") from None
        return Image.fromarray(oriented(numbers[..., None], orientation)[..., 0].astype(np.float32))


def upright(image: Image.Image) -> tuple[Image.Image, int]:
    """Turn an open picture by its EXIF orientation; return the picture and that orientation (1: nothing was turned).

    The orientation is read before the pixels are loaded, because Pillow turns a TIFF while loading and drops the tag.
    """
    orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    turned = ImageOps.exif_transpose(image)
    return turned, orientation if orientation in range(2, 9) else 1
