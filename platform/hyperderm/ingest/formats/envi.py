"""ENVI images: a text header `<name>.hdr` and the numbers in a data file beside it.

The module reads BSQ, BIL and BIP, every type of real numbers, both byte orders, and a header offset. Optional fields have
the defaults of the format: byte order 0, header offset 0. Case does not matter in keys or words, comments begin with ; and
the text is UTF-8 or else cp1252. The data file is `<name>`, `<name>.img`, `.dat`, `.raw`, `.bin`, `.hyspex` or `.bsq`,
`.bil`, `.bip`, or the file in a line `data file = …`; if several exist, the one with the right size is used. The pixels are
divided by `reflectance scale factor`, or multiplied band by band with `data gain values` (or `data reflectance gain values`)
and shifted by the matching offsets; pixels that hold `data ignore value` are missing. Bands that `bbl` marks as bad are kept
and recorded. Wavelengths are used if `wavelength units` names a length, or if it names no unit and they can only be nm.
"""

import codecs
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperderm.errors import CubeError
from hyperderm.ingest.formats.axes import BANDS_LAST
from hyperderm.ingest.formats.pixels import DAMAGED, damaged, make_scene, name_below, no_data, numbers
from hyperderm.ingest.formats.scene import Found, ReadOptions, Scene, inside
from hyperderm.ingest.formats.wavelengths import Listed, in_nm
from hyperderm.ingest.layouts.naming import folded

NAME: str = "envi"
HEADER = ".hdr"
DATA = ("", ".img", ".dat", ".raw", ".bin", ".hyspex", ".bsq", ".bil", ".bip")

FACTOR = "reflectance scale factor"
GAINS = (
    ("data gain values", "data offset values"),
    ("data reflectance gain values", "data reflectance offset values"),
)
"""Header fields that change the file's numbers: `FACTOR` divides, the gains multiply and the offsets are added."""

_KIND = "an ENVI image"
_TO_PIXELS = {"bsq": ((2, 0, 1), (1, 2, 0)), "bil": ((0, 2, 1), (0, 2, 1)), "bip": ((0, 1, 2), (0, 1, 2))}
"""Maps the interleave to the file's axes out of (rows, columns, bands), and to the order that reverses it."""
_TYPES = {"1": "u1", "2": "i2", "3": "i4", "4": "f4", "5": "f8", "12": "u2", "13": "u4", "14": "i8", "15": "u8"}
_COMPLEX = {"6", "9"}
_NO_UNIT = {"", "unknown", "none", "n/a"}
_NM_PER_UNIT = {
    **dict.fromkeys(("nanometers", "nanometer", "nanometres", "nanometre", "nm"), 1.0),
    **dict.fromkeys(("micrometers", "micrometer", "micrometres", "micrometre", "microns", "micron"), 1000.0),
    **dict.fromkeys(("um", "µm", "μm"), 1000.0),
    **dict.fromkeys(("angstroms", "angstrom", "å"), 0.1),
}
_WORDS = re.compile(r"[^\W\d_]+")
_ABOUT = {"wavelength", "wavelengths", "unit", "units", "in"}
"""Words beside a unit that do not change its meaning."""
_LONGEST_HEADER = 16 << 20  # bytes; the lists of a few thousand bands take some hundred KiB
_SAMPLE = 200_000  # values looked at to tell a wrong byte order
_SANE = (1e-6, 1e6)  # magnitudes; a float with its bytes reversed lies outside about five times in six


@dataclass(frozen=True)
class _Layout:
    """The header's description of its data file."""

    rows: int
    columns: int
    bands: int
    offset: int
    interleave: str
    dtype: np.dtype[Any]

    @property
    def bytes(self) -> int:
        return self.offset + self.rows * self.columns * self.bands * self.dtype.itemsize


