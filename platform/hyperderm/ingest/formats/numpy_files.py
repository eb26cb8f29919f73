"""NumPy files: `.npy` with one array (rows, columns, bands), or `.npz` with one such array and `wavelengths_nm`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperderm.cubes.cube import NOTES
from hyperderm.errors import CubeError, NoImage, nearest
from hyperderm.ingest.formats.array_names import the_image
from hyperderm.ingest.formats.pixels import DAMAGED, damaged, make_scene, name_below, numbers
from hyperderm.ingest.formats.scene import Found, ReadOptions, Scene
from hyperderm.ingest.formats.wavelengths import in_nm

NAME: str = "numpy"
SUFFIXES = {".npy", ".npz"}
WAVELENGTHS = "wavelengths_nm"


def find(folder: Path, files: Sequence[Path], root: Path) -> list[Found]:
    """Return one scene per file."""
    return [Found(name_below(p, root), p, (p,), NAME) for p in files if p.suffix.lower() in SUFFIXES]


def read(found: Found, asked: ReadOptions) -> Scene:
    """Read the one array with three axes, or the array that `asked.key` names; pickled objects are never loaded.

    Raises:
        CubeError: the file is damaged, it holds no such array or several (the message gives their names and shapes), or the
            wavelengths do not fit.
    """
    path = found.path
    try:
        loaded = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(loaded, np.ndarray):
            with loaded:
                arrays = {key: np.asarray(loaded[key]) for key in loaded.files}
    except DAMAGED as error:
        if "pickle" in str(error) or "Python objects" in str(error):  # NumPy's own words advise to load them after all
            what = "cannot be read as a NumPy file: damaged or truncated, or pickled Python objects, which are never loaded"
            raise CubeError(what, "Save it again with np.save, as an array of numbers.") from error
        raise damaged("a NumPy file", error, path) from error
    if isinstance(loaded, np.ndarray):
        return make_scene(loaded, None, asked, {})
    key, notes = (asked.key, []) if asked.key else _only_cube(arrays, asked)
    if key not in arrays:
        raise CubeError(f"no array {key!r} in the file", nearest(key, arrays))
    nm = arrays.get(WAVELENGTHS)
    listed = None if nm is None else in_nm(numbers(np.ravel(nm), WAVELENGTHS), WAVELENGTHS, 1.0)
    return make_scene(arrays[key], listed, asked, {"key": key} | ({NOTES: notes} if notes else {}))


def _only_cube(arrays: dict[str, NDArray[Any]], asked: ReadOptions) -> tuple[str, list[str]]:
    """Return the key of the array that is the scene, and notes on the other arrays."""
    known = asked.wavelengths_nm or arrays.get(WAVELENGTHS)
    count = 0 if known is None else np.size(known)
    shapes = {key: array.shape for key, array in arrays.items() if array.ndim == 3 and array.dtype.kind in "fiu"}
    cubes, notes = the_image(shapes, lambda key: count in arrays[key].shape)
    if len(cubes) == 1:
        return cubes[0], notes
    held = ", ".join(f"{key} {array.shape} {array.dtype.name}" for key, array in arrays.items()) or "nothing"
    what = f"{len(cubes)} arrays" if cubes else "no array"
    raise (CubeError if cubes else NoImage)(
        f"{what} of real numbers with three axes, one is expected: it holds {held}", "Name it with --key."
    )
