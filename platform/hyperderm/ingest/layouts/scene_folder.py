"""Any folder of hyperspectral images, or one file: ENVI, TIFF, NumPy, MATLAB, band images, raw mosaic frames.

    <root>/…/<scene>.<suffix>           every format of `scene_files.FORMATS`; frames of a mosaic camera if asked for
    <root>/masks/<scene>_00.png         optional; also <scene>.png, <scene>_mask.png; folders as below <root>
    <root>/<any>.csv                    optional; tables of diagnoses and of patients: `source_tables`
    <root>/…/wavelengths.txt            if the scenes do not hold their wavelengths: `scene_files.read_scene`
    <root>/…/WHITEREF_<scene>.<suffix>  optional, and DARKREF_: references, never scenes (`references` knows more names)

If references lie beside a scan, it is stored in reflectance by its own references, unless the user names others or wants
none. A scene's image id is its path below the root without suffix. A scene without a mask is stored whole. Names are
compared as described in `naming`.
"""

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from hyperderm.errors import CubeError
from hyperderm.ingest.annotations.mask_files import Masks, Reading, match_masks, readings
from hyperderm.ingest.formats import mosaic, scene_files
from hyperderm.ingest.formats.mosaic import Mosaic
from hyperderm.ingest.formats.pixels import name_below
from hyperderm.ingest.formats.scene import Found, ReadOptions, Scene, SetAside
from hyperderm.ingest.layouts import references
from hyperderm.ingest.layouts.naming import Names, files_below, folded, folders, relative
from hyperderm.ingest.layouts.references import Pair, Reference
from hyperderm.ingest.layouts.source_tables import NOT_NAMED, NOTHING, Said, Tables, read_tables
from hyperderm.ingest.layouts.unused_files import leftovers
from hyperderm.ingest.layouts.versions import one_of_each
from hyperderm.ingest.lesions import Image

CHUNK = 2**20


@dataclass(frozen=True)
class Camera:
    """What the user says of the files; can be pickled.

    Attributes:
        asked: the user's options, such as wavelengths, rows, columns and key.
        mosaic: how raw mosaic frames are read; None: the files are not such frames.
        dark: the dark reference of cubes in counts.
        white: the white reference of cubes in counts.
        white_reflectance: the reflectance of the white panel.
        references: whether references that lie beside a scan are applied to it if neither `dark` nor `white` is given.
    """

    asked: ReadOptions = field(default_factory=ReadOptions)
    mosaic: Mosaic | None = None
    dark: Path | None = None
    white: Path | None = None
    white_reflectance: float = 1.0
    references: bool = True

    @property
    def given(self) -> tuple[Path, ...]:
        """Return the reference files that the user named."""
        held = (self.dark, self.white) if self.mosaic is None else (self.mosaic.dark, self.mosaic.white)
        return tuple(path for path in held if path is not None)


@dataclass(frozen=True)
class Source:
    """One scene.

    Attributes:
        found: the files of the scene.
        masks: the masks that mark the scene's lesions.
        said: what the tables say of the scene.
        camera: what the user says of the files.
        fault: why the scene cannot be used, "" if its names are in order.
        pair: the references that lie beside the scene, if they are applied.
    """

    found: Found
    masks: tuple[Path, ...]
    said: Said = NOTHING
    camera: Camera = field(default_factory=Camera)
    fault: str = ""
    pair: Pair = field(default_factory=Pair)

    @property
    def path(self) -> Path:
        """Return the file that represents the scene, or the folder of its band images."""
        return self.found.path

    @property
    def image_id(self) -> str:
        """Return the scene's id."""
        return self.found.name

    @property
    def name(self) -> str:
        """Return the scene's name in tables and annotations."""
        return self.found.name


def scan(root: Path, camera: Camera, tables: Tables | None = None) -> list[Source]:
    """List the scenes at or below `root`, without opening any.

    Args:
        root: the source folder, or one file.
        camera: what the user says of the files.
        tables: the tables of the source; None: they are read here.

    Raises:
        CubeError: there is no scene, two scenes have the same name, or a table cannot be used.
    """
    base = _base(root)
    tables = read_tables(base) if tables is None else tables
    found, known, _ = _found(root, camera, tables)
    if not found:
        if known:
            raise CubeError(
                f"{root} holds references and no scene", "Name a folder with the scans too, or rename the files."
            )
        raise _no_scene(root)
    names = [each.name for each in found]
    masks = _masks(base, names)
    said = tables.of(names).said
    sources = [
        Source(
            each,
            tuple(masks.of.get(name, ())),
            said.get(name, NOTHING),
            camera,
            masks.faults.get(name, ""),
            _pair(each, known, camera),
        )
        for name, each in zip(names, found, strict=True)
    ]
    panel = camera.white_reflectance if camera.mosaic is None else camera.mosaic.white_reflectance
    white = camera.white if camera.mosaic is None else camera.mosaic.white
    if panel != 1 and white is None and not any(source.pair.white for source in sources):
        raise CubeError("--white-reflectance is of a white reference", "Give --white too.")
    return sources


