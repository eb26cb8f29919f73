"""The HSIDermoscopy layout: one MATLAB file per image, one PNG mask per lesion.

    <root>/images/{DNCube,MMCube,OtherCube}/<n>.mat
    <root>/masks/<same folder>/<n>_00.png, <n>_01.png, …     one per lesion
    <root>/<any>.csv                                         optional; tables of patients and diagnoses: `source_tables`

Names of files and folders are compared as described in `naming`. The folder gives the diagnosis, or in OtherCube the file
name. A table may give it if they do not, and must not contradict them.

`scan` reads names only, and raises an error only for a folder without this layout; `open_image` reads one image.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hyperderm.cubes.cube import HSIDERMOSCOPY_NM, NOTES
from hyperderm.errors import CubeError
from hyperderm.ingest.annotations.mask_files import Masks, match_masks, number_of
from hyperderm.ingest.formats.axes import ARRAY, HDF5
from hyperderm.ingest.formats.matlab import only_cube, read_arrays
from hyperderm.ingest.formats.matlab_scene import wavelengths_in
from hyperderm.ingest.formats.pixels import make_scene, natural
from hyperderm.ingest.formats.scene import ReadOptions, Scene, SetAside
from hyperderm.ingest.formats.scene_files import noted, read_beside, sides_of
from hyperderm.ingest.layouts.naming import files_in, folded, folders, relative
from hyperderm.ingest.layouts.source_tables import NOT_NAMED, NOTHING, Said, Tables, read_tables
from hyperderm.ingest.layouts.unused_files import leftovers
from hyperderm.ingest.lesions import Image
from hyperderm.store.export_format import FOLDERS, OTHER

LAYOUT = "images/{DNCube,MMCube,OtherCube}/<n>.mat and masks/<same folder>/<n>_00.png"
_MASK = re.compile(r"(?P<cube>.+)_\d+")


@dataclass(frozen=True)
class Source:
    """One image file.

    Attributes:
        path: the path of the file.
        image_id: the image's folder and name.
        diagnosis: the diagnosis from the folder or the name; None if they do not name exactly one class.
        masks: the masks that mark the image's lesions.
        sides: the image's files of wavelengths; at most one may exist.
        said: what the tables say of the image, if they name it.
        fault: why the image cannot be used, "" if its names are in order.
    """

    path: Path
    image_id: str
    diagnosis: str | None
    masks: tuple[Path, ...]
    sides: tuple[Path, ...] = ()
    said: Said = NOTHING
    fault: str = ""

    @property
    def name(self) -> str:
        """Return the image's name in tables and annotations."""
        return self.image_id


def is_layout(root: Path) -> bool:
    """Return whether `root` has a folder of this layout."""
    return any(_folders(root, kind, folder) for kind in ("images", "masks") for folder in FOLDERS)


def scan(root: Path, tables: Tables | None = None) -> list[Source]:
    """List the images under `root` in natural order (2 before 10), without opening any.

    Names that begin with a dot belong to the operating system and are ignored.

    Args:
        root: the source folder.
        tables: the tables of the source; None: they are read here.

    Raises:
        CubeError: `root` is missing, not a folder, empty, or not in this layout, or a table cannot be used.
    """
    _check_layout(root)
    cubes = _cubes(root)
    if not cubes:
        raise CubeError(
            f"{root} has the folders of HSIDermoscopy but no .mat file in images/{{{','.join(FOLDERS)}}}",
            f"Expected {LAYOUT}; was the download complete?",
        )
    ids = [image_id for image_id, _, _ in cubes]
    masks = _masks(root, ids)
    told = (read_tables(root) if tables is None else tables).of(ids).said
    said = {image_id: one for image_id, one in told.items() if one.problem != NOT_NAMED}  # its folder or name may name it
    sides = sides_of([path for _, _, path in cubes], root)
    sources = []
    for image_id, folder, path in cubes:
        diagnosis, fault = FOLDERS[folder] or _diagnosis(path.stem), masks.faults.get(image_id, "")
        if ids.count(image_id) > 1:
            names = " and ".join(relative(other, root) for name, _, other in cubes if name == image_id)
            fault = f"{names} are called alike. Rename one of them."
        mine = tuple(masks.of.get(image_id, ()))
        sources.append(Source(path, image_id, diagnosis, mine, sides[path], said.get(image_id, NOTHING), fault))
    return sources


def orphans(root: Path, sources: Sequence[Source], tables: Tables | None = None) -> list[SetAside]:
    """List every file below `root` that no source uses, with the reason.

    `tables` has the same meaning as in `scan`.
    """
    tables = read_tables(root) if tables is None else tables
    used = {s.path for s in sources} | {path for s in sources for path in (*s.masks, *s.sides)} | set(tables.paths)
    why = _masks(root, [source.image_id for source in sources]).unused
    reasons: dict[Path, str] = {}
    for kind in ("images", "masks"):
        for top in folders(root, kind):
            for path in (p for folder in (top, *_children(top, folders=True)) for p in files_in(folder) if p not in used):
                reasons[path] = why.get(path) or _why_unused(path, kind, in_folder=path.parent != top)
    return leftovers(root, used, reasons | dict(tables.aside), "hsidermoscopy")


