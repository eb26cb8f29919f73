"""Any folder of hyperspectral images, or one file: ENVI, TIFF, NumPy, MATLAB, band images, raw mosaic frames.

    <root>/…/<scene>.<suffix>           every format of `formats.FORMATS`; frames of a mosaic camera where asked for
    <root>/masks/<scene>_00.png         optional; also <scene>.png, <scene>_mask.png; folders as below <root>
    <root>/labels.csv                   optional; columns as photographs have them, scenes called alike by their whole paths
    <root>/…/wavelengths.txt            where the scenes do not know theirs: `formats.read_scene`
    <root>/…/WHITEREF_<scene>.<suffix>  optional, and DARKREF_: references, never scenes (`references` knows more names)

Scans that references lie beside are stored in reflectance, each by its own, unless the user names others or wants none.
A scene's image id is its path below the root without suffix. Without a mask a scene is stored whole.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from hyperderm.cubes.cube import Lesion
from hyperderm.cubes.readers import formats, mosaic, references
from hyperderm.cubes.readers.cutting import How, Image, lesions_of
from hyperderm.cubes.readers.labels import Labels, diagnosis_of, read_labels
from hyperderm.cubes.readers.mosaic import Mosaic
from hyperderm.cubes.readers.pixels import name_below, natural
from hyperderm.cubes.readers.references import Pair, Reference
from hyperderm.cubes.readers.scene import Asked, Found, Scene, SetAside
from hyperderm.errors import CubeError, NoImage

_MASK = re.compile(r"(?P<scene>.+?)(_\d+|_mask|_segmentation|_lesion)?")
CHUNK = 2**20


@dataclass(frozen=True)
class Camera:
    """What a user says of the files; can be pickled.

    Attributes:
        asked: wavelengths, rows, columns, key.
        mosaic: how raw mosaic frames are read; None: these are no such frames.
        dark: dark reference of cubes that are still counts.
        white: white reference likewise.
        white_reflectance: of the white panel.
        references: whether references that lie beside a scan are applied to it where neither `dark` nor `white` is given.
    """

    asked: Asked = field(default_factory=Asked)
    mosaic: Mosaic | None = None
    dark: Path | None = None
    white: Path | None = None
    white_reflectance: float = 1.0
    references: bool = True

    @property
    def given(self) -> tuple[Path, ...]:
        """The reference files that the user named."""
        held = (self.dark, self.white) if self.mosaic is None else (self.mosaic.dark, self.mosaic.white)
        return tuple(path for path in held if path is not None)


@dataclass(frozen=True)
class Source:
    """One scene; `label` is the table's word for it, None where there is no table, "" where the table leaves it out.

    `pair` are the references that lie beside it, where these are applied.
    """

    found: Found
    masks: tuple[Path, ...]
    label: str | None
    camera: Camera = field(default_factory=Camera)
    pair: Pair = field(default_factory=Pair)


def scan(root: Path, camera: Camera) -> list[Source]:
    """List the scenes at or below `root`, without opening any; the table of diagnoses is read.

    Raises:
        CubeError: no scene there, two scenes of one name, or a table that cannot be used.
    """
    found, known = _found(root, camera)
    if not found:
        if known:
            raise CubeError(
                f"{root} holds references and no scene", "Name a folder with the scans too, or rename the files."
            )
        raise _no_scene(root)
    base = _base(root)
    masks = _masks(base, found)
    labels = read_labels(base)
    alike = Counter(each.name.rpartition("/")[2] for each in found)
    automatic = camera.references and not camera.given
    sources = [
        Source(
            each,
            tuple(masks.get(each.name, ())),
            _label(each.name, labels, alike),
            camera,
            references.pair(each, known) if automatic else Pair(),
        )
        for each in found
    ]
    panel = camera.white_reflectance if camera.mosaic is None else camera.mosaic.white_reflectance
    white = camera.white if camera.mosaic is None else camera.mosaic.white
    if panel != 1 and white is None and not any(source.pair.white for source in sources):
        raise CubeError("--white-reflectance is of a white reference", "Give --white too.")
    return sources


def orphans(root: Path, sources: Sequence[Source]) -> list[SetAside]:
    """List every file below `root` that no scene uses, with the reason; side files that layouts read are none."""
    base = _base(root)
    if base != root:
        return []  # one file was named: its neighbours are not meant
    used = {path for source in sources for path in source.found.files} | {mask for s in sources for mask in s.masks}
    camera = sources[0].camera if sources else Camera()
    known = _found(root, camera)[1]
    unread = references.unused(known, [s.pair for s in sources], _why_unused(camera))
    used |= {path for one in known for path in one.found.files} | set(camera.given)
    if camera.mosaic:
        unread += [(p, "no raw frame") for p in _below(base) if p not in used and not formats.is_side_file(p, base)]
    else:
        unread += [(path, reason) for path, reason in formats.find_scenes(root)[1] if path not in used]
    aside = [SetAside(_relative(path, base), reason) for path, reason in unread]
    for path in _below(base):
        folders = path.relative_to(base).parts[:-1]
        if path not in used and "masks" in map(str.lower, folders):
            where = "" if folders[0] == "masks" else ": masks lie in masks/ of the source"
            aside.append(SetAside(_relative(path, base), f"mask without a scene{where}"))
    return aside


def read(source: Source, root: Path, how: How) -> tuple[list[Lesion], list[SetAside]]:
    """Read one scene and cut out its lesions; without a mark the whole scene is stored.

    Returns:
        The lesions, and what had to be set aside: the whole scene (then no lesion), or single masks.
    """
    try:
        image = open_image(source, root)
    except (CubeError, OSError) as error:
        file = _relative(source.found.path, _base(root))
        return [], [SetAside(file, str(error), image=not isinstance(error, NoImage))]
    return lesions_of(image, how)


def open_image(source: Source, root: Path) -> Image:
    """Read one scene whole, in reflectance where references are given.

    Raises:
        CubeError: it cannot be used.
    """
    base, found = _base(root), source.found
    diagnosis = diagnosis_of(source.label)
    scene = _scene(source, root)
    digest = hashlib.sha256()
    for path in found.files:
        with path.open("rb") as stream:
            while part := stream.read(CHUNK):
                digest.update(part)
    assert scene.wavelengths_nm is not None
    masks = [(f"{found.name}_{n:02d}", path, _relative(path, base)) for n, path in enumerate(source.masks)]
    facts = {"sha256": digest.hexdigest(), "format": found.format, **scene.facts}
    file = _relative(found.path, base)
    return Image(found.name, file, diagnosis, scene.reflectance, scene.wavelengths_nm, facts, masks)


def _scene(source: Source, root: Path) -> Scene:
    camera, found = source.camera, source.found
    pair = source.pair
    if pair.trouble:
        raise CubeError(pair.trouble, "Give --white and --dark, or --no-references to store it as it is.")
    if camera.mosaic is not None:
        options = camera.mosaic if pair.white is None else replace(camera.mosaic, white=pair.white, dark=pair.dark)
        return mosaic.read_mosaic(found.path, options, _base(root))
    scene = formats.read_scene(found, camera.asked, root)
    white, dark = (pair.white, pair.dark) if pair.white else (camera.white, camera.dark)
    if white is None and dark is None:
        return scene
    return references.applied(scene, white, dark, camera.white_reflectance, camera.asked)


def used_references(root: Path, sources: Sequence[Source]) -> list[str]:
    """Return a sentence on every way in which references are applied."""
    if not sources:
        return []
    base, camera = _base(root), sources[0].camera
    said = []
    if camera.given:
        names = " and ".join(path.name for path in reversed(camera.given))
        said.append(f"{names}: the reference{'s' * (len(camera.given) > 1)} of all {len(sources)} images")
    for formula, held in (
        ("raw / white", [s for s in sources if s.pair.white and not s.pair.dark]),
        ("(raw - dark) / (white - dark)", [s for s in sources if s.pair.white and s.pair.dark]),
    ):
        if held:
            pair = held[0].pair
            names = " and ".join(_relative(path, base) for path in (pair.white, pair.dark) if path)
            said.append(
                f"{len(held)} of {len(sources)} images become reflectance, {formula}, by the references beside each "
                f"(as {_relative(held[0].found.path, base)} by {names}); --no-references stores them as they are"
            )
    return said


def _no_scene(root: Path) -> CubeError:
    pictures = sum(path.suffix.lower() in mosaic.SUFFIXES for path in _below(_base(root)))
    known = f"Known formats: {', '.join(kind.NAME for kind in formats.FORMATS)}."
    if not pictures:
        return CubeError(f"{root} holds no scene", known)
    return CubeError(
        f"{root} holds {pictures} picture{'s' * (pictures > 1)} that are no bands, and no scene",
        f"Raw frames of a 4 x 4 mosaic camera: --layout mosaic; colour photographs lie in images/. {known}",
    )


def _why_unused(camera: Camera) -> str:
    if camera.given:
        return "others were given"
    return "" if camera.references else "--no-references was given"


def _found(root: Path, camera: Camera) -> tuple[list[Found], list[Reference]]:
    """Return the scenes at or below `root`, and the references among them or beside the one file that was named."""
    given = {path.resolve() for path in camera.given}
    found = _frames(root) if camera.mosaic else formats.find_scenes(root)[0]
    found = [one for one in found if not given & {path.resolve() for path in one.files}]
    if root.is_dir() or not found:
        return references.parted(found)
    known = references.parted(_frames(root.parent) if camera.mosaic else formats.find_beside(root))[1]
    for one in known:
        if root in one.found.files:
            raise CubeError(f"{root.name} is a {one.kind} reference by its name, no scene", "If it is a scene, rename it.")
    return found, known


def _frames(root: Path) -> list[Found]:
    """Return every raw frame at or below `root`: its pictures but for the masks."""
    base = _base(root)
    files = [root] if root.is_file() else _below(base)
    return [
        Found(name_below(path, base), path, (path,), mosaic.NAME)
        for path in files
        if path.suffix.lower() in mosaic.SUFFIXES and "masks" not in path.relative_to(base).parts[:-1]
    ]


def _masks(base: Path, found: Sequence[Found]) -> dict[str, list[Path]]:
    """Return scene to its mask pictures: masks/<scene>.png, or with a number or a word for mask behind the name."""
    names = {each.name for each in found}
    masks: dict[str, list[Path]] = {}
    for path in _below(base / "masks"):
        if path.suffix.lower() != ".png":
            continue
        stem = path.relative_to(base / "masks").with_suffix("").as_posix()
        match = _MASK.fullmatch(stem)
        name = stem if stem in names else match["scene"] if match else stem
        if name in names:
            masks.setdefault(name, []).append(path)
    return masks


def _label(name: str, labels: Labels | None, alike: Counter[str]) -> str | None:
    """Return a scene's label: of the row with its whole path; where no other scene is called so, also of its last part."""
    if labels is None:
        return None
    last = name.rpartition("/")[2]
    if name in labels and (name in labels.rows or alike[last] == 1):
        return labels[name]
    return labels.last.get(last, "") if alike[last] == 1 else ""


def _base(root: Path) -> Path:
    return root if root.is_dir() else root.parent


def _below(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    paths = [p for p in folder.rglob("*") if p.is_file()]
    return sorted(
        (p for p in paths if not _relative(p, folder).startswith(".") and "/." not in _relative(p, folder)), key=natural
    )


def _relative(path: Path, base: Path) -> str:
    return path.relative_to(base).as_posix()
