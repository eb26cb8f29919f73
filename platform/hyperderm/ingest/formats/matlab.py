"""Read MATLAB files, v5 (scipy) and v7.3 (HDF5): the one 3-D numeric array, whatever its key, or all numeric arrays.

Structs of one element are opened, however deep they are nested: `data.cube` is the field `cube` of `data`. Cells, arrays of
structs and objects are not opened, but reported.
"""

import math
import struct
import zlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np
import scipy.io
from numpy.typing import NDArray
from scipy.io.matlab import MatReadError

from hyperderm.errors import CubeError
from hyperderm.ingest.formats.damage import check_machine

# What scipy and h5py raise on damaged bytes, found by flipping and cutting bytes of small files of both versions.
# Caught around the library calls only, so that a mistake of ours is never taken for a damaged file.
DAMAGED: tuple[type[Exception], ...] = (
    OSError,  # truncated (both), wrong checksums (h5py)
    MatReadError,
    NotImplementedError,  # an HDF5 file whose signature is gone
    zlib.error,
    struct.error,
    ValueError,  # also UnicodeDecodeError
    TypeError,
    LookupError,
    RuntimeError,
    ArithmeticError,
    UnboundLocalError,  # scipy, on an element type it does not know
    MemoryError,  # damaged sizes
    EOFError,
)

