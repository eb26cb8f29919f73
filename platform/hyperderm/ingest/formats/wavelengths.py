"""Choose the wavelengths of a scene's bands: those of the user, of its own file, or of a side file."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hyperderm.cubes.bands import checked_nm
from hyperderm.errors import CubeError
from hyperderm.ingest.formats.axes import Axes, settle
from hyperderm.ingest.formats.scene import Beside, ReadOptions

SHORTEST_NM = 100.0
"""Wavelengths below this without a unit are taken for micrometres or band numbers and are not used."""
LONGEST_NM = 30_000.0
"""No camera sees skin or ground beyond 30 µm: a unit that gives longer wavelengths is considered wrong."""
SAME_NM = 0.5
"""Two lists that nowhere differ by more than this (nm) are the same list, rounded."""
Source = Literal["asked", "file", "unitless", "beside"]
"""Who gives wavelengths: the user, the file with their unit, the file without a unit, or a side file."""
NO_UNIT = "its file names no unit of its wavelengths: they are taken for nm"


@dataclass(frozen=True)
class Listed:
    """The wavelengths that a file itself lists.

    Attributes:
        nm: the wavelengths (nm) in the order of the file's bands.
        unit: True if the file gives their unit; False: it names no unit.
        problem: the reason why they cannot be used; `nm` is then ignored.
    """

    nm: tuple[float, ...] = ()
    unit: bool = True
    problem: CubeError | None = None


@dataclass(frozen=True)
class Chosen:
    """The axes and wavelengths that were chosen for a scene.

    Attributes:
        axes: the order of the array's axes.
        nm: the wavelengths (B,) in nm in the order of the bands; None if they are unknown.
        said: the source of the wavelengths.
        notes: sentences that the user must see.
    """

    axes: str
    nm: NDArray[np.float64] | None = None
    said: str = ""
    notes: tuple[str, ...] = ()


def in_nm(values: Sequence[float], what: str, factor: float | None) -> Listed:
    """Return wavelengths in nm from `values` in a unit of `factor` nm; `what` is a phrase that names their source.

    Args:
        values: the wavelengths in that unit.
        what: a phrase such as "the header".
        factor: the unit in nm; None: no unit is named, and values of `SHORTEST_NM` and more can only be nm.
    """
    scaled = factor is not None and factor != 1
    nm = tuple(round(value * factor, 6) if scaled and factor else float(value) for value in values)  # .544 µm: 544 nm
    if strange := [value for value in nm if not SHORTEST_NM <= value <= LONGEST_NM]:
        if factor is not None:
            why = f"{what} lists a wavelength of {strange[0]:g} nm: its unit, or the list, cannot be right"
            if scaled and all(SHORTEST_NM <= value <= LONGEST_NM for value in values):
                why += f" (as they stand, {min(values):g} … {max(values):g} would be nm)"
            return Listed(problem=CubeError(why, _remedy("Correct it")))
        micrometres = all(0.2 <= value <= 20 for value in nm)
        why = f"{what} names no unit of its wavelengths, and {strange[0]:g} cannot be nm"
        remedy = "Say there that they are micrometers" if micrometres else "Write them in nm"
        return Listed(problem=CubeError(why, _remedy(remedy)))
    return Listed(nm, unit=factor is not None)


def choose_wavelengths(shape: Sequence[int], axes: Axes, listed: Listed | None, asked: ReadOptions) -> Chosen:
    """Return the wavelengths of an array of `shape` and the order of its axes.

    The sources come in this order: the user, the file's list with a unit, a side file, the file's list without a unit if it
    can only be nm. A list that does not fit the bands is skipped if another list fits.

    Raises:
        CubeError: no list fits (the message says why), or the file lists wavelengths without a unit and a side file
            contradicts them.
    """
    problems: list[tuple[Source, CubeError]] = []
    for nm, source, notes in _sources(listed, asked, problems):
        try:
            order, note = settle(shape, axes, len(nm), asked.axes)
            checked = checked_nm(nm, shape[order.index("B")])
        except CubeError as error:
            problems.append((source, error))
            continue
        if asked.beside is not None and source == "beside":
            _check_agree(listed, asked.beside)
        unused = [f"the wavelengths {_said(each, asked)} are not used: {why}" for each, why in problems]
        unused += _differs(asked.beside, nm) if asked.beside is not None and source == "file" else []
        return Chosen(order, checked, _said(source, asked), tuple(filter(None, (*notes, note, *unused))))
    if problems:
        source, first = problems[0]
        where = f"{asked.beside.name}: " if asked.beside and source == "beside" else ""
        what = "Give as many as there are bands" if source == "asked" else "Correct them"
        raise CubeError(where + first.what, first.remedy or _remedy(what))
    order, note = settle(shape, axes, None, asked.axes)
    return Chosen(order)


def _sources(
    listed: Listed | None, asked: ReadOptions, problems: list[tuple[Source, CubeError]]
) -> Iterator[tuple[Sequence[float], Source, tuple[str, ...]]]:
    """Yield every list of wavelengths in order of precedence, with source and notes; add unusable lists to `problems`."""
    if asked.wavelengths_nm is not None:
        yield asked.wavelengths_nm, "asked", ()
        return
    if listed is not None and listed.problem is not None:
        problems.append(("file", listed.problem))
    elif listed is not None and listed.unit:
        yield listed.nm, "file", ()
    if asked.beside is not None:
        if asked.beside.problem is not None:
            problems.append(("beside", asked.beside.problem))
        else:
            passed = listed is not None and listed.problem is None and not listed.unit
            note = (f"its wavelengths are those of {asked.beside.name}: the file itself names no unit of its own",)
            yield asked.beside.nm, "beside", note if passed else ()
    if listed is not None and listed.problem is None and not listed.unit:
        yield listed.nm, "unitless", (NO_UNIT,)


def _said(source: Source, asked: ReadOptions) -> str:
    if source == "beside" and asked.beside is not None:
        return f"from {asked.beside.name}"
    said = {"asked": "as asked", "file": "from the file", "unitless": "from the file, taken for nm: no unit is named"}
    return said[source]


def _check_agree(listed: Listed | None, side: Beside) -> None:
    """Prove that a side file agrees band by band with the file's own list, if that is as long and has no unit."""
    if listed is None or listed.problem is not None or listed.unit or len(listed.nm) != len(side.nm):
        return
    away = [abs(own - other) for own, other in zip(listed.nm, side.nm, strict=True)]
    if (most := max(away)) > SAME_NM:
        band = away.index(most)
        raise CubeError(
            f"two lists of its wavelengths contradict each other: the file itself lists {_ends(listed.nm)} without a unit, "
            f"{side.name} {_ends(side.nm)} nm; band {band + 1} is {listed.nm[band]:g} or {side.nm[band]:g}",
            f"Give --wavelengths A:B:N, which decides, or remove {side.name}, or the list in the file.",
        )


def _ends(nm: Sequence[float]) -> str:
    return f"{nm[0]:g} … {nm[-1]:g}"


def _differs(side: Beside, nm: Sequence[float]) -> list[str]:
    """Return a sentence if a side file of the scene differs from the wavelengths of the file itself, which are used."""
    if side.problem is not None:
        return [f"{side.name} is not used: {side.problem}; the wavelengths are those of the file itself"]
    same = len(side.nm) == len(nm) and np.allclose(sorted(side.nm), sorted(nm), rtol=0, atol=1e-3)
    return [] if same else [f"{side.name} is not used: it differs from the wavelengths of the file itself, which count"]


def _remedy(first: str) -> str:
    return f"{first}, give --wavelengths, or write them in nm, one a line, into a file <name>.wavelengths.txt beside it."
