"""A source folder as divisible work: its layout, its files in order, and the sources of each part of a store.

A part holds the lesions of a fixed sequence of files, so that its bytes do not depend on which worker makes it or when.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from hyperderm.cubes.cube import Lesion
from hyperderm.errors import CubeError, HyperdermError, MachineTrouble, NoImage, nearest
from hyperderm.ingest.annotations.annotation_file import read_annotations
from hyperderm.ingest.formats.damage import check_machine
from hyperderm.ingest.formats.mosaic import Mosaic
from hyperderm.ingest.formats.scene import SetAside
from hyperderm.ingest.groups import read_groups
from hyperderm.ingest.layouts import exported, hsidermoscopy, photographs, scene_folder
from hyperderm.ingest.layouts.naming import relative
from hyperderm.ingest.layouts.scene_folder import Camera
from hyperderm.ingest.layouts.source_tables import Tables, read_tables
from hyperderm.ingest.lesions import CropOptions, Image, LesionMarks, lesions_of
from hyperderm.ingest.units import check_patterns, scaled
from hyperderm.store.export_format import describe, is_export
from hyperderm.trouble import AGAIN, reason_of, trouble_of

VERSION = 4
"""A version in a job's digest; raise it when the code changes the lesions that files give."""
PART_BYTES = 2**26
"""The approximate size of the cubes in a part (bytes): a worker holds them in memory, one request of a feed reads them."""
MOST_FILES = 64
SHOWN = 4
"""The number of lesions that a note names."""
NATIVE_PIXELS = 2**18
"""The assumed number of pixels of a scene that is stored whole, when files are divided into parts."""


def gathered(notes: Sequence[tuple[str, str]]) -> list[str]:
    """Return one sentence per distinct note, however many lesions it concerns."""
    by_note: dict[str, list[str]] = {}
    for lesion, note in notes:
        by_note.setdefault(note, []).append(lesion)
    return [f"{shown(names)}: {note}" for note, names in by_note.items()]


@dataclass(frozen=True)
class Folder:
    """Finds and reads the images of one folder by the layout called `name`; can be pickled."""

    root: Path
    name: str
    camera: Camera = field(default_factory=Camera)

    def scan(self, tables: Tables) -> list[Any]:
        """List the sources in order, without opening any."""
        if self.name == "exported":
            return list(exported.scan(self.root))
        if self.name == "scenes":
            return list(scene_folder.scan(self.root, self.camera, tables))
        return list(_READERS[self.name].scan(self.root, tables))

    def orphans(self, sources: list[Any], tables: Tables) -> list[SetAside]:
        """List the files that no source uses."""
        if self.name == "exported":
            return list(exported.orphans(self.root, sources))
        return list(_READERS[self.name].orphans(self.root, sources, tables))

    def used(self, sources: list[Any]) -> list[str]:
        """Return one sentence on each reference that is used."""
        return scene_folder.used_references(self.root, sources) if self.name == "scenes" else []

    def read(self, source: Any, how: CropOptions) -> tuple[list[Lesion], list[SetAside]]:  # noqa: ANN401
        """Read one source and cut out its lesions.

        Returns:
            The lesions, and what had to be set aside: either the whole image (then there is no lesion), or single masks.
        """
        if self.name == "exported":
            return exported.read(source, self.root)
        try:
            image = self.open_image(source)
        except (CubeError, OSError) as error:
            check_machine(error, source.path, rights=False)
            return [], [SetAside(_file(source, self.root), str(error), image=not isinstance(error, NoImage))]
        return lesions_of(image, how)

    def open_image(self, source: Any) -> Image:  # noqa: ANN401
        """Read one whole image; raise CubeError if it cannot be used."""
        match self.name:
            case "exported":
                raise CubeError("an export holds crops, no images", "Name the folder of the raw files.")
            case "hsidermoscopy":
                return hsidermoscopy.open_image(source, self.root, self.camera.asked)
            case "photographs":
                return photographs.open_image(source, self.root)
        return scene_folder.open_image(source, self.root)


