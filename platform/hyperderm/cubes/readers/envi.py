"""ENVI images: a text header `<name>.hdr` and the numbers in a data file beside it.

BSQ, BIL and BIP, every type of real numbers, both byte orders, a header offset; read by the `spectral` library. The data
file is `<name>`, `<name>.img`, `.dat`, `.raw`, `.bin`, `.hyspex` or `.bsq`, `.bil`, `.bip`, or what a line
`data file = …` names. The pixels are divided by `reflectance scale factor`. Bands that `bbl` calls bad are kept and
recorded. Wavelengths count where `wavelength units` says nanometers or micrometers.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperderm.cubes.readers.pixels import DAMAGED, damaged, make_scene, name_below, numbers
from hyperderm.cubes.readers.scene import Asked, Found, Scene, inside
from hyperderm.errors import CubeError

NAME: str = "envi"
HEADER = ".hdr"
DATA = ("", ".img", ".dat", ".raw", ".bin", ".hyspex", ".bsq", ".bil", ".bip")

_KIND = "an ENVI image"
_INTERLEAVES = {"bsq", "bil", "bip", "BSQ", "BIL", "BIP"}
_NM_PER_UNIT = {
    **dict.fromkeys(("nanometers", "nanometer", "nanometres", "nm"), 1.0),
    **dict.fromkeys(("micrometers", "micrometer", "micrometres", "microns", "micron", "um", "µm", "μm"), 1000.0),
}
_LONGEST_HEADER = 16 << 20  # bytes; the lists of a few thousand bands take some hundred KiB
_SAMPLE = 200_000  # values looked at to tell a wrong byte order
_SANE = (1e-6, 1e6)  # magnitudes; a float with its bytes reversed lies outside about five times in six


@dataclass(frozen=True)
class _Layout:
    """What a header says about its data file."""

    rows: int
    columns: int
    bands: int
    offset: int
    interleave: str
    dtype: np.dtype[Any]

    @property
    def bytes(self) -> int:
        return self.offset + self.rows * self.columns * self.bands * self.dtype.itemsize


def find(folder: Path, files: Sequence[Path], root: Path) -> list[Found]:
    """Return one scene a header; of a header no more is looked at than the line that names its data file."""
    found = []
    for header in (p for p in files if p.suffix.lower() == HEADER):
        try:
            data = [_data_file(header, _read_header(header), root)]
        except CubeError:
            data = []  # read() says it
        found.append(Found(name_below(header, root), header, (header, *data), NAME))
    return found


def read(found: Found, asked: Asked) -> Scene:
    """Read one image as (rows, columns, bands), divided by the header's scale factor.

    Raises:
        CubeError: no ENVI header, a missing or truncated data file, complex numbers, a byte order that cannot be right,
            pixels without data, or wavelengths that cannot be used.
    """
    header = _read_header(found.path)
    layout = _layout(header)
    data = _data_file(found.path, header, _root(found))
    if (held := data.stat().st_size) != layout.bytes:
        why = "truncated, or the header" if held < layout.bytes else "its lines, samples, bands, data type or offset"
        raise CubeError(f"{data.name} holds {held} bytes, its header says {layout.bytes}: {why} is wrong")
    scale = numbers([header.get("reflectance scale factor", 1)], "the header's reflectance scale factor")[0]
    if not (np.isfinite(scale) and scale > 0):
        raise CubeError(f"the header's reflectance scale factor is {scale:g}, a positive number is expected")
    array = _pixels(found.path, data)
    _check_byte_order(array, data.name)
    _check_ignored(array, header)
    facts: dict[str, Any] = {"interleave": layout.interleave, "data_file": data.name}
    if scale != 1:
        facts = {**facts, "dtype": array.dtype.name, "reflectance_scale_factor": scale}
        array = array / np.float64(scale)
    if "bbl" in header and any(bad := [good == 0 for good in numbers(header["bbl"], "the header's bbl")]):
        facts["bad_bands"] = [int(i) for i in np.flatnonzero(bad)]
    return make_scene(array, None if asked.wavelengths_nm else _wavelengths(header), asked, facts)


def _read_header(path: Path) -> dict[str, Any]:
    """Return the header's fields in lower case; lists where the file has braces."""
    import spectral.io.envi as envi  # type: ignore[import-untyped]

    try:
        with path.open("rb") as file:
            if file.read(4) != b"ENVI":
                raise CubeError("not an ENVI header: it does not begin with the word ENVI")
        if path.stat().st_size > _LONGEST_HEADER:
            raise CubeError(f"an ENVI header of {path.stat().st_size} bytes cannot be right")
        path.read_text(encoding="utf-8")  # spectral would say of a header in Latin-1 that it is binary
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of every field written in capitals
            header: dict[str, Any] = envi.read_envi_header(str(path.resolve()))
            envi.check_compatibility(header)
    except UnicodeDecodeError as error:
        raise CubeError("the header is not UTF-8 text", "Save it as UTF-8 (often only the sign µ needs it).") from error
    except (envi.EnviException, *DAMAGED) as error:
        raise damaged(_KIND, error, path) from error
    return header