def orphans(root: Path, sources: Sequence[Source], tables: Tables | None = None) -> list[SetAside]:
    """List every file below `root` that no scene uses, with the reason.

    `tables` has the same meaning as in `scan`.
    """
    base = _base(root)
    if base != root:
        return []  # one file was named: its neighbours are not meant
    tables = read_tables(base) if tables is None else tables
    used = {path for source in sources for path in source.found.files} | {mask for s in sources for mask in s.masks}
    camera = sources[0].camera if sources else Camera()
    _, known, idle = _found(root, camera, tables)
    astray = [(one.path, why) for one, why in idle] + references.unused(
        known, [s.pair for s in sources], _why_unused(camera)
    )
    used |= {path for one, _ in idle for path in one.files}
    used |= set(tables.paths) | {path for one in known for path in one.found.files} | set(camera.given)
    used |= {path for one in _all(root, camera) if _is_given(one, camera) for path in one.files}
    if camera.mosaic:
        used |= _responses(base, sources)
        unread = [(p, "no raw frame") for p in files_below(base) if not scene_files.is_side_file(p, base)]
    else:
        unread = scene_files.find_scenes(root)[1]
    through = {folder for folder in folders(base, "masks") if any(folder in path.parents for path in used)}
    names = Names(source.name for source in sources)
    reasons = {path: _mask_astray(path, names) or why for path, why in unread if path not in used | through}
    masks = _masks(base, [source.name for source in sources])
    call_it = "call it <scene>_00.png, in the scene's folder below masks/"
    reasons |= masks.unused | dict.fromkeys(masks.lonely, f"mask without a scene: {call_it}")
    for path in files_below(base):
        inside = [folded(part) for part in path.relative_to(base).parts[:-1]]
        if path not in used and "masks" in inside and inside[0] != "masks":
            reasons[path] = "mask without a scene: masks lie in masks/ of the source"
    layout = "mosaic" if camera.mosaic else "scenes"
    return [
        *(SetAside(relative(path, base), reason) for path, reason in astray),
        *leftovers(base, used, reasons | dict(tables.aside), layout),
    ]


def open_image(source: Source, root: Path) -> Image:
    """Read one whole scene, in reflectance if references are given.

    Raises:
        CubeError: the scene cannot be used.
    """
    base, found = _base(root), source.found
    if source.fault:
        raise CubeError(source.fault)
    with source.said.added():
        scene = _scene(source, root)
    diagnosis = source.said.known()
    digest = hashlib.sha256()
    for path in found.files:
        with path.open("rb") as stream:
            while part := stream.read(CHUNK):
                digest.update(part)
    assert scene.wavelengths_nm is not None
    masks = [(f"{found.name}_{n:02d}", path, relative(path, base)) for n, path in enumerate(source.masks)]
    facts = {"sha256": digest.hexdigest(), "format": found.format, **scene.facts}
    file = relative(found.path, base)
    return Image(found.name, file, diagnosis, scene.reflectance, scene.wavelengths_nm, facts, masks)


def _scene(source: Source, root: Path) -> Scene:
    camera, found = source.camera, source.found
    pair = source.pair
    if pair.trouble:
        raise CubeError(pair.trouble)
    if camera.mosaic is not None:
        options = camera.mosaic if pair.white is None else replace(camera.mosaic, white=pair.white, dark=pair.dark)
        frame = mosaic.read_mosaic(found.path, options, _base(root))
        if options.white is None:
            pair.check_unit(frame)
        return frame
    scene = scene_files.noted(scene_files.read_scene(found, camera.asked, root), found.files)
    white, dark = (pair.white, pair.dark) if pair.white else (camera.white, camera.dark)
    if white is None and dark is None:
        pair.check_unit(scene)
        return scene
    return references.applied(scene, white, dark, camera.white_reflectance, camera.asked)


def used_references(root: Path, sources: Sequence[Source]) -> list[str]:
    """Return one sentence for each way in which references are applied."""
    if not sources:
        return []
    base, camera = _base(root), sources[0].camera
    said = []
    if camera.given:
        names = " and ".join(path.name for path in reversed(camera.given))
        many = f"all {len(sources)} images" if len(sources) > 1 else "the one image"
        said.append(f"{names}: the reference{'s' * (len(camera.given) > 1)} of {many}")
    for formula, held in (
        ("raw / white", [s for s in sources if s.pair.white and not s.pair.dark]),
        ("(raw - dark) / (white - dark)", [s for s in sources if s.pair.white and s.pair.dark]),
    ):
        if held:
            pair = held[0].pair
            names = " and ".join(relative(path, base) for path in (pair.white, pair.dark) if path)
            said.append(
                f"{len(held)} of {len(sources)} images become reflectance, {formula}, by the references beside each "
                f"(as {relative(held[0].found.path, base)} by {names}); --no-references stores them as they are"
            )
    return said