@dataclass(frozen=True)
class _Scaling:
    """Turns the file's numbers into measured values: times `gain`, divided by `factor`, plus `offset`."""

    factor: float = 1.0
    gain: NDArray[np.float64] | float = 1.0
    offset: NDArray[np.float64] | float = 0.0
    facts: dict[str, Any] = field(default_factory=dict)


def find(folder: Path, files: Sequence[Path], root: Path) -> list[Found]:
    """Return one scene per header; only the header line that names the data file is read."""
    found = []
    for header in (p for p in files if p.suffix.lower() == HEADER):
        try:
            fields = read_header(header)
        except CubeError:
            fields = {}  # read() says it; the data beside it are its own all the same
        try:
            data = [_data_file(header, fields, root)]
        except CubeError:
            data = [] if fields.get("data file") else _beside(header)  # read() says why none of them counts
        found.append(Found(name_below(header, root), header, (header, *data), NAME))
    return found


def read(found: Found, asked: ReadOptions) -> Scene:
    """Read one image as (rows, columns, bands), divided by the header's scale factor.

    Raises:
        CubeError: the file has no ENVI header, the data file is missing or truncated, the numbers are complex, the byte
            order cannot be right, or the wavelengths cannot be used.
    """
    header = read_header(found.path)
    layout = _layout(header)
    data = _data_file(found.path, header, _root(found))
    if (held := data.stat().st_size) != layout.bytes:
        why = "truncated, or the header" if held < layout.bytes else "its lines, samples, bands, data type or offset"
        raise CubeError(f"{data.name} holds {held} bytes, its header says {layout.bytes}: {why} is wrong")
    scaling = _scaling(header, layout.bands)
    array = _pixels(layout, data)
    _check_byte_order(array, data.name)
    missing = _ignored(array, header)
    facts: dict[str, Any] = {"interleave": layout.interleave, "data_file": data.name}
    if scaling.facts:
        facts = {**facts, "dtype": array.dtype.name, **scaling.facts}
        factor = np.float64(scaling.factor)
        array = array / factor if factor != 1 else array * scaling.gain + scaling.offset
    scene = make_scene(array, _wavelengths(header), asked, facts, BANDS_LAST, missing)
    if header.get("bbl") and any(bad := [good == 0 for good in numbers(header["bbl"], "the header's bbl")]):
        order = scene.facts.get("band_order", range(len(bad)))
        scene.facts["bad_bands"] = [place for place, band in enumerate(order) if band < len(bad) and bad[band]]
    return scene


def _scaling(header: dict[str, Any], bands: int) -> _Scaling:
    """Return how the header scales the file's numbers; entries that would change nothing are ignored.

    Raises:
        CubeError: the number of gains or offsets differs from the number of bands, a number cannot be right, or the header
            gives several scalings at once.
    """
    factor = numbers([header.get(FACTOR) or 1], f"the header's {FACTOR}")[0]
    if not (np.isfinite(factor) and factor > 0):
        raise CubeError(f"the header's {FACTOR} is {factor:g}, a positive number is expected")
    found = [_Scaling(factor, facts={_fact(FACTOR): factor})] if factor != 1 else []
    said = [FACTOR] if found else []
    for gains, offsets in GAINS:
        gain, offset = (_per_band(header, key, bands, usual) for key, usual in ((gains, 1.0), (offsets, 0.0)))
        if not np.all(gain > 0):
            raise CubeError(f"the header's {gains} hold {gain.min():g}, positive numbers are expected", "Correct them.")
        if facts := {_fact(gains): gain.tolist()} if np.any(gain != 1) else {}:
            said.append(gains)
        if np.any(offset != 0):
            facts[_fact(offsets)] = offset.tolist()
            said.append(offsets)
        if facts:
            found.append(_Scaling(1.0, gain, offset, facts))
    if len(found) > 1:
        raise CubeError(
            f"the header has {' and '.join(said)}: which of them leads to what was measured?",
            "Delete the lines that the file's numbers are not to be changed by.",
        )
    return found[0] if found else _Scaling()


