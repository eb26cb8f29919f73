"""The HSIDermoscopy layout: one MATLAB file an image, one PNG mask a lesion.

    <root>/images/{DNCube,MMCube,OtherCube}/<n>.mat
    <root>/masks/<same folder>/<n>_00.png, <n>_01.png, …     one per lesion

`scan` looks at names only; `read` turns one image into lesions. What cannot be used is set aside with one sentence,
never dropped in silence; only a folder that is not this layout at all raises.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hyperderm.cubes.cube import HSIDERMOSCOPY_NM, Lesion
from hyperderm.cubes.readers.cutting import How, Image, lesions_of
from hyperderm.cubes.readers.matlab import read_array
from hyperderm.cubes.readers.scene import SetAside
from hyperderm.errors import CubeError

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

LAYOUT = "images/{DNCube,MMCube,OtherCube}/<n>.mat and masks/<same folder>/<n>_00.png"
_MASK = re.compile(r"(?P<cube>.+)_(?P<number>\d+)\.png")


@dataclass(frozen=True)
class Source:
    """One image file with the masks that name it; `diagnosis` is None where the file name names no single class."""

    path: Path
    folder: str
    image_id: str
    diagnosis: str | None
    masks: tuple[Path, ...]


def scan(root: Path) -> list[Source]:
    """List the images under `root` in natural order (2 before 10), without opening any.

    Names that begin with a dot are the operating system's and are not looked at.

    Raises:
        CubeError: `root` is missing, not a folder, empty, or not in this layout.
    """
    _check_layout(root)
    sources = []
    for folder in FOLDERS:
        masks: dict[str, list[Path]] = {}
        for path in _files(root / "masks" / folder):
            if match := _MASK.fullmatch(path.name):
                masks.setdefault(match["cube"], []).append(path)
        for path in _files(root / "images" / folder):
            if path.suffix == ".mat":
                diagnosis = FOLDERS[folder] or _diagnosis(path.stem)
                found = tuple(masks.get(path.stem, ()))
                sources.append(Source(path, folder, f"{folder}/{path.stem}", diagnosis, found))
    if not sources:
        raise CubeError(
            f"{root} has the folders of HSIDermoscopy but no .mat file in images/{{{','.join(FOLDERS)}}}",
            f"Expected {LAYOUT}; was the download complete?",
        )
    return sources


def orphans(root: Path, sources: Sequence[Source]) -> list[SetAside]:
    """List every file under images/ and masks/ that no source uses: masks without a cube, unknown folders and names."""
    used = {s.path for s in sources} | {m for s in sources for m in s.masks}
    aside = []
    for kind in ("images", "masks"):
        folders = [root / kind, *_children(root / kind, folders=True)]
        for path in (p for folder in folders for p in _files(folder) if p not in used):
            aside.append(SetAside(_relative(path, root), _why_unused(path, kind, in_folder=path.parent != root / kind)))
    return aside


def read(
    source: Source, root: Path, how: How, wavelengths_nm: Sequence[float] = HSIDERMOSCOPY_NM
) -> tuple[list[Lesion], list[SetAside]]:
    """Read one image and cut out its lesions.

    Returns:
        The lesions, and what had to be set aside: the whole cube (then no lesion), or single masks.
    """
    try:
        image = open_image(source, root, wavelengths_nm)
    except (CubeError, OSError) as error:
        return [], [SetAside(_relative(source.path, root), str(error))]
    return lesions_of(image, how)


def open_image(source: Source, root: Path, wavelengths_nm: Sequence[float] = HSIDERMOSCOPY_NM) -> Image:
    """Read one image whole.

    Raises:
        CubeError: it cannot be used.
    """
    if source.diagnosis is None:
        raise CubeError(f"the file name names no single class: exactly one of {', '.join(OTHER)} is expected in it")
    reflectance, dtype = _reflectance(source.path, len(wavelengths_nm))
    digest = hashlib.sha256(source.path.read_bytes()).hexdigest()
    masks = [(f"{source.folder}/{path.stem}", path, _relative(path, root)) for path in source.masks]
    nm, file = np.asarray(wavelengths_nm, dtype=np.float64), _relative(source.path, root)
    return Image(
        source.image_id, file, source.diagnosis, reflectance, nm, {"sha256": digest, "dtype": dtype}, masks, whole=False
    )


def _reflectance(path: Path, bands: int) -> tuple[NDArray[np.float32], str]:
    """The file's (H, W, B) array as float32, and the type it had; CubeError where it cannot be a cube of that many bands."""
    array = read_array(path)
    if array.shape[2] != bands:
        raise CubeError(f"{array.shape[2]} bands, {bands} expected (the array's shape is {array.shape})")
    with np.errstate(over="ignore"):
        reflectance = array.astype(np.float32)
    if bad := int(reflectance.size - np.count_nonzero(np.isfinite(reflectance))):
        raise CubeError(f"{bad} NaN or infinite values")
    return reflectance, array.dtype.name


