"""A source folder as work that can be divided: its layout, its files in order, and one part of a store made from some.

A part holds the lesions of a fixed run of files, so that its bytes do not depend on who makes it, beside whom or when.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from hyperderm.cubes.cube import Lesion
from hyperderm.errors import CubeError, HyperdermError, MachineTrouble, nearest
from hyperderm.ingest.annotations.annotation_file import read_annotations
from hyperderm.ingest.formats.mosaic import Mosaic
from hyperderm.ingest.formats.scene import SetAside
from hyperderm.ingest.groups import read_groups
from hyperderm.ingest.layouts import exported, hsidermoscopy, photographs, scene_folder
from hyperderm.ingest.layouts.scene_folder import Camera
from hyperderm.ingest.layouts.source_tables import Tables, read_tables
from hyperderm.ingest.lesions import CropOptions, Image, LesionMarks
from hyperderm.ingest.units import check_patterns, scaled
from hyperderm.store.export_format import describe, is_export
from hyperderm.trouble import AGAIN, reason_of, trouble_of

VERSION = 4
"""Part of a job's digest: raise it when the code changes what files become."""
PART_BYTES = 2**26
"""Of cubes in a part, about: what a worker holds in memory, and what one request of a feed reads."""
MOST_FILES = 64
SHOWN = 4
"""Lesions that a note names."""
NATIVE_PIXELS = 2**18
"""Taken for the size of a scene that is stored whole, when files are dealt out to parts."""


def gathered(notes: Sequence[tuple[str, str]]) -> list[str]:
    """Return one sentence for everything that is said of lesions, however many it is said of."""
    by_note: dict[str, list[str]] = {}
    for lesion, note in notes:
        by_note.setdefault(note, []).append(lesion)
    return [f"{shown(names)}: {note}" for note, names in by_note.items()]


class Layout(Protocol):
    """Finds the images of a kind of folder, and reads one."""

    def scan(self, tables: Tables) -> list[Any]:
        """List the sources in order, without opening any."""

    def orphans(self, sources: list[Any], tables: Tables) -> list[SetAside]:
        """List the files no source uses."""

    def used(self, sources: list[Any]) -> list[str]:
        """Return a sentence on each reference that is used."""

    def read(self, source: Any, how: CropOptions) -> tuple[list[Lesion], list[SetAside]]:  # noqa: ANN401 - each layout has its own
        """Read one source; what cannot be used is returned with its reason."""

    def image_id(self, source: Any) -> str:  # noqa: ANN401
        """Return what the image of a source is called."""

    def open_image(self, source: Any) -> Image:  # noqa: ANN401
        """Read one source whole; CubeError where it cannot be used."""


