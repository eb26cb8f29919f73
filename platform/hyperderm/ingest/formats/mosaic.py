"""Raw frames of a snapshot-mosaic camera: grey pictures in which every pixel lies behind one of 4 x 4 band filters.

Band k of the pattern is row k // 4, column k % 4 of every 4 x 4 block, counted from the frame's first pixel. A frame does
not state this pattern or its wavelengths. The wavelengths come from the user or from the sensor's response table, a MATLAB
file `*responses*.mat` with `CentralWavelength` (16 numbers in nm, in the order of the pattern), beside the frame or in a
folder above it.

The processing order is: first the dark and white references are applied to the raw frame, in which every pixel has its own
gain and vignetting; then the frame is demosaicked; then the spectra are corrected; last the bands are sorted by wavelength.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hyperderm.cubes.bands import by_wavelength, mix
from hyperderm.errors import CubeError
from hyperderm.ingest.formats import matlab
from hyperderm.ingest.formats.pixels import DAMAGED, numbers, surely_nm
from hyperderm.ingest.formats.scene import Scene
from hyperderm.ingest.reflectance import PICTURES, TIFF, check_raw, named_damaged, read_reference, to_reflectance

NAME: str = "mosaic"
PATTERN = 4
"""The number of rows and columns of the filter pattern."""
SUFFIXES = TIFF | PICTURES
CENTRES = "CentralWavelength"

Demosaicing = Literal["superpixel", "bilinear"]

_MATRIX = "correction_matrix"
_CORRECTED_NM = ("wavelengths_corrected", "wavelengths_nm", "wavelengths", CENTRES)  # the first of the right size counts


@dataclass(frozen=True)
class Mosaic:
    """How raw frames are read; paths are files that `read_reference` reads, unless stated otherwise.

    Attributes:
        how: `superpixel`: a cube of (H/4, W/4, 16), each 4 x 4 block one pixel; `bilinear`: (H, W, 16).
        responses: a MATLAB file with `CentralWavelength`; None: the file that `responses_beside` finds.
        dark: a frame, or a stack of frames, taken with the light off.
        white: a frame, or a stack of frames, of a white panel.
        correction: a matrix (Bout, 16) by which every spectrum is multiplied, with columns in the order of the pattern, as
            sensor makers provide it: `.csv` (numbers and commas), `.npy`, or `.mat` (the array `correction_matrix`, or the
            only array with 16 columns; `wavelengths` in the same file belong to its rows).
        wavelengths_nm: the wavelengths of the bands (nm) in the order of the pattern, or of the correction's rows; overrules
            every file.
        white_reflectance: the reflectance of the white panel.
    """

    how: Demosaicing = "superpixel"
    responses: Path | None = None
    dark: Path | None = None
    white: Path | None = None
    correction: Path | None = None
    wavelengths_nm: tuple[float, ...] | None = None
    white_reflectance: float = 1.0


def read_mosaic(path: Path, options: Mosaic, root: Path | None = None) -> Scene:
    """Read one raw frame (TIFF or PNG, grey, 8 to 16 bits) into a cube with its bands sorted by wavelength.

    Args:
        path: the frame.
        options: how the camera's frames are read.
        root: the topmost folder in which a response table is searched; None: only beside the frame.

    Returns:
        The scene, in reflectance if a white reference is given and in counts otherwise. Its facts say how it was made;
        `band_order` gives for every band its number in the pattern (or the row of the correction).

    Raises:
        CubeError: the frame is not grey or its size is not divisible by four, the wavelengths are unknown, or references,
            responses or the correction do not fit.
    """
    frame = read_reference(path)
    if frame.ndim != 2:
        raise CubeError(f"a raw frame is one grey picture, {path.name} has shape {frame.shape}")
    _check_size(frame.shape, PATTERN)
    facts: dict[str, Any] = {"dtype": frame.dtype.name, "mosaic": f"{PATTERN} x {PATTERN}", "demosaicking": options.how}
    references = {name: getattr(options, name) for name in ("dark", "white")}
    arrays = {name: None if file is None else read_reference(file) for name, file in references.items()}
    level, calibration = to_reflectance(frame, arrays["dark"], arrays["white"], options.white_reflectance)
    held = {name: (file.name, array) for name, file in references.items() if file and (array := arrays[name]) is not None}
    check_raw(frame, level, held.get("dark"), held.get("white"))
    facts |= calibration | {name: file.name for name, file in references.items() if file is not None}
    cube = demosaic(level, PATTERN, options.how)
    cube, nm, said = _spectra(cube, path, options, root or path.parent)
    cube, ordered, _ = by_wavelength(cube, nm)
    order = np.argsort(np.asarray(nm), kind="stable")
    return Scene(cube, ordered, {**facts, **said, "band_order": order.tolist()})


def demosaic(frame: NDArray[Any], pattern: int = PATTERN, how: Demosaicing = "superpixel") -> NDArray[np.float32]:
    """Turn a raw frame (H, W) into a cube of pattern² bands, in the order of the pattern.

    Args:
        frame: real numbers; `pattern` divides its height and width.
        pattern: the number of rows and columns of the filter pattern.
        how: `superpixel` takes every block's samples as they are: (H/pattern, W/pattern, pattern²). The bands of a pixel
            then lie up to pattern - 1 raw pixels apart. `bilinear` interpolates every band at every raw pixel, (H, W,
            pattern²): band k has samples at rows k // pattern + i·pattern and columns k % pattern + j·pattern, and each
            pixel lies between four of them. An image that is linear in x and y is therefore reproduced exactly inside the
            outermost samples; outside them the nearest sample is used (clamped, not extrapolated).

    Raises:
        CubeError: the frame's size is not divisible by the pattern, or `how` is unknown.
    """
    if frame.ndim != 2:
        raise CubeError(f"a raw frame has two axes, this array has shape {frame.shape}")
    _check_size(frame.shape, pattern)
    h, w = frame.shape
    if how == "superpixel":
        blocks = frame.reshape(h // pattern, pattern, w // pattern, pattern).transpose(0, 2, 1, 3)
        return np.ascontiguousarray(blocks.reshape(h // pattern, w // pattern, pattern**2), dtype=np.float32)
    if how != "bilinear":
        raise CubeError(f"demosaicking {how!r} is unknown", "superpixel and bilinear exist.")
    from scipy import ndimage

    cube = np.empty((h, w, pattern**2), np.float32)
    for k in range(pattern**2):
        row, column = divmod(k, pattern)
        # Pixel (y, x) lies at ((y - row) / pattern, (x - column) / pattern) of the band's own grid of samples.
        cube[..., k] = ndimage.affine_transform(
            np.asarray(frame[row::pattern, column::pattern], dtype=np.float32),
            np.full(2, 1 / pattern),
            offset=(-row / pattern, -column / pattern),
            output_shape=frame.shape,
            order=1,
            mode="nearest",
        )
    return cube


def responses_beside(folder: Path, root: Path) -> Path | None:
    """Return the `*responses*.mat` in `folder`, or else in the nearest folder above it up to `root`; None if there is none.

    Raises:
        CubeError: one folder holds several such files.
    """
    top = root.resolve()
    for place in (folder, *folder.parents):
        if not place.resolve().is_relative_to(top):
            break
        tables = [p for p in sorted(place.iterdir()) if _is_table(p.name) and p.is_file()]
        if len(tables) > 1:
            raise CubeError(f"{len(tables)} response tables lie in {place.name}/: {', '.join(p.name for p in tables)}")
        if tables:
            return tables[0]
    return None


def _is_table(name: str) -> bool:
    return "responses" in name.lower() and name.lower().endswith(".mat") and not name.startswith(".")


def _check_size(shape: tuple[int, ...], pattern: int) -> None:
    h, w = shape
    if h % pattern or w % pattern or not h or not w:
        raise CubeError(
            f"a frame of {h} x {w} pixels is no whole number of {pattern} x {pattern} blocks",
            f"Cut it to {h - h % pattern} x {w - w % pattern} from a block's first pixel; was it cropped or resized?",
        )


def _spectra(
    cube: NDArray[np.float32], path: Path, options: Mosaic, root: Path
) -> tuple[NDArray[np.float32], Sequence[float], dict[str, Any]]:
    """Apply the correction, if any; return the cube, the wavelengths in the order of its bands, and facts on both steps."""
    nm: Sequence[float] | None = None
    said: dict[str, Any] = {}
    square = True
    if options.correction is not None:
        matrix, nm = _correction(options.correction)
        square = matrix.shape[0] == matrix.shape[1]
        cube = mix(cube, matrix)
        said = {"correction": options.correction.name, "corrected_bands": matrix.shape[0]}
    if options.wavelengths_nm is not None:
        return cube, options.wavelengths_nm, {**said, "wavelengths": "as asked"}
    if nm is not None and options.correction is not None:
        return cube, nm, {**said, "wavelengths": f"from {options.correction.name}"}
    if not square:
        raise CubeError(
            f"the wavelengths of the {cube.shape[2]} corrected bands are unknown",
            "Give --wavelengths, or a .mat correction that holds them as wavelengths.",
        )
    table = options.responses or responses_beside(path.parent, root)
    if table is None:
        raise CubeError(
            f"the wavelengths of {path.name} are unknown",
            f"Give --wavelengths, or put the sensor's *responses*.mat with {CENTRES} beside it.",
        )
    return cube, _centres(table), {**said, "wavelengths": f"from {table.name}"}


def _centres(table: Path) -> list[float]:
    """Return the 16 band centres (nm) of a response table."""
    held = _matrices(table)
    if CENTRES not in held:
        raise CubeError(f"{table.name} holds no {CENTRES}: it holds {', '.join(held) or 'no numbers'}")
    centres = numbers(held[CENTRES].ravel(), f"{CENTRES} of {table.name}")
    if len(centres) != PATTERN**2:
        raise CubeError(f"{CENTRES} of {table.name} holds {len(centres)} numbers, {PATTERN**2} are expected")
    return surely_nm(centres, f"{CENTRES} of {table.name}")


def _correction(path: Path) -> tuple[NDArray[np.float64], list[float] | None]:
    """Return the correction matrix (Bout, 16), and the wavelengths of its rows if the file has them."""
    nm = None
    if path.suffix.lower() == ".mat":
        held = _matrices(path)
        wide = [key for key, array in held.items() if array.shape[1] == PATTERN**2 and array.shape[0] > 1]
        key = _MATRIX if _MATRIX in held else wide[0] if len(wide) == 1 else None
        if key is None:
            raise CubeError(f"{path.name} holds {len(wide)} matrices with {PATTERN**2} columns and no {_MATRIX}")
        matrix = held[key]
        nm = next((held[k].ravel().tolist() for k in _CORRECTED_NM if k in held and held[k].size == matrix.shape[0]), None)
    elif path.suffix.lower() == ".csv":
        try:
            matrix = np.loadtxt(path, delimiter=",", ndmin=2, encoding="utf-8-sig")
        except DAMAGED as error:
            raise named_damaged("a table of numbers and commas", error, path) from error
    else:
        matrix = read_reference(path)
    if nm is not None:
        nm = surely_nm(nm, path.name)
    if matrix.ndim != 2 or matrix.shape[1] != PATTERN**2 or matrix.dtype.kind not in "fiu":
        raise CubeError(f"{path.name} has shape {matrix.shape}, a correction has {PATTERN**2} columns, one a pattern's band")
    if not np.all(np.isfinite(matrix)):
        raise CubeError(f"{path.name} holds NaN or infinite values")
    return matrix.astype(np.float64), nm


def _matrices(path: Path) -> dict[str, NDArray[Any]]:
    """Return the real arrays with two axes of a MATLAB file (v5 or v7.3), by key."""
    if not path.is_file():
        raise CubeError(f"{path.name} is not a file", "Name an existing one.")
    try:
        held = matlab.unchecked(path, axes=2).numeric
    except matlab.DAMAGED as error:
        raise named_damaged("a MATLAB file", error, path) from error
    return {key: array for key, array in held.items() if array.size}
