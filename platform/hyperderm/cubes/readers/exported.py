"""What `hyperderm store export` wrote: cubes that are cropped and sized already, described by `export.json` beside them.

The side-car says which file holds which lesion and everything that files of that format cannot say: ids, group, diagnosis,
origin, whether a mask is absent or empty. So a store comes back as it was, bit by bit. The cubes and masks are hashed: an
origin holds for the pixels that were exported, not for files that were changed since.
"""

import hashlib
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import Any, Literal
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from hyperderm.cubes.cube import Cube, Lesion
from hyperderm.cubes.readers.failures import check_machine
from hyperderm.cubes.readers.mask_image import read_mask
from hyperderm.cubes.readers.matlab import read_array
from hyperderm.cubes.readers.pixels import DAMAGED, damaged, natural
from hyperderm.cubes.readers.scene import SetAside, inside
from hyperderm.errors import CubeError
from hyperderm.strict import Strict, json_of

Format = Literal["mat", "envi", "npz"]

SIDECAR = "export.json"
TABLE = "lesions.csv"
"""For people; nothing reads it."""
MARK = "hyperderm-export"
"""Tells our side-car from another program's file of that name, also where it was cut short or sorted anew."""
VERSION = 1
CUBE, MASK = "cube", "mask"
"""Arrays of an `.npz` file."""
HEADER, DATA = ".hdr", ".img"

_REMEDY = "Export the store again."
_NPZ_DAMAGED: tuple[type[Exception], ...] = (BadZipFile, TokenError, *DAMAGED)


class ExportedLesion(Strict):
    """One lesion of an export."""

    file: str
    """Holds the cube; relative to the folder, posix."""
    lesion_id: str
    image_id: str
    group: str
    diagnosis: str | None
    mask: str | None
    """File of the mask; None where there is no mask, and where no pixel of it is marked."""
    cube_sha256: str
    """Of the values, (H, W, B) float32 little-endian in C order."""
    mask_sha256: str | None
    """Of the mask, (H, W) one byte a pixel, 0 or 1; None where the lesion has none."""
    origin: dict[str, Any]


class Export(Strict):
    """The side-car: what an exported folder holds."""

    what: Literal["hyperderm-export"] = "hyperderm-export"
    version: int = VERSION
    format: Format
    kind: Literal["spectral", "rgb"]
    wavelengths_nm: tuple[float, ...]
    shape: tuple[int, int, int]
    """(H, W, B) of every cube."""
    fingerprint: str
    """Of the store's manifest."""
    source: dict[str, Any]
    """How that store was made: `Manifest.source`."""
    lesions: tuple[ExportedLesion, ...]


@dataclass(frozen=True)
class Source:
    """One exported lesion, unread, and what its side-car says of all of them."""

    lesion: ExportedLesion
    format: Format
    shape: tuple[int, int, int]
    wavelengths_nm: tuple[float, ...]

    @property
    def image_id(self) -> str:
        """Of the lesion."""
        return self.lesion.image_id

    @property
    def diagnosis(self) -> str | None:
        """Of the lesion; None where it is unknown."""
        return self.lesion.diagnosis


def is_export(root: Path) -> bool:
    """Return whether `root` holds a side-car of ours, sound or not."""
    try:
        return MARK.encode() in (root / SIDECAR).read_bytes()
    except OSError:
        return False


def describe(root: Path) -> Export:
    """Read and prove the side-car.

    Raises:
        CubeError: it cannot be read, is damaged or of a newer version, names no lesion, or one lesion or file twice.
    """
    try:
        content = (root / SIDECAR).read_bytes()
        version = _version(content)
        if version > VERSION:
            raise CubeError(f"{root / SIDECAR} has version {version}, this hyperderm reads up to {VERSION}", "Update it.")
        export = Export.model_validate_json(content)
    except (OSError, ValueError) as error:  # pydantic's and json's errors are ValueErrors
        raise CubeError(f"{root / SIDECAR} is damaged: {_reason(error)}", _REMEDY) from None
    if len(export.wavelengths_nm) != export.shape[2]:
        raise CubeError(
            f"{root / SIDECAR}: {export.shape[2]} bands but {len(export.wavelengths_nm)} wavelengths_nm", _REMEDY
        )
    for field in ("lesion_id", "file"):
        found, count = (
            Counter(getattr(one, field) for one in export.lesions).most_common(1)[0] if export.lesions else ("", 0)
        )
        if count != 1:
            raise CubeError(f"{root / SIDECAR} names " + (f"the {field} {found!r} twice" if count else "no lesion"), _REMEDY)
    return export


def kind(root: Path) -> Literal["spectral", "rgb"]:
    """Return the kind of the store that was exported; raises as `describe` does."""
    return describe(root).kind


def scan(root: Path) -> list[Source]:
    """List the lesions that the side-car in `root` names, in the order of the store; no other file is opened.

    Raises:
        CubeError: as for `describe`.
    """
    export = describe(root)
    return [Source(one, export.format, export.shape, export.wavelengths_nm) for one in export.lesions]