def _per_band(header: dict[str, Any], key: str, bands: int, usual: float) -> NDArray[np.float64]:
    """Return the (B,) numbers of one field in the order of the file's bands, or `usual` for each if the field is missing."""
    listed = header.get(key)
    if not listed:
        return np.full(bands, usual)
    values = np.asarray(numbers(listed if isinstance(listed, list) else [listed], f"the header's {key}"))
    if values.size != bands:
        raise CubeError(f"{bands} bands, but the header's {key} are {values.size} numbers", "Give one for every band.")
    if not np.all(np.isfinite(values)):
        raise CubeError(f"the header's {key} are not all finite: {values.tolist()}"[:200], "Correct them.")
    return values


def _fact(field: str) -> str:
    return field.replace(" ", "_")


def read_header(path: Path) -> dict[str, Any]:
    """Return the header's fields with keys in lower case; a value in braces becomes a list of text, any other value text."""
    try:
        if (size := path.stat().st_size) > _LONGEST_HEADER:
            raise CubeError(f"an ENVI header of {size} bytes cannot be right")
        content = path.read_bytes().removeprefix(codecs.BOM_UTF8)
    except OSError as error:
        raise damaged(_KIND, error, path) from error
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        text = content.decode("cp1252", errors="replace")  # what Windows programs write; fields that count are ASCII
    lines = text.lstrip().splitlines()
    if not lines or lines[0].split(";")[0].strip().upper() != "ENVI":
        raise CubeError("not an ENVI header: it does not begin with the word ENVI")
    return _fields([line for line in lines[1:] if not line.lstrip().startswith(";")])


def _fields(lines: list[str]) -> dict[str, Any]:
    """Return the fields of a header's lines: `key = value`, or `key = {value, …}` over one or more lines."""
    fields: dict[str, Any] = {}
    rest = iter(lines)
    for line in rest:
        key, equals, value = line.partition("=")
        key, value = " ".join(key.lower().split()), value.strip()
        if not equals or not key:
            continue  # some programs write remarks
        if not value.startswith("{"):
            fields[key] = value.split(";")[0].strip()
            continue
        while "}" not in value:
            more = next(rest, None)
            if more is None:
                raise CubeError(f"the header is damaged: the braces of {key[:40]!r} are not closed", "Correct its text.")
            value += " " + more.strip()
        inner = value[1 : value.rindex("}")].strip()
        fields[key] = inner if key == "description" else [part.strip() for part in inner.split(",") if part.strip()]
    return fields


def _layout(header: dict[str, Any]) -> _Layout:
    sizes = {}
    for key, least, default in (
        ("lines", 1, None),
        ("samples", 1, None),
        ("bands", 1, None),
        ("header offset", 0, "0"),
        ("byte order", 0, "0"),
    ):
        text = header.get(key) or default
        if text is None:
            raise CubeError(f"the header does not say {key}", f"Add the line '{key} = …' to it.")
        try:
            sizes[key] = int(text)
        except (TypeError, ValueError):
            sizes[key] = -1
        if sizes[key] < least:
            raise CubeError(f"the header's {key} is {str(text)[:40]!r}, a whole number of at least {least} is expected")
    if sizes["byte order"] > 1:
        raise CubeError(f"the header's byte order is {sizes['byte order']}: 0 (little-endian) and 1 (big-endian) exist")
    interleave = str(header.get("interleave", "")).lower()
    if interleave not in _TO_PIXELS:
        raise CubeError(f"the header's interleave is {interleave[:40]!r}: bsq, bil and bip exist")
    kind = str(header.get("data type", ""))
    if kind in _COMPLEX:
        raise CubeError(f"the header's data type is {kind}: complex numbers are no reflectance")
    if kind not in _TYPES:
        raise CubeError(f"the header's data type is {kind[:40]!r}: {', '.join(_TYPES)} exist")
    _check_plain(header)
    dtype = np.dtype("<>"[sizes["byte order"]] + _TYPES[kind])
    lines, samples, bands, offset = (sizes[k] for k in ("lines", "samples", "bands", "header offset"))
    return _Layout(lines, samples, bands, offset, interleave, dtype)


