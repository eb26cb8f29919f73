"""All file formats of scenes: find scenes below a folder, and read one scene with its wavelengths.

A new format is a module with `NAME`, `find` and `read` (`scene.Format`) that is listed in `FORMATS`. Earlier modules take
their files first: ENVI takes its data files, whatever their names, and band images take their pictures before TIFF looks for
stacks.
"""

import fnmatch
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hyperderm.cubes.cube import NOTES
from hyperderm.errors import CubeError
from hyperderm.ingest.formats import band_images, envi, matlab_scene, numpy_files, tiff
from hyperderm.ingest.formats.pixels import natural, surely_nm
from hyperderm.ingest.formats.scene import Beside, Format, Found, ReadOptions, Scene, inside
from hyperderm.ingest.layouts.naming import files_in, folded, shorter
from hyperderm.ingest.layouts.tables import decode

FORMATS: tuple[Format, ...] = (envi, band_images, tiff, numpy_files, matlab_scene)

WAVELENGTHS = ("wavelengths.txt", "wavelengths.csv")
"""Names of side files of wavelengths; case does not matter.

`<scene's name>.<one of these>`, with or without the scene's suffixes, belongs to one scene. A plain `<one of these>` belongs
to every other scene in its folder and in subfolders without such a file.
"""

SIDE_FILES: tuple[str, ...] = (
    "masks/*",
    "*/masks/*",
    "*.json",
    "labels.csv",
    *WAVELENGTHS,
    *(f"*.{name}" for name in WAVELENGTHS),
    "*responses*.mat",
)
"""Files beside scenes, as lower-case patterns of their name, or (with /) of their path below the root.

They count neither as scenes nor as unknown files: the layouts read these masks, diagnoses, annotations and wavelengths.
"""

_COMMA = re.compile(r"\d+,(\d+)")
_MICROMETRES = re.compile(r"\b[uµμ]m\b|micro", re.IGNORECASE)
_HEADING = re.compile(rf"wavelength|\bnm\b|nanomet|{_MICROMETRES.pattern}", re.IGNORECASE)
_LONGEST = 1 << 20  # bytes of a file of wavelengths


def find_scenes(root: Path) -> tuple[list[Found], list[tuple[Path, str]]]:
    """Find every scene at or below `root` by names, in natural order (2 before 10); no pixels are read.

    Names that begin with a dot belong to the operating system and are ignored.

    Args:
        root: a folder, or one file of a scene (the header, the data file or one of the bands).

    Returns:
        The scenes, each with a unique name, and the files that no scene uses, each with one sentence that says why.

    Raises:
        CubeError: `root` does not exist, or is a file that belongs to no scene.
    """
    if not root.exists():
        raise CubeError(f"{root} does not exist", "Name a folder of scenes, or one file.")
    if not root.is_dir():
        return [_scene_of(root)], []
    found: list[Found] = []
    unread: list[tuple[Path, str]] = []
    folders: list[tuple[Path, Path | None]] = [(root, None)]
    while folders:
        folder, above = folders.pop(0)
        files, inner, refused = _entries(folder, root)
        sides = [path for path in files if is_side_file(path, root)]
        scenes, left = _scenes(folder, [path for path in files if path not in sides], root, sides, above)
        found += scenes
        unread += [*refused, *((path, _why_unread(path)) for path in left)]
        folders = [(each, _shared(sides, above)) for each in inner] + folders
    return _distinct(found), unread


def find_beside(file: Path) -> list[Found]:
    """Return the scenes of the folder that holds `file`, named relative to that folder; subfolders are ignored."""
    folder = file.parent
    files, _, _ = _entries(folder, folder)
    sides = [path for path in files if is_side_file(path, folder)]
    return _scenes(folder, [path for path in files if path not in sides], folder, sides)[0]


