"""The files of an exported store: the side-car that describes them, and the names of the HSIDermoscopy layout."""

import hashlib
from collections import Counter
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

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


EXPORT_AGAIN = "Export the store again."


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
        raise CubeError(f"{root / SIDECAR} is damaged: {_reason(error)}", EXPORT_AGAIN) from None
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
    """Return where HSIDermoscopy's layout has the mask of `<root>/images/<folder>/<n>.mat`."""
    return root / "masks" / file.parent.name / f"{file.stem}_00.png"


def digest(array: NDArray[Any]) -> str:
    """Return the sha256 (hex) of a cube's or a mask's values, whatever their memory order."""
    plain = array.astype(np.uint8 if array.dtype == np.bool_ else "<f4")
    return hashlib.sha256(plain.tobytes(order="C")).hexdigest()


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


FOLDERS: dict[str, str | None] = {"DNCube": "dysplastic_nevus", "MMCube": "melanoma", "OtherCube": None}
"""Folder to diagnosis; None: the file name says it."""


OTHER: dict[str, str] = {
    "IEC": "intraepidermal_carcinoma",
    "Lentigo": "solar_lentigo",
    "Nv": "nevus",
    "SK": "seborrhoeic_keratosis",
    "Melt": "melanocytic_lesion",
}
"""What a file name in OtherCube contains, in any case, to diagnosis (METHODS section 1)."""
