"""Read a mask picture that a user drew: it marks one lesion, or several that are numbered or coloured.

    grey, two values            the brighter value is the lesion; white around a dark lesion is inverted and reported
    grey, 0 and small numbers   each number is a lesion; so is each palette index and each plain colour
    transparency                if it varies, the opaque pixels are marked
    soft edges, JPEG            the values are split half way between dark and bright

The pixels decide which of these cases applies. A picture that could mean two things is refused, never guessed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hyperderm.errors import CubeError
from hyperderm.ingest.annotations.mask_image import GREY, open_picture

Mask = NDArray[np.bool_]

MOST_LABELS = 50
"""The most lesions in one picture, and the largest number that counts as a lesion's without a closer check."""
AROUND = 0.95
"""A region that covers at least this share of the frame's border lies around everything else."""
HOLE = 0.005
"""An unmarked hole inside may be a lesion if it covers at least this share of the frame."""
FEW = 10
"""A numbered lesion with fewer pixels is reported."""
VOID = 255
"""The value that PASCAL VOC writes for undecided pixels."""
_CONTRAST = 64  # of 255: less is noise of a JPEG
_TINGE = 32  # of 255: less colour than that is noise of a JPEG
_REDRAW = "Save it as a PNG of black and white, the lesion white."
_INVERTED = "its mask picture marks what lies around the lesion; it was read as inverted"
_NUMBERS = "Number lesions 1, 2, 3, … on 0, or save one black and white picture a lesion."


@dataclass(frozen=True)
class Marked:
    """One lesion of a picture.

    Attributes:
        mask: (H, W) bool, at least one pixel True.
        label: the number of the lesion, or its colour as rrggbb, if the picture holds several lesions; otherwise "".
        facts: how the mask was read, if that was not obvious; they go into the lesion's origin.
        notes: sentences on the mask that the user must see.
    """

    mask: Mask
    label: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def read_mask_picture(path: Path, frame: tuple[int, ...]) -> tuple[list[Marked], int]:
    """Read every lesion that a picture marks, and the EXIF orientation that was applied (1: none).

    Args:
        path: the path of the picture.
        frame: the shape (H, W, …) of the image that the mask belongs to.

    Raises:
        CubeError: the file is not a picture, is damaged or of another size, marks nothing or everything, or its pixels could
            mean several things.
    """
    image, orientation, lossy = open_picture(path)
    check_size(image.size[::-1], frame)
    return marked(image, lossy=lossy), orientation


def check_size(mask: tuple[int, ...], frame: tuple[int, ...]) -> None:
    """Raise CubeError if the mask's shape (H, W) differs from that of its image, (H, W, …)."""
    if mask != tuple(frame[:2]):
        raw = mask == (4 * frame[0], 4 * frame[1])
        remedy = "If it is drawn on a raw mosaic frame: --demosaic bilinear keeps the frame's size." if raw else ""
        raise CubeError(f"the mask has {mask[0]} x {mask[1]} pixels, its image {frame[0]} x {frame[1]}", remedy)


def marked(image: Image.Image, *, lossy: bool = False) -> list[Marked]:
    """Return the lesions that an open picture marks.

    If `lossy`, the values are noisy, so that small values are not taken for numbers of lesions.

    Raises:
        CubeError: nothing or everything is marked, or the pixels could mean several things.
    """
    if image.mode == "P":
        return _palette(image)
    if image.mode in GREY and "transparency" not in image.info:
        return _grey(np.asarray(image), lossy)
    clear = image.mode in {"LA", "La", "PA", "RGBA", "RGBa"} or "transparency" in image.info
    pixels = np.asarray(image.convert("RGBA" if clear else "RGB"))
    alpha = pixels[..., 3] if clear else np.full(pixels.shape[:2], 255, np.uint8)
    if alpha.min() < alpha.max():
        return _alpha(pixels[..., :3], alpha)
    if alpha.max() == 0 and _constant(pixels[..., :3]):
        raise _empty()
    return _colours(pixels[..., :3], lossy)


def _empty() -> CubeError:
    return CubeError("the mask is empty: no pixel of it is marked")


def _full() -> CubeError:
    return CubeError(
        "the mask marks every pixel of its frame, which says nothing",
        "Draw the lesion; without this file the image is one without a mask.",
    )