def _check_plain(header: dict[str, Any]) -> None:
    """Raise CubeError if the file holds anything else than the plain numbers of an image."""
    kind = str(header.get("file type") or "ENVI").lower()
    if not kind.startswith("envi") or "library" in kind or "classification" in kind:
        raise CubeError(f"the header's file type is {header['file type']!r}, not an image of plain numbers (ENVI Standard)")
    if str(header.get("file compression", "0")) not in {"0", ""}:
        raise CubeError("the data file is compressed", "Save it without compression.")
    for key in ("major frame offsets", "minor frame offsets"):
        if any(offset != 0 for offset in numbers(header.get(key) or [], f"the header's {key}")):
            raise CubeError(f"the data file has {key}, which are not read", "Save it without frame offsets.")


def _data_file(path: Path, header: dict[str, Any], root: Path) -> Path:
    if named := header.get("data file"):
        try:
            data = inside(root, path.parent, str(named).strip().strip('"'))
        except (OSError, ValueError, RuntimeError) as error:  # names too long, with a NUL, or of links in a circle
            raise CubeError(f"its data file {str(named)[:80]!r} is no name of a file") from error
        if not data.is_file():
            raise CubeError(f"its data file {named} does not exist")
        return root / data.relative_to(root.resolve())
    there = _beside(path)
    if not there:
        raise CubeError(f"its data file is missing: none of {', '.join(path.stem + s for s in DATA[:5])}, … lies beside it")
    if len(there) == 1:
        return there[0]
    size = _layout(header).bytes
    fitting = [data for data in there if data.stat().st_size == size]
    if len(fitting) != 1:
        held = " and ".join(f"{data.name} ({data.stat().st_size} bytes)" for data in there)
        which = "all of them fit" if len(fitting) == len(there) else f"{len(fitting)} of them fit"
        raise CubeError(
            f"{held} lie beside it, and {which} the {size} bytes that it says",
            f"Leave one, or add a line 'data file = {there[0].name}' to the header.",
        )
    return fitting[0]


def _beside(path: Path) -> list[Path]:
    """Return the data files that a header's name may mean: those spelled exactly so, or else the first in another case."""
    own = [
        data for suffix in DATA for data in (path.with_suffix(suffix), path.with_suffix(suffix.upper())) if data.is_file()
    ]
    there: list[Path] = []
    for data in own:
        header = data.with_name(data.name + HEADER)
        if (header == path or not header.is_file()) and not any(data.samefile(other) for other in there):
            there.append(data)
    if there:
        return there
    stem = folded(path.stem)
    for data in sorted(path.parent.iterdir()):
        named = (folded(data.stem) == stem and data.suffix.lower() in DATA) or folded(data.name) == stem
        if named and data.suffix.lower() != HEADER and data.is_file():
            return [data]
    return []


def why_left(path: Path) -> str:
    """Return why no header reads a file that looks like the data of an ENVI image."""
    headers = sorted(p for p in path.parent.iterdir() if p.suffix.lower() == HEADER)
    own = [p for p in headers if folded(p.stem) in (folded(path.stem), folded(path.name))]
    if not own:
        return f"the data of an ENVI image without its header {path.stem}{HEADER}"
    return f"a second data file beside the header {own[0].name}, which is read with another one"


def _root(found: Found) -> Path:
    """Return the folder in which a scene's name such as `patient7/left_arm` begins."""
    return found.path.parents[len(PurePosixPath(found.name).parts) - 1]


