"""MATLAB files, v5 (scipy) and v7.3 (HDF5): the one 3-D numeric array, whatever its key, or all numeric arrays."""

import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import h5py
import numpy as np
import scipy.io
from numpy.typing import NDArray
from scipy.io.matlab import MatReadError

from hyperderm.errors import CubeError

# What scipy and h5py raise on damaged bytes, found by flipping and cutting bytes of small files of both versions.
# Caught around the library calls only, so that a mistake of ours is never taken for a damaged file.
_DAMAGED: tuple[type[Exception], ...] = (
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
_VALUES = {1, 2, 3, 4, 5, 6, 7, 9, 12, 13}  # those of numbers
_NUMERIC_V5 = {"double", "single"} | {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
_NOT_NUMERIC_V73 = {b"char", b"logical", b"cell", b"struct"}  # stored as numbers, marked by an attribute


def read_array(path: Path) -> NDArray[np.generic]:
    """Read the one real 3-D numeric array of a MATLAB file, last axis last as MATLAB shows it.

    A v7.3 file is HDF5 and stores the axes reversed, (B, W, H); they are turned back to (H, W, B). Text, structs,
    cells, logical and complex arrays are passed over.

    Raises:
        CubeError: the file is damaged, or it holds no such array, or several (their keys and shapes are named).
    """
    arrays, others = _read(path, axes=3)
    if len(arrays) == 1:
        return next(iter(arrays.values()))
    if arrays:
        raise CubeError(f"{len(arrays)} numeric arrays with three axes, one expected: {_listing(arrays)}")
    held = ", ".join(others) or "nothing"
    raise CubeError(f"no real numeric array with three axes; the file holds {held}")


def read_arrays(path: Path) -> tuple[dict[str, NDArray[np.generic]], list[str]]:
    """Read every real numeric array of a MATLAB file by key, scalars as (1, 1), axes as MATLAB shows them.

    Returns:
        The arrays, and key, shape and kind of everything else: text, structs, cells, logical and complex arrays.

    Raises:
        CubeError: the file is damaged.
    """
    return _read(path, axes=None)


def _read(path: Path, axes: int | None) -> tuple[dict[str, NDArray[np.generic]], list[str]]:
    try:
        return _read_v73(path, axes) if h5py.is_hdf5(path) else _read_v5(path, axes)
    except _DAMAGED as error:
        message = str(error).strip().replace(str(path), path.name)
        first = message.splitlines()[0] if message else type(error).__name__
        raise CubeError(f"cannot be read as a MATLAB file, damaged or truncated ({first})") from error


def _read_v5(path: Path, axes: int | None) -> tuple[dict[str, NDArray[np.generic]], list[str]]:
    """The real numeric arrays with that many axes (None: any) by key, and a word on everything else."""
    check_v5(path)
    arrays: dict[str, NDArray[np.generic]] = {}
    others = []
    for key, shape, kind in scipy.io.whosmat(str(path), appendmat=False):
        if kind in _NUMERIC_V5 and len(shape) == (axes or len(shape)):
            array = scipy.io.loadmat(str(path), appendmat=False, variable_names=[key])[key]
            if np.iscomplexobj(array):
                others.append(f"{key} {array.shape} complex")
            else:
                arrays[key] = array
        else:
            others.append(f"{key} {tuple(shape)} {kind}")
    return arrays, others


def check_v5(path: Path) -> None:
    """ValueError where an uncompressed numeric variable has damaged element tags: scipy (1.17) would crash, not raise.

    A v5 file is a 128-byte header and elements: a tag (type, bytes) and data padded to eight bytes. A numeric variable
    is an element of type 14 holding four of the same form, or five if complex: flags and class, shape, name, values.
    """
    with path.open("rb") as file:
        header = file.read(128)
        if len(header) < 128 or 0 in header[:4]:  # version 4, or nothing: scipy says so
            return
        order = "<" if header[126:] == b"IM" else ">"
        end, at = path.stat().st_size, 128
        while at + 8 <= end:
            kind, count, after = _element(file, order, at)
            if kind == _MATRIX:
                if after > end:
                    raise ValueError("a variable goes beyond the end of the file")
                file.seek(at + 16)
                flags = struct.unpack(order + "I", file.read(4))[0]
                if 6 <= flags & 0xFF <= 15:  # a numeric class
                    _check_numeric(file, order, at + 8, after, complex_values=bool(flags & 0x800))
            at = at + 8 + count if kind == _COMPRESSED else after


def _check_numeric(file: BinaryIO, order: str, at: int, end: int, complex_values: bool) -> None:
    kinds: list[int] = []
    while at < end and len(kinds) < 6:
        kind, _, at = _element(file, order, at)
        kinds.append(kind)
    wanted = 5 if complex_values else 4
    if at != end or len(kinds) != wanted or not set(kinds[3:]) <= _VALUES:
        raise ValueError(f"a variable is made of elements {kinds}")


def _element(file: BinaryIO, order: str, at: int) -> tuple[int, int, int]:
    """Type and size of the element at an offset, and the offset after it."""
    file.seek(at)
    kind, count = struct.unpack(order + "II", file.read(8))
    if kind >> 16:  # short form: both in four bytes, the data in the next four
        return kind & 0xFFFF, kind >> 16, at + 8
    return kind, count, at + 8 + -(-count // 8) * 8


def _read_v73(path: Path, axes: int | None) -> tuple[dict[str, NDArray[np.generic]], list[str]]:
    arrays: dict[str, NDArray[np.generic]] = {}
    others = []
    with h5py.File(path, "r") as file:
        for key in file:
            if isinstance(file.get(key, getlink=True), h5py.ExternalLink):
                others.append(f"{key} in another file")
                continue
            item = file[key]
            if _is_numeric(item, axes):
                arrays[key] = np.transpose(item[()])
            elif not key.startswith("#"):  # MATLAB's own #refs# and #subsystem#
                shape = tuple(reversed(item.shape)) if isinstance(item, h5py.Dataset) else "group"
                others.append(f"{key} {shape}")
    return arrays, others


def _is_numeric(item: object, axes: int | None) -> bool:
    """Whether an HDF5 item is a real numeric data set with that many axes (complex ones have a compound type)."""
    if not isinstance(item, h5py.Dataset) or item.ndim != (axes or item.ndim) or item.dtype.kind not in "fiu":
        return False
    if item.external or item.is_virtual:  # its numbers lie in other files, wherever those are
        return False
    return item.attrs.get("MATLAB_class") not in _NOT_NUMERIC_V73


def _listing(arrays: dict[str, NDArray[np.generic]]) -> str:
    return ", ".join(f"{key} {array.shape}" for key, array in sorted(arrays.items()))
