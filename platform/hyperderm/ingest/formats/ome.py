"""Read the description of an OME-TIFF: which pages are the bands of which image, and their emission wavelengths."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hyperderm.errors import CubeError
from hyperderm.ingest.formats.pixels import numbers
from hyperderm.ingest.formats.wavelengths import Listed, in_nm

if TYPE_CHECKING:
    from tifffile import TiffFile

_NM_PER_UNIT = {"nm": 1.0, "µm": 1000.0, "um": 1000.0, "μm": 1000.0}


@dataclass(frozen=True)
class OmeImage:
    """One image of an OME-TIFF.

    Attributes:
        name: the image's name in the description, or its number.
        sizes: the sizes SizeC, SizeZ and SizeT.
        planes: the numbers of the image's pages, in order.
        listed: the emission wavelengths of the image's channels.
        several: whether the file holds other images too.
    """

    name: str
    sizes: dict[str, int]
    planes: Sequence[int]
    listed: Listed | None
    several: bool


def image_of(tif: "TiffFile", pages: int, key: str | None) -> OmeImage:
    """Return the image whose channels, slices or frames are the bands: the only image, or the one called `key`.

    Args:
        tif: an open OME-TIFF; other files that its description names are not opened.
        pages: the number of pages of the file.
        key: the image's name as the user gives it.

    Raises:
        CubeError: no image, or more than one, could be the scene.
    """
    import tifffile

    said = tifffile.xml2dict(tif.ome_metadata or "")["OME"]["Image"]
    if not isinstance(said, list):
        return _image(said["Pixels"], "0", range(pages), several=False)
    images, start = [], 0
    for number, one in enumerate(said):
        planes = _planes(one["Pixels"], start)
        start = max(planes, default=-1) + 1
        images.append(_image(one["Pixels"], str(one.get("Name") or number), planes, several=True))
    fitting = [image for image in images if max(image.sizes.values()) > 1 or len(image.planes) > 1]
    if key is not None:
        fitting = [image for image in images if image.name == key]
    if len(fitting) != 1:
        names = ", ".join(f"{image.name} ({len(image.planes)} planes)" for image in images[:8])
        raise CubeError(f"an OME file of {len(images)} images, one of them is expected: {names}", "Name it with --key.")
    if any(not 0 <= plane < pages for plane in fitting[0].planes):
        raise ValueError("its description names pages that it does not have")
    return fitting[0]


def _planes(pixels: dict[str, Any], start: int) -> list[int]:
    """Return the page numbers of one image: those that its TiffData names, or those from `start` on."""
    count = 1
    for key in ("SizeC", "SizeZ", "SizeT"):
        count *= int(pixels.get(key, 1))
    data = pixels.get("TiffData", [])
    data = data if isinstance(data, list) else [data]
    first = [int(one["IFD"]) for one in data if isinstance(one, dict) and "IFD" in one]
    if len(first) == count:
        return first
    samples = pixels.get("Channel", {})
    samples = samples[0] if isinstance(samples, list) and samples else samples
    per_page = int(samples.get("SamplesPerPixel", 1)) if isinstance(samples, dict) else 1
    begin = first[0] if first else start
    return list(range(begin, begin + max(1, count // max(1, per_page))))


def _image(pixels: dict[str, Any], name: str, planes: Sequence[int], *, several: bool) -> OmeImage:
    sizes = {key: int(pixels.get(key, 1)) for key in ("SizeC", "SizeZ", "SizeT")}
    return OmeImage(name, sizes, planes, _of_channels(pixels), several)


def _of_channels(pixels: dict[str, Any]) -> Listed | None:
    channels = pixels.get("Channel", [])
    channels = channels if isinstance(channels, list) else [channels]
    values = [c.get("EmissionWavelength") for c in channels]
    if not values or any(v is None for v in values):
        return None
    units = {c.get("EmissionWavelengthUnit", "nm") for c in channels}
    if len(units) > 1 or not units <= _NM_PER_UNIT.keys():
        why = f"its OME channels have wavelengths in {', '.join(sorted(units))}; nm and µm are understood"
        return Listed(problem=CubeError(why))
    found = numbers(values, "the emission wavelengths of its channels")
    return in_nm(found, "its OME description", _NM_PER_UNIT[next(iter(units))])
