"""Which mask pictures mark which image, by their names.

A mask is called `<image>`, with a number (`<image>_00`, `_01` …: a lesion each), with a word for mask before or behind it
(`<image>_mask`, `<image>-seg`, `mask_<image>`), or with both. Its folders below the masks are those of the image, but for
two liberties where they mean one image only: folders may be left out, or stand in the name (`p7_arm_00.png` of `p7/arm`).
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from hyperderm.ingest.layouts.naming import Names, last_part

SUFFIXES = frozenset({".png", ".tif", ".tiff", ".bmp", ".gif", ".jpg", ".jpeg", ".pgm", ".webp"})
"""Pictures that may be masks, in lower case."""

_WORD = "masks?|segmentations?|seg(?:m|mask)?s?|lesions?|labels?|annotations?|roi|gt|ground_?truth"
_NUMBER_BEHIND = re.compile(r"(?P<image>.+?)[ _-]+(?P<number>\d+)")
_WORD_BEHIND = re.compile(rf"(?P<image>.+?)[ _.-]+(?:{_WORD})(?P<number>\d+)?", re.IGNORECASE)
_WORD_BEFORE = re.compile(rf"(?:{_WORD})[ _.-]+(?P<image>.+)", re.IGNORECASE)
_PARTING = re.compile(r"[/ _-]+")


@dataclass
class Masks:
    """Mask pictures by image.

    Attributes:
        of: image to its masks in order.
        faults: image to why no mask of it can be trusted: then the image is not used.
        unused: mask to why it belongs to no image.
        lonely: masks whose names mean no image.
    """

    of: dict[str, list[Path]] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)
    unused: dict[Path, str] = field(default_factory=dict)
    lonely: list[Path] = field(default_factory=list)


class Reading(NamedTuple):
    """One way to read a mask's name: how it calls its image, its number, and whether a word for mask was taken off."""

    image: str
    number: str | None = None
    worded: bool = False


def readings(stem: str) -> list[Reading]:
    """Return the ways to read a mask's name without suffix, from the whole of it to the least; folders stay."""
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
    """Return the number in a mask's name, None where it has none."""
    return next((one.number for one in readings(mask.stem) if one.number is not None), None)


def match_masks(masks: Iterable[tuple[str, Path]], images: Sequence[str], *, numbered: bool = False) -> Masks:
    """Give every mask to its image.

    Args:
        masks: what each is called below the folder of masks, without suffix, and its path.
        images: names of all images.
        numbered: whether every mask is called by its image's whole name and a number.
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
    """Give a mask to the one image that it means; with several, none of them can be trusted but the `sure` ones."""
    if len(meant) == 1:
        found.of.setdefault(meant[0], []).append(path)
        return
    which = f"may be of any of {', '.join(meant)}: call it by the whole name of one, with its folders"
    found.unused[path] = f"a mask that {which}"
    found.faults |= dict.fromkeys((image for image in meant if image not in sure), f"the mask {path.name} {which}")


def _first(hits: Iterator[list[str]]) -> list[str]:
    return next((hit for hit in hits if hit), [])


def _flat(name: str) -> str:
    """A name with one underscore for whatever parts its words, folders too."""
    return _PARTING.sub("_", name)


def _several(paths: list[Path]) -> str:
    """Return why these cannot be the masks of one image: several lesions have a number each, one lesion has one mask."""
    numbers = [number_of(path) for path in paths]
    if len(paths) == 1 or (None not in numbers and len({int(n) for n in numbers if n}) == len(paths)):
        return ""
    shown = ", ".join(path.name for path in paths)
    return f"the masks {shown} may mark one lesion several times. Leave one, or number the lesions _00, _01 …."
