"""Where on Earth the pixels of an image lie, as its file says it, so that label maps of it lie there too."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tifffile

from hyperderm.ingest.formats.envi import HEADER, read_header
from hyperderm.ingest.formats.scene import Found

ENVI_FIELDS = ("map info", "projection info", "coordinate system string", "x start", "y start")
TIFF_TAGS = (33550, 33922, 34264, 34735, 34736, 34737)
"""GeoTIFF 1.1: ModelPixelScale, ModelTiepoint, ModelTransformation, GeoKeyDirectory, GeoDoubleParams, GeoAsciiParams."""


@dataclass(frozen=True)
class Georeference:
    """What one image's file says; nothing for most images.

    Attributes:
        envi: fields of an ENVI header.
        tiff: tags of a GeoTIFF, as tifffile writes them: code, type, count, value, whether only on the first page.
    """

    envi: dict[str, Any] = field(default_factory=dict)
    tiff: tuple[tuple[int, int, int, Any, bool], ...] = ()

    @property
    def known(self) -> bool:
        """Whether the file says anything."""
        return bool(self.envi or self.tiff)


NOWHERE = Georeference()


def georeference(found: Found) -> Georeference:
    """Return what an ENVI header or a GeoTIFF says; it is copied as it stands and never converted from one to the other."""
    if found.path.is_dir():
        return NOWHERE
    headers = [path for path in found.files if path.suffix.lower() == HEADER]
    if headers:
        fields = read_header(headers[0])
        return Georeference({name: fields[name] for name in ENVI_FIELDS if fields.get(name)})
    if found.path.suffix.lower() in (".tif", ".tiff"):
        return _of_tiff(found.path)
    return NOWHERE


def _of_tiff(path: Path) -> Georeference:
    with tifffile.TiffFile(path) as file:
        tags = file.pages.first.tags
        held = [tags[code] for code in TIFF_TAGS if code in tags]
        return Georeference(tiff=tuple((tag.code, int(tag.dtype), tag.count, tag.value, True) for tag in held))
