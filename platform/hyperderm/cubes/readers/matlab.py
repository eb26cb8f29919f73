"""MATLAB files, v5 (scipy) and v7.3 (HDF5): the one 3-D numeric array, whatever its key."""

import struct
import zlib
from pathlib import Path

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

_NUMERIC_V5 = {"double", "single"} | {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
_NOT_NUMERIC_V73 = {b"char", b"logical", b"cell", b"struct"}  # stored as numbers, marked by an attribute


def read_array(path: Path) -> NDArray[np.generic]:
    """Read the one real 3-D numeric array of a MATLAB file, last axis last as MATLAB shows it.

    A v7.3 file is HDF5 and stores the axes reversed, (B, W, H); they are turned back to (H, W, B). Text, structs,
    cells, logical and complex arrays are passed over.

    Raises:
        CubeError: the file is damaged, or it holds no such array, or several (their keys and shapes are named).
    """
    try:
        arrays, others = _read_v73(path) if h5py.is_hdf5(path) else _read_v5(path)
    except _DAMAGED as error:
        first = (str(error) or type(error).__name__).strip().splitlines()[0]
        raise CubeError(f"cannot be read as a MATLAB file, damaged or truncated ({first})") from error
    if len(arrays) == 1:
        return next(iter(arrays.values()))
    if arrays:
        raise CubeError(f"{len(arrays)} numeric arrays with three axes, one expected: {_listing(arrays)}")
    held = ", ".join(others) or "nothing"
    raise CubeError(f"no real numeric array with three axes; the file holds {held}")


def _read_v5(path: Path) -> tuple[dict[str, NDArray[np.generic]], list[str]]:
    """The real 3-D numeric arrays by key, and a word on everything else."""
    arrays: dict[str, NDArray[np.generic]] = {}
    others = []
    for key, shape, kind in scipy.io.whosmat(str(path), appendmat=False):
        if kind in _NUMERIC_V5 and len(shape) == 3:
            array = scipy.io.loadmat(str(path), appendmat=False, variable_names=[key])[key]
            if np.iscomplexobj(array):
                others.append(f"{key} {array.shape} complex")
            else:
                arrays[key] = array
        else:
            others.append(f"{key} {tuple(shape)} {kind}")
    return arrays, others


def _read_v73(path: Path) -> tuple[dict[str, NDArray[np.generic]], list[str]]:
    arrays: dict[str, NDArray[np.generic]] = {}
    others = []
    with h5py.File(path, "r") as file:
        for key, item in file.items():
            if _is_cube(item):
                arrays[key] = np.transpose(item[()])
            elif not key.startswith("#"):  # MATLAB's own #refs# and #subsystem#
                shape = tuple(reversed(item.shape)) if isinstance(item, h5py.Dataset) else "group"
                others.append(f"{key} {shape}")
    return arrays, others


def _is_cube(item: object) -> bool:
    """Whether an HDF5 item is a real numeric data set with three axes (complex ones have a compound type)."""
    if not isinstance(item, h5py.Dataset) or item.ndim != 3 or item.dtype.kind not in "fiu":
        return False
    return item.attrs.get("MATLAB_class") not in _NOT_NUMERIC_V73


def _listing(arrays: dict[str, NDArray[np.generic]]) -> str:
    return ", ".join(f"{key} {array.shape}" for key, array in sorted(arrays.items()))