def _no_scene(root: Path) -> CubeError:
    pictures = sum(path.suffix.lower() in mosaic.SUFFIXES | {".bmp"} for path in files_below(_base(root)))
    known = f"Known formats: {', '.join(kind.NAME for kind in scene_files.FORMATS)}."
    if not pictures:
        return CubeError(f"{root} holds no scene", known)
    return CubeError(
        f"{root} holds {pictures} picture{'s' * (pictures > 1)} that are no bands, and no scene",
        f"Raw frames of a 4 x 4 mosaic camera: --layout mosaic; colour photographs lie in images/, their masks in masks/ "
        f"(those of PH2 too: put its pictures there). {known}",
    )


def _why_unused(camera: Camera) -> str:
    if camera.given:
        return "others were given"
    return "" if camera.references else "--no-references was given"


def _pair(found: Found, known: Sequence[Reference], camera: Camera) -> Pair:
    return references.pair(found, known) if camera.references and not camera.given else Pair()


def _found(root: Path, camera: Camera, tables: Tables) -> tuple[list[Found], list[Reference], list[tuple[Found, str]]]:
    """Return the scenes, the references and the files that are not read.

    The scenes lie at or below `root`; the references are among them or beside the one named file. Not read, with the reason,
    are other versions of these scenes and files that may be references.
    """
    found = [one for one in _all(root, camera) if not _is_given(one, camera)]
    if root.is_dir() or not found:
        scenes, known = references.parted(found)
        doubtful = references.in_doubt(scenes, ())
        if known or doubtful:
            lesions = _said_to_be_lesions(root, [one.name for one in found], tables)
            scenes, known = references.parted(found, lesions)
            doubtful = references.in_doubt(scenes, lesions)
        left = [one for one in scenes if all(one is not other for other, _ in doubtful)]
        scenes, aside = one_of_each(left, lambda one: bool(camera.given or _pair(one, known, camera).white))
        return scenes, known, [*aside, *doubtful]
    known = references.parted(_frames(root.parent) if camera.mosaic else scene_files.find_beside(root))[1]
    for one in known:
        if root in one.found.files:
            raise CubeError(f"{root.name} is a {one.kind} reference by its name, no scene", "If it is a scene, rename it.")
    return found, known, []


def _said_to_be_lesions(base: Path, names: Sequence[str], tables: Tables) -> set[str]:
    """Return the images among `names` that a mask marks or a table of diagnoses names."""
    said = tables.of(names).said
    return set(_masks(base, names).of) | {name for name, each in said.items() if each.problem != NOT_NAMED}


def _all(root: Path, camera: Camera) -> list[Found]:
    """Return every image at or below `root`, including references."""
    return _frames(root) if camera.mosaic else scene_files.find_scenes(root)[0]


def _is_given(found: Found, camera: Camera) -> bool:
    """Return whether the user named one of the scene's files as a reference."""
    given = {path.resolve() for path in camera.given}
    return bool(given & {path.resolve() for path in found.files})


def _frames(root: Path) -> list[Found]:
    """Return every raw frame at or below `root`: all pictures except the masks."""
    base = _base(root)
    files = [root] if root.is_file() else files_below(base)
    return [
        Found(name_below(path, base), path, (path,), mosaic.NAME)
        for path in files
        if path.suffix.lower() in mosaic.SUFFIXES and "masks" not in map(folded, path.relative_to(base).parts[:-1])
    ]


def _masks(base: Path, names: Sequence[str]) -> Masks:
    pictures = [
        (path.relative_to(top).with_suffix("").as_posix(), path)
        for top in folders(base, "masks")
        for path in files_below(top)
    ]
    return match_masks(pictures, names)


def _mask_astray(path: Path, names: Names) -> str:
    """Return a sentence if an unused picture is, by its name, a mask in the wrong place; otherwise ""."""
    ways = [one.image for one in readings(path.stem) if one != Reading(path.stem)] if path.suffix else []
    meant = next((hit[0] for way in ways if (hit := names.last(way))), "")
    return f"a mask of {meant}, by its name: masks lie in masks/ of the source" if meant else ""


def _responses(base: Path, sources: Sequence[Source]) -> set[Path]:
    """Return the response tables from which raw frames take their wavelengths."""
    used = set()
    for source in sources:
        options = source.camera.mosaic
        assert options is not None
        if options.wavelengths_nm is None and options.responses is None:
            with suppress(CubeError):  # several tables: reading says so
                used.add(mosaic.responses_beside(source.found.path.parent, base))
    return {path for path in used if path}


def _base(root: Path) -> Path:
    return root if root.is_dir() else root.parent
