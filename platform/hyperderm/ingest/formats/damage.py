"""Tell why a file cannot be read: damage and missing rights concern the file, memory and broken disks the machine."""

import errno
import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from hyperderm.errors import CubeError, MachineTrouble
from hyperderm.trouble import AGAIN, RIGHTS, trouble_of

_MACHINE = {
    getattr(errno, name)
    for name in (
        "EIO", "EMFILE", "ENFILE", "ENOMEM", "ESTALE", "ENOTCONN", "ETIMEDOUT", "EHOSTDOWN", "EHOSTUNREACH", "ENODEV",
        "ENXIO", "EREMOTEIO", "ECONNRESET", "EDEADLK", "ENOLCK",
    )
    if hasattr(errno, name)  # macOS knows no EREMOTEIO
}  # fmt: skip
_ERRNO = re.compile(r"errno = (\d+)")
"""Matches the error number in a message of HDF5."""
_PACKED = 1100
"""A compressed file can hold at most this many times its own size (deflate: 1032)."""
_SPARE = 2**26
_COPIES = 8
"""Reading a file may take this many times its size in memory."""


def check_machine(error: BaseException, path: Path, *, rights: bool = True) -> None:
    """Return if the file itself is at fault, otherwise raise.

    Raises:
        MachineTrouble: the machine has no memory left for a file of this size, or its disk or limits prevent the reading.
        CubeError: this user may not read the file; raised only if `rights` is True.
    """
    number = _number(error)
    if isinstance(error, MemoryError) or number == errno.ENOMEM:
        if _is_short(error, path):
            reason = " ".join(str(error).split())[:200].rstrip(". ") or type(error).__name__
            raise MachineTrouble(
                f"{path}: the machine has no memory left to read it ({reason})",
                f"Read fewer files at a time (--workers 1), or use a machine with more memory; {AGAIN} A file that cannot "
                "be so large is damaged: take it out of the source.",
            ) from error
    elif number in _MACHINE:
        told = trouble_of(OSError(number, _said(error, number), str(path)))
        assert told is not None
        raise told from error
    elif rights and number in RIGHTS:
        raise CubeError(
            f"{path.name} may not be read ({_said(error, number)})", "Give this user the right to it."
        ) from error


def _number(error: BaseException) -> int | None:
    if not isinstance(error, OSError):
        return None
    said = _ERRNO.search(str(error))
    return error.errno if error.errno is not None else int(said[1]) if said else None


def _said(error: BaseException, number: int | None) -> str:
    return os.strerror(number) if number is not None else str(error)


def _is_short(error: BaseException, path: Path) -> bool:
    """Return whether memory was short for the file's possible content; otherwise the file states an impossible size."""
    try:
        size = path.stat().st_size if path.is_file() else 0
    except OSError:
        size = 0
    shape, dtype = getattr(error, "shape", None), getattr(error, "dtype", None)
    if shape is not None and dtype is not None:
        return _bytes(shape, dtype) <= size * _PACKED + _SPARE
    try:
        np.empty(size * _COPIES + _SPARE, np.uint8)  # untouched: it takes an address range, no memory
    except MemoryError:
        return True
    return False


def _bytes(shape: Any, dtype: Any) -> int:  # noqa: ANN401 - fields of NumPy's own error
    count = int(np.dtype(dtype).itemsize)
    for length in np.atleast_1d(shape).tolist():
        count *= int(length)
    return count