def read_scene(found: Found, asked: ReadOptions, root: Path) -> Scene:
    """Read one scene; the user's wavelengths come first, then those in the file, then those of a side file.

    A side file precedes wavelengths of the file without a unit. `facts["wavelengths"]` records the source that was used.

    Raises:
        CubeError: the scene cannot be read, one of its files lies outside `root`, or its wavelengths are unknown or do not
            fit its bands.
    """
    scene = read_pixels(found, asked, root)
    if scene.wavelengths_nm is None:
        stem = found.path.name if found.path.is_dir() else found.path.stem
        sizes = " x ".join(map(str, scene.reflectance.shape))
        raise CubeError(
            f"nothing says the wavelengths of its {scene.reflectance.shape[2]} bands (rows x columns x bands: {sizes})",
            f"Give --wavelengths, or write them in nm, one a line, into {stem}.{WAVELENGTHS[0]} beside it."
            + (" If these are raw frames of a mosaic camera: --layout mosaic." if found.format == band_images.NAME else ""),
        )
    return scene


def read_pixels(found: Found, asked: ReadOptions, root: Path) -> Scene:
    """Read one scene like `read_scene`, but accept one whose wavelengths nothing says.

    Raises:
        CubeError: the scene cannot be read, one of its files lies outside `root`, or its wavelengths do not fit its bands.
    """
    base = root if root.is_dir() else root.parent
    for path in found.files:
        if not path.resolve().is_relative_to(base.resolve()):
            raise CubeError(f"{path.name} is a link to a file outside {base.name}/", "Copy the file instead.")
    if asked.wavelengths_nm is None:
        asked = replace(asked, beside=_beside(found, base))
    return _format(found).read(found, asked)


def _beside(found: Found, base: Path) -> Beside | None:
    """Return the side file of a scene with its listed wavelengths, or the reason why it cannot be used."""
    try:
        side = _side_file(found)
    except CubeError as error:
        return Beside("its side files", problem=error)
    return None if side is None else read_beside(side, base)


def read_beside(side: Path, base: Path) -> Beside:
    """Return the wavelengths that a side file below `base` lists, or the reason why it cannot be used."""
    try:
        inside(base, side.parent, side.name)
        return Beside(side.name, tuple(read_wavelengths(side).tolist()))
    except CubeError as error:
        return Beside(side.name, problem=error)


def noted(scene: Scene, files: Sequence[Path]) -> Scene:
    """Return a scene with a note if one of its files is a side file of wavelengths that was not used."""
    whence = str(scene.facts.get("wavelengths", ""))
    idle = [path.name for path in files if is_wavelengths(path) and path.name not in whence]
    if not idle:
        return scene
    note = f"{idle[0]} was not used: wavelengths {whence}"
    return Scene(scene.reflectance, scene.wavelengths_nm, {**scene.facts, NOTES: [*scene.facts.get(NOTES, ()), note]})


def read_wavelengths(path: Path) -> NDArray[np.float64]:
    """Read a side file of wavelengths: one number (nm) per line.

    Empty lines, text after a #, and a heading are ignored. A heading is any text in the first line of a .csv, or a text that
    names wavelengths; it may state that they are in micrometres. Decimal commas are accepted, and the encodings of
    `tables.decode`.

    Returns:
        (B,) nm in the order of the file.

    Raises:
        CubeError: the file is not such a text, holds no number, or holds numbers that cannot be nm.
    """
    try:
        if path.stat().st_size > _LONGEST:
            raise CubeError("too long for a list of wavelengths")
        lines = decode(path)[0].splitlines()
    except OSError as error:
        raise CubeError(f"cannot be read ({error.strerror or error})") from error
    commas = _decimal_commas(lines)
    values: list[float] = []
    factor = 1.0
    for number, line in enumerate(lines, 1):
        text = line.split("#")[0].strip().rstrip(",;").strip()
        if not text:
            continue
        try:
            values.append(float(text.replace(",", ".") if commas else text))
        except ValueError as error:
            heading = path.suffix.lower() == ".csv" or _HEADING.search(text)
            if values or number > 1 or not heading:
                raise CubeError(f"line {number} is {text[:40]!r}, one number (nm) a line is expected") from error
            factor = 1000.0 if _MICROMETRES.search(text) else 1.0
    if not values:
        raise CubeError("no number in it")
    what = "its heading says micrometres, so it" if factor != 1 else "it"
    return np.asarray(surely_nm([round(value * factor, 6) for value in values], what), dtype=np.float64)


