"""Compute reflectance from counts with a dark and a white reference, pixel by pixel."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hyperderm.errors import CubeError
from hyperderm.ingest.formats.pixels import DAMAGED, damaged

TIFF = {".tif", ".tiff"}
NUMPY = {".npy"}
PICTURES = {".png"}

_SIXTEEN = {"I", "I;16", "I;16B"}  # what Pillow calls 16 bits differs between its versions
_GREY = {"L", *_SIXTEEN}
_PAGES_OF_NUMBERS = {0, 1, 32803}  # TIFF photometric: white is zero, black is zero, colour filter array

_COUNTS = 20.0
"""A white reference with a median above this value is in counts."""
_REFLECTANCE = 2.0
"""In an image in reflectance 99 % of the values lie below this value."""
_DARKEST_SKIN = 0.02
"""If 99 % of the values after division by the white reference lie below this, the image shows nothing: skin is brighter."""
_PLAUSIBLE = (1e-3, 20.0)
"""The median after division by the right white reference lies between these two values."""
_SAMPLE = 512
"""The number of rows, and of columns, in the sample that is examined."""


def to_reflectance(
    raw: NDArray[Any],
    dark: NDArray[Any] | None = None,
    white: NDArray[Any] | None = None,
    white_reflectance: ArrayLike = 1.0,
) -> tuple[NDArray[np.float32], dict[str, Any]]:
    """Return (raw - dark) / (white - dark) · white_reflectance, computed in float64.

    Args:
        raw: a cube (H, W, B) or a frame (H, W) of real numbers; NaN and infinite values stay so.
        dark: the reference taken with the light off, in one of these forms: an array of the shape of `raw`, applied pixel by
            pixel (and never taken for lines); a stack (N, …) of such arrays, which is averaged; for a cube also one spectrum
            (B,) or (1, B), one line (W, B), or lines (N, W, B) of a push-broom camera, which are averaged and applied column
            by column. None: the camera has no offset.
        white: the reference of a white panel, in the same forms. None: the result is raw - dark, in counts.
        white_reflectance: the reflectance of the panel: a number in (0, 1.5] or (B,) such numbers.

    Returns:
        A float32 array of the shape of `raw`, not clipped, and facts for a lesion's origin: `calibrated` (the formula used),
        `white_reflectance`, and for integers `saturated` and `white_saturated`: the number of values at their type's
        maximum. A camera of 10 or 12 bits that writes 16 bits saturates below this maximum and is not counted.

    Raises:
        CubeError: the shapes do not fit, a reference holds NaN or infinity, the panel's reflectance is out of range, a
            result is too large, or white is not brighter than dark at some pixels (the message gives their number).
    """
    if raw.ndim not in {2, 3}:
        raise CubeError(f"a frame has two axes and a cube three, this array has shape {raw.shape}")
    _check_numbers(raw, "the raw image", finite=False)
    facts: dict[str, Any] = {}
    if (full := _saturated(raw)) is not None:
        facts["saturated"] = full
    offset = np.zeros(()) if dark is None else _reference(dark, raw.shape, "dark")
    counts = raw.astype(np.float64) - offset
    if white is None:
        return _float32(counts, raw), {**facts, "calibrated": "no" if dark is None else "raw - dark"}
    span = _reference(white, raw.shape, "white") - offset
    if bad := int(np.count_nonzero(span <= 0)):
        raise CubeError(
            f"{bad} of {span.size} values of the white reference are not above the dark one",
            "Take both references again with the exposure of the images; were they exchanged?",
        )
    if (full := _saturated(white)) is not None:
        facts["white_saturated"] = full
    panel = _panel(white_reflectance, raw.shape)
    formula = "raw / white" if dark is None else "(raw - dark) / (white - dark)"
    facts = {**facts, "calibrated": formula, "white_reflectance": panel.tolist()}
    return _float32(counts / span * panel, raw), facts


def check_raw(
    raw: NDArray[Any],
    result: NDArray[np.float32],
    dark: tuple[str, NDArray[Any]] | None,
    white: tuple[str, NDArray[Any]] | None,
) -> None:
    """Prove by the calibrated result that an image can consist of raw values that belong to its references.

    Args:
        raw: the image before calibration, (H, W, B) or (H, W).
        result: the result of `to_reflectance`, of the same shape.
        dark: the name and the numbers of the dark reference, or None.
        white: the name and the numbers of the white reference, or None.

    Raises:
        CubeError: most values lie below the dark reference, all values are reflectance while the white reference is in
            counts, or the result is too dark or too bright for skin. The message gives the ranges of all arrays.
    """
    if dark is None and white is None:
        return
    before, after = _finite(raw), _finite(result)
    if not before.size or not after.size:
        return
    middle = float(np.median(after))
    why = ""
    if middle < 0:
        why = "most of them lie below the dark reference" if dark else f"what comes out has the median {middle:.3g}"
    elif white is not None:
        if np.percentile(before, 99) <= _REFLECTANCE and np.median(white[1]) > _COUNTS:
            why = "they are reflectance (about 0 … 2) already, or scaled, and the white reference is in counts"
        elif not _PLAUSIBLE[0] <= middle <= _PLAUSIBLE[1] or np.percentile(after, 99) < _DARKEST_SKIN:
            why = f"what comes out has the median {middle:.3g} and is no reflectance (about 0 … 2)"
    if why:
        held = " and ".join(f"{name} ({_range(values)})" for name, values in filter(None, (dark, white)))
        named = f"reference{'s' * bool(dark and white)} {held}"
        raise CubeError(f"its values ({_range(before)}) cannot be raw ones of the {named}: {why}", _NOT_ITS_OWN)


_NOT_ITS_OWN = (
    "Is the image in reflectance already? Then give no --white and --dark, but call each reference after its scan "
    "(WHITEREF_<scan>, DARKREF_<scan>): other images stay as they are. Or --no-references, if that holds for all. If the "
    "image is in counts, give the references that were taken with its exposure."
)


def _finite(array: NDArray[Any]) -> NDArray[Any]:
    """Return the finite values of an image, or those of an even sample if the image is large."""
    rows, columns = (max(1, size // _SAMPLE) for size in array.shape[:2])
    part = array[::rows, ::columns]
    return part[np.isfinite(part)]


def _range(values: NDArray[Any]) -> str:
    return f"{float(values.min()):.4g} … {float(values.max()):.4g}"


def read_reference(path: Path) -> NDArray[Any]:
    """Read numbers as a camera wrote them: a TIFF (several pages: a stack), a grey PNG, or a `.npy` array.

    No EXIF or TIFF orientation is applied: pixels stay where the sensor has them.

    Raises:
        CubeError: the file is of another kind, is a picture with colours or a palette, is damaged, or holds no numbers.
    """
    suffix = path.suffix.lower()
    if not path.is_file():
        raise CubeError(f"{path.name} is not a file", "Name an existing one.")
    if suffix in TIFF:
        return _read_tiff(path)
    if suffix in NUMPY:
        try:
            array = np.load(path, allow_pickle=False)
        except DAMAGED as error:
            raise named_damaged("a NumPy file", error, path) from error
        if not isinstance(array, np.ndarray):
            raise CubeError(f"{path.name} holds several arrays", "Save the one as .npy.")
        return array
    if suffix in PICTURES:
        return _read_picture(path)
    known = ", ".join(sorted(TIFF | NUMPY | PICTURES))
    raise CubeError(f"{path.name} is none of the files that hold a frame or reference: {known}")


def named_damaged(kind: str, error: Exception, path: Path) -> CubeError:
    """Return the error of `damaged` with the file's name first, since an image may fail because of another file."""
    return CubeError(f"{path.name} {damaged(kind, error, path).what}")


