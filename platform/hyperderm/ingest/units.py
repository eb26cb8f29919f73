"""One unit per store: the factors that divide the numbers of every file, and the search for files in another unit.

Units are told apart by the medians of the stored crops. The medians of real lesions, once sorted, differ by a factor of two
or three from one to the next (HSIDermoscopy: 1.8 between neighbours, ten over all lesions). Reflectance, per cent, 8 and 12
bits and reflectance x10000 differ tenfold and more. If each unit spreads widely, no such gap is left: files on both sides of
the upper limit of reflectance therefore count as one unit only if no gap separates them.
"""

import fnmatch
import itertools
import math
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperderm.cubes.cube import Cube, Lesion
from hyperderm.errors import ConfigError, StoreError

Scale = tuple[tuple[str, float], ...]
"""Pairs of a choice of files and the divisor of their numbers; if several choices fit a file, the last one counts."""

EVERY = "*"
ABOVE = "above:"
"""The beginning of a choice by numbers: files whose stored crops have a median above the number that follows."""
LAYOUTS = ("hsidermoscopy", "scenes", "mosaic")
"""The layouts whose files may be in any unit: photographs have only one, and an export comes from a checked store."""

TENFOLD = 10.0
TYPES_APART = 3.0
"""The factor of a gap between the medians of counts of two types (for example 8 and 10 bits) that separates two units."""
REFLECTANCE = 3.0
"""A file with a median above this value is not in reflectance (about -0.07 … 1.9)."""
BRIGHT = 1.0
"""A median up to this, beside one above `REFLECTANCE`, is reflectance: in per cent or counts no lesion is so dark."""
NEIGHBOURS = 2.0
"""The factor between the two medians on either side of `REFLECTANCE` that separates two units there."""
SPREAD = 30.0
"""The factor between the lowest and highest median that one unit may span across `REFLECTANCE`: per cent from 2 to 60."""
_FACTORS = (10, 16, 100, 255, 1000, 4095, 10000, 65535)
_BITS = 16
"""The one factor that lies between counts of two depths; no counts are reflectance times 16."""
_SAMPLE = 50_000
_SHOWN = 3


@dataclass(frozen=True)
class File:
    """The numbers of one file, after reading.

    Attributes:
        name: the file's path relative to the source.
        median: the median of the stored numbers.
        high: the largest stored number.
        dtype: the type of the numbers in the file.
        factor: the factor by which `--scale` divided the numbers.
    """

    name: str
    median: float
    high: float
    dtype: str = ""
    factor: float = 1.0


def parse_scale(words: Sequence[str]) -> Scale:
    """Read `--scale`: `N`, `PATTERN=N` or `above:MEDIAN=N`, each as often as needed.

    Raises:
        ConfigError: a word has none of these forms, or its number is not positive.
    """
    scale = []
    for word in words:
        which, _, text = word.rpartition("=")
        try:
            factor = float(text)
            limit = float(which.removeprefix(ABOVE)) if which.startswith(ABOVE) else 0.0
        except ValueError:
            factor = limit = math.nan
        if not (0 < factor < math.inf and math.isfinite(limit)):
            raise ConfigError(f"--scale {word!r} is none", "Give N, PATTERN=N or above:MEDIAN=N, such as 'scan2*=10000'.")
        scale.append((which or EVERY, factor))
    return tuple(scale)


def spoken(scale: Scale) -> list[str]:
    """Return the words from which `parse_scale` would read `scale`."""
    return [f"{factor:g}" if which == EVERY else f"{which}={factor:g}" for which, factor in scale]


def fits(pattern: str, file: str, image_id: str) -> bool:
    """Return whether a pattern matches a file's path, name or image id; case does not matter."""
    names = {file, file.rpartition("/")[2], image_id, image_id.rpartition("/")[2]}
    return any(fnmatch.fnmatchcase(_folded(name), _folded(pattern)) for name in names)


def check_patterns(scale: Scale, files: Iterable[tuple[str, str]]) -> None:
    """Refuse patterns that match no file; `files` are pairs of path and image id.

    Raises:
        ConfigError: a pattern matches no file.
    """
    known = list(files)
    for which, factor in scale:
        if which != EVERY and not which.startswith(ABOVE) and not any(fits(which, *each) for each in known):
            names = ", ".join(file for file, _ in known[:_SHOWN])
            raise ConfigError(f"--scale {which}={factor:g}: no file is called so", f"The files are called {names} …")