def _decimal_commas(lines: Sequence[str]) -> bool:
    """Return whether numbers are written with a decimal comma.

    Raises:
        CubeError: every line has the same digits after its comma, so that the comma may also separate two columns.
    """
    found = [match for line in lines if (match := _COMMA.fullmatch(line.split("#")[0].strip().rstrip(";").strip()))]
    behind = {match[1].strip("0") for match in found}
    if len(found) > 1 and len(behind) == 1 and behind != {""}:
        what = f"every line ends in the same digits behind a comma ({found[0][0]!r}): a decimal comma, or a second column?"
        raise CubeError(what, "Write a decimal point, or leave one column.")
    return bool(found)


def is_side_file(path: Path, root: Path) -> bool:
    """Return whether a file is one of `SIDE_FILES`."""
    name, below = path.name.lower(), path.relative_to(root).as_posix().lower()
    return any(fnmatch.fnmatchcase(below if "/" in pattern else name, pattern) for pattern in SIDE_FILES)


def _entries(folder: Path, root: Path) -> tuple[list[Path], list[Path], list[tuple[Path, str]]]:
    """Return the files and folders of a folder in natural order, and the links that are not followed, with the reason."""
    files: list[Path] = []
    folders: list[Path] = []
    refused: list[tuple[Path, str]] = []
    home = root.resolve()
    try:
        entries = sorted((p for p in folder.iterdir() if not p.name.startswith(".")), key=natural)
    except OSError as error:
        return [], [], [(folder, f"the folder cannot be opened ({error.strerror})")]
    for path in entries:
        if path.is_symlink():
            try:
                target = path.resolve(strict=True)
            except (OSError, RuntimeError):
                refused.append((path, "a link that leads nowhere"))
                continue
            if not target.is_relative_to(home):
                refused.append((path, f"a link to something outside {root.name}/"))
                continue
            if target.is_dir():
                refused.append((path, f"a link to a folder that is read where it lies, {target.relative_to(home)}/"))
                continue
        (folders if path.is_dir() else files).append(path)
    return files, folders, refused


def _scenes(
    folder: Path, files: list[Path], root: Path, sides: Sequence[Path], above: Path | None = None
) -> tuple[list[Found], list[Path]]:
    """Return the scenes among the files of a folder, each with its side file, and the remaining files.

    Side files are searched in `sides`, those of the folder; `above` is the side file of the folders above it.
    """
    found: list[Found] = []
    for kind in FORMATS:
        scenes = kind.find(folder, files, root)
        taken = {path for scene in scenes for path in scene.files}
        files = [path for path in files if path not in taken]
        found += scenes
    named = {folded(path.name): path for path in sides}
    shared = _shared(sides, above)
    with_side = [replace(f, files=(*f.files, side)) if (side := _side_of(f, named, shared)) else f for f in found]
    return sorted(with_side, key=lambda f: natural(Path(f.name.rpartition("/")[2]))), files


def _scene_of(file: Path) -> Found:
    """Return the scene that one file belongs to."""
    files, _, refused = _entries(file.parent, file.parent)
    if why := dict(refused).get(file):
        raise CubeError(f"{file.name} is {why}", "Name the file that it leads to.")
    scenes, _ = _scenes(file.parent, files, file.parent, files)
    for scene in scenes:
        if file in scene.files and not is_side_file(file, file.parent):
            return scene
    raise CubeError(f"{file.name} is no scene: {_why_unread(file)}", "Name a file of a scene, or a folder of them.")


def _distinct(found: Sequence[Found]) -> list[Found]:
    """Return the same scenes with unique names: equal names get the file's suffix (`arm.npy`, `arm.mat`) or a number."""
    names = [f.name for f in found]
    taken: set[str] = set()
    distinct = []
    for scene in found:
        name = scene.name + scene.files[0].suffix if names.count(scene.name) > 1 else scene.name
        unique = next(n for n in (name, *(f"{name}-{i}" for i in range(2, len(found) + 2))) if n not in taken)
        taken.add(unique)
        distinct.append(replace(scene, name=unique))
    return distinct


