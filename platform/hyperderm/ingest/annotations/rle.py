"""Mask encodings of annotation tools: COCO's run lengths, Label Studio's packed bytes, and rings of points.

This module opens no files.

Every function that makes a mask takes its `shape` (H, W) and checks that the input fits before it allocates memory.

COCO's own pycocotools (2.0.11) serves only as the reference in the tests. It returns uninitialised memory if there are too
few run lengths, reads past the end of a truncated string, and leaks an image's memory for every input that it refuses; to
keep such inputs away from it, the lengths would have to be read here first. It draws polygons at five times the resolution,
in memory that grows with the outline, however far outside the image, and a corner on a half pixel moves a side.
"""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import TypeGuard

import numpy as np
from numpy.typing import NDArray

from hyperderm.errors import CubeError

Mask = NDArray[np.bool_]

MAX_PIXELS = 2**27
"""The maximum number of pixels of one image. A record that claims more is refused as damaged before memory is allocated."""

_FAR = 1e9  # a coordinate beyond it is damaged; NaN is not below it either
_WORD = 8  # bits of a value; Label Studio packs RGBA bytes
_SIZES = (3, 4, 8, 16)  # bits of a length, the four that Label Studio's own front end writes
_HEADER = "{count:032b}" + f"{_WORD - 1:05b}" + "".join(f"{size - 1:04b}" for size in _SIZES)


def check_shape(rows: object, columns: object) -> tuple[int, int]:
    """Return the shape (H, W) that an image's record states.

    Raises:
        CubeError: the values are not two whole numbers of at least 1, or give more than `MAX_PIXELS` pixels.
    """
    if not (_is_whole(rows) and _is_whole(columns)) or rows < 1 or columns < 1 or rows * columns > MAX_PIXELS:
        raise CubeError(f"the image's height and width are stated as {rows!r} and {columns!r}")
    return rows, columns


def _is_whole(number: object) -> TypeGuard[int]:
    return isinstance(number, int) and not isinstance(number, bool)


def coco_mask(counts: object, shape: tuple[int, int]) -> Mask:
    """Read COCO's run lengths: pixels go column by column, and runs alternate between off and on, beginning with off.

    Args:
        counts: a list of lengths, or COCO's compressed string of them.
        shape: the shape (H, W) of the mask.

    Raises:
        CubeError: `counts` has neither form, a length is negative, or the lengths do not add up to H · W.
    """
    runs = _coco_lengths(counts) if isinstance(counts, str) else counts
    if not isinstance(runs, list) or not all(_is_whole(n) for n in runs):
        raise CubeError("the run lengths are neither a list of whole numbers nor a string")
    rows, columns = shape
    if min(runs, default=0) < 0 or sum(runs) != rows * columns:
        raise CubeError(f"the run lengths add up to {sum(runs)} pixels, the image has {rows} x {columns}")
    on = np.arange(len(runs)) % 2 == 1
    return np.ascontiguousarray(np.repeat(on, runs).reshape(columns, rows).T)


def _coco_lengths(text: str) -> list[int]:
    """Decode COCO's compression: signed numbers in groups of 5 bits, lowest group first, one character each from "0" (48).

    Bit 5 of a character says that more groups follow; bit 4 of the last group is the sign. From the fourth number on, the
    difference from the number two places before is stored.
    """
    if not re.fullmatch(r"([P-o]{0,8}[0-O])*", text):
        raise CubeError("the compressed run lengths are damaged")
    numbers: list[int] = []
    value = shift = 0
    for code in (ord(character) - 48 for character in text):
        value |= (code & 31) << shift
        shift += 5
        if code & 32:
            continue
        if code & 16:
            value -= 1 << shift
        numbers.append(value + numbers[-2] if len(numbers) > 2 else value)
        value = shift = 0
    return numbers


def brush_encode(values: NDArray[np.uint8]) -> bytes:
    """Pack bytes as Label Studio's brush does (the rle-pack format of thi.ng/umbrella).

    The result is a stream of bits, highest bit first (bits in brackets): the number of values (32), the bits of a value - 1
    (5), four widths - 1 (4 each), then blocks. A block holds 1 for a run or 0 for single values (1), the index of the width
    (2), the length - 1 (that width), and the value or values (8 each). The last byte is filled with zeros.
    """
    bits = [_HEADER.format(count=values.size)]
    bounds = [0, *(np.flatnonzero(np.diff(values)) + 1).tolist(), values.size] if values.size else []
    for start, end in pairwise(bounds):
        for length in _split(end - start):
            width = next(i for i, size in enumerate(_SIZES) if length <= 1 << size)
            bits.append(f"{int(length > 1)}{width:02b}{length - 1:0{_SIZES[width]}b}{int(values[start]):08b}")
    stream = np.frombuffer("".join(bits).encode(), dtype=np.uint8) - ord("0")
    return np.packbits(stream).tobytes()


