"""MATLAB scenes: a cube (rows, columns, bands), or a flattened matrix of pixels by bands, as unmixing data sets use it.

A matrix is unfolded if rows and columns are known, from the user or from scalars of the file (`nRow`, `nCol`, `rows`,
`cols`, `H`, `W`, `lines`, `samples`). The pixel axis is the one of length rows x columns; pixels run down the columns of the
image first, as in MATLAB's `reshape`. Wavelengths are an array `wavelengths_nm`, `wavelength`, `wavelengths`, `lambda` or
`CentralWavelength` with one number per band. All of these may be fields of structs. The numbers are not changed.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperderm.cubes.cube import NOTES
from hyperderm.errors import CubeError, nearest
from hyperderm.ingest.formats.array_names import is_reference, the_image
from hyperderm.ingest.formats.axes import ARRAY, BANDS_LAST, HDF5
from hyperderm.ingest.formats.matlab import Arrays, read_arrays
from hyperderm.ingest.formats.pixels import make_scene, name_below
from hyperderm.ingest.formats.scene import Found, ReadOptions, Scene
from hyperderm.ingest.formats.wavelengths import Listed, in_nm

NAME: str = "matlab"
SUFFIXES = {".mat"}
ROWS = ("nrow", "nrows", "rows", "row", "lines", "h", "height")
COLUMNS = ("ncol", "ncols", "cols", "col", "columns", "ncolumns", "samples", "w", "width")
WAVELENGTHS = ("wavelengths_nm", "wavelengths", "wavelength", "lambda", "centralwavelength")
"""The names of arrays of wavelengths, in lower case; case in a file does not matter."""

_Numeric = dict[str, NDArray[Any]]


def find(folder: Path, files: Sequence[Path], root: Path) -> list[Found]:
    """Return one scene per file."""
    return [Found(name_below(p, root), p, (p,), NAME) for p in files if p.suffix.lower() in SUFFIXES]


def read(found: Found, asked: ReadOptions) -> Scene:
    """Read the one cube or flattened matrix of a file, or the array that `asked.key` names.

    Raises:
        CubeError: the file is damaged, no array or several arrays could be the scene (the message names all), a matrix has
            unknown or unsuitable numbers of rows and columns, or wavelengths or axes do not fit.
    """
    held = read_arrays(found.path)
    arrays = held.numeric
    key, notes = _key(held, asked)
    facts: dict[str, Any] = {"key": key}
    array, axes = arrays[key], HDF5 if key in held.unmarked else ARRAY
    if array.ndim == 2:
        rows, columns = _sizes(arrays, asked, key)
        array, axes = _unfold(array, rows, columns, key), BANDS_LAST
        facts["unfolded"] = f"{rows} rows x {columns} columns, pixels down the columns first"
    if notes:
        facts[NOTES] = notes
    listed = None if asked.wavelengths_nm else _wavelengths(_nearest(arrays, key), array.shape)
    return make_scene(array, listed, asked, facts, axes)


def wavelengths_in(held: Arrays, key: str) -> Listed | None:
    """Return the wavelengths that a file lists for its array `key`, or None if it lists none."""
    return _wavelengths(_nearest(held.numeric, key), held.numeric[key].shape)


def _key(held: Arrays, asked: ReadOptions) -> tuple[str, list[str]]:
    """Return the key of the array that is the scene, and notes on the other arrays."""
    arrays = held.numeric
    if asked.key is not None:
        return _asked_key(held, asked.key), []
    shapes = {key: arrays[key].shape for key in held.cubes()}
    if all(map(is_reference, shapes)):
        shapes |= {key: arrays[key].shape for key in _folded(arrays, asked)}
    cubes, notes = the_image(shapes, lambda key: _fits(arrays, key, asked))
    if len(cubes) > 1:
        names = ", ".join(f"{k} {arrays[k].shape}" for k in sorted(cubes))
        raise CubeError(f"{len(cubes)} numeric arrays with three axes, one is expected: {names}", "Name it with --key.")
    return (cubes[0], notes) if cubes else (_matrix(held, asked), [])


def _fits(arrays: _Numeric, key: str, asked: ReadOptions) -> bool:
    """Return whether wavelengths are known and as many as the array has bands."""
    shape = arrays[key].shape
    if asked.wavelengths_nm:
        return len(asked.wavelengths_nm) in shape
    listed = _wavelengths(_nearest(arrays, key), shape)
    if listed is None:
        return asked.beside is not None and len(asked.beside.nm) in shape
    return listed.problem is None


def _folded(arrays: _Numeric, asked: ReadOptions) -> list[str]:
    """Return the keys of the matrices that unfold to an image, if the file or the user gives its size."""
    try:
        rows, columns = _sizes(arrays, asked, "")
    except CubeError:
        return []
    return [
        key for key, array in arrays.items() if array.ndim == 2 and min(array.shape) > 1 and rows * columns in array.shape
    ]


def _matrix(held: Arrays, asked: ReadOptions) -> str:
    """Return the key of the one matrix of pixels by bands."""
    arrays = held.numeric
    matrices = [key for key, array in arrays.items() if array.ndim == 2 and min(array.shape) > 1]
    if not matrices:
        raise CubeError(
            f"no numeric array with three axes and no matrix of pixels by bands: the file holds {held.listing()}",
            "Save the cube as a numeric array of its own, or as a field of a struct.",
        )
    rows, columns = _sizes(arrays, asked, ", ".join(sorted(matrices)))
    fitting = [key for key in matrices if rows * columns in arrays[key].shape]
    if len(fitting) != 1:
        which = ", ".join(f"{k} {arrays[k].shape}" for k in sorted(fitting or matrices))
        many = "several matrices have" if fitting else "no matrix has"
        raise CubeError(
            f"{many} an axis of {rows} x {columns} = {rows * columns} pixels: {which}",
            "Name the scene with --key." if fitting else "Say its size with --rows and --columns.",
        )
    return fitting[0]


def _asked_key(held: Arrays, asked: str) -> str:
    """Return the key of the array that a user names: the whole key, or the field alone if only one struct has it."""
    arrays = held.numeric
    fields = [key for key in arrays if key.endswith(f".{asked}")]
    key = asked if asked in arrays else fields[0] if len(fields) == 1 else None
    if key is None:
        remedy = nearest(asked, arrays) if arrays else ""
        raise CubeError(f"no numeric array {asked!r} in the file, which holds {held.listing()}", remedy)
    if arrays[key].ndim not in {2, 3}:
        raise CubeError(f"the array {key} has shape {arrays[key].shape}: a scene has two or three axes")
    return key


def _nearest(arrays: _Numeric, key: str) -> list[_Numeric]:
    """Return the other arrays by their own names: first those in the struct of `key`, then those around it, then others."""
    groups: list[_Numeric] = []
    left = {k: a for k, a in arrays.items() if k != key}
    struct = key
    while struct:
        struct = struct.rpartition(".")[0]
        inside = [k for k in left if k.rpartition(".")[0] == struct]
        groups.append({k: left.pop(k) for k in inside})
    return [*groups, left]


def _field(key: str) -> str:
    return key.rpartition(".")[2].lower()


def _sizes(arrays: _Numeric, asked: ReadOptions, what: str) -> tuple[int, int]:
    """Return the numbers of rows and columns, from the user or else from the file's scalars."""
    found = []
    for name, said, names in (("rows", asked.rows, ROWS), ("columns", asked.columns, COLUMNS)):
        scalars = {k: float(a.item()) for k, a in arrays.items() if a.size == 1 and _field(k) in names}
        values = {float(said)} if said is not None else set(scalars.values())
        if not values:
            raise CubeError(
                f"{what}: the file does not say into how many rows and columns its pixels fold",
                "Give --rows and --columns.",
            )
        value = values.pop()
        if values or value < 1 or value != round(value):
            listed = ", ".join(f"{k} = {v:g}" for k, v in sorted(scalars.items())) or f"{value:g}"
            raise CubeError(f"the number of {name} is not one whole number: {listed}", f"Give --{name}.")
        found.append(int(value))
    return found[0], found[1]