def open_image(source: Source, root: Path, asked: ReadOptions) -> Image:
    """Read one whole image.

    Args:
        source: a source that `scan` returned.
        root: the root folder of the layout.
        asked: wavelengths other than those of HSIDermoscopy, and the order of the arrays' axes.

    Raises:
        CubeError: the image cannot be used.
    """
    if source.fault:
        raise CubeError(source.fault)
    with source.said.added():
        scene = _scene(source, root, asked)
    said = source.said.known()
    if said and source.diagnosis and said != source.diagnosis:
        raise CubeError(f"the table calls it {said}, its folder or name {source.diagnosis}", "Correct one of them.")
    diagnosis = source.diagnosis or said
    if diagnosis is None:
        raise CubeError(f"the file name names no single class: exactly one of {', '.join(OTHER)} is expected in it")
    assert scene.wavelengths_nm is not None
    digest = hashlib.sha256(source.path.read_bytes()).hexdigest()
    masks = [(f"{source.image_id}_{number_of(path)}", path, relative(path, root)) for path in source.masks]
    kept = ("dtype", "axes", "band_order", "own_wavelengths", "side_wavelengths", NOTES)
    facts = {"sha256": digest} | {key: scene.facts[key] for key in kept if key in scene.facts}
    file = relative(source.path, root)
    return Image(source.image_id, file, diagnosis, scene.reflectance, scene.wavelengths_nm, facts, masks, whole=False)


def _cubes(root: Path) -> list[tuple[str, str, Path]]:
    """Return the image id, folder and file of every cube."""
    return [
        (f"{folder}/{path.stem}", folder, path)
        for folder in FOLDERS
        for place in _folders(root, "images", folder)
        for path in files_in(place)
        if path.suffix.lower() == ".mat"
    ]


def _masks(root: Path, ids: Sequence[str]) -> Masks:
    pictures = [
        (f"{folder}/{path.stem}", path)
        for folder in FOLDERS
        for place in _folders(root, "masks", folder)
        for path in files_in(place)
    ]
    return match_masks(pictures, ids, numbered=True)


def _folders(root: Path, kind: str, folder: str) -> list[Path]:
    """Return the folders `<root>/<kind>/<folder>`; both names may be written in any case."""
    return [place for top in folders(root, kind) for place in folders(top, folder)]


def _scene(source: Source, root: Path, asked: ReadOptions) -> Scene:
    """Read the file's one array with three axes, its bands sorted by rising wavelength.

    The wavelengths are those of the user, else those that the file or a side file lists, else those of HSIDermoscopy.
    """
    if len(source.sides) > 1 and not asked.wavelengths_nm:
        names = " and ".join(relative(side, root) for side in source.sides)
        raise CubeError(f"{names} both list wavelengths", "Leave one of them, or give --wavelengths.")
    held = read_arrays(source.path)
    key = only_cube(held)
    listed = None if asked.wavelengths_nm else wavelengths_in(held, key)
    side = read_beside(source.sides[0], root) if source.sides and not asked.wavelengths_nm else None
    if listed is not None and listed.problem is not None and side is None:
        raise CubeError(listed.problem.what, "Give --wavelengths.")
    if listed is not None and sorted(listed.nm) == list(HSIDERMOSCOPY_NM):
        listed = replace(listed, unit=True)  # it needs no word what these are
    known = replace(asked, beside=side)
    if listed is None and side is None:
        known = replace(asked, wavelengths_nm=asked.wavelengths_nm or HSIDERMOSCOPY_NM)
    scene = make_scene(held.numeric[key], listed, known, {}, HDF5 if key in held.unmarked else ARRAY)
    if side is not None and side.name in scene.facts["wavelengths"]:
        scene.facts["side_wavelengths"] = side.name
    elif listed is not None:
        scene.facts["own_wavelengths"] = True
    return scene if side is not None else noted(scene, source.sides)


def _diagnosis(stem: str) -> str | None:
    """Return the one class whose tag occurs in the file name, or None if there is no tag or more than one."""
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
    missing = [kind for kind in ("images", "masks") if not any(_folders(root, kind, folder) for folder in FOLDERS)]
    if missing:
        if (root.parent / "images").is_dir() and root.name in {"images", "masks"}:
            remedy = f"Name the folder above it: {root.parent}"
        elif len(inside := [p for p in _children(root, folders=True) if (p / "images").is_dir()]) == 1:
            remedy = f"Name the folder inside it: {inside[0]}"
        shown = ", ".join(found[:8]) + (f" and {len(found) - 8} more" if len(found) > 8 else "")
        wanted = " or ".join(f"{kind}/{{{','.join(FOLDERS)}}}" for kind in missing)
        raise CubeError(f"{root} is not in the layout of HSIDermoscopy: no {wanted}; found {shown}", remedy)


def _why_unused(path: Path, kind: str, in_folder: bool) -> str:
    if not in_folder or folded(path.parent.name) not in map(folded, FOLDERS):
        return f"not in one of the folders {', '.join(FOLDERS)}, so its class is unknown"
    if kind == "images":
        return "not a .mat file"
    if match := _MASK.fullmatch(path.stem):
        return f"mask without a cube: there is no images/{path.parent.name}/{match['cube']}.mat"
    return "mask without a cube: its name is not <cube>_<two digits>.png"


def _children(folder: Path, folders: bool = False) -> list[Path]:
    """Return the visible entries of a folder (or only its folders) in natural order; none if the folder does not exist."""
    if not folder.is_dir():
        return []
    return sorted((p for p in folder.iterdir() if not p.name.startswith(".") and (p.is_dir() or not folders)), key=natural)