def orphans(root: Path, sources: Sequence[Source]) -> list[SetAside]:
    """List every visible file below `root` that no source uses and that the export itself did not write."""
    used = {root / SIDECAR, root / TABLE}
    for source in sources:
        file = root / source.lesion.file
        used |= {file, root / (source.lesion.mask or SIDECAR)}
        if source.format == "envi":
            used.add(file.parent / f"{file.stem}{DATA}")
        if source.format == "mat":
            used.add(layout_mask(root, file))
    files = (path for path in root.rglob("*") if not path.is_dir() and path not in used)
    names = sorted((path for path in files if not _hidden(path, root)), key=lambda p: (p.parent, natural(p)))
    return [SetAside(path.relative_to(root).as_posix(), f"{SIDECAR} does not name it") for path in names]


def layout_mask(root: Path, file: Path) -> Path:
    """Return where HSIDermoscopy's layout has the mask of `<root>/images/<folder>/<n>.mat`."""
    return root / "masks" / file.parent.name / f"{file.stem}_00.png"


def read(source: Source, root: Path) -> tuple[list[Lesion], list[SetAside]]:
    """Read one exported lesion as it was in the store: not cropped, not resized.

    Returns:
        The lesion, or what had to be set aside: a file that is missing, damaged, of another shape, changed since the
        export, or outside `root`.
    """
    one = source.lesion
    try:
        cube, mask = _pixels(source, root)
        lesion = Lesion(
            lesion_id=one.lesion_id,
            image_id=one.image_id,
            group=one.group,
            diagnosis=one.diagnosis,
            cube=Cube(cube, np.array(source.wavelengths_nm, dtype=np.float64)),
            mask=mask,
            origin=one.origin,
        )
    except (CubeError, OSError) as error:
        check_machine(error, root / one.file, rights=False)
        return [], [SetAside(one.file, str(error))]
    return [lesion], []


def digest(array: NDArray[Any]) -> str:
    """Return the sha256 (hex) of a cube's or a mask's values, whatever their memory order."""
    plain = array.astype(np.uint8 if array.dtype == np.bool_ else "<f4")
    return hashlib.sha256(plain.tobytes(order="C")).hexdigest()


def _pixels(source: Source, root: Path) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None]:
    """Return the cube (H, W, B) and the mask (H, W) or None, both proved to be what was exported."""
    one, h_w = source.lesion, source.shape[:2]
    path = _found(root, one.file)
    array = _READERS[source.format](path)
    _check_shape(array, source.shape, "cube")
    if array.dtype.kind not in "fiu":
        raise CubeError(f"its cube is of type {array.dtype.name}, not of real numbers")
    with np.errstate(over="ignore", invalid="ignore"):
        cube = np.ascontiguousarray(array, dtype=np.float32)
    _check_digest(cube, one.cube_sha256, "cube")
    if one.mask_sha256 is None:
        return cube, None
    mask = np.zeros(h_w, dtype=np.bool_)
    if one.mask is not None:
        path = _found(root, one.mask)
        mask = np.asarray(_read_npz(path, MASK) != 0) if source.format == "npz" else read_mask(path)
    _check_shape(mask, h_w, "mask")
    _check_digest(mask, one.mask_sha256, "mask")
    return cube, mask


def _found(root: Path, name: str) -> Path:
    try:
        path = inside(root, root, name)
        there = path.is_file()
    except (OSError, ValueError, RuntimeError) as error:  # names too long, with a NUL, or of links in a circle
        raise CubeError(f"{SIDECAR} names {name[:80]!r}, which is no name of a file") from error
    if not there:
        raise CubeError(f"{SIDECAR} names {name}, which is missing", _REMEDY)
    return path


def _check_shape(array: NDArray[Any], shape: tuple[int, ...], what: str) -> None:
    if array.shape != shape:
        is_, says = (" x ".join(map(str, one)) for one in (array.shape, shape))
        raise CubeError(f"its {what} is {is_}, {SIDECAR} says {says}", _REMEDY)


def _check_digest(array: NDArray[Any], expected: str, what: str) -> None:
    if digest(array) != expected:
        raise CubeError(
            f"its {what} was changed after the export: it does not match {what}_sha256 in {SIDECAR}",
            f"Export the store again; without {SIDECAR} the files are read as new ones.",
        )


def _read_npz(path: Path, key: str = CUBE) -> NDArray[Any]:
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            raise ValueError("it holds a single array")
        with loaded:
            return np.asarray(loaded[key])
    except _NPZ_DAMAGED as error:
        raise damaged("a NumPy file", error, path) from error


def _read_envi(path: Path) -> NDArray[Any]:
    """(rows, columns, bands), from the data file that the export put beside the header."""
    import spectral.io.envi as envi  # type: ignore[import-untyped]

    data = path.with_suffix(DATA)
    if not data.is_file():
        raise CubeError(f"its data file {data.name} is missing", _REMEDY)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of every field written in capitals
            image = envi.open(str(path), str(data))
            return np.array(image.open_memmap(interleave="bip", writable=False))
    except (envi.EnviException, *DAMAGED) as error:
        raise damaged("an ENVI image", error, path) from error


_READERS: dict[Format, Callable[[Path], NDArray[Any]]] = {"mat": read_array, "envi": _read_envi, "npz": _read_npz}


def _hidden(path: Path, root: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(root).parts)


def _version(content: bytes) -> int:
    data = json_of(content)
    if not isinstance(data, dict) or not isinstance(data.get("version"), int):
        raise ValueError("it names no version")
    return int(data["version"])


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        fault = error.errors()[0]
        return f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}".removeprefix(": ")
    return str(error).splitlines()[0]