def _format(found: Found) -> Format:
    for kind in FORMATS:
        if found.format == kind.NAME:
            return kind
    raise CubeError(f"no format is called {found.format!r}", f"Known: {', '.join(kind.NAME for kind in FORMATS)}")


def _side_of(found: Found, named: dict[str, Path], shared: Path | None) -> Path | None:
    """Return the wavelength file of a scene: its own, or else that of its folder; None if two have the same rank."""
    for names in _own_sides(found):
        if found.path.is_dir():
            own = [path for name in names if (path := found.path.parent / name).is_file()]
        else:
            own = [named[key] for name in names if (key := folded(name)) in named]
        if own:
            return own[0] if len(own) == 1 else None
    return shared


def _own_sides(found: Found) -> list[list[str]]:
    """Return the possible names of a scene's own wavelength file, closest first; one file per inner list may exist.

    For `arm.bil.hdr` these are `arm.bil.hdr.wavelengths.txt`, `arm.bil.wavelengths.txt` and `arm.wavelengths.txt`.
    """
    if found.path.is_dir():
        called = [found.path.name]
    else:
        held = (found.path, *(path for path in found.files if not is_wavelengths(path)))
        called = sorted(dict.fromkeys(form for path in held for form in shorter(path.name)), key=len, reverse=True)
    return [[f"{name}.{side}" for side in WAVELENGTHS] for name in called]


def sides_of(paths: Sequence[Path], root: Path) -> dict[Path, tuple[Path, ...]]:
    """Return the wavelength files of files with one image each: their own, or else those of the nearest folder.

    Args:
        paths: files below `root`.
        root: the topmost folder that is searched.

    Returns:
        Path → its side files: none, one, or two if it is undecidable which one counts.
    """
    named: dict[Path, dict[str, Path]] = {}
    found = {}
    for path in paths:
        above = [folder for folder in path.parents if folder.is_relative_to(root)]
        for folder in above:
            if folder not in named:
                named[folder] = {folded(side.name): side for side in files_in(folder) if is_wavelengths(side)}
        own = [(path.parent, names) for names in _own_sides(Found(path.stem, path, (path,), ""))]
        groups = [*own, *((folder, list(WAVELENGTHS)) for folder in above)]
        there = ([side for name in names if (side := named[place].get(folded(name)))] for place, names in groups)
        found[path] = tuple(next(filter(None, there), ()))
    return found


def _shared(sides: Sequence[Path], above: Path | None) -> Path | None:
    """Return the wavelength file for all scenes of a folder: its own or the one above; None if the folder has two."""
    own = [path for path in sides if folded(path.name) in WAVELENGTHS]
    return (own[0] if len(own) == 1 else None) if own else above


def _side_file(found: Found) -> Path | None:
    """Return the wavelength file that was found for a scene; raise CubeError if the scene has two of its own."""
    for path in found.files:
        if is_wavelengths(path):
            return path
    folder, beside = found.path if found.path.is_dir() else found.path.parent, found.path.parent
    for place, names in [*((beside, names) for names in _own_sides(found)), (folder, list(WAVELENGTHS))]:
        there = [
            place / name for name in names if (place / name).is_file()
        ]  # links out of the source too, which are refused
        if len(there) > 1:
            raise CubeError(f"{there[0].name} and {there[1].name} lie beside it", "Leave one of them.")
        if there:
            return there[0]
    return None


def is_wavelengths(path: Path) -> bool:
    """Return whether a file is a side file of wavelengths, judged by its name."""
    return folded(path.name).endswith(WAVELENGTHS)


def _why_unread(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix in envi.DATA[1:]:
        return envi.why_left(path)
    if suffix in band_images.SUFFIXES:
        return (
            f"a picture that is no band: {band_images.FEWEST} greyscale images of one name with numbers or nm make a scene; "
            "raw frames of a 4 x 4 mosaic camera are read with --layout mosaic"
        )
    return f"no format reads {suffix or 'files without suffix'}"