@dataclass(frozen=True)
class Job:
    """Everything that shapes the parts of a store; can be pickled.

    Attributes:
        root: the source.
        layout: name in `LAYOUTS`.
        kind: of the store.
        how: crops, bands, marks, groups.
        sources: in order.
        reader: reads one of them.
        per_part: sources in a part.
        set_aside: files that no source uses.
        digest: of all that: what was made under another digest is another store.
        source: of a synthetic set that was exported: it comes back as one, without folds.
        used: a sentence on each table and reference of the source that is used, and what for.
        without_lesion: images on which, so an annotation file says, there is no lesion.
        notes: sentences on the source that whoever stores it must be told.
        grouped: which table and columns say what belongs together, "" where none does.
    """

    root: Path
    layout: str
    kind: Literal["spectral", "rgb"]
    how: CropOptions
    sources: tuple[Any, ...]
    reader: Layout
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
        """Number of parts, some of which may come out empty."""
        return -(-len(self.sources) // self.per_part)

    def of_part(self, number: int) -> tuple[Any, ...]:
        """Return the sources of one part."""
        return self.sources[number * self.per_part : (number + 1) * self.per_part]

    def read(self, source: object) -> tuple[list[Lesion], list[SetAside]]:
        """Read one source; what a reader did not foresee names the file."""
        try:
            found, aside = self.reader.read(source, self.how)
            return scaled(found, self.how.scale), aside
        except (MemoryError, OSError) as error:
            raise _trouble(error, self.reader.image_id(source)) from error
        except Exception as error:
            error.add_note(f"while reading {self.reader.image_id(source)} of {self.root}")
            raise


@dataclass(frozen=True)
class Folder:
    """A layout of this package's readers; can be pickled."""

    root: Path
    name: str
    camera: Camera = field(default_factory=Camera)

    def scan(self, tables: Tables) -> list[Any]:
        """See `Layout`."""
        if self.name == "exported":
            return list(exported.scan(self.root))
        if self.name == "scenes":
            return list(scene_folder.scan(self.root, self.camera, tables))
        return list(_READERS[self.name].scan(self.root, tables))

    def orphans(self, sources: list[Any], tables: Tables) -> list[SetAside]:
        """See `Layout`."""
        if self.name == "exported":
            return list(exported.orphans(self.root, sources))
        return list(_READERS[self.name].orphans(self.root, sources, tables))

    def used(self, sources: list[Any]) -> list[str]:
        """See `Layout`."""
        return scene_folder.used_references(self.root, sources) if self.name == "scenes" else []

    def read(self, source: Any, how: CropOptions) -> tuple[list[Lesion], list[SetAside]]:  # noqa: ANN401
        """See `Layout`."""
        match self.name:
            case "exported":
                return exported.read(source, self.root)
            case "hsidermoscopy":
                return hsidermoscopy.read(source, self.root, how, self.camera.asked)
            case "photographs":
                return photographs.read(source, self.root, how)
        return scene_folder.read(source, self.root, how)

    def open_image(self, source: Any) -> Image:  # noqa: ANN401
        """See `Layout`."""
        match self.name:
            case "exported":
                raise CubeError("an export holds crops, no images", "Name the folder of the raw files.")
            case "hsidermoscopy":
                return hsidermoscopy.open_image(source, self.root, self.camera.asked)
            case "photographs":
                return photographs.open_image(source, self.root)
        return scene_folder.open_image(source, self.root)

    def image_id(self, source: Any) -> str:  # noqa: ANN401
        """See `Layout`."""
        return str(source.found.name if self.name == "scenes" else source.image_id)


_READERS: Mapping[str, Any] = {
    "hsidermoscopy": hsidermoscopy,
    "photographs": photographs,
    "scenes": scene_folder,
    "exported": exported,
}
LAYOUTS = ("hsidermoscopy", "photographs", "scenes", "mosaic", "exported")
"""`mosaic` are scenes of raw frames; `exported` is what `hyperderm store export` wrote."""


def _trouble(error: MemoryError | OSError, image: str) -> HyperdermError:
    """What no reader takes for a file's own fault: the machine's."""
    told = trouble_of(error)
    if told is None or isinstance(error, MemoryError):
        reason = reason_of(error) or type(error).__name__
        what = f"{image}: the machine has no memory left to read it ({reason})"
        return MachineTrouble(what, f"Read fewer files at a time (--workers 1), or use a machine with more memory; {AGAIN}")
    return type(told)(f"while reading {image}: {told.what}", told.remedy)


def find_layout(root: Path, name: str = "auto") -> str:
    """Return the layout called `name`; `auto` looks at the folder.

    Raises:
        CubeError: an unknown name.
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
    """List what `root` holds, and who means which image.

    Args:
        root: the source.
        layout: a name in `LAYOUTS`, or auto.
        how: sizes and bands.
        camera: what the user says of the files.
        annotations: a file of an annotation tool.
        groups: a table of patients.

    Raises:
        CubeError: nothing there, or options that do not fit the layout.
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
    sources, aside = _named(reader, found)
    aside += [one for one in reader.orphans(found, tables) if (root / one.file).resolve() not in given]
    images = [reader.image_id(source) for source in sources]
    empty: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    matched = tables.of([source.name for source in sources] if tables.paths else [])
    grouped = matched.grouped
    if matched.groups:
        names = {source.name: reader.image_id(source) for source in sources}
        how = replace(how, groups={names[name]: group for name, group in matched.groups.items()})
    if root.is_dir():
        aside += matched.aside
    if how.scale:
        check_patterns(how.scale, ((_file(source, root), reader.image_id(source)) for source in sources))
    if annotations:
        marker, unused = _marker(annotations, images, how.marker.automatic)
        how, aside = replace(how, marker=marker), aside + unused
        empty = tuple(image for image in images if marker.without_lesion(image))
        notes = _marker_notes(marker, sources, reader, empty)
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
    """Return the tables of a source; an export has none, and what the user names is none of them."""
    base = root if root.is_dir() else root.parent
    if layout == "exported" or not base.is_dir():
        return Tables()
    return read_tables(base, given, grouping=grouping)


def _marker(path: Path, images: list[str], automatic: bool) -> tuple[LesionMarks, list[SetAside]]:
    """Return who means which image, and what of the file means none."""
    annotations = read_annotations(path)
    known = {image.removeprefix("photograph/"): image for image in images}
    names = {known[short]: said for short, said in annotations.match(known).items()}
    torn = frozenset(known[short] for short in annotations.torn(known))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    marker = LesionMarks(annotations, digest, names, torn, automatic)
    return marker, [*annotations.aside, *annotations.unmatched(known)]


def _marker_notes(marker: LesionMarks, sources: Sequence[Any], reader: Layout, empty: Sequence[str]) -> tuple[str, ...]:
    """Say which images an annotation file calls free of lesions, and whose mask pictures it replaces."""
    assert marker.annotations is not None
    file = marker.annotations.file
    notes = []
    if empty:
        notes.append(f"{_images(len(empty), 'is', 'are')} marked in {file} as without a lesion: {shown(empty)}")
    drawn = [reader.image_id(source) for source in sources if _has_mask(source)]
    if over := [image for image in drawn if marker.annotations.marks(marker.names.get(image, ""))]:
        notes.append(f"the mask pictures of {_images(len(over), 'are', 'are')} not used, {file} marks them: {shown(over)}")
    return tuple(notes)


def _has_mask(source: object) -> bool:
    return bool(getattr(source, "masks", None) or getattr(source, "mask", None))


def _images(count: int, one: str, several: str) -> str:
    return f"1 image {one}" if count == 1 else f"{count} images {several}"


def none_used(count: int, root: Path) -> str:
    """Say that none of so many images can be used."""
    return f"the one image in {root} cannot be used" if count == 1 else f"none of the {count} images in {root} can be used"


def shown(names: Sequence[str]) -> str:
    """Return the first `SHOWN` of some names, and how many more there are."""
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
    """Return the path of the file that stands for a source, relative to the root."""
    path: Path = source.found.path if hasattr(source, "found") else source.path
    base = root if root.is_dir() else root.parent
    return path.relative_to(base).as_posix() if path.is_relative_to(base) else path.name


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


def _named(reader: Layout, found: list[Any]) -> tuple[list[Any], list[SetAside]]:
    """Part the sources whose names are text from those a store cannot name."""
    sources, aside = [], []
    for source in found:
        names = [reader.image_id(source), *map(str, _paths(source))]
        if all(name == plain(name) for name in names):
            sources.append(source)
        else:
            aside.append(SetAside(reader.image_id(source), "a name of it is not UTF-8; rename it"))
    return sources, aside


def plain(text: str) -> str:
    """Return `text` with what is not Unicode escaped: file systems and JSON may hold halves of characters."""
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
    """Return names, sizes and times of all files that shape the lesions: other content is another job.

    Of a folder these are all files in it; of a single file its own ones, since anything may lie and change beside it.
    """
    files = {path for thing in (*sources, camera) for path in _paths(thing) if path.is_file()}
    if root.is_dir():
        files |= {path for path in root.rglob("*") if path.is_file()}
    else:
        files |= set(root.parent.glob("*responses*.mat")) | set(tables)
    base = root if root.is_dir() else root.parent
    names = {p: (p.relative_to(base) if p.is_relative_to(base) else p).as_posix() for p in sorted(files)}
    return [(plain(name), p.stat().st_size, p.stat().st_mtime_ns) for p, name in names.items()]
