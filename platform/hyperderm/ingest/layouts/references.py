"""White and dark references: find them in a folder, assign them to scans, and read them."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hyperderm.errors import CubeError
from hyperderm.ingest.formats import band_images, envi, matlab_scene, numpy_files, tiff
from hyperderm.ingest.formats.array_names import COUNT, PLAIN, REFERENCE, THING, WHOLE, WORD, words_of
from hyperderm.ingest.formats.pixels import oriented
from hyperderm.ingest.formats.scene import Found, ReadOptions, Scene
from hyperderm.ingest.layouts.naming import SUFFIXES, shorter
from hyperderm.ingest.reflectance import NUMPY, PICTURES, TIFF, check_raw, read_reference, to_reflectance

Kind = Literal["white", "dark", "white_dark"]
"""The kind of a reference. `white_dark` is the dark reference of a white one that has its own exposure time."""

_BESIDE = (
    re.compile(rf"(?:(?P<kind>{PLAIN})(?:s?_|(?=..))|(?P<short>[wd])r_)(?P<scan>.+)"),
    re.compile(rf"(?P<scan>.+?)(?:_?(?P<kind>{PLAIN})s?|_(?P<short>[wd])r)"),
    re.compile(rf"(?P<scan>.+?)_?(?P<kind>{PLAIN})s?_?(?:{THING})"),
)
_THING_AHEAD = re.compile(rf"(?:{THING})_?")
_COUNT_ALONE = re.compile(rf"_?{COUNT}_?")
_DOUBTFUL = re.compile(
    rf"(?<![a-z])(?:(?:{PLAIN})s?(?:_?(?:{THING}|{WORD}))?|(?:{THING}|{WORD})_?(?:{PLAIN}))(?![a-z])"
    rf"|^(?:references?|calibrations?|calib){COUNT}$"
)
_SKIN = re.compile(
    r"(?<![a-z])(?:n(?:a?e)v(?:us|i)|moles?|lesions?|melan\w*|kerato\w*|lentig\w*|carcinom\w*|tumou?rs?|mel|nv|sk|bcc|scc|iec"
    r"|skins?|spots?|freckles?|hairs?|patients?|subjects?|arms?|forearms?|legs?|backs?|chest|face|cheeks?|hands?|foot|feet"
    r"|neck|scalp|thighs?|shoulders?|abdomen|nails?)(?![a-z])"
)
"""With one of these words a name is a lesion's, even if it also says white, dark or black."""
_KIND_OF: dict[str, Kind] = {
    **dict.fromkeys(("white", "w"), "white"),
    **dict.fromkeys(("dark", "d"), "dark"),
    "whitedark": "white_dark",
}
_SAME_NM = 0.1
_NO_REFLECTANCE = 3.0
"""The median of a scene in reflectance lies below this value."""

IN_DOUBT = (
    "its name may be that of a white or dark reference of the other scans. If it is one, name it with --white or --dark, or "
    "call it WHITEREF_<scan> or DARKREF_<scan>; if it is a lesion, mark it with a mask, name it in a table of diagnoses, or "
    "rename it"
)


@dataclass(frozen=True)
class Reference:
    """A file that is a reference according to its name.

    Attributes:
        kind: the kind of the reference; black references count as dark.
        found: the file of the reference.
        place: the folder to which the reference applies, as a posix path below the root, "" for the root.
        scan: the name of the one scan to which it belongs, in lower case; "" if it belongs to every scan in its place.
        bound: whether a scan of that name exists, so that the reference concerns no other scan.
    """

    kind: Kind
    found: Found
    place: str
    scan: str
    bound: bool = False