def _pixels(layout: _Layout, data: Path) -> NDArray[Any]:
    """Return (rows, columns, bands) in the file's type and byte order, mapped from disk."""
    to, back = _TO_PIXELS[layout.interleave]
    sizes = (layout.rows, layout.columns, layout.bands)
    try:
        mapped = np.memmap(data, layout.dtype, "r", layout.offset, tuple(sizes[axis] for axis in to))
    except DAMAGED as error:
        raise damaged(_KIND, error, data) from error
    return mapped.transpose(back)


def _check_byte_order(array: NDArray[Any], name: str) -> None:
    """Raise CubeError if the numbers make no sense in the header's byte order but do in the other one."""
    band = array[..., array.shape[2] // 2]
    swapped = band.view(band.dtype.newbyteorder())
    if array.dtype.itemsize == 2:
        here, there = _roughness(band), _roughness(swapped)
        wrong = here > 0.5 and there < 0.5 * here
    else:
        wrong = array.dtype.itemsize > 2 and _absurd(band) > 0.5 and _absurd(swapped) < 0.01
    if wrong:
        raise CubeError(
            f"the values of {name} make sense only in the other byte order",
            "Correct the line 'byte order' of the header: 0 is little-endian, 1 big-endian.",
        )


def _absurd(band: NDArray[Any]) -> float:
    """Return the share of values that are not finite or of an impossible magnitude; integers can only be too large."""
    values = band.ravel()[:: max(1, band.size // _SAMPLE)]
    with np.errstate(invalid="ignore", over="ignore"):
        size = np.abs(values.astype(np.float64))
        absurd = ~(size <= _SANE[1]) | ((size > 0) & (size < _SANE[0]))
    return float(np.mean(absurd))


def _roughness(band: NDArray[Any]) -> float:
    """Return the mean step between neighbours in units of the band's spread: about 1 in noise, small in pictures."""
    part = band[: max(2, _SAMPLE // band.shape[1])].astype(np.float64)
    spread = float(part.std())
    return float(np.abs(np.diff(part, axis=1)).mean()) / spread if spread > 0 and part.shape[1] > 1 else 0.0


def is_scaled(facts: Mapping[str, Any]) -> bool:
    """Return whether the header of a scene with these facts changed the numbers of its file."""
    return any(_fact(field) in facts for field in (FACTOR, *(field for both in GAINS for field in both)))


def _ignored(array: NDArray[Any], header: dict[str, Any]) -> NDArray[np.bool_] | None:
    """Return the mask of pixels that the header declares as not measured."""
    said = header.get("data ignore value")
    if not said:
        return None
    values = numbers(said if isinstance(said, list) else [said], "the header's data ignore value")
    return no_data(array, values[0])


def _wavelengths(header: dict[str, Any]) -> Listed | None:
    """Return the wavelengths that the header lists, or None if it lists none."""
    listed = header.get("wavelength")
    if not listed:
        return None
    said = header.get("wavelength units", "")
    unit = (" ".join(said) if isinstance(said, list) else said).strip()
    unnamed, factor = _unit(unit)
    if factor is None and not unnamed:
        why = f"the header has wavelengths in {unit[:40]!r}"
        remedy = "Give --wavelengths in nm, or write them, one a line, into a file <name>.wavelengths.txt beside it."
        return Listed(problem=CubeError(why, remedy))
    try:
        values = numbers(listed if isinstance(listed, list) else [listed], "the header's list of wavelengths")
    except CubeError as error:
        return Listed(problem=error)
    return in_nm(values, "the header", factor)


def _unit(text: str) -> tuple[bool, float | None]:
    """Return (whether a text names no unit, the nm of its unit or None if unknown); `Nanometers (nm)` is a unit too."""
    found = _WORDS.findall(text.lower())
    words = [word for word in found if word not in _ABOUT]
    if text.lower().strip("()[] '\"") in _NO_UNIT or (found and not words):
        return True, None
    factors = {_NM_PER_UNIT.get(word) for word in words}
    return False, factors.pop() if len(factors) == 1 else None
