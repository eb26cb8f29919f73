"""A lesion mask from a picture file."""

import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from hyperderm.errors import CubeError

# What Pillow raises on damaged pictures (its PNG reader reports a broken file as SyntaxError).
_DAMAGED = (OSError, SyntaxError, ValueError, EOFError, zlib.error, struct.error, Image.DecompressionBombError)
_GREY = {"1", "L", "I", "F", "I;16", "I;16B"}


def read_mask(path: Path) -> NDArray[np.bool_]:
    """Read a picture as (H, W) bool: True where it is brighter than half its maximum, so 0/255 and 0/1 both work.

    It is turned the way its EXIF orientation says, as viewers and annotation tools show it.

    Raises:
        CubeError: no picture, damaged, or nowhere bright (an empty mask).
    """
    return read_turned_mask(path)[0]


def read_turned_mask(path: Path) -> tuple[NDArray[np.bool_], int]:
    """`read_mask`, and the EXIF orientation that turned it (1: it was not turned)."""
    try:
        with Image.open(path) as stored:
            image, orientation = upright(stored)
            grey = np.asarray(image if image.mode in _GREY else image.convert("L"), dtype=np.float64)
    except _DAMAGED as error:
        raise CubeError("the mask is not a readable image") from error
    peak = float(grey.max(initial=0.0))
    if not peak > 0:
        raise CubeError("the mask is empty: no pixel of it is marked")
    return np.asarray(grey > peak / 2), orientation


def upright(image: Image.Image) -> tuple[Image.Image, int]:
    """Turn an open picture the way its EXIF orientation says; also return that orientation, 1 where nothing was turned.

    It is asked for before the pixels are loaded: of a TIFF, Pillow turns them then and forgets the tag.
    """
    orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    turned = ImageOps.exif_transpose(image)
    return turned, orientation if orientation in range(2, 9) else 1
