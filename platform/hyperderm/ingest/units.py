"""One unit per store: what the numbers of every file are divided by, and files that are in another unit than the rest.

Files are told apart by the median of their stored crops. Real lesions differ by a factor of two or three from one to the
next (HSIDermoscopy: 1.8 between neighbours, ten over all of them); reflectance, per cent, 8 and 12 bits and reflectance
x10000 differ tenfold and more. Where each unit spreads widely, that gap closes: so files on both sides of what reflectance
can be are in one unit only where nothing parts them.
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
"""Which files, and what their numbers are divided by; of several that fit a file, the last one counts."""

EVERY = "*"
ABOVE = "above:"
"""Begins a choice by numbers: files whose stored crops have a median above what follows."""
LAYOUTS = ("hsidermoscopy", "scenes", "mosaic")
"""Whose files may be in any unit: photographs have one, and an export is a store's already."""

TENFOLD = 10.0
TYPES_APART = 3.0
"""Factor between the medians of counts of two types that no file lies in: 8 bits beside 10, for example."""
REFLECTANCE = 3.0
"""A median above it is none of reflectance (about -0.07 … 1.9)."""
BRIGHT = 1.0
"""A median up to it, beside one above `REFLECTANCE`: in per cent or counts no lesion is so dark."""
NEIGHBOURS = 2.0
"""Factor between the two medians on either side of `REFLECTANCE` that parts two units there."""
SPREAD = 30.0
"""Factor between the lowest and the highest median of one unit on both sides of `REFLECTANCE`: per cent from 2 to 60."""
_FACTORS = (10, 16, 100, 255, 1000, 4095, 10000, 65535)
_BITS = 16
"""That one of them is between counts of two depths; no counts are reflectance times 16."""
_SAMPLE = 50_000
_SHOWN = 3


@dataclass(frozen=True)
class File:
    """What a file became.

    Attributes:
        name: relative to the source.
        median: of its stored numbers.
        high: the largest of them.
        dtype: their type in the file.
        factor: what `--scale` divided them by.
    """

    name: str
    median: float
    high: float
    dtype: str = ""
    factor: float = 1.0


def parse_scale(words: Sequence[str]) -> Scale:
    """Read `--scale`: `N`, `PATTERN=N` or `above:MEDIAN=N`, each as often as wanted.

    Raises:
        ConfigError: something else, or no positive number.
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
    """Return the words that `parse_scale` reads."""
    return [f"{factor:g}" if which == EVERY else f"{which}={factor:g}" for which, factor in scale]


def fits(pattern: str, file: str, image_id: str) -> bool:
    """Return whether a pattern of names means a file: its path, its name or its image id; case does not count."""
    names = {file, file.rpartition("/")[2], image_id, image_id.rpartition("/")[2]}
    return any(fnmatch.fnmatchcase(_folded(name), _folded(pattern)) for name in names)


def check_patterns(scale: Scale, files: Iterable[tuple[str, str]]) -> None:
    """Refuse patterns that mean no file; `files` are pairs of path and image id.

    Raises:
        ConfigError: such a pattern.
    """
    known = list(files)
    for which, factor in scale:
        if which != EVERY and not which.startswith(ABOVE) and not any(fits(which, *each) for each in known):
            names = ", ".join(file for file, _ in known[:_SHOWN])
            raise ConfigError(f"--scale {which}={factor:g}: no file is called so", f"The files are called {names} …")


def kind_of(lesion: Lesion) -> str:
    """Return in words what kind of file a lesion came from: format, frame, type and factors of its numbers, bands."""
    origin = lesion.origin
    held = origin.get("bands_from_nm", lesion.cube.wavelengths_nm.tolist())
    frame = " x ".join(map(str, [*origin.get("frame", lesion.cube.shape[:2]), len(held)]))
    factors = [f"{origin[key]:g}" for key in ("reflectance_scale_factor", "scale") if key in origin]
    numbers = " / ".join([str(origin.get("dtype", "")), *factors])
    white = f"calibrated {origin['calibrated']}" if origin.get("calibrated", "no") != "no" else ""
    parts = (origin.get("format", ""), frame, numbers, white, f"{held[0]:g} … {held[-1]:g} nm")
    return ", ".join(str(part) for part in parts if part)


def scaled(lesions: list[Lesion], scale: Scale) -> list[Lesion]:
    """Divide the numbers of one image's lesions by what `scale` says of its file; the origin says so.

    Raises:
        CubeError: numbers that a float32 cannot hold.
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
    """Return the median, of an even sample where there are many."""
    flat = values.reshape(-1, values.shape[-1])  # whole spectra: a step must not leave bands out
    return float(np.median(flat[:: max(1, values.size // _SAMPLE)]))


def check_units(files: Sequence[File], scale: Scale) -> list[str]:
    """Prove that all files are in one unit.

    Returns:
        Sentences to be said: numbers that are no reflectance, or medians that differ and were said to be of one unit.

    Raises:
        StoreError: medians with a tenfold gap (threefold between counts of two types), or on both sides of what reflectance
            can be; all groups and `--scale` are named.
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
    """A sentence on each choice by numbers that chose no file."""
    highest = max(file.median * file.factor for file in files)
    limits = [(which, factor) for which, factor in scale if which.startswith(ABOVE)]
    return [
        f"--scale {which}={factor:g} divided nothing: the highest median of a file is {_short(highest)}"
        for which, factor in limits
        if highest <= float(which.removeprefix(ABOVE))
    ]


def _hidden(files: Sequence[File]) -> list[str]:
    """A sentence on files that one factor divided, and that lay on both sides of what reflectance can be before."""
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
    """Part files (at least one, medians above 0) where their medians leave a gap, by rising medians."""
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
    """Part files, by rising medians, at the widest gap where the darkest is reflectance and the brightest none."""
    medians = [file.median for file in known]
    if medians[0] > BRIGHT or medians[-1] <= REFLECTANCE:
        return [known]
    places = [at for at in range(1, len(known)) if medians[at - 1] <= REFLECTANCE and medians[at] > BRIGHT]
    widest = max(places, key=lambda at: medians[at] / medians[at - 1])
    return [known[:widest], known[widest:]]


def _crossed(low: list[File], high: list[File]) -> bool:
    """Return whether reflectance ends between two neighbours, and their gap or the spread of what hangs together is too
    wide.
    """
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
    """What brings these files into one unit, by the medians that they have before anything is divided."""
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
    """Return the known factor nearest to that between two groups, of those that bring them into one unit."""
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