def kind_of(lesion: Lesion) -> str:
    """Return a text on the kind of a lesion's file: format, frame, type and factors of the numbers, bands."""
    origin = lesion.origin
    held = origin.get("bands_from_nm", lesion.cube.wavelengths_nm.tolist())
    frame = " x ".join(map(str, [*origin.get("frame", lesion.cube.shape[:2]), len(held)]))
    factors = [f"{origin[key]:g}" for key in ("reflectance_scale_factor", "scale") if key in origin]
    numbers = " / ".join([str(origin.get("dtype", "")), *factors])
    white = f"calibrated {origin['calibrated']}" if origin.get("calibrated", "no") != "no" else ""
    parts = (origin.get("format", ""), frame, numbers, white, f"{held[0]:g} … {held[-1]:g} nm")
    return ", ".join(str(part) for part in parts if part)


def scaled(lesions: list[Lesion], scale: Scale) -> list[Lesion]:
    """Divide the numbers of one image's lesions by the factor for its file, and record this in the origin.

    Raises:
        CubeError: a number does not fit into a float32.
    """
    if not scale or not lesions:
        return lesions
    median = float(np.median([middle(lesion.cube.reflectance) for lesion in lesions]))
    file, image_id = str(lesions[0].origin.get("file", "")), lesions[0].image_id
    factor = None
    for which, value in scale:
        if median > float(which.removeprefix(ABOVE)) if which.startswith(ABOVE) else fits(which, file, image_id):
            factor = value
    return lesions if factor is None else [_divided(lesion, factor) for lesion in lesions]


