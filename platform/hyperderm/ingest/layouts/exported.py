"""Read an export of `hyperderm store export`: cropped and sized cubes, described by `export.json` beside them.

The side-car `export.json` says which file holds which lesion, and everything that the file format cannot hold: ids, group,
diagnosis, origin, and whether a mask is absent or empty. A store therefore comes back as it was, bit by bit. The cubes and
masks are hashed, because an origin is valid only for the exported pixels, not for files that were changed later.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperderm.cubes.cube import Cube, Lesion
from hyperderm.errors import CubeError
from hyperderm.ingest.annotations.mask_image import read_mask
from hyperderm.ingest.formats.damage import check_machine
from hyperderm.ingest.formats.matlab import read_array
from hyperderm.ingest.formats.pixels import DAMAGED, damaged, natural
from hyperderm.ingest.formats.scene import SetAside, inside
from hyperderm.store.export_format import (
    CUBE,
    DATA,
    EXPORT_AGAIN,
    MASK,
    SIDECAR,
    TABLE,
    ExportedLesion,
    Format,
    describe,
    digest,
    layout_mask,
)


@dataclass(frozen=True)
class Source:
    """One exported lesion that has not been read, and what its side-car says of all lesions."""

    lesion: ExportedLesion
    format: Format
    shape: tuple[int, int, int]
    wavelengths_nm: tuple[float, ...]

    @property
    def image_id(self) -> str:
        """Return the image id of the lesion."""
        return self.lesion.image_id


def scan(root: Path) -> list[Source]:
    """List the lesions that the side-car in `root` names, in the order of the store, without opening any other file.

    Raises:
        CubeError: for the same reasons as in `describe`.
    """
    export = describe(root)
    return [Source(one, export.format, export.shape, export.wavelengths_nm) for one in export.lesions]


def orphans(root: Path, sources: Sequence[Source]) -> list[SetAside]:
    """List every visible file below `root` that no source uses and that the export did not write."""
    used = {root / SIDECAR, root / TABLE}
    for source in sources:
        file = root / source.lesion.file
        used |= {file, root / (source.lesion.mask or SIDECAR)}
        if source.format == "envi":
            used.add(file.parent / f"{file.stem}{DATA}")
        if source.format == "mat":
            used.add(layout_mask(root, file))
    files = (path for path in root.rglob("*") if not path.is_dir() and path not in used)
    names = [path.relative_to(root) for path in sorted(files, key=lambda p: (p.parent, natural(p)))]
    seen = [name for name in names if not any(part.startswith(".") for part in name.parts)]
    return [SetAside(name.as_posix(), f"{SIDECAR} does not name it") for name in seen]


def read(source: Source, root: Path) -> tuple[list[Lesion], list[SetAside]]:
    """Read one exported lesion as it was in the store, without cropping or resizing it.

    Returns:
        The lesion, or the file that had to be set aside because it is missing, damaged, of another shape, changed since the
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


def _pixels(source: Source, root: Path) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None]:
    """Return the cube (H, W, B) and the mask (H, W) or None, after proving that both are as they were exported."""
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
        raise CubeError(f"{SIDECAR} names {name}, which is missing", EXPORT_AGAIN)
    return path


def _check_shape(array: NDArray[Any], shape: tuple[int, ...], what: str) -> None:
    if array.shape != shape:
        is_, says = (" x ".join(map(str, one)) for one in (array.shape, shape))
        raise CubeError(f"its {what} is {is_}, {SIDECAR} says {says}", EXPORT_AGAIN)


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
    except DAMAGED as error:
        raise damaged("a NumPy file", error, path) from error


def _read_envi(path: Path) -> NDArray[Any]:
    """Return (rows, columns, bands) from the data file that the export wrote beside the header."""
    import spectral.io.envi as envi  # type: ignore[import-untyped]

    data = path.with_suffix(DATA)
    if not data.is_file():
        raise CubeError(f"its data file {data.name} is missing", EXPORT_AGAIN)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of every field written in capitals
            image = envi.open(str(path), str(data))
            return np.array(image.open_memmap(interleave="bip", writable=False))
    except (envi.EnviException, *DAMAGED) as error:
        raise damaged("an ENVI image", error, path) from error


_READERS: dict[Format, Callable[[Path], NDArray[Any]]] = {"mat": read_array, "envi": _read_envi, "npz": _read_npz}