def _split(length: int) -> list[int]:
    longest = 1 << _SIZES[-1]
    return [longest] * (length // longest) + ([length % longest] if length % longest else [])


def brush_decode(data: bytes, count: int) -> NDArray[np.uint8]:
    """Unpack `count` bytes in the format of `brush_encode`; any four widths are accepted.

    Raises:
        CubeError: the number of values differs, the values are not bytes, or the stream ends early or is too long.
    """
    stated = _bits(data, 0, 32)
    if stated != count:
        raise CubeError(f"the brush holds {stated} values, {count} belong to the image (four a pixel)")
    if (word := _bits(data, 32, 5) + 1) != _WORD:
        raise CubeError(f"the brush holds values of {word} bits, Label Studio writes {_WORD}")
    sizes = [_bits(data, 37 + 4 * i, 4) + 1 for i in range(4)]
    out = np.empty(count, dtype=np.uint8)
    at, filled = 37 + 16, 0
    while filled < count:
        head = _bits(data, at, 3)
        size = sizes[head & 3]
        length = _bits(data, at + 3, size) + 1
        at += 3 + size
        if filled + length > count:
            raise CubeError("the brush is damaged: its runs hold more pixels than the image")
        single = head < 4
        out[filled : filled + length] = _bytes(data, at, length) if single else _bits(data, at, _WORD)
        at += _WORD * (length if single else 1)
        filled += length
    return out


def brush_from_mask(mask: Mask) -> list[int]:
    """Write an (H, W) mask as Label Studio's `rle`: RGBA pixels row by row, all four values 255 on the mask, else 0."""
    values = np.repeat(mask.ravel().astype(np.uint8) * np.uint8(255), 4)
    return list(brush_encode(values))


def brush_mask(data: bytes, shape: tuple[int, int]) -> Mask:
    """Read Label Studio's `rle`: the mask is where alpha is above half its maximum.

    This threshold allows for soft brush edges and for programs that write 1 or 100 instead of 255.
    """
    rows, columns = shape
    alpha = brush_decode(data, rows * columns * 4)[3::4].reshape(shape)
    return np.asarray((alpha > 0) & (alpha > int(alpha.max(initial=0)) / 2))


def _bits(data: bytes, at: int, count: int) -> int:
    first, last = at // 8, (at + count + 7) // 8
    if last > len(data):
        raise CubeError("the brush is damaged: it ends early")
    return int.from_bytes(data[first:last], "big") >> (8 * last - at - count) & ((1 << count) - 1)


def _bytes(data: bytes, at: int, count: int) -> NDArray[np.uint8]:
    first, last = at // 8, (at + _WORD * count + 7) // 8
    if last > len(data):
        raise CubeError("the brush is damaged: it ends early")
    bits = np.unpackbits(np.frombuffer(data, dtype=np.uint8)[first:last])
    return np.packbits(bits[at % 8 : at % 8 + _WORD * count])


def ring_mask(rings: Sequence[NDArray[np.float64]], shape: tuple[int, int]) -> Mask:
    """Fill closed rings of (N, 2) points x, y in pixels; several rings are parts of one mask.

    Coordinates refer to the edges of pixels: the first pixel lies between 0 and 1, the image between (0, 0) and (W, H). A
    pixel belongs to the mask if its centre (column + ½, row + ½) lies inside, so that a square from 10 to 20 has 10 x 10
    pixels. (OpenCV and Pillow also paint the outline, which enlarges every lesion by half a pixel on all sides.) A ring that
    crosses itself is filled by the even-odd rule; parts outside the image are cut off.
    """
    mask = np.zeros(shape, dtype=np.bool_)
    for ring in rings:
        mask |= _filled(ring, shape)
    return mask


def _filled(ring: NDArray[np.float64], shape: tuple[int, int]) -> Mask:
    """Toggle each row at every edge that crosses its line of centres, then run along the row: odd counts are inside."""
    rows, columns = shape
    toggles = np.zeros((rows, columns + 1), dtype=np.uint8)
    for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        low, high = (min(max(int(np.ceil(y - 0.5)), 0), rows) for y in sorted((y0, y1)))
        if low >= high:
            continue
        at = np.arange(low, high)
        x = x0 + (at + 0.5 - y0) * (x1 - x0) / (y1 - y0)
        toggles[at, np.clip(np.ceil(x - 0.5), 0, columns).astype(np.int64)] ^= 1  # an edge meets a row once
    return np.asarray(np.bitwise_xor.accumulate(toggles, axis=1)[:, :columns] > 0)


def points(numbers: Sequence[object]) -> NDArray[np.float64]:
    """Return (N,) coordinates from parsed JSON.

    Raises:
        CubeError: a value is not a finite number of moderate size.
    """
    if not all(isinstance(n, int | float) and not isinstance(n, bool) and abs(n) < _FAR for n in numbers):
        raise CubeError("a polygon's coordinates are not all numbers")
    return np.asarray(numbers, dtype=np.float64)