def middle(values: NDArray[Any]) -> float:
    """Return the median, or that of an even sample if there are many values."""
    flat = values.reshape(-1, values.shape[-1])  # whole spectra: a step must not leave bands out
    return float(np.median(flat[:: max(1, values.size // _SAMPLE)]))


def check_units(files: Sequence[File], scale: Scale) -> list[str]:
    """Prove that all files are in one unit.

    Returns:
        Sentences that the user must see: on numbers that are not reflectance, or on differing medians that the user declared
        to be of one unit.

    Raises:
        StoreError: the medians have a tenfold gap (threefold between counts of two types) or lie on both sides of the limit
            of reflectance; the message names all groups and `--scale`.
    """
    known = [file for file in files if file.median > 0]  # a dark level taken off may leave nothing: no unit to be told
    if not known:
        return []
    groups = unit_groups(known)
    idle = [*_idle(known, scale), *_hidden(known)]
    if len(groups) > 1:
        told = "; ".join(map(_told, groups))
        if scale == ((EVERY, 1.0),):
            return [f"taken for one unit, as --scale 1 says: {told}"]
        raise StoreError(f"the files are in {len(groups)} units: {told}: a store has one", _remedy(known))
    above = [file for file in known if file.median > REFLECTANCE]
    if above and len(above) < len(known):
        return [
            *idle,
            f"{_told(above)}: no reflectance (about 0 … 2), where the others may be; give --scale if theirs differs",
        ]
    if above:
        high = max(file.high for file in known)
        percent, thousands = (
            "--scale 100 if they are reflectance in per cent",
            "--scale 10000 if they are reflectance x10000",
        )
        said = percent if high <= 110 else thousands if high >= 1000 else "counts need a white reference (--white)"
        return [*idle, f"the numbers are no reflectance (about 0 … 2): {_told(known)}; {said}"]
    return idle


def _idle(files: Sequence[File], scale: Scale) -> list[str]:
    """Return a sentence on each choice by numbers that matched no file."""
    highest = max(file.median * file.factor for file in files)
    limits = [(which, factor) for which, factor in scale if which.startswith(ABOVE)]
    return [
        f"--scale {which}={factor:g} divided nothing: the highest median of a file is {_short(highest)}"
        for which, factor in limits
        if highest <= float(which.removeprefix(ABOVE))
    ]


def _hidden(files: Sequence[File]) -> list[str]:
    """Return a sentence on files that one factor divided although they lay on both sides of the limit of reflectance."""
    said = []
    for factor in sorted({file.factor for file in files} - {1.0}):
        before = [
            replace(file, median=file.median * factor, high=file.high * factor) for file in files if file.factor == factor
        ]
        if len(groups := unit_groups(before)) > 1:
            told = "; ".join(map(_told, groups))
            said.append(f"--scale divided all of these by {factor:g}, which seem to be in {len(groups)} units: {told}")
    return said


def unit_groups(files: Sequence[File]) -> list[list[File]]:
    """Split files (at least one, medians above 0) at the gaps between their medians; return the groups by rising medians."""
    known = sorted(files, key=lambda file: file.median)
    groups = [known[:1]]
    for at in range(1, len(known)):
        apart = known[at].median / known[at - 1].median
        types = apart >= TYPES_APART and known[at - 1].median > REFLECTANCE and _of_other_types(known[:at], known[at:])
        if apart >= TENFOLD or types or _crossed(groups[-1], known[at:]):
            groups.append([])
        groups[-1].append(known[at])
    return groups if len(groups) > 1 else _parted(known)


def _parted(known: list[File]) -> list[list[File]]:
    """Split files, sorted by median, at the widest gap if the darkest is in reflectance and the brightest is not."""
    medians = [file.median for file in known]
    if medians[0] > BRIGHT or medians[-1] <= REFLECTANCE:
        return [known]
    places = [at for at in range(1, len(known)) if medians[at - 1] <= REFLECTANCE and medians[at] > BRIGHT]
    widest = max(places, key=lambda at: medians[at] / medians[at - 1])
    return [known[:widest], known[widest:]]


def _crossed(low: list[File], high: list[File]) -> bool:
    """Return whether the limit of reflectance lies between two groups whose gap or whose joint spread is too wide."""
    if not low[-1].median <= REFLECTANCE < high[0].median:
        return False
    top = high[0].median
    for file in high[1:]:
        if file.median >= TENFOLD * top:
            break
        top = file.median
    return high[0].median >= NEIGHBOURS * low[-1].median or top >= SPREAD * low[0].median


def _of_other_types(low: list[File], high: list[File]) -> bool:
    return not {file.dtype for file in low} & {file.dtype for file in high}


def _remedy(files: Sequence[File]) -> str:
    """Return the remedy that brings these files into one unit, based on their medians before any division."""
    groups = unit_groups([replace(file, median=file.median * file.factor, factor=1.0) for file in files])
    if len(groups) == 1:
        return "Without --scale they are in one: leave it out, or let it mean all of them."
    words = []
    for low, group in itertools.pairwise(groups):
        factor = _factor(groups[0], group)
        limit = math.sqrt(low[-1].median * group[0].median)
        words.append(f"{ABOVE}{_short(limit)}={factor}")
    given = " ".join(f"--scale {word}" for word in words)
    named = f"{groups[-1][0].name}={words[-1].rpartition('=')[2]}"
    return (
        f"Bring them into one, for example {given} (divides files with a median above that), or by names, --scale '{named}' "
        "and so on (* stands for anything). Where all are in one unit: --scale 1."
    )


def _factor(first: list[File], group: list[File]) -> int:
    """Return the known factor that brings two groups into one unit and is nearest to the ratio of their medians."""
    ratio = math.log(np.median([file.median for file in group]) / np.median([file.median for file in first]))
    known: Sequence[int] = _FACTORS
    if first[0].median <= REFLECTANCE:
        top = max(file.median for file in group)
        known = [factor for factor in _FACTORS if factor != _BITS and top / factor <= REFLECTANCE] or _FACTORS
    fitting = [f for f in known if len(unit_groups([*first, *(replace(one, median=one.median / f) for one in group)])) == 1]
    return min(fitting or known, key=lambda factor: abs(math.log(factor) - ratio))


def _told(files: list[File]) -> str:
    files = sorted(files, key=lambda file: file.median)
    names = sorted(file.name for file in files)
    shown = ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
    low, high = _short(files[0].median), _short(files[-1].median)
    medians = f"median {low}" if low == high else f"medians {low} … {high}"
    many = f"{len(files)} file{'s' * (len(files) > 1)}"
    return f"{many} with {medians}, values up to {_short(max(file.high for file in files))} ({shown})"


def _divided(lesion: Lesion, factor: float) -> Lesion:
    numbers = (lesion.cube.reflectance.astype(np.float64) / factor).astype(np.float32)
    return replace(lesion, cube=Cube(numbers, lesion.cube.wavelengths_nm), origin={**lesion.origin, "scale": factor})


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).lower()