def _layout(header: dict[str, Any]) -> _Layout:
    import spectral.io.envi as envi

    sizes = {}
    for key, least in (("lines", 1), ("samples", 1), ("bands", 1), ("header offset", 0), ("byte order", 0)):
        text = header.get(key, "0")
        try:
            sizes[key] = int(text)
        except (TypeError, ValueError):
            sizes[key] = -1
        if sizes[key] < least:
            raise CubeError(f"the header's {key} is {str(text)[:40]!r}, a whole number of at least {least} is expected")
    if sizes["byte order"] > 1:
        raise CubeError(f"the header's byte order is {sizes['byte order']}: 0 (little-endian) and 1 (big-endian) exist")
    interleave = str(header["interleave"])
    if interleave not in _INTERLEAVES:  # spectral reads any other word, `Bil` too, as bsq
        raise CubeError(f"the header's interleave is {interleave[:40]!r}: bsq, bil and bip exist")
    kind = str(header["data type"])
    if kind not in envi.envi_to_dtype:
        raise CubeError(f"the header's data type is {kind[:40]!r}: {', '.join(envi.envi_to_dtype)} exist")
    dtype = np.dtype(envi.envi_to_dtype[kind])
    if dtype.kind == "c":
        raise CubeError(f"the header's data type is {kind}: complex numbers are no reflectance")
    _check_plain(header)
    lines, samples, bands, offset = (sizes[k] for k in ("lines", "samples", "bands", "header offset"))
    return _Layout(lines, samples, bands, offset, interleave.lower(), dtype)


def _check_plain(header: dict[str, Any]) -> None:
    """CubeError where the file is something else than plain numbers of an image."""
    kind = str(header.get("file type", "ENVI")).lower()
    if not kind.startswith("envi") or "library" in kind or "classification" in kind:
        raise CubeError(f"the header's file type is {header['file type']!r}, not an image of plain numbers (ENVI Standard)")
    if str(header.get("file compression", "0")) != "0":
        raise CubeError("the data file is compressed", "Save it without compression.")


def _data_file(path: Path, header: dict[str, Any], root: Path) -> Path:
    if named := header.get("data file"):
        try:
            data = inside(root, path.parent, str(named).strip().strip('"'))
        except (OSError, ValueError, RuntimeError) as error:  # names too long, with a NUL, or of links in a circle
            raise CubeError(f"its data file {str(named)[:80]!r} is no name of a file") from error
        if not data.is_file():
            raise CubeError(f"its data file {named} does not exist")
        return root / data.relative_to(root.resolve())
    for suffix in DATA:
        data = path.with_suffix(suffix)
        if data.is_file():
            return data
    for data in sorted(path.parent.iterdir()):
        if data.with_suffix("") == path.with_suffix("") and data.suffix.lower() in DATA and data.is_file():
            return data
    raise CubeError(f"its data file is missing: none of {', '.join(path.stem + s for s in DATA[:5])}, … lies beside it")


def _root(found: Found) -> Path:
    """The folder that a name such as `patient7/left_arm` starts from."""
    return found.path.parents[len(PurePosixPath(found.name).parts) - 1]


def _pixels(header: Path, data: Path) -> NDArray[Any]:
    """(rows, columns, bands) in the file's type and byte order, mapped from disk."""
    import spectral.io.envi as envi

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = envi.open(str(header.resolve()), str(data.resolve()))
        return np.asarray(image.open_memmap(interleave="bip", writable=False))
    except (envi.EnviException, *DAMAGED) as error:
        raise damaged(_KIND, error, header) from error


def _check_byte_order(array: NDArray[Any], name: str) -> None:
    """CubeError where the numbers make no sense in the header's byte order but do in the other."""
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
    """The share of values that are not finite or of no magnitude that a camera gives; integers may only be too large."""
    values = band.ravel()[:: max(1, band.size // _SAMPLE)]
    with np.errstate(invalid="ignore", over="ignore"):
        size = np.abs(values.astype(np.float64))
        absurd = ~(size <= _SANE[1]) | ((size > 0) & (size < _SANE[0]))
    return float(np.mean(absurd))


def _roughness(band: NDArray[Any]) -> float:
    """The mean step between neighbours in units of the band's spread: about 1 in noise, small in pictures."""
    part = band[: max(2, _SAMPLE // band.shape[1])].astype(np.float64)
    spread = float(part.std())
    return float(np.abs(np.diff(part, axis=1)).mean()) / spread if spread > 0 and part.shape[1] > 1 else 0.0


def _check_ignored(array: NDArray[Any], header: dict[str, Any]) -> None:
    if "data ignore value" not in header:
        return
    value = numbers([header["data ignore value"]], "the header's data ignore value")[0]
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):
            value = float(np.asarray(value).astype(array.dtype))  # as the file's own type holds it
    if count := int(np.count_nonzero(array == value)):
        raise CubeError(
            f"{count} values are the header's data ignore value {value:g}: no data was measured there",
            "Cut these pixels or bands off, or remove the line 'data ignore value' where the values are real.",
        )


def _wavelengths(header: dict[str, Any]) -> NDArray[np.float64] | None:
    """Nm from the header; None where it lists none."""
    if "wavelength" not in header:
        return None
    unit = str(header.get("wavelength units", "")).strip()
    factor = _NM_PER_UNIT.get(unit.lower())
    if factor is None:
        said = f"has wavelengths in {unit!r}" if unit else "does not say the unit of its wavelengths"
        raise CubeError(
            f"the header {said}",
            "Add the line 'wavelength units = Nanometers' (or Micrometers) to it, or give --wavelengths.",
        )
    values = np.asarray(numbers(header["wavelength"], "the header's list of wavelengths"), dtype=np.float64)
    return np.round(values * factor, 6)  # 0.544 micrometers are 544 nm, not 544.0000000000001