def _grey(values: NDArray[Any], lossy: bool) -> list[Marked]:
    eight = values.dtype == np.uint8
    x = values if eight else values.astype(np.float64)
    if not eight and not np.all(np.isfinite(x)):
        raise CubeError("the mask holds NaN or infinite values", _REDRAW)
    low, high = float(x.min()), float(x.max())
    if low == high:
        raise _empty() if high == 0 else _full()
    small = not lossy and low >= 0 and high <= MOST_LABELS
    if not small and high - low < (_CONTRAST if lossy else max(abs(low), abs(high)) / 4):
        raise CubeError(f"the mask has hardly any contrast, its values are {low:g} to {high:g}", _REDRAW)
    levels = np.flatnonzero(np.bincount(x.ravel(), minlength=256)).astype(np.float64) if eight else np.unique(x)
    if not lossy and levels.size <= MOST_LABELS + 2 and np.all(levels == np.round(levels)):
        if levels.size == 2:
            return _plain(x == high)
        if numbered := _numbers(x.astype(np.int64), levels.astype(np.int64)):
            return numbered
    return _split(x.astype(np.float64))


def _numbers(codes: NDArray[np.int64], levels: NDArray[np.int64]) -> list[Marked]:
    """Read three or more whole numbers as lesions; return nothing if the numbers are steps of soft edges."""
    if levels[0] < 0:
        raise CubeError(f"the mask holds negative numbers, down to {levels[0]}", _NUMBERS)
    codes, notes = _without_void(codes, levels)
    levels = np.unique(codes)
    if levels.size == 2:
        return [_noted(one, notes) for one in _plain(codes == levels[1])]
    soft = _soft(codes, levels)
    if (soft and len(soft) >= levels.size - 2) or (levels[-1] > MOST_LABELS and _noisy(codes, levels)):
        return []
    if soft:
        what = f"the numbers {_listed(soft)} of the mask lie only along the edges of others, as after resampling"
        raise CubeError(what, "Save it in its own size, or resample it without interpolation.")
    if levels[-1] > MOST_LABELS:
        if _touching(codes, levels[1:]):
            what = f"the mask holds the greys {_listed(levels)} in regions that touch, so which are lesions is not said"
            raise CubeError(what, _NUMBERS)
        notes = (*notes, f"its mask picture marks a lesion by each of the greys {_listed(levels[1:])}")
    return _labels(codes, _ground(codes, levels), {int(level): str(level) for level in levels}, notes)