_MATRIX, _COMPRESSED = 14, 15  # element types of a v5 file
_HOLDERS = {1: 3, 2: 5, 3: 6}
"""The classes cell, struct and object, each with the number of elements before its contents (flags, shape, name, …)."""
_CELL = 1
_LONGEST_NAMES = 1 << 20  # bytes of the names of a struct's fields
_CHAR, _SPARSE = 4, 5  # likewise, of text and of sparse matrices
_TEXT = {1, 2, 3, 4, 16, 17, 18}
_DEEPEST = 32
_VALUES = {1, 2, 3, 4, 5, 6, 7, 9, 12, 13}  # those of numbers
_NUMERIC_V5 = {"double", "single"} | {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
_NOT_NUMERIC_V73 = {b"char", b"logical", b"cell", b"struct"}  # stored as numbers, marked by an attribute


@dataclass(frozen=True)
class Arrays:
    """The contents of a MATLAB file.

    Attributes:
        numeric: every real numeric array by key, scalars as (1, 1).
        unmarked: the keys of the arrays in an HDF5 file that lack MATLAB's marks. Their axes are in the file's order; the
            axes of all other arrays are in MATLAB's order.
        others: the key, shape and kind of every other item.
    """

    numeric: dict[str, NDArray[np.generic]]
    unmarked: frozenset[str]
    others: tuple[str, ...]

    def listing(self) -> str:
        """Return the names of everything in the file as text."""
        return ", ".join([f"{k} {a.shape}" for k, a in sorted(self.numeric.items())] + [*self.others]) or "nothing"

    def cubes(self) -> list[str]:
        """Return the keys of the arrays with three axes, including those inside structs."""
        return [key for key, array in self.numeric.items() if array.ndim == 3]


def read_array(path: Path) -> NDArray[np.generic]:
    """Read the one real 3-D numeric array of a MATLAB file, with the axes in MATLAB's order.

    A v7.3 file is HDF5 and stores the axes reversed, (B, W, H); they are turned back to (H, W, B). Text, cells, logical and
    complex arrays are skipped.

    Raises:
        CubeError: the file is damaged, or it holds no such array or several ones (the message names their keys and shapes).
    """
    held = read_arrays(path, axes=3)
    key = only_cube(held)
    return held.numeric[key].T if key in held.unmarked else held.numeric[key]


def only_cube(held: Arrays) -> str:
    """Return the key of the one array with three axes.

    Raises:
        CubeError: there is no such array, or there are several.
    """
    keys = held.cubes()
    if len(keys) == 1:
        return keys[0]
    if keys:
        listed = ", ".join(f"{key} {held.numeric[key].shape}" for key in sorted(keys))
        raise CubeError(
            f"{len(keys)} numeric arrays with three axes, one expected: {listed}",
            "Leave one of them in the file, or give --layout scenes and name it with --key.",
        )
    raise CubeError(f"no real numeric array with three axes; the file holds {held.listing()}")


def read_arrays(path: Path, axes: int | None = None) -> Arrays:
    """Read every real numeric array of a MATLAB file.

    Args:
        path: the file.
        axes: only arrays with this number of axes are loaded, the rest is listed in `others`; None: all are loaded.

    Raises:
        CubeError: the file is damaged.
    """
    try:
        return unchecked(path, axes)
    except DAMAGED as error:
        check_machine(error, path)
        message = str(error).strip().replace(str(path), path.name)
        first = message.splitlines()[0] if message else type(error).__name__
        raise CubeError(f"cannot be read as a MATLAB file, damaged or truncated ({first})") from error


def unchecked(path: Path, axes: int | None) -> Arrays:
    """Read like `read_arrays`, but raise one of `DAMAGED` if the file is damaged."""
    return _read_v73(path, axes) if h5py.is_hdf5(path) else _read_v5(path, axes)


def _read_v5(path: Path, axes: int | None) -> Arrays:
    _check_v5(path)
    arrays: dict[str, NDArray[np.generic]] = {}
    others: list[str] = []
    unpacked = _unpacked(path)

    def source() -> Any:  # noqa: ANN401 - a name or a stream, which the stubs of scipy do not know
        return str(path) if unpacked is None else BytesIO(unpacked)

    for key, shape, kind in scipy.io.whosmat(source(), appendmat=False):
        if kind == "struct" or (kind in _NUMERIC_V5 and len(shape) == (axes or len(shape))):
            held = scipy.io.loadmat(source(), appendmat=False, variable_names=[key])[key]
            _collect(key, held, kind, axes, arrays, others)
        else:
            others.append(f"{key} {tuple(shape)} {kind}" + (", which is not opened" if kind == "cell" else ""))
    return Arrays(arrays, frozenset(), tuple(others))


def _collect(
    key: str, held: NDArray[Any], kind: str, axes: int | None, arrays: dict[str, NDArray[np.generic]], others: list[str]
) -> None:
    """Sort one variable or field into `arrays` or `others`, including all fields of a struct of one element."""
    if held.dtype.names and held.size == 1:
        for field in held.dtype.names:
            value = held.item()[held.dtype.names.index(field)]
            if isinstance(value, np.ndarray):
                _collect(f"{key}.{field}", value, "", axes, arrays, others)
            else:
                others.append(f"{key}.{field} {type(value).__name__}")
    elif held.dtype.names:
        others.append(f"{key} {held.shape} array of structs, which are not opened")
    elif held.dtype.kind == "O":
        others.append(f"{key} {held.shape} cell, which is not opened")
    elif np.iscomplexobj(held):
        others.append(f"{key} {held.shape} complex")
    elif held.dtype.kind in "fiu" and held.ndim == (axes or held.ndim):
        arrays[key] = held
    else:
        others.append(f"{key} {held.shape} {kind or held.dtype.name}")


def _check_v5(path: Path) -> None:
    """Raise ValueError if an uncompressed numeric variable has damaged tags, on which scipy (1.17) would crash.

    A v5 file is a 128-byte header followed by elements: a tag (type, bytes) and data padded to eight bytes. A numeric
    variable is an element of type 14 that holds four elements of the same form, or five if complex: flags and class, shape,
    name, values.
    """
    with path.open("rb") as file:
        header = file.read(128)
        if len(header) < 128 or 0 in header[:4]:  # version 4, or nothing: scipy says so
            return
        order = "<" if header[126:] == b"IM" else ">"
        _check_elements(file, order, 128, path.stat().st_size, depth=0)


def _unpacked(path: Path) -> bytes | None:
    """Return a v5 file without compression, after checking its variables; None if nothing in it is compressed.

    scipy reads the unpacked bytes before zlib has compared the checksum at their end, and damaged bytes crash it.

    Raises:
        ValueError, zlib.error: for the same reasons as in `_check_v5`, or because a checksum is wrong.
    """
    with path.open("rb") as file:
        header, size = file.read(128), path.stat().st_size
        if len(header) < 128 or 0 in header[:4]:
            return None
        order = "<" if header[126:] == b"IM" else ">"
        elements, at = [], 128
        while at + 8 <= size:
            kind, count, after = _element(file, order, at)
            end = at + 8 + count if kind == _COMPRESSED else after
            elements.append((kind, at, end))
            at = end
        if all(kind != _COMPRESSED for kind, _, _ in elements):
            return None
        parts = [header]
        for kind, at, end in elements:
            file.seek(at)
            part = file.read(end - at)
            if kind == _COMPRESSED:
                part = zlib.decompress(part[8:])
                _check_elements(BytesIO(part), order, 0, len(part), depth=0)
            parts.append(part)
    return b"".join(parts)


def _check_elements(file: BinaryIO, order: str, at: int, end: int, depth: int) -> None:
    """Check all variables between the offsets `at` and `end`."""
    while at + 8 <= end:
        kind, count, after = _element(file, order, at)
        if kind == _MATRIX:
            if after > end:
                raise ValueError("a variable goes beyond the end of the file")
            if count:
                _check_variable(file, order, at, after, depth)
        at = at + 8 + count if kind == _COMPRESSED else after


def _check_variable(file: BinaryIO, order: str, at: int, end: int, depth: int) -> None:
    """Check a numeric variable, or all contents of a cell or struct."""
    file.seek(at + 16)
    flags = struct.unpack(order + "I", file.read(4))[0]
    kind = flags & 0xFF
    if 1 <= kind <= 15:
        first, size, shape = _element(file, order, at + 8)
        sizes, length, _ = _element(file, order, shape)
        if (first, size, sizes) != (6, 8, 5) or length < 8 or length % 4:
            raise ValueError("the flags or the shape of a variable are damaged")
    if 6 <= kind <= 15:  # a numeric class
        _check_values(file, order, at + 8, end, _VALUES, 5 if flags & 0x800 else 4)
    elif kind == _CHAR:
        _check_values(file, order, at + 8, end, _TEXT, 4)
    elif kind == _SPARSE:
        _check_values(file, order, at + 8, end, _VALUES, 7 if flags & 0x800 else 6)
    elif kind in _HOLDERS:
        if depth > _DEEPEST:
            raise ValueError("structs lie in one another too deep")
        starts = [at + 8]
        for _ in range(_HOLDERS[kind]):
            starts.append(_element(file, order, starts[-1])[2])
        if _held(file, order, kind, starts) > max(0, end - starts[-1]) // 8:  # scipy would make room for all of them first
            raise ValueError("the shape of a cell or struct says more than it holds")
        _check_elements(file, order, starts[-1], end, depth + 1)


def _held(file: BinaryIO, order: str, kind: int, starts: list[int]) -> int:
    """Return the number of elements that a cell or struct must hold by its shape and fields.

    `starts` are the offsets of its first elements.
    """
    sizes = np.frombuffer(_content(file, order, starts[1]), order + "i4")
    cells = math.prod(max(0, size) for size in sizes.tolist())
    if kind == _CELL:
        return cells
    lengths, names = starts[-3], starts[-2]
    length = np.frombuffer(_content(file, order, lengths)[:4], order + "i4")
    if length.size != 1 or length[0] <= 0:
        raise ValueError("the lengths of the names of a struct's fields are damaged")
    return cells * (len(_content(file, order, names)) // int(length[0]))


def _content(file: BinaryIO, order: str, at: int) -> bytes:
    """Return the data of a short element, which is a shape or names."""
    file.seek(at)
    kind, count = struct.unpack(order + "II", file.read(8))
    if kind >> 16:
        file.seek(at + 4)
        count = kind >> 16
    if count > _LONGEST_NAMES:
        raise ValueError("the shape or the names of a variable are damaged")
    return file.read(count)


def _check_values(file: BinaryIO, order: str, at: int, end: int, allowed: set[int], wanted: int) -> None:
    """Check that a variable has `wanted` elements: flags, shape, name, and values of the allowed types."""
    kinds: list[int] = []
    while at < end and len(kinds) <= wanted:
        kind, _, at = _element(file, order, at)
        kinds.append(kind)
    if at != end or len(kinds) != wanted or not set(kinds[3:]) <= allowed:
        raise ValueError(f"a variable is made of elements {kinds}")


def _element(file: BinaryIO, order: str, at: int) -> tuple[int, int, int]:
    """Return the type and size of the element at an offset, and the offset after the element."""
    file.seek(at)
    kind, count = struct.unpack(order + "II", file.read(8))
    if kind >> 16:  # short form: both in four bytes, the data in the next four
        return kind & 0xFFFF, kind >> 16, at + 8
    return kind, count, at + 8 + -(-count // 8) * 8


def _read_v73(path: Path, axes: int | None) -> Arrays:
    arrays: dict[str, NDArray[np.generic]] = {}
    unmarked: set[str] = set()
    others: list[str] = []
    seen: set[Any] = set()  # groups may lie in one another in a circle

    def collect(group: h5py.Group, before: str) -> None:
        for name in group:
            key = before + name
            if isinstance(group.get(name, getlink=True), h5py.ExternalLink):
                others.append(f"{key} in another file")
                continue
            item = group[name]
            if isinstance(item, h5py.Group) and not name.startswith("#"):
                if item.id not in seen:
                    seen.add(item.id)
                    collect(item, key + ".")
            elif _is_numeric(item, axes):
                if item.ndim == 3 and not any(str(mark).startswith("MATLAB") for mark in item.attrs):
                    unmarked.add(key)  # with fewer axes the order is unambiguous
                arrays[key] = item[()] if key in unmarked else np.transpose(item[()])
            elif not name.startswith("#"):  # MATLAB's own #refs# and #subsystem#
                shape = f" {tuple(reversed(item.shape))}{_kind(item)}" if isinstance(item, h5py.Dataset) else ""
                others.append(key + shape)

    with h5py.File(path, "r") as file:
        collect(file, "")
    return Arrays(arrays, frozenset(unmarked), tuple(others))


def _kind(item: h5py.Dataset) -> str:
    """Return a word for the kind of an HDF5 item that is not a numeric array."""
    kind = item.attrs.get("MATLAB_class", b"")
    said = kind.decode(errors="replace") if isinstance(kind, bytes) else str(kind)
    if item.dtype.kind == "O":
        return f" {said if said == 'cell' else 'array of structs'}, which is not opened"
    return f" {said}" if said else ""


def _is_numeric(item: object, axes: int | None) -> bool:
    """Return whether an HDF5 item is a real numeric data set with that many axes (complex ones have a compound type)."""
    if not isinstance(item, h5py.Dataset) or item.ndim != (axes or item.ndim) or item.dtype.kind not in "fiu":
        return False
    if item.external or item.is_virtual:  # its numbers lie in other files, wherever those are
        return False
    return item.attrs.get("MATLAB_class") not in _NOT_NUMERIC_V73