def _diagnosis(stem: str) -> str | None:
    """The one class whose tag is in the file name, or None where there is none or more than one."""
    found = [diagnosis for tag, diagnosis in OTHER.items() if tag.lower() in stem.lower()]
    return found[0] if len(found) == 1 else None


def _check_layout(root: Path) -> None:
    remedy = f"Expected {LAYOUT}; name the folder that holds images/ and masks/"
    if not root.exists():
        raise CubeError(f"{root} does not exist", remedy)
    if not root.is_dir():
        raise CubeError(f"{root} is a file, not a folder", remedy)
    found = [p.name + ("/" if p.is_dir() else "") for p in _children(root)]
    if not found:
        raise CubeError(f"{root} is empty", remedy)
    missing = [kind for kind in ("images", "masks") if not any((root / kind / f).is_dir() for f in FOLDERS)]
    if missing:
        if (root.parent / "images").is_dir() and root.name in {"images", "masks"}:
            remedy = f"Name the folder above it: {root.parent}"
        elif len(inside := [p for p in _children(root, folders=True) if (p / "images").is_dir()]) == 1:
            remedy = f"Name the folder inside it: {inside[0]}"
        shown = ", ".join(found[:8]) + (f" and {len(found) - 8} more" if len(found) > 8 else "")
        wanted = " or ".join(f"{kind}/{{{','.join(FOLDERS)}}}" for kind in missing)
        raise CubeError(f"{root} is not in the layout of HSIDermoscopy: no {wanted}; found {shown}", remedy)


def _why_unused(path: Path, kind: str, in_folder: bool) -> str:
    if not in_folder or path.parent.name not in FOLDERS:
        return f"not in one of the folders {', '.join(FOLDERS)}, so its class is unknown"
    if kind == "images":
        return "not a .mat file"
    if match := _MASK.fullmatch(path.name):
        return f"mask without a cube: there is no images/{path.parent.name}/{match['cube']}.mat"
    return "mask without a cube: its name is not <cube>_<two digits>.png"


def _children(folder: Path, folders: bool = False) -> list[Path]:
    """The visible entries of a folder (only its folders, if asked) in natural order; none where it does not exist."""
    if not folder.is_dir():
        return []
    entries = [p for p in folder.iterdir() if not p.name.startswith(".") and (p.is_dir() or not folders)]
    return sorted(entries, key=_natural)


def _files(folder: Path) -> list[Path]:
    return [p for p in _children(folder) if not p.is_dir()]  # a broken link is a file that cannot be read


def _natural(path: Path) -> tuple[list[tuple[int, str]], str]:
    """Sort key under which 2 comes before 10; the name itself breaks ties such as 1 and 01."""
    parts = re.findall(r"[0-9]+|[^0-9]+", path.name)
    return [(int(p), "") if p[0] in "0123456789" else (-1, p) for p in parts], path.name


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()