def _without_void(codes: NDArray[np.int64], levels: NDArray[np.int64]) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Treat the undecided value of PASCAL VOC between small numbers as not marked."""
    if levels[-1] != VOID or levels[-2] > MOST_LABELS or not _solid(codes)[(codes > 0) & (codes != VOID)].any():
        return codes, ()
    if not _touching(codes, levels[1:]):
        what = f"the mask holds the numbers {_listed(levels)}: {VOID} may be a lesion, or what nobody decided"
        raise CubeError(what, _NUMBERS)
    return np.where(codes == VOID, 0, codes), (f"{VOID} in its mask picture is taken as undecided, so not marked",)


def _ground(codes: NDArray[np.int64], levels: NDArray[np.int64]) -> int:
    """Return the number of the background: 0, or without a 0 the number that lies around everything else."""
    around = _around(codes)
    if levels[0] == 0:
        if around not in (None, 0):
            raise CubeError(f"the number {around} of the mask lies around everything else", "Number what is no lesion 0.")
        return 0
    if around is None:
        raise CubeError(f"the mask holds the numbers {_listed(levels)} and no 0 for what is no lesion", _NUMBERS)
    return around


def _labels(codes: NDArray[np.int64], ground: int, names: Mapping[int, str], notes: tuple[str, ...] = ()) -> list[Marked]:
    """Return one lesion per code, in the order of the codes; a single lesion is a plain mask."""
    found = []
    shown = [int(code) for code in np.unique(codes) if code != ground]
    if ground != 0 and ground in names:
        notes = (*notes, f"{names[ground]} lies around everything in its mask picture, so it is taken for no lesion")
    for code in shown:
        mask = codes == code
        label = names[code] if len(shown) > 1 else ""
        few = (f"its mask has {mask.sum()} pixels",) if mask.sum() < FEW else ()
        found.append(Marked(mask, label, {"mask_label": label} if label else {}, (*notes, *few)))
    return found


def _palette(image: Image.Image) -> list[Marked]:
    codes = np.asarray(image).astype(np.int64)
    pixels = np.asarray(image.convert("RGBA"))
    used, first = np.unique(codes, return_index=True)
    colours = {int(code): pixels.reshape(-1, 4)[at] for code, at in zip(used, first, strict=True)}
    if used.size == 1:
        rgba = colours[int(used[0])]
        raise _full() if rgba[3] and rgba[:3].any() else _empty()
    if len({int(rgba[3]) for rgba in colours.values()}) > 1:
        return _alpha(pixels[..., :3], pixels[..., 3], codes)
    greys = all(len(set(rgba[:3].tolist())) == 1 for rgba in colours.values())
    if greys and all(code == rgba[0] for code, rgba in colours.items()):
        return _grey(codes, lossy=False)
    codes, notes = (codes, ()) if used.size == 2 else _without_void(codes, used)
    used = np.unique(codes)
    if used.size > MOST_LABELS + 1 or (used.size > 2 and _soft(codes, used)):
        return _grey(pixels[..., 0], lossy=False) if greys else _colours(pixels[..., :3], lossy=False)
    black = [code for code in used.tolist() if not colours[code][:3].any()]
    grounds = {code for code in (0, *black) if code in used}
    if len(grounds) == 1 and used.size == 2:
        return [_noted(one, notes) for one in _plain(codes != grounds.pop())]
    around = _around(codes)
    if len(grounds) != 1 and around is None:
        raise CubeError(
            "which colour of the mask's palette is no lesion is not said: neither is black and the first", _REDRAW
        )
    ground = grounds.pop() if around is None else around
    if used.size == 2:
        return [Marked(codes != ground, facts={"mask_read": "inverted"}, notes=(_INVERTED,))]
    return _labels(codes, ground, {code: str(code) for code in used.tolist()}, notes)


def _alpha(colours: NDArray[np.uint8], alpha: NDArray[np.uint8], codes: NDArray[np.int64] | None = None) -> list[Marked]:
    """Read a picture whose transparency varies; `codes` are the indices of its palette."""
    visible = alpha > (int(alpha.min()) + int(alpha.max())) / 2
    seen = colours[visible]
    if not (constant := _constant(seen)):
        shown, names = _coded(colours)
        if codes is not None:
            shown, names = codes + 1, {int(code) + 1: str(code) for code in np.unique(codes)}
        shown = np.where(visible, shown, 0)
        levels = np.unique(shown)
        plain = {(0, 0, 0), (255, 255, 255)} & set(map(tuple, np.unique(seen, axis=0).tolist()))
        if not plain and levels.size <= MOST_LABELS + 1 and not _soft(shown, levels):
            return _labels(shown, 0, names)
        inside = cv2.erode(visible.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        constant = bool(inside.any()) and _constant(colours[inside])  # its edges are soft
    if not constant:
        raise CubeError("the mask's transparency and its colours both vary and do not mark the same pixels", _REDRAW)
    return [replace(one, facts={"mask_read": "transparency", **one.facts}) for one in _plain(visible)]


def _colours(colours: NDArray[np.uint8], lossy: bool) -> list[Marked]:
    """Read an opaque coloured picture."""
    spread = int((colours.max(axis=2) - colours.min(axis=2)).max())
    if spread == 0:
        return _grey(colours.max(axis=2), lossy)
    codes, names = _coded(colours)
    levels = np.unique(codes)
    if lossy or levels.size > MOST_LABELS + 1 or (levels.size > 2 and _soft(codes, levels)):
        return _grey(colours.max(axis=2), lossy=True) if spread <= _TINGE else _split(_away(colours))
    if levels.size == 1:
        raise _full()
    around, black = _around(codes), next((code for code, name in names.items() if name == "000000"), None)
    if levels.size == 2 and black is not None:
        return _plain(codes != black)
    ground = black if around is None else around
    if ground is None:
        raise CubeError("which colour of the mask is no lesion is not said: it holds no black", _REDRAW)
    return _labels(codes, ground, names if ground != black else {c: n for c, n in names.items() if c != ground})


def _coded(colours: NDArray[np.uint8]) -> tuple[NDArray[np.int64], dict[int, str]]:
    """Return (H, W) codes from 1, one per colour, and each code's name: a grey by its value, a colour as rrggbb."""
    if np.all(colours == colours[..., :1]):
        greys = colours[..., 0].astype(np.int64) + 1
        return greys, {int(code): str(int(code) - 1) for code in np.unique(greys)}
    packed = colours.astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])
    found, codes = np.unique(packed, return_inverse=True)
    return codes.reshape(packed.shape) + 1, {number: f"{value:06x}" for number, value in enumerate(found.tolist(), 1)}


