"""Find the mask pictures of each image by their names.

A mask is called `<image>`, optionally with a number (`<image>_00`, `_01` …: one lesion each), with a word for mask before or
after the name (`<image>_mask`, `<image>-seg`, `mask_<image>`), or with both. Below the folder of masks it lies in the same
folders as the image. If the result is still unique, folders may also be left out or be part of the name (`p7_arm_00.png` of
`p7/arm`).
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from hyperderm.ingest.layouts.naming import Names, last_part

SUFFIXES = frozenset({".png", ".tif", ".tiff", ".bmp", ".gif", ".jpg", ".jpeg", ".pgm", ".webp"})
"""The suffixes, in lower case, of pictures that may be masks."""

_WORD = "masks?|segmentations?|seg(?:m|mask)?s?|lesions?|labels?|annotations?|roi|gt|ground_?truth"
_NUMBER_BEHIND = re.compile(r"(?P<image>.+?)[ _-]+(?P<number>\d+)")
_WORD_BEHIND = re.compile(rf"(?P<image>.+?)[ _.-]+(?:{_WORD})(?P<number>\d+)?", re.IGNORECASE)
_WORD_BEFORE = re.compile(rf"(?:{_WORD})[ _.-]+(?P<image>.+)", re.IGNORECASE)
_PARTING = re.compile(r"[/ _-]+")


@dataclass
class Masks:
    """The mask pictures of every image.

    Attributes:
        of: image → its masks in order.
        faults: image → the reason why none of its masks can be trusted; such an image is not used.
        unused: mask → the reason why it belongs to no image.
        lonely: the masks whose names match no image.
    """

    of: dict[str, list[Path]] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)
    unused: dict[Path, str] = field(default_factory=dict)
    lonely: list[Path] = field(default_factory=list)


class Reading(NamedTuple):
    """One way to read a mask's name: the image's name, the mask's number, and whether a word for mask was removed."""

    image: str
    number: str | None = None
    worded: bool = False


def readings(stem: str) -> list[Reading]:
    """Return the ways to read a mask's name (without suffix, with folders), from the whole name to the shortest part."""
    above, last = stem[: len(stem) - len(last_part(stem))], last_part(stem)
    found = [Reading(last)]
    for one in found:
        if one.number is None and (match := _NUMBER_BEHIND.fullmatch(one.image)):
            found.append(Reading(match["image"], match["number"], one.worded))
        for pattern in () if one.worded else (_WORD_BEHIND, _WORD_BEFORE):
            if match := pattern.fullmatch(one.image):
                found.append(Reading(match["image"], one.number or match.groupdict().get("number"), worded=True))
    return [one._replace(image=above + one.image) for one in found]


def number_of(mask: Path) -> str | None:
    """Return the number in a mask's name, or None if there is none."""
    return next((one.number for one in readings(mask.stem) if one.number is not None), None)


def match_masks(masks: Iterable[tuple[str, Path]], images: Sequence[str], *, numbered: bool = False) -> Masks:
    """Assign every mask to its image.

    Args:
        masks: for each mask its name below the folder of masks, without suffix, and its path.
        images: the names of all images.
        numbered: whether the name of every mask is its image's whole name and a number.
    """
    found = Masks()
    names, flat = Names(images), Names(images, called=_flat)
    loose: list[tuple[Path, list[str]]] = []
    for stem, path in masks:
        if path.suffix.lower() not in SUFFIXES:
            found.unused[path] = f"no mask: a mask is a picture, {path.suffix.lower() or 'a file without suffix'} is none"
            continue
        ways = [one.image for one in readings(stem) if not numbered or (one.number is not None and not one.worded)]
        if meant := _first(names.whole(way) for way in ways):
            _take(found, path, meant)
        elif (
            meant := []
            if numbered
            else _first(names.ending(way) for way in ways) or _first(flat.whole(_flat(way)) for way in ways)
        ):
            loose.append((path, meant))
        else:
            found.lonely.append(path)
    by_whole_name = set(found.of)
    for path, meant in loose:
        _take(found, path, meant, by_whole_name)
    for image, paths in found.of.items():
        if why := _several(paths):
            found.faults[image] = why
    return found


def _take(found: Masks, path: Path, meant: list[str], sure: Iterable[str] = ()) -> None:
    """Assign a mask to the only image that it matches; if several match, trust none of them but the `sure` ones."""
    if len(meant) == 1:
        found.of.setdefault(meant[0], []).append(path)
        return
    which = f"may be of any of {', '.join(meant)}: call it by the whole name of one, with its folders"
    found.unused[path] = f"a mask that {which}"
    found.faults |= dict.fromkeys((image for image in meant if image not in sure), f"the mask {path.name} {which}")


def _first(hits: Iterator[list[str]]) -> list[str]:
    return next((hit for hit in hits if hit), [])


def _flat(name: str) -> str:
    """Return a name with one underscore in place of every separator, including those of folders."""
    return _PARTING.sub("_", name)


def _several(paths: list[Path]) -> str:
    """Return why these files cannot be the masks of one image: several lesions need one number each, one lesion one mask."""
    numbers = [number_of(path) for path in paths]
    if len(paths) == 1 or (None not in numbers and len({int(n) for n in numbers if n}) == len(paths)):
        return ""
    shown = ", ".join(path.name for path in paths)
    return f"the masks {shown} may mark one lesion several times. Leave one, or number the lesions _00, _01 …."
