"""Shared by the file formats: make a scene of the numbers that a library returns, or refuse them."""

import re
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from tokenize import TokenError
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hyperderm.cubes.bands import by_wavelength
from hyperderm.cubes.cube import NOTES
from hyperderm.errors import CubeError, NoImage
from hyperderm.ingest.formats.axes import ARRAY, Axes
from hyperderm.ingest.formats.damage import check_machine
from hyperderm.ingest.formats.scene import ReadOptions, Scene
from hyperderm.ingest.formats.wavelengths import LONGEST_NM, SHORTEST_NM, Listed, choose_wavelengths

# What the libraries raise on damaged bytes, found by flipping and cutting bytes of small files of every format.
# Caught around their calls only, so that a mistake of ours is never taken for a damaged file.
DAMAGED: tuple[type[Exception], ...] = (
    OSError,
    EOFError,
    ValueError,  # also UnicodeDecodeError and tifffile's own
    TypeError,
    LookupError,
    AttributeError,
    RuntimeError,  # also NotImplementedError and RecursionError
    ArithmeticError,
    MemoryError,  # damaged sizes
    SyntaxError,  # numpy's headers, Pillow's PNG reader
    TokenError,  # numpy's headers of an old version
    BadZipFile,
    Image.DecompressionBombError,
    struct.error,
    zlib.error,
)


def make_scene(
    array: NDArray[Any],
    listed: Listed | None,
    asked: ReadOptions,
    facts: dict[str, Any],
    axes: Axes = ARRAY,
    missing: NDArray[np.bool_] | None = None,
) -> Scene:
    """Make a scene of the real numbers in a file, with the bands sorted by their wavelengths.

    The numbers are not changed: counts are not divided by their type's maximum, and `facts["dtype"]` records the type. NaN
    and infinity stay too, because they are judged only inside each crop.

    Args:
        array: an array with three axes.
        listed: the wavelengths that the file itself lists.
        asked: the options of the user and the side file.
        facts: facts for a lesion's origin.
        axes: the axis orders that the format allows.
        missing: a mask of the array's shape, True where the file declares that nothing was measured; these values become
            NaN.

    Raises:
        CubeError: the array does not have three axes, is empty or does not hold real numbers, or wavelengths or axes do not
            fit.
    """
    if array.ndim != 3 or array.size == 0:
        raise (NoImage if array.ndim < 3 else CubeError)(
            f"a scene has rows, columns and bands, this array has shape {array.shape}"
        )
    if array.dtype.kind not in "fiu":
        raise CubeError(f"pixels of type {array.dtype.name} are not real numbers")
    chosen = choose_wavelengths(array.shape, axes, listed, asked)
    facts, notes = {"dtype": array.dtype.name, **facts}, [*facts.get(NOTES, ()), *chosen.notes]
    if not axes.known and chosen.axes != axes.orders[axes.usual]:
        facts["axes"] = chosen.axes
    to = [chosen.axes.index(axis) for axis in "HWB"]
    with np.errstate(over="ignore"):
        # In memory, also of a mapped file; MATLAB's columns stay columns: turning frames takes longer than reading them.
        reflectance = np.require(array.transpose(to), np.float32, ["W", "O", "E"])
    if missing is not None and missing.any():
        reflectance[missing.transpose(to)] = np.nan
    nm = None
    if chosen.nm is not None:
        reflectance, nm, moved = by_wavelength(reflectance, chosen.nm)
        notes += moved.pop(NOTES, [])
        facts |= moved | {"wavelengths": chosen.said}
    return Scene(reflectance, nm, facts | ({NOTES: notes} if notes else {}))


def no_data(array: NDArray[Any], value: float) -> NDArray[np.bool_] | None:
    """Return a mask that is True where an array holds the declared value for "nothing was measured"; None: nowhere."""
    if np.isnan(value):
        return None  # NaN is missing anyway
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):
            value = float(np.asarray(value).astype(array.dtype))  # as the file's own type holds it
    found = array == value
    return found if found.any() else None


def numbers(values: object, what: str) -> list[float]:
    """Return a list of numbers, or a single number, as a list of floats.

    Raises:
        CubeError: the field, which the phrase `what` names, holds anything else.
    """
    try:
        several: Any = values if isinstance(values, (Sequence, np.ndarray)) and not isinstance(values, str) else [values]
        return [float(v) for v in several]
    except (TypeError, ValueError, OverflowError) as error:
        raise CubeError(f"{what} is no list of numbers: {str(values)[:80]!r}") from error


def surely_nm(values: Sequence[float], what: str) -> list[float]:
    """Return wavelengths without a stated unit if they can only be nm.

    Raises:
        CubeError: a value lies outside `SHORTEST_NM` … `LONGEST_NM`; `what` names the source of the values.
    """
    strange = [v for v in values if not SHORTEST_NM <= v <= LONGEST_NM]
    if strange:
        raise CubeError(
            f"{what} holds {strange[0]:g}, which cannot be nm", "Write wavelengths in nm, or give --wavelengths."
        )
    return list(values)


def oriented(array: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn (H, W, B) by its EXIF or TIFF orientation tag; values outside 2 … 8 change nothing."""
    if 5 <= orientation <= 8:
        array = array.swapaxes(0, 1)
    if orientation in {2, 3, 6, 7}:
        array = array[:, ::-1]
    return array[::-1] if orientation in {3, 4, 7, 8} else array


def damaged(kind: str, error: Exception, path: Path) -> CubeError:
    """Return the error that says in one line that a library cannot read `path` as `kind`.

    Raises:
        MachineTrouble, CubeError: the file is not at fault (`check_machine`).
    """
    check_machine(error, path)
    message = " ".join(str(error).replace(str(path), path.name).split())
    return CubeError(f"cannot be read as {kind}, damaged or truncated ({message[:200] or type(error).__name__})")


def natural(path: Path) -> tuple[list[tuple[int, int, str]], str]:
    """Return a sort key for names that puts 2 before 10; the name itself breaks ties such as 1 and 01."""
    parts = re.findall(r"[0-9]+|[^0-9]+", path.name)
    return [(0, int(p), "") if p[0] in "0123456789" else (1, 0, p) for p in parts], path.name


def name_below(path: Path, root: Path) -> str:
    """Return the name of the image at `path`: its posix path below `root`, without suffix."""
    return path.relative_to(root).with_suffix("").as_posix()