def _away(colours: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the distance of every pixel's colour from the frame's border, which must have one colour."""
    x = colours.astype(np.float64)
    edge = _border(x)
    ground = np.median(edge, axis=0)
    away = np.abs(x - ground).max(axis=2)
    if float((np.abs(edge - ground).max(axis=1) <= away.max() / 4).mean()) < AROUND:
        raise CubeError("the mask is a picture of many colours, and its border is not of one", _REDRAW)
    if away.max() < _CONTRAST:
        raise CubeError("the mask has hardly any contrast", _REDRAW)
    return away


def _split(values: NDArray[np.float64]) -> list[Marked]:
    """Split soft values half way between the lowest and the highest.

    Raises:
        CubeError: many values, or a whole region, lie between these two.
    """
    low, high = float(values.min()), float(values.max())
    x = ((values - low) / (high - low)).astype(np.float32)
    between = float(((x > 0.25) & (x < 0.75)).mean())
    if between > 0.25:
        raise CubeError(
            f"{between:.0%} of the mask's pixels are neither dark nor bright: it is a picture, not a mask", _REDRAW
        )
    window = np.ones((3, 3), np.uint8)
    flat = (cv2.dilate(x, window) - cv2.erode(x, window) < 0.03) & (x > 0.08) & (x < 0.92)
    if flat.sum() > max(FEW, x.size / 1000):
        grey = low + float(np.median(x[flat])) * (high - low)
        what = f"a region of the mask is grey (about {grey:.3g} between {low:g} and {high:g}), neither marked nor unmarked"
        raise CubeError(what, _NUMBERS)
    soft = (f"{between:.0%} of its mask's pixels are neither dark nor bright; they were split half way",)
    return [_noted(one, soft if between > 0.05 else ()) for one in _plain(x > 0.5)]


def _plain(mask: Mask) -> list[Marked]:
    """Return the one lesion of a mask, inverted if the mask lies around everything else."""
    share = float(_border(mask).mean())
    if share >= AROUND:
        _, parts = cv2.connectedComponents((~mask).astype(np.uint8), connectivity=8)
        hole = (parts > 0) & ~np.isin(parts, _border(parts)[_border(parts) > 0])
        if hole.mean() >= HOLE and hole.sum() * 2 > (~mask).sum():
            return [Marked(hole, facts={"mask_read": "inverted"}, notes=(_INVERTED,))]
    if not mask.any():
        raise _empty()
    few = (f"its mask has {mask.sum()} pixels",) if mask.sum() < FEW else ()
    odd = (f"its mask marks {share:.0%} of the frame's border; is it inverted?",) if share >= 0.5 else ()
    return [Marked(mask, notes=(*few, *odd))]


def _noted(one: Marked, notes: tuple[str, ...]) -> Marked:
    return replace(one, notes=(*one.notes, *notes))


def _constant(colours: NDArray[np.uint8]) -> bool:
    """Return whether all (..., 3) colours are the same."""
    flat = colours.reshape(-1, 3)
    return bool(np.all(flat == flat[:1]))


def _border(x: NDArray[Any]) -> NDArray[Any]:
    """Return the outermost pixels of (H, W, …), each once."""
    return np.concatenate([x[0], x[-1] if x.shape[0] > 1 else x[:0, 0], *(x[1:-1, c] for c in {0, x.shape[1] - 1})])


def _around(codes: NDArray[np.int64]) -> int | None:
    """Return the code of nearly all of the frame's border, or None if there is no such code."""
    found, counts = np.unique(_border(codes), return_counts=True)
    return int(found[counts.argmax()]) if counts.max() >= AROUND * counts.sum() else None


def _solid(codes: NDArray[np.int64]) -> Mask:
    """Return True where all eight neighbours have the same code."""
    x, window = codes.astype(np.float32), np.ones((3, 3), np.uint8)
    return np.asarray(cv2.dilate(x, window) == cv2.erode(x, window))


def _soft(codes: NDArray[np.int64], levels: NDArray[np.int64]) -> list[int]:
    """Return the codes above the lowest that fill no region and lie along other codes: the steps of a soft edge."""
    solid, window = _solid(codes), np.ones((3, 3), np.uint8)
    found = []
    for level in levels[1:].tolist():
        here = codes == level
        if solid[here].any():
            continue
        others = (~here & (codes != levels[0])).astype(np.uint8)
        if (cv2.dilate(others, window)[here] > 0).mean() > 0.5:
            found.append(level)
    return found


def _noisy(codes: NDArray[np.int64], levels: NDArray[np.int64]) -> bool:
    """Return whether large values belong to a soft or once lossy picture: some fill no region, or all are extremes."""
    low, high = int(levels[0]), int(levels[-1])
    near = 0.03 * (high - low)
    extremes = high >= 200 and all(level <= low + near or level >= high - near for level in levels.tolist())
    return extremes or np.unique(codes[_solid(codes)]).size < levels.size


def _touching(codes: NDArray[np.int64], labels: NDArray[np.int64]) -> bool:
    """Return whether two of these regions lie side by side."""
    window = np.ones((3, 3), np.uint8)
    masks = [(codes == label).astype(np.uint8) for label in labels.tolist()]
    return any(((cv2.dilate(one, window) > 0) & (sum(masks) > one)).any() for one in masks)


def _listed(numbers: Any) -> str:  # noqa: ANN401 - a list or an array of whole numbers
    shown = [str(int(n)) for n in numbers]
    return ", ".join(shown[:6]) + (f" and {len(shown) - 6} more" if len(shown) > 6 else "")