@dataclass(frozen=True)
class Pair:
    """The references of one scan.

    Attributes:
        white: the white reference, or None.
        dark: the dark reference, or None.
        trouble: why the references cannot be determined, with the remedy.
        others: the white references beside the scan that belong to other scans, if the scan has none of its own.
    """

    white: Path | None = None
    dark: Path | None = None
    trouble: str = ""
    others: tuple[str, ...] = ()

    def check_unit(self, scene: Scene) -> None:
        """Prove that a scene without references is not in counts if references of other scans lie beside it.

        Raises:
            CubeError: the scene is in counts and cannot be converted to reflectance.
        """
        if not self.others:
            return
        sample = scene.reflectance[:: max(1, scene.reflectance.shape[0] // 256)]
        known = sample[np.isfinite(sample)]
        if known.size and float(np.median(known)) > _NO_REFLECTANCE:
            raise CubeError(
                f"its values ({known.min():.4g} … {known.max():.4g}) are no reflectance (about 0 … 2), it has no white "
                f"reference, and those beside it belong to other scans ({', '.join(self.others[:3])})",
                _OWN_REFERENCES,
            )


_OWN_REFERENCES = (
    "Give it references of its own: WHITEREF_<its name> and DARKREF_<its name> beside it, or a folder of its own with them. "
    "Whatever lies in a folder without references is stored as it is."
)


def parted(found: Sequence[Found], lesions: Collection[str] = ()) -> tuple[list[Found], list[Reference]]:
    """Separate scenes from references by their names.

    Args:
        found: the scenes and references together.
        lesions: the names of scenes that masks or tables call lesions; only a word for "reference" overrides this.
    """
    stems: dict[str, set[str]] = {}
    for each in found:
        folder, stem = folder_and_stem(each)
        stems.setdefault(folder, set()).add(stem)
    scans, references = [], []
    for each in found:
        reference = _named(each, stems, lesions)
        if reference is None:
            scans.append(each)
        else:
            references.append(reference)
    places = [folder_and_stem(each) for each in scans]
    return scans, [
        replace(one, bound=any(stem == one.scan and _is_below(folder, one.place) for folder, stem in places))
        for one in references
    ]


def pair(scan: Found, references: Sequence[Reference]) -> Pair:
    """Return the references of a scan: those named after it, else the nearest ones in its folder or in one above it.

    A dark reference alone cannot give reflectance and is not used.
    """
    folder, stem = folder_and_stem(scan)
    chosen: dict[str, Path | None] = {}
    others: dict[str, list[str]] = {}
    for kind in ("white", "dark", "white_dark"):
        known = [one for one in references if one.kind == kind]
        several = _nearest(folder, stem, known)
        if len(several) > 1:
            names = ", ".join(one.found.path.name for one in several[:3])
            return Pair(trouble=f"{len(several)} {kind} references may be meant ({names}). {_ONE_IS_MEANT}")
        strangers = [one for one in known if one.place == folder] if not several else []
        if unbound := [one.found.path.name for one in strangers if not one.bound]:
            return Pair(trouble=f"{_strangers(kind, unbound)}. {_CALL_THEM}")
        chosen[kind] = several[0].found.path if several else None
        others[kind] = [one.found.path.name for one in strangers]
    if chosen["white_dark"]:
        told = f"{chosen['white_dark'].name} says that its white reference was taken with another exposure"
        return Pair(trouble=f"{told}. {_ONE_IS_MEANT}")
    if not chosen["white"]:
        return Pair(others=tuple(others["white"]))
    if others["dark"]:  # white without dark, although the camera has an offset
        return Pair(trouble=f"{_strangers('dark', others['dark'])}. {_CALL_THEM}")
    return Pair(chosen["white"], chosen["dark"])


_ONE_IS_MEANT = "Give --white and --dark, or --no-references to store it as it is."
_CALL_THEM = (
    "Call them after it (WHITEREF_<its name>, DARKREF_<its name>), or whiteref and darkref if they are those of every scan "
    "in the folder; give each scan a folder of its own with its references; or --no-references to store all as they are."
)


def _strangers(kind: str, names: Sequence[str]) -> str:
    return f"{kind} references lie beside it, and none is called after it ({', '.join(names[:3])})"


def unused(references: Sequence[Reference], pairs: Sequence[Pair], why: str) -> list[tuple[Path, str]]:
    """Return every reference that no scan uses, with the reason: `why`, or that no scan belongs to it."""
    used = {path for one in pairs for path in (one.white, one.dark) if path}
    places = {one.place for one in references if one.kind == "white"}
    said = []
    for one in references:
        if one.found.path not in used:
            lonely = one.kind == "dark" and one.place not in places
            reason = why or (
                "no white one lies beside it" if lonely else "no scan beside it goes with it; give --white or --dark"
            )
            said.append((one.found.path, f"a {one.kind.replace('_', '-')} reference by its name, no scene: {reason}"))
    return said


def read(path: Path, asked: ReadOptions) -> tuple[NDArray[Any], NDArray[np.float64] | None]:
    """Read a reference of cubes, and its wavelengths if the file gives them.

    ENVI (its header or its data file), `.npz` and `.mat` are read like scenes; a TIFF's pages are its first axis; other
    files hold an array that is read unchanged.

    Raises:
        CubeError: the file cannot be used; the message says why.
    """
    suffix = path.suffix.lower()
    if suffix in TIFF | NUMPY | PICTURES:
        return read_reference(path), None
    try:
        scene = _scene(path, replace(asked, rows=None, columns=None))
    except CubeError as error:
        raise CubeError(f"{path.name}: {error.what}", error.remedy) from error
    dtype = np.dtype(str(scene.facts.get("dtype", "float32")))
    whole = dtype.kind in "iu" and dtype.itemsize <= 2 and not envi.is_scaled(scene.facts)
    return scene.reflectance.astype(dtype) if whole else scene.reflectance, scene.wavelengths_nm


def applied(scene: Scene, white: Path | None, dark: Path | None, white_reflectance: float, asked: ReadOptions) -> Scene:
    """Return a scene in reflectance (or minus its dark level), with the names of its references in the facts.

    Raises:
        CubeError: the references do not fit the scene's shape or wavelengths, or the result shows that they cannot be its
            own.
    """
    turned = scene.facts.get("orientation", 1) not in (1, [1])
    given = (("white", white), ("dark", dark))
    arrays = {name: None if path is None else _fitted(path, name, scene, asked, turned) for name, path in given}
    reflectance, facts = to_reflectance(scene.reflectance, arrays["dark"], arrays["white"], white_reflectance)
    held = {name: (path.name, array) for name, path in given if path and (array := arrays[name]) is not None}
    check_raw(scene.reflectance, reflectance, held.get("dark"), held.get("white"))
    names = {name: path.name for name, path in given if path is not None}
    return Scene(reflectance, scene.wavelengths_nm, {**scene.facts, **facts, **names})


def _fitted(path: Path, name: str, scene: Scene, asked: ReadOptions, turned: bool) -> NDArray[Any]:
    """Return the numbers of a reference with the bands as the last axis."""
    values, nm = read(path, asked)
    shape = scene.reflectance.shape
    held = scene.wavelengths_nm
    away = 0.0
    if nm is not None and held is not None and asked.wavelengths_nm is None and nm.shape == held.shape:
        away = float(np.abs(nm - held).max())
    if away > _SAME_NM:
        raise CubeError(
            f"the {name} reference {path.name} is of other bands: its wavelengths are up to {away:.4g} nm off the image's",
            f"Give the --{name} of this camera, or --no-references.",
        )
    if path.suffix.lower() in TIFF and values.ndim == 3:
        values = _bands_last(values, path, name, shape)
    order = scene.facts.get("band_order")
    if order is not None and nm is None and values.shape[-1] == len(order):
        values = values[..., order]  # a file without wavelengths is in the order of the image's file
    lines = values.ndim == 2 or (values.ndim == 3 and values.shape != shape)
    if turned and lines and values.shape[-2:] == shape[1:]:
        raise CubeError(
            f"an orientation tag turns the image, so the lines of the {name} reference {path.name} are not its rows",
            "Save the image without orientation tag.",
        )
    return values


def _bands_last(values: NDArray[Any], path: Path, name: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """Return a TIFF with the bands last: its pages are lines or bands, whichever fits the image."""
    moved = oriented(np.moveaxis(values, 0, -1), _orientation(path))
    fits = [array for array in (values, moved) if array.shape[1:] == shape[1:]]
    if len(fits) > 1 and not np.array_equal(values, moved):
        raise CubeError(
            f"the pages of the {name} reference {path.name} may be lines or bands: both fit {shape}",
            "Save it as .npy (lines, columns, bands).",
        )
    return fits[0] if fits else values


def _orientation(path: Path) -> int:
    import tifffile

    with tifffile.TiffFile(path) as file:
        tag = file.pages[0].aspage().tags.get(tiff.ORIENTATION)
        return int(tag.value) if tag is not None else 1


def _scene(path: Path, asked: ReadOptions) -> Scene:
    suffix = path.suffix.lower()
    if suffix in numpy_files.SUFFIXES:
        return numpy_files.read(Found(path.stem, path, (path,), numpy_files.NAME), asked)
    if suffix == ".mat":
        return matlab_scene.read(Found(path.stem, path, (path,), matlab_scene.NAME), asked)
    folder = path.parent
    headers = [p for p in sorted(folder.iterdir()) if p.suffix.lower() == envi.HEADER and p.is_file()]
    for one in envi.find(folder, headers, folder):
        if path in one.files or path == one.path:
            return envi.read(one, asked)
    known = ".tif, .tiff, .png, .npy, .npz, .mat, and ENVI's .hdr with its data file"
    raise CubeError("none of the files that hold a reference", f"Known: {known}.")


def _named(found: Found, stems: dict[str, set[str]], lesions: Collection[str] = ()) -> Reference | None:
    """Return a file as a reference if its name says so.

    `stems` are the names in every folder; `lesions` has the same meaning as in `parted`.
    """
    folder, stem = folder_and_stem(found)
    scans = stems.get(folder, set())
    if match := REFERENCE.search(stem):
        return Reference(_kind(match), found, folder, _rest(stem, match, scans))
    if found.name not in lesions:
        for pattern in _BESIDE:
            if (match := pattern.fullmatch(stem)) and (scan := _called(match["scan"], scans)):
                return Reference(_kind(match), found, folder, scan)
        if match := WHOLE.fullmatch(stem):
            return Reference(_kind(match), found, folder, "")
    parts = folder.split("/") if folder else []
    for depth, part in enumerate(parts):
        if match := REFERENCE.search(words_of(part)):
            place = "/".join(parts[:depth])
            called = any(stem in names for at, names in stems.items() if at != folder and _is_below(at, place))
            return Reference(_kind(match), found, place, stem if called else "")
    return None


def in_doubt(scans: Sequence[Found], lesions: Collection[str]) -> list[tuple[Found, str]]:
    """Return the scenes that may be references by their names, with the reason why they are not stored as lesions.

    If the source holds no other scenes, none of them is in doubt.

    Args:
        scans: the files that `parted` returns as scenes.
        lesions: has the same meaning as in `parted`.
    """
    doubtful = [one for one in scans if one.name not in lesions and _is_doubtful(one)]
    return [(one, IN_DOUBT) for one in doubtful] if len(doubtful) < len(scans) else []


def _is_doubtful(found: Found) -> bool:
    """Return whether a name says white or dark and nothing of skin, or is in a folder with only such a name."""
    folder, stem = folder_and_stem(found)
    return not _SKIN.search(stem) and bool(_DOUBTFUL.search(stem) or WHOLE.fullmatch(words_of(folder.rpartition("/")[2])))


def _nearest(folder: str, stem: str, references: Sequence[Reference]) -> list[Reference]:
    """Return the references named after a scan in the nearest folder that has any, or else those that serve all scans."""
    parts = folder.split("/") if folder else []
    upwards = ["/".join(parts[:depth]) for depth in range(len(parts), -1, -1)]
    for scan in (stem, ""):
        for place in upwards:
            if found := [one for one in references if one.place == place and one.scan == scan]:
                return found
    return []


def _is_below(folder: str, place: str) -> bool:
    return not place or folder == place or folder.startswith(f"{place}/")


def folder_and_stem(found: Found) -> tuple[str, str]:
    """Return a scene's folder below the root, and its name in the form for comparisons: `Arm0.bil.hdr` gives `arm0`."""
    folder, _, last = found.name.rpartition("/")
    return folder, words_of(last if found.format == band_images.NAME else shorter(found.path.name)[-1])


def _rest(text: str, match: re.Match[str], scans: Collection[str]) -> str:
    """Return the scan in a reference's name; a number or an exposure is not a scan unless a scan has that name."""
    rest = "_".join(filter(None, (text[: match.start()].strip("_"), text[match.end() :].strip("_"))))
    return _scan_in(rest, scans) or ("" if _COUNT_ALONE.fullmatch(rest) else rest)


def _called(text: str, scans: Collection[str]) -> str:
    """Return the one of `scans` that remains after words such as white are removed from a name, or ""."""
    return _scan_in(text, scans) or _scan_in(_THING_AHEAD.sub("", text, count=1), scans)


def _scan_in(text: str, scans: Collection[str]) -> str:
    """Return the one of `scans` that a text equals apart from a suffix, a number or an exposure, or ""."""
    bare, _, suffix = text.rpartition("_")
    if text in scans or (f".{suffix}" in SUFFIXES and bare in scans):
        return text if text in scans else bare
    fitting = [
        scan
        for scan in scans
        if (text.startswith(f"{scan}_") and _COUNT_ALONE.fullmatch(text[len(scan) :]))
        or (text.endswith(f"_{scan}") and _COUNT_ALONE.fullmatch(text[: -len(scan)]))
    ]
    return max(fitting, key=len, default="")


def _kind(match: re.Match[str]) -> Kind:
    """Return the kind that the words of a name give; without any it is white, as for a flat field."""
    words = match.groupdict()
    said = words.get("kind") or words.get("behind") or words.get("short") or "white"
    return _KIND_OF[said.replace("_", "").replace("black", "dark")]
