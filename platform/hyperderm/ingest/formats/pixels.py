"""What the file formats share: numbers as a library hands them, made into a scene or refused."""

import re
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
    """Make a scene of real numbers as the file holds them, its bands sorted by their wavelengths.

    The numbers stay as they are: counts are not divided by their type's maximum, `facts["dtype"]` says what they were.
    NaN and infinity stay too: whoever cuts lesions out judges what lies inside a crop.

    Args:
        array: with three axes.
        listed: the wavelengths that the file has itself.
        asked: what the user and a side file say.
        facts: for a lesion's origin.
        axes: what the format knows of them.
        missing: of the array's shape: where the file says that nothing was measured; becomes NaN.

    Raises:
        CubeError: not three axes, no pixel, not real numbers, or wavelengths or axes that do not fit.
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
    """Return where an array holds the value that its file declares for "nothing was measured"; None: nowhere."""
    if np.isnan(value):
        return None  # NaN is missing anyway
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):
            value = float(np.asarray(value).astype(array.dtype))  # as the file's own type holds it
    found = array == value
    return found if found.any() else None


def numbers(values: object, what: str) -> list[float]:
    """Return a list of numbers, or one number, as floats.

    Raises:
        CubeError: `what`, a phrase naming the field, holds anything else.
    """
    try:
        several: Any = values if isinstance(values, (Sequence, np.ndarray)) and not isinstance(values, str) else [values]
        return [float(v) for v in several]
    except (TypeError, ValueError, OverflowError) as error:
        raise CubeError(f"{what} is no list of numbers: {str(values)[:80]!r}") from error


def surely_nm(values: Sequence[float], what: str) -> list[float]:
    """Return wavelengths whose unit nothing says, if they can only be nm.

    Raises:
        CubeError: values outside `SHORTEST_NM` … `LONGEST_NM`; `what` names where they stand.
    """
    strange = [v for v in values if not SHORTEST_NM <= v <= LONGEST_NM]
    if strange:
        raise CubeError(
            f"{what} holds {strange[0]:g}, which cannot be nm", "Write wavelengths in nm, or give --wavelengths."
        )
    return list(values)


def oriented(array: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn (H, W, B) the way its EXIF or TIFF orientation tag says; values outside 2 … 8 mean nothing and change nothing."""
    if 5 <= orientation <= 8:
        array = array.swapaxes(0, 1)
    if orientation in {2, 3, 6, 7}:
        array = array[:, ::-1]
    return array[::-1] if orientation in {3, 4, 7, 8} else array


def damaged(kind: str, error: Exception, path: Path) -> CubeError:
    """Return the error that says in one line that a library cannot read `path` as `kind`.

    Raises:
        MachineTrouble, CubeError: it is not the file's fault (`check_machine`).
    """
    check_machine(error, path)
    message = " ".join(str(error).replace(str(path), path.name).split())
    return CubeError(f"cannot be read as {kind}, damaged or truncated ({message[:200] or type(error).__name__})")


def natural(path: Path) -> tuple[list[tuple[int, int, str]], str]:
    """Sort key of names under which 2 comes before 10; the name itself breaks ties such as 1 and 01."""
    parts = re.findall(r"[0-9]+|[^0-9]+", path.name)
    return [(0, int(p), "") if p[0] in "0123456789" else (1, 0, p) for p in parts], path.name


def name_below(path: Path, root: Path) -> str:
    """Return the name of the image at `path`: below `root`, posix, without suffix."""
    return path.relative_to(root).with_suffix("").as_posix()
