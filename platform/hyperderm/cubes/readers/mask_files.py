"""Which mask pictures mark which image, by their names: `<image>.png`, `<image>_mask.png`, or `<image>_00.png`, `_01` …."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from hyperderm.cubes.readers.naming import ENDING, Names

SUFFIXES = frozenset({".png", ".tif", ".tiff", ".bmp", ".gif", ".jpg", ".jpeg", ".pgm", ".webp"})
"""Pictures that may be masks, in lower case."""


@dataclass
class Masks:
    """Mask pictures by image.

    Attributes:
        of: image to its masks in order.
        faults: image to why no mask of it can be trusted: then the image is not used.
        unused: mask to why it belongs to no image.
    """

    of: dict[str, list[Path]] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)
    unused: dict[Path, str] = field(default_factory=dict)


def number_of(mask: Path) -> str | None:
    """Return the digits behind a mask's name, None where it has none."""
    match = ENDING.fullmatch(mask.stem)
    end = match["end"] if match else None
    return end[1:] if end and end[1:].isdecimal() else None


def match_masks(masks: Iterable[tuple[str, Path]], images: Names, *, numbered: bool = False) -> Masks:
    """Give every mask to its image.

    Args:
        masks: what each is called below the folder of masks, without suffix, and its path.
        images: names of all images.
        numbered: whether every mask has a number behind its name.
    """
    found = Masks()
    for stem, path in masks:
        if path.suffix.lower() not in SUFFIXES:
            found.unused[path] = f"no mask: a mask is a picture, {path.suffix.lower() or 'a file without suffix'} is none"
            continue
        match = ENDING.fullmatch(stem)
        meant = [] if numbered else images.whole(stem)
        if not meant and match and (number_of(path) is not None if numbered else match["end"]):
            meant = images.whole(match["image"])
        if len(meant) == 1:
            found.of.setdefault(meant[0], []).append(path)
        elif meant:
            found.unused[path] = f"a mask that may be of any of {', '.join(meant)}"
            found.faults |= dict.fromkeys(meant, f"the mask {path.name} may be of any of {', '.join(meant)}")
    for image, paths in found.of.items():
        if why := _several(paths):
            found.faults[image] = why
    return found


def _several(paths: list[Path]) -> str:
    """Return why these cannot be the masks of one image: several lesions have a number each, one lesion has one mask."""
    numbers = [number_of(path) for path in paths]
    if len(paths) == 1 or (None not in numbers and len({int(n) for n in numbers if n}) == len(paths)):
        return ""
    shown = ", ".join(path.name for path in paths)
    return f"the masks {shown} may mark one lesion several times. Leave one, or number the lesions _00, _01 …."