@dataclass(frozen=True)
class Job:
    """Everything that determines the parts of a store; can be pickled.

    Attributes:
        root: the source folder.
        layout: the layout's name in `LAYOUTS`.
        kind: the kind of the store.
        how: the options for crops, bands, marks and groups.
        sources: the sources in order.
        reader: the layout that reads one source.
        per_part: the number of sources in a part.
        set_aside: the files that no source uses.
        digest: the digest of all these fields; a different digest means a different store.
        source: the origin of an exported synthetic set, which becomes a synthetic set without folds again.
        used: one sentence on each table and reference that is used, and its purpose.
        without_lesion: the images that show no lesion according to an annotation file.
        notes: sentences on the source that the user must see.
        grouped: the table and columns that give the groups, "" if there are none.
    """

    root: Path
    layout: str
    kind: Literal["spectral", "rgb"]
    how: CropOptions
    sources: tuple[Any, ...]
    reader: Folder
    per_part: int
    set_aside: tuple[SetAside, ...] = ()
    digest: str = ""
    source: Mapping[str, Any] | None = None
    used: tuple[str, ...] = ()
    without_lesion: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    grouped: str = ""

    @property
    def parts(self) -> int:
        """Return the number of parts; some parts may turn out empty."""
        return -(-len(self.sources) // self.per_part)

    def of_part(self, number: int) -> tuple[Any, ...]:
        """Return the sources of one part."""
        return self.sources[number * self.per_part : (number + 1) * self.per_part]

    def read(self, source: Any) -> tuple[list[Lesion], list[SetAside]]:  # noqa: ANN401
        """Read one source; an unforeseen error of a reader names the file."""
        try:
            found, aside = self.reader.read(source, self.how)
            return scaled(found, self.how.scale), aside
        except (MemoryError, OSError) as error:
            raise _trouble(error, source.image_id) from error
        except Exception as error:
            error.add_note(f"while reading {source.image_id} of {self.root}")
            raise


_READERS: Mapping[str, Any] = {
    "hsidermoscopy": hsidermoscopy,
    "photographs": photographs,
    "scenes": scene_folder,
    "exported": exported,
}
LAYOUTS = ("hsidermoscopy", "photographs", "scenes", "mosaic", "exported")
"""The names of the layouts; `mosaic` means scenes of raw frames, `exported` an export of `hyperderm store export`."""


def _trouble(error: MemoryError | OSError, image: str) -> HyperdermError:
    """Return the error for trouble that comes from the machine and not from the file."""
    told = trouble_of(error)
    if told is None or isinstance(error, MemoryError):
        reason = reason_of(error) or type(error).__name__
        what = f"{image}: the machine has no memory left to read it ({reason})"
        return MachineTrouble(what, f"Read fewer files at a time (--workers 1), or use a machine with more memory; {AGAIN}")
    return type(told)(f"while reading {image}: {told.what}", told.remedy)


def find_layout(root: Path, name: str = "auto") -> str:
    """Return the layout called `name`, or for `auto` the layout that the folder has.

    Raises:
        CubeError: the name is unknown.
    """
    if name != "auto":
        if name not in LAYOUTS:
            raise CubeError(f"--layout {name!r} is unknown", nearest(name, ["auto", *LAYOUTS]))
        return name
    if is_export(root):
        return "exported"
    if root.is_file():
        return "scenes"
    if hsidermoscopy.is_layout(root):
        return "hsidermoscopy"
    if photographs.is_layout(root):
        return "photographs"
    from hyperderm.ingest.formats import mosaic, scene_files

    try:
        found, unread = scene_files.find_scenes(root)
    except CubeError:
        found, unread = [], []
    pictures = any(path.suffix.lower() in mosaic.SUFFIXES | photographs.SUFFIXES for path, _ in unread)
    return "scenes" if found or pictures else "hsidermoscopy"  # whose reader says best what it would have wanted


def make_job(
    root: Path, layout: str, how: CropOptions, camera: Camera, annotations: Path | None = None, groups: Path | None = None
) -> Job:
    """List the sources in `root`, and the tables and annotations that belong to each image.

    Args:
        root: the source folder.
        layout: a name in `LAYOUTS`, or auto.
        how: the options for sizes and bands.
        camera: the user's options for the files.
        annotations: a file of an annotation tool.
        groups: a table of patients.

    Raises:
        CubeError: the folder holds no source, or the options do not fit the layout.
    """
    if (shown := plain(str(root))) != str(root):
        raise CubeError(f"{shown}: its name is not UTF-8", "Rename it: a store keeps the names of its files.")
    name = find_layout(root, layout)
    _check_options(name, how, camera, annotations, groups)
    if name == "mosaic" and camera.mosaic is None:
        camera = replace(camera, mosaic=Mosaic(wavelengths_nm=camera.asked.wavelengths_nm))
    reader = Folder(root, "scenes" if name == "mosaic" else name, camera)
    given = {path.resolve() for path in (annotations, groups, *_paths(camera)) if path}
    tables = _tables(root, name, given, grouping=groups is None)
    found = reader.scan(tables)
    sources, aside = _named(found)
    aside += [one for one in reader.orphans(found, tables) if (root / one.file).resolve() not in given]
    images = [source.image_id for source in sources]
    empty: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    matched = tables.of([source.name for source in sources] if tables.paths else [])
    grouped = matched.grouped
    if matched.groups:
        names = {source.name: source.image_id for source in sources}
        how = replace(how, groups={names[name]: group for name, group in matched.groups.items()})
    if root.is_dir():
        aside += matched.aside
    if how.scale:
        check_patterns(how.scale, ((_file(source, root), source.image_id) for source in sources))
    if annotations:
        marker, unused = _marker(annotations, images, how.marker.automatic)
        how, aside = replace(how, marker=marker), aside + unused
        empty = tuple(image for image in images if marker.without_lesion(image))
        notes = _marker_notes(marker, sources, empty)
    used = [*reader.used(found), *matched.used]
    if groups:
        how, grouped = replace(how, groups=read_groups(groups, images)), "of a table"
        count = len(set(how.groups.values()))
        used.append(f"{groups.name}: {count} group{'s' * (count > 1)} of {len(images)} images, as --groups says")
    kind: Literal["spectral", "rgb"] = "rgb" if name == "photographs" else "spectral"
    source = None
    if name == "exported":
        described = describe(root)
        kind, source = described.kind, described.source if described.source.get("verb") == "generate" else None
    facts = [
        VERSION,
        name,
        _listing(root, sources, camera, tables.paths),
        _plain(how),
        repr(camera),
        sorted(how.groups.items()),
    ]
    digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
    per_part = _per_part(how)
    return Job(
        root,
        name,
        kind,
        how,
        tuple(sources),
        reader,
        per_part,
        tuple(aside),
        digest,
        source,
        tuple(used),
        empty,
        notes,
        grouped,
    )


def _tables(root: Path, layout: str, given: set[Path], *, grouping: bool) -> Tables:
    """Return the tables of a source; an export has none, and files that the user names are not among them."""
    base = root if root.is_dir() else root.parent
    if layout == "exported" or not base.is_dir():
        return Tables()
    return read_tables(base, given, grouping=grouping)


def _marker(path: Path, images: list[str], automatic: bool) -> tuple[LesionMarks, list[SetAside]]:
    """Return the annotation file's marks for the images, and its entries that match no image."""
    annotations = read_annotations(path)
    known = {image.removeprefix(photographs.OWN): image for image in images}
    names = {known[short]: said for short, said in annotations.match(known).items()}
    torn = frozenset(known[short] for short in annotations.torn(known))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    marker = LesionMarks(annotations, digest, names, torn, automatic)
    return marker, [*annotations.aside, *annotations.unmatched(known)]


def _marker_notes(marker: LesionMarks, sources: Sequence[Any], empty: Sequence[str]) -> tuple[str, ...]:
    """Return notes on the images that an annotation file declares free of lesions, and on mask pictures that it replaces."""
    assert marker.annotations is not None
    file = marker.annotations.file
    notes = []
    if empty:
        notes.append(f"{_images(len(empty), 'is', 'are')} marked in {file} as without a lesion: {shown(empty)}")
    drawn = [source.image_id for source in sources if getattr(source, "masks", None)]
    if over := [image for image in drawn if marker.annotations.marks(marker.names.get(image, ""))]:
        notes.append(f"the mask pictures of {_images(len(over), 'are', 'are')} not used, {file} marks them: {shown(over)}")
    return tuple(notes)


def _images(count: int, one: str, several: str) -> str:
    return f"1 image {one}" if count == 1 else f"{count} images {several}"


def none_used(count: int, root: Path) -> str:
    """Return a sentence saying that none of `count` images can be used."""
    return f"the one image in {root} cannot be used" if count == 1 else f"none of the {count} images in {root} can be used"


def shown(names: Sequence[str]) -> str:
    """Return the first `SHOWN` names, and the number of the others."""
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _check_options(name: str, how: CropOptions, camera: Camera, annotations: Path | None, groups: Path | None) -> None:
    given = {
        "--wavelengths": camera.asked.wavelengths_nm,
        "--bands": how.bands_nm,
        "--rows": camera.asked.rows,
        "--columns": camera.asked.columns,
        "--key": camera.asked.key,
        "--axes": camera.asked.axes,
        "--dark": camera.dark,
        "--white": camera.white,
        "--white-reflectance": camera.white_reflectance != 1,
        "--masks": annotations or how.marker.automatic,
        "--groups": groups,
        "--scale": how.scale,
        "--fill": how.fill,
    }
    refused = {
        "hsidermoscopy": ("--rows", "--columns", "--key", "--dark", "--white", "--white-reflectance"),
        "photographs": (
            "--wavelengths",
            "--bands",
            "--rows",
            "--columns",
            "--key",
            "--axes",
            "--dark",
            "--white",
            "--white-reflectance",
            "--scale",
        ),
        "exported": tuple(given),
        "scenes": (),
        "mosaic": ("--rows", "--columns", "--key", "--axes"),
    }[name]
    for option in refused:
        if given[option]:
            why = {
                "photographs": "photographs have nominal wavelengths and no counts",
                "exported": "an export says all of it itself",
            }.get(name, f"layout {name} knows no such thing")
            raise CubeError(f"{option} does not fit this source: {why}", f"Leave {option} out, or name another --layout.")


def _file(source: Any, root: Path) -> str:  # noqa: ANN401
    """Return the path of the file that represents a source, relative to the root."""
    base = root if root.is_dir() else root.parent
    return relative(source.path, base) if source.path.is_relative_to(base) else str(source.path.name)


def _plain(how: CropOptions) -> list[str]:
    return [
        str(how.size),
        str(how.bands_nm),
        how.marker.digest,
        str(sorted(how.marker.names.items())),
        str(how.marker.automatic),
        str(how.scale),
        str(how.fill),
    ]


def _per_part(how: CropOptions) -> int:
    pixels = NATIVE_PIXELS if how.size is None else how.size**2
    bands = 16 if how.bands_nm is None else len(how.bands_nm)
    return int(np.clip(PART_BYTES // (4 * pixels * bands), 1, MOST_FILES))


def _named(found: list[Any]) -> tuple[list[Any], list[SetAside]]:
    """Separate the sources whose names are valid text from those that a store cannot name."""
    sources, aside = [], []
    for source in found:
        names = [source.image_id, *map(str, _paths(source))]
        if all(name == plain(name) for name in names):
            sources.append(source)
        else:
            aside.append(SetAside(source.image_id, "a name of it is not UTF-8; rename it"))
    return sources, aside


def plain(text: str) -> str:
    """Return `text` with invalid Unicode escaped: file systems and JSON may hold halves of characters."""
    return text.encode("utf-8", "backslashreplace").decode()


def _paths(thing: object) -> Iterator[Path]:
    """Yield every path that a source or a camera names."""
    if isinstance(thing, Path):
        yield thing
    elif is_dataclass(thing):
        for one in fields(thing):
            yield from _paths(getattr(thing, one.name))
    elif isinstance(thing, tuple):
        for one in thing:
            yield from _paths(one)


def _listing(root: Path, sources: Sequence[Any], camera: Camera, tables: Sequence[Path]) -> list[tuple[str, int, int]]:
    """Return the names, sizes and times of all files that shape the lesions: if a file changes, the job is another one.

    For a folder these are all files in it; for a single file only the files of its scene, because other files beside it may
    change.
    """
    files = {path for thing in (*sources, camera) for path in _paths(thing) if path.is_file()}
    if root.is_dir():
        files |= {path for path in root.rglob("*") if path.is_file()}
    else:
        files |= set(root.parent.glob("*responses*.mat")) | set(tables)
    base = root if root.is_dir() else root.parent
    names = {p: (p.relative_to(base) if p.is_relative_to(base) else p).as_posix() for p in sorted(files)}
    return [(plain(name), p.stat().st_size, p.stat().st_mtime_ns) for p, name in names.items()]