def _unfold(matrix: NDArray[Any], rows: int, columns: int, key: str) -> NDArray[Any]:
    """Unfold a matrix (pixels, bands) or (bands, pixels) to (rows, columns, bands); pixel = column * rows + row."""
    pixels = rows * columns
    axes = [axis for axis, size in enumerate(matrix.shape) if size == pixels]
    if not axes:
        raise CubeError(
            f"{key} is {matrix.shape[0]} x {matrix.shape[1]}: neither axis holds {rows} x {columns} = {pixels} pixels",
            "Correct --rows and --columns.",
        )
    if len(axes) > 1:
        raise CubeError(f"{key} is {pixels} x {pixels}: which axis holds the pixels cannot be told")
    by_pixel = matrix if axes[0] == 0 else matrix.T
    return by_pixel.reshape((rows, columns, by_pixel.shape[1]), order="F")


def _wavelengths(groups: list[_Numeric], shape: tuple[int, ...]) -> Listed | None:
    """Return the wavelengths from arrays with such a name in the first group that has one; None if no group has any."""
    for arrays in groups:
        named = {k: a.ravel().astype(np.float64) for k, a in arrays.items() if _field(k) in WAVELENGTHS and a.size > 1}
        if named:
            return _listed(named, shape)
    return None


def _listed(named: dict[str, NDArray[np.float64]], shape: tuple[int, ...]) -> Listed:
    fitting = {k: a for k, a in named.items() if a.size in shape}
    if not fitting:
        several = ", ".join(f"{a.size} wavelengths in {k}" for k, a in sorted(named.items()))
        return Listed(problem=CubeError(f"{shape[2]} bands, but {several}"))
    key, values = min(fitting.items(), key=lambda item: WAVELENGTHS.index(_field(item[0])))
    if any(not np.array_equal(values, other, equal_nan=True) for other in fitting.values()):
        why = f"{' and '.join(sorted(fitting))} list different wavelengths"
        return Listed(problem=CubeError(why, "Give --wavelengths."))
    if _field(key) == WAVELENGTHS[0]:
        return in_nm(values.tolist(), key, 1.0)
    return in_nm(values.tolist(), key, None)
