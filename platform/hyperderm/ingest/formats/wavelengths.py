"""Which wavelengths count for the bands of a scene: those of the user, of its own file, or of a side file."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hyperderm.cubes.bands import checked_nm
from hyperderm.errors import CubeError
from hyperderm.ingest.formats.axes import Axes, settle
from hyperderm.ingest.formats.scene import Beside, ReadOptions

SHORTEST_NM = 100.0
"""Where a file names no unit, wavelengths below this are taken for micrometres or band numbers and are not used."""
LONGEST_NM = 30_000.0
"""Beyond 30 µm no camera sees skin or ground: a unit that leads there is taken for wrong."""
SAME_NM = 0.5
"""Two lists that nowhere differ by more are one, rounded."""
NO_UNIT = "its file names no unit of its wavelengths: they are taken for nm"


@dataclass(frozen=True)
class Listed:
    """The wavelengths that a file lists itself.

    Attributes:
        nm: in the order of the file's bands.
        unit: whether the file says that they are nm; False: it names no unit.
        problem: why they cannot be used; then `nm` does not count.
    """

    nm: tuple[float, ...] = ()
    unit: bool = True
    problem: CubeError | None = None


@dataclass(frozen=True)
class Chosen:
    """What was settled for a scene.

    Attributes:
        axes: order of the array's axes.
        nm: (B,) in the order of the bands; None where nothing says them.
        said: where they come from.
        notes: what must be said.
    """

    axes: str
    nm: NDArray[np.float64] | None = None
    said: str = ""
    notes: tuple[str, ...] = ()


def in_nm(values: Sequence[float], what: str, factor: float | None) -> Listed:
    """Return wavelengths that `what`, a phrase naming where they stand, lists in a unit of `factor` nm.

    Args:
        values: in that unit.
        what: such as "the header".
        factor: None: no unit is named. Values of `SHORTEST_NM` and more can only be nm.
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
    """Return the wavelengths of an array of `shape` and what its axes are.

    What the user says counts; else what the file lists with its unit; else a side file; else what the file lists without a
    unit, if that can only be nm. What cannot be used for the bands is passed over while something else can.

    Raises:
        CubeError: nothing fits, and why; or the file lists wavelengths without a unit, and a side file other ones.
    """
    problems: list[tuple[str, CubeError]] = []
    for nm, said, notes in _sources(listed, asked, problems):
        try:
            order, note = settle(shape, axes, len(nm), asked.axes)
            checked = checked_nm(nm, shape[order.index("B")])
        except CubeError as error:
            problems.append((said, error))
            continue
        if asked.beside is not None and said == f"from {asked.beside.name}":
            _check_agree(listed, asked.beside)
        unused = [f"the wavelengths {name} are not used: {why}" for name, why in problems]
        unused += _differs(asked, nm, said)
        return Chosen(order, checked, said, tuple(filter(None, (*notes, note, *unused))))
    if problems:
        name, first = problems[0]
        where = f"{asked.beside.name}: " if asked.beside and name == f"from {asked.beside.name}" else ""
        what = "Give as many as there are bands" if name == "as asked" else "Correct them"
        raise CubeError(where + first.what, first.remedy or _remedy(what))
    order, note = settle(shape, axes, None, asked.axes)
    return Chosen(order)


def _sources(
    listed: Listed | None, asked: ReadOptions, problems: list[tuple[str, CubeError]]
) -> Iterator[tuple[Sequence[float], str, tuple[str, ...]]]:
    """Every list of wavelengths in the order in which they count, with its name and notes; adds what is no list."""
    if asked.wavelengths_nm is not None:
        yield asked.wavelengths_nm, "as asked", ()
        return
    if listed is not None and listed.problem is not None:
        problems.append(("from the file", listed.problem))
    elif listed is not None and listed.unit:
        yield listed.nm, "from the file", ()
    if asked.beside is not None:
        if asked.beside.problem is not None:
            problems.append((f"from {asked.beside.name}", asked.beside.problem))
        else:
            passed = listed is not None and listed.problem is None and not listed.unit
            note = (f"its wavelengths are those of {asked.beside.name}: the file itself names no unit of its own",)
            yield asked.beside.nm, f"from {asked.beside.name}", note if passed else ()
    if listed is not None and listed.problem is None and not listed.unit:
        yield listed.nm, "from the file, taken for nm: no unit is named", (NO_UNIT,)


def _check_agree(listed: Listed | None, side: Beside) -> None:
    """Prove that a side file says the same as the file itself, band by band, where that lists as many without a unit."""
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


def _differs(asked: ReadOptions, nm: Sequence[float], said: str) -> list[str]:
    """A sentence where a side file of the scene lists something else than what counts."""
    side = asked.beside
    if side is None or said != "from the file":
        return []
    if side.problem is not None:
        return [f"{side.name} is not used: {side.problem}; the wavelengths are those of the file itself"]
    same = len(side.nm) == len(nm) and np.allclose(sorted(side.nm), sorted(nm), rtol=0, atol=1e-3)
    return [] if same else [f"{side.name} is not used: it differs from the wavelengths of the file itself, which count"]


def _remedy(first: str) -> str:
    return f"{first}, give --wavelengths, or write them in nm, one a line, into a file <name>.wavelengths.txt beside it."
