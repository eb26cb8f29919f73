"""Draw the shapes of Label Studio as masks: polygon, rectangle, ellipse, closed vector, brush and bitmask.

Positions are per cent of the picture's width and height. Rectangles are turned clockwise about their top left corner and
ellipses about their centre, both in pixels, because a rectangle turned in per cent would be skewed. A pixel belongs to a
shape if its centre lies inside, as in `rle.ring_mask`.
"""

import base64
import binascii
import io
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hyperderm.errors import CubeError
from hyperderm.ingest.annotations import rle
from hyperderm.ingest.annotations.mask_image import DAMAGED
from hyperderm.ingest.annotations.mask_picture import marked

Mask = NDArray[np.bool_]
_REDRAW = "Draw the lesion with the brush, as a polygon or as an ellipse, and delete the rest."


def packed(kind: str, value: object) -> object:
    """Return a region's value as `mask` needs it: a brush's list becomes bytes, which take an eighth of the memory."""
    if kind != "brush" or not isinstance(value, Mapping):
        return value
    numbers = value.get("rle")
    if not isinstance(numbers, list) or not all(isinstance(n, int) and 0 <= n <= 255 for n in numbers):
        return {}
    return {"rle": bytes(numbers)}


def mask(kind: str, value: object, size: tuple[Any, Any], rotation: object) -> Mask:
    """Draw one region.

    Args:
        kind: the type of the region without the ending `labels`.
        value: the value as `packed` returns it.
        size: the size (H, W) that the region states.
        rotation: the rotation of the picture while it was annotated, in degrees.

    Raises:
        CubeError: the kind is not an area, or the values cannot be drawn.
    """
    if kind not in _DRAWN:
        raise CubeError(f"a {kind} is no mask", _REDRAW)
    shape = rle.check_shape(*size)
    if rotation:
        raise CubeError(f"the picture was turned by {rotation!r} degrees while it was annotated", "Annotate it upright.")
    return _DRAWN[kind](value if isinstance(value, Mapping) else {}, shape)


def _polygon(value: Mapping[str, Any], shape: tuple[int, int]) -> Mask:
    points = value.get("points")
    if not isinstance(points, list) or len(points) < 3 or not all(isinstance(p, list) and len(p) == 2 for p in points):
        raise CubeError("a polygon needs at least three points of two coordinates")
    if value.get("closed") is False:
        raise CubeError("the polygon is not closed", "Close it, or delete it.")
    return rle.ring_mask([_pixels([n for point in points for n in point], shape)], shape)


def _rectangle(value: Mapping[str, Any], shape: tuple[int, int]) -> Mask:
    x, y, width, height, angle = _numbers("rectangle", value, "x", "y", "width", "height", "rotation")
    if width <= 0 or height <= 0:
        raise CubeError(f"the rectangle's width and height are {width:g} and {height:g} per cent")
    rows, columns = shape
    turn = math.radians(angle)
    along = np.array([math.cos(turn), math.sin(turn)]) * width * columns / 100
    down = np.array([-math.sin(turn), math.cos(turn)]) * height * rows / 100
    corner = np.array([x * columns, y * rows]) / 100
    return rle.ring_mask([np.array([corner, corner + along, corner + along + down, corner + down])], shape)


def _ellipse(value: Mapping[str, Any], shape: tuple[int, int]) -> Mask:
    x, y, wide, high, angle = _numbers("ellipse", value, "x", "y", "radiusX", "radiusY", "rotation")
    if wide <= 0 or high <= 0:
        raise CubeError(f"the ellipse's radii are {wide:g} and {high:g} per cent")
    rows, columns = shape
    turn = math.radians(angle)
    dy, dx = np.ogrid[:rows, :columns]
    dy, dx = dy + 0.5 - y * rows / 100, dx + 0.5 - x * columns / 100
    along, down = dx * math.cos(turn) + dy * math.sin(turn), dy * math.cos(turn) - dx * math.sin(turn)
    return np.asarray((along / (wide * columns / 100)) ** 2 + (down / (high * rows / 100)) ** 2 <= 1)


def _vector(value: Mapping[str, Any], shape: tuple[int, int]) -> Mask:
    vertices = value.get("vertices")
    if not isinstance(vertices, list) or len(vertices) < 3 or not all(isinstance(v, Mapping) for v in vertices):
        raise CubeError("a vector needs at least three vertices to be an area")
    if value.get("closed") is not True:
        raise CubeError("the vector is not closed, so it bounds no area", "Close it, or draw a polygon.")
    if any(v.get("isBezier") or v.get("controlPoint1") or v.get("controlPoint2") for v in vertices):
        raise CubeError("the vector has curved edges (Bézier), which are not read", "Draw a polygon or use the brush.")
    before = [v.get("prevPointId") for v in vertices[1:]]
    if any(said is not None and said != v.get("id") for said, v in zip(before, vertices, strict=False)):
        raise CubeError("the vector branches, so it bounds no one area", "Draw a polygon.")
    return rle.ring_mask([_pixels([v.get(axis) for v in vertices for axis in ("x", "y")], shape)], shape)


def _brush(value: Mapping[str, Any], shape: tuple[int, int]) -> Mask:
    if not isinstance(value.get("rle"), bytes):
        raise CubeError("the brush has no `rle` of whole numbers from 0 to 255")
    return rle.brush_mask(value["rle"], shape)


def _bitmask(value: Mapping[str, Any], shape: tuple[int, int]) -> Mask:
    head, _, data = str(value.get("imageDataURL", "")).partition(",")
    try:
        if not head.startswith("data:image/png") or not head.endswith("base64"):
            raise CubeError("the bitmask has no `imageDataURL` of a PNG in base64")
        with Image.open(io.BytesIO(base64.b64decode(data, validate=True)), formats=["PNG"]) as image:
            if image.size != shape[::-1]:
                raise CubeError(
                    f"the bitmask has {image.size[1]} x {image.size[0]} pixels, its image {shape[0]} x {shape[1]}"
                )
            image.load()
            found = marked(image)
    except (*DAMAGED, binascii.Error) as error:
        raise CubeError("the bitmask's PNG is damaged") from error
    if len(found) != 1 or found[0].facts.get("mask_read") == "inverted":
        raise CubeError("the bitmask does not mark one area on an empty ground", _REDRAW)
    return found[0].mask


_DRAWN: dict[str, Callable[[Mapping[str, Any], tuple[int, int]], Mask]] = {
    "polygon": _polygon,
    "rectangle": _rectangle,
    "ellipse": _ellipse,
    "vector": _vector,
    "brush": _brush,
    "bitmask": _bitmask,
}


def _numbers(what: str, value: Mapping[str, Any], *names: str) -> list[float]:
    found = [value.get(name, 0 if name == "rotation" else None) for name in names]
    try:
        return [float(n) for n in rle.points(found)]
    except CubeError as error:
        raise CubeError(f"the {what}'s {', '.join(names)} are not all numbers") from error


def _pixels(percent: list[Any], shape: tuple[int, int]) -> NDArray[np.float64]:
    return rle.points(percent).reshape(-1, 2) * np.array(shape[::-1]) / 100
