"""The files of an exported store: the side-car that describes them, and the names of the HSIDermoscopy layout."""

import hashlib
from collections import Counter
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hyperderm.errors import CubeError
from hyperderm.strict import Strict, first_fault, version_of

Format = Literal["mat", "envi", "npz"]


SIDECAR = "export.json"


TABLE = "lesions.csv"
"""A table for people, which no program reads."""


MARK = "hyperderm-export"
"""A mark that distinguishes our side-car from other files of that name, even if it is truncated or re-sorted."""


VERSION = 1


CUBE, MASK = "cube", "mask"
"""The names of the arrays in an `.npz` file."""


HEADER, DATA = ".hdr", ".img"


EXPORT_AGAIN = "Export the store again."


class ExportedLesion(Strict):
    """One lesion of an export."""

    file: str
    """The posix path of the file with the cube, relative to the folder."""
    lesion_id: str
    image_id: str
    group: str
    diagnosis: str | None
    mask: str | None
    """The file of the mask; None if there is no mask or no pixel of it is marked."""
    cube_sha256: str
    """The sha256 of the cube's values, (H, W, B) float32 little-endian in C order."""
    mask_sha256: str | None
    """The sha256 of the mask, (H, W) with one byte per pixel, 0 or 1; None if the lesion has no mask."""
    origin: dict[str, Any]


class Export(Strict):
    """The side-car: it describes the contents of an exported folder."""

    what: Literal["hyperderm-export"] = "hyperderm-export"
    version: int = VERSION
    format: Format
    kind: Literal["spectral", "rgb"]
    wavelengths_nm: tuple[float, ...]
    shape: tuple[int, int, int]
    """The shape (H, W, B) of every cube."""
    fingerprint: str
    """The fingerprint of the store's manifest."""
    source: dict[str, Any]
    """How the exported store was made (`Manifest.source`)."""
    lesions: tuple[ExportedLesion, ...]


def is_export(root: Path) -> bool:
    """Return whether `root` holds a side-car of ours, intact or not."""
    try:
        return MARK.encode() in (root / SIDECAR).read_bytes()
    except OSError:
        return False


def describe(root: Path) -> Export:
    """Read and check the side-car.

    Raises:
        CubeError: the side-car cannot be read, is damaged or of a newer version, names no lesion, or names a lesion or file
            twice.
    """
    try:
        content = (root / SIDECAR).read_bytes()
        version = version_of(content, "version")
        if version > VERSION:
            raise CubeError(f"{root / SIDECAR} has version {version}, this hyperderm reads up to {VERSION}", "Update it.")
        export = Export.model_validate_json(content)
    except (OSError, ValueError) as error:  # pydantic's and json's errors are ValueErrors
        reason = error if isinstance(error, OSError) else first_fault(error)
        raise CubeError(f"{root / SIDECAR} is damaged: {reason}", EXPORT_AGAIN) from None
    if len(export.wavelengths_nm) != export.shape[2]:
        raise CubeError(
            f"{root / SIDECAR}: {export.shape[2]} bands but {len(export.wavelengths_nm)} wavelengths_nm", EXPORT_AGAIN
        )
    for field in ("lesion_id", "file"):
        found, count = (
            Counter(getattr(one, field) for one in export.lesions).most_common(1)[0] if export.lesions else ("", 0)
        )
        if count != 1:
            raise CubeError(
                f"{root / SIDECAR} names " + (f"the {field} {found!r} twice" if count else "no lesion"), EXPORT_AGAIN
            )
    return export


def layout_mask(root: Path, file: Path) -> Path:
    """Return the path of the mask in HSIDermoscopy's layout for `<root>/images/<folder>/<n>.mat`."""
    return root / "masks" / file.parent.name / f"{file.stem}_00.png"


def digest(array: NDArray[Any]) -> str:
    """Return the sha256 (hex) of a cube's or mask's values, whatever their memory order is."""
    plain = array.astype(np.uint8 if array.dtype == np.bool_ else "<f4")
    return hashlib.sha256(plain.tobytes(order="C")).hexdigest()


FOLDERS: dict[str, str | None] = {"DNCube": "dysplastic_nevus", "MMCube": "melanoma", "OtherCube": None}
"""Folder → diagnosis; None means that the file name gives the diagnosis."""


OTHER: dict[str, str] = {
    "IEC": "intraepidermal_carcinoma",
    "Lentigo": "solar_lentigo",
    "Nv": "nevus",
    "SK": "seborrhoeic_keratosis",
    "Melt": "melanocytic_lesion",
}
"""A part of a file name in OtherCube, in any case → diagnosis (METHODS section 1)."""