def _read_tiff(path: Path) -> NDArray[Any]:
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            kinds = {int(page.aspage().photometric) for page in file.pages}
            shapes = {page.aspage().shape for page in file.pages}
            array = None if len(shapes) > 1 else np.asarray(file.asarray(key=slice(None) if len(file.pages) > 1 else 0))
    except DAMAGED as error:
        raise named_damaged("a TIFF", error, path) from error
    if not kinds <= _PAGES_OF_NUMBERS:
        raise CubeError(f"{path.name} has colours or a palette", "A frame is grey: the numbers of the sensor.")
    if array is None:
        raise CubeError(f"the pages of {path.name} have different shapes: {', '.join(map(str, sorted(shapes)))}")
    return array


def _read_picture(path: Path) -> NDArray[Any]:
    from PIL import Image

    try:
        with Image.open(path) as image:
            mode = image.mode
            array = np.asarray(image, dtype=np.uint16 if mode in _SIXTEEN else None) if mode in _GREY else None
    except DAMAGED as error:
        raise named_damaged("a PNG", error, path) from error
    if array is None:
        raise CubeError(f"{path.name} has colours, a palette or one bit (mode {mode})", "A frame is grey: 8 to 16 bits.")
    return array


def _reference(reference: NDArray[Any], shape: tuple[int, ...], name: str) -> NDArray[np.float64]:
    _check_numbers(reference, f"the {name} reference")
    values = reference.astype(np.float64)
    if values.shape == shape:
        return values
    if values.shape[1:] == shape:
        return np.asarray(values.mean(axis=0))
    forms = [shape, ("N", *shape)]
    if len(shape) == 3:
        line, spectrum = shape[1:], shape[2:]
        if values.ndim == 3 and values.shape[1:] == line:
            return np.asarray(values.mean(axis=0))
        if values.shape in {line, spectrum, (1, *spectrum), (1, 1, *spectrum)}:
            return values
        forms += [spectrum, line, ("N", *line)]
    fits = ", ".join("(" + ", ".join(map(str, form)) + ("," if len(form) == 1 else "") + ")" for form in forms)
    raise CubeError(f"the {name} reference has shape {values.shape}, the image {shape}: one of {fits} fits")


def _check_numbers(array: NDArray[Any], what: str, *, finite: bool = True) -> None:
    if array.size == 0 or array.dtype.kind not in "fiu":
        raise CubeError(f"{what} holds no real numbers (shape {array.shape}, type {array.dtype.name})")
    if finite and array.dtype.kind == "f" and (bad := int(array.size - np.count_nonzero(np.isfinite(array)))):
        raise CubeError(f"{what} holds {bad} NaN or infinite values")


def _float32(values: NDArray[np.float64], raw: NDArray[Any]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        single = values.astype(np.float32)
    if bad := int(np.count_nonzero(~np.isfinite(single) & np.isfinite(raw))):
        raise CubeError(f"{bad} values are too large after calibration", "Are these the references of this image?")
    return single


def _saturated(array: NDArray[Any]) -> int | None:
    return int(np.count_nonzero(array == np.iinfo(array.dtype).max)) if array.dtype.kind in "iu" else None


def _panel(reflectance: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.float64]:
    panel = np.asarray(reflectance, dtype=np.float64)
    if panel.shape not in {(), shape[2:]}:
        raise CubeError(f"the white panel's reflectance has shape {panel.shape}: one number, or one a band, fits")
    if not np.all((panel > 0) & (panel <= 1.5)):
        raise CubeError(f"the white panel's reflectance must lie in (0, 1.5], got {panel.tolist()}", "Give 0.99, not 99.")
    return panel
