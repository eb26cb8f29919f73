"""The content of the report of an unmixing, and its tables as CSV."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np
from matplotlib.figure import Figure

from hyperderm.reports.document import Cell, Column, Content, Drawing, Row, Section, Table
from hyperderm.reports.figure_parts import spoken
from hyperderm.reports.number_format import number
from hyperderm.reports.table_files import csv_text
from hyperderm.reports.unmixing import figures, known
from hyperderm.studies.unmixing import NET, LesionMixture, Unmixing
from hyperderm.unmixing.methods import METHODS

ABUNDANCES = "abundances.parquet"
"""The file of all abundance maps: lesion_id and abundances (H, W, R) float32, NaN where a pixel is masked."""
ENDMEMBERS, LESIONS = "endmembers.csv", "lesions.csv"
FACTS = ("lesion_id", "diagnosis", "role", "masked_pixels", "rmse", "angle_rad")
TITLES = {"vca": "VCA", "nfindr": "N-FINDR", "sisal": "SISAL", NET: "The unmixing net"}
NEGATIVE = 0.01
"""Share of the largest value of a pixel by which an endmember may be below 0 without a remark."""
BLIND = 0.1
"""Share of the pixels' mean brightness above which the error of VCA is remarked upon."""

assert set(TITLES) == {*METHODS, NET}


def content(found: Unmixing, facts: Mapping[str, str]) -> Content:
    """Return the whole report; `facts` are the name and value of what made it."""
    request = found.request
    return Content(
        title=f"What the pixels of store {request.store.name} are mixed of",
        subtitle=f"{request.store.location.uri}, fingerprint {request.store.manifest.fingerprint}",
        answer=(answer(found),),
        verdicts=(),
        warnings=tuple(_warnings(found)),
        sections=tuple(_sections(found, facts)),
    )


def answer(found: Unmixing) -> str:
    """Return one sentence: how many endmembers, from which pixels, and how well they explain the lesions."""
    request, roles = found.request, {each.role for each in found.lesions}
    whose = f"the train role of fold {request.fold}" if request.fold is not None else "all lesions"
    held, middle = [each for each in found.lesions if each.role == "validation"], found.medians()
    if request.colours is not None:
        whose = f"cubes of {request.colours.source}"
    said = (
        f"{TITLES[request.method]} found {found.choice.count} endmembers among pixels of {whose}; their "
        f"mixtures miss the pixels of {_lesions(found.lesions)} by {_shown(middle, 'rmse')} "
        f"({figures.unit_of_pixels(found)}, median over lesions of the root mean square) and by "
        f"{_shown(middle, 'angle')} rad"
    )
    if "validation" in roles:
        said += f"; those of the {_lesions(held)} of validation alone by {_shown(middle, 'validation_rmse')}"
    return f"{said}." if found.compared is None else f"{said}. {known.answer(found.compared)}"


def csv_files(found: Unmixing) -> dict[str, str]:
    """Return the tables as CSV by file name."""
    nm, count = found.request.nm, len(found.endmembers)
    names = [f"endmember_{k + 1}" for k in range(count)]
    regions = ("whole", "inside", "outside")
    return known.csv_files(found) | {
        ENDMEMBERS: csv_text(("nm", *names), ((nm[b], *found.endmembers[:, b]) for b in range(len(nm)))),
        LESIONS: csv_text(
            (*FACTS, *(f"{region}_{k + 1}" for region in regions for k in range(count))),
            (
                (each.lesion_id, each.diagnosis, each.role, each.masked, each.rmse, each.angle, *_regions(each, count))
                for each in found.lesions
            ),
        ),
    }


def _regions(each: LesionMixture, count: int) -> Iterator[float | None]:
    for values in (each.whole, each.inside, each.outside):
        yield from [None] * count if values is None else values


def _warnings(found: Unmixing) -> Iterator[str]:
    if found.request.colours is not None:
        yield (
            "These are photographs: three colours do not say how much of each endmember a pixel holds. The net adds what it "
            "has learnt of cubes, so the maps are its estimate; small errors in colour do not prove them."
        )
    masked = sum(each.masked for each in found.lesions)
    if masked:
        yield (
            f"{masked} pixels of {_lesions([each for each in found.lesions if each.masked])} cannot be unmixed: they are "
            "black, so they have no length to divide by, or not finite. They count nowhere; their abundances are NaN."
        )
    negative = [str(k + 1) for k, each in enumerate(found.endmembers) if each.min() < -NEGATIVE * np.abs(found.sample).max()]
    if negative:
        yield (
            f"Endmember{'s' * (len(negative) > 1)} {', '.join(negative)}: values below 0, which no substance has. "
            "The corners of this method are no pixels; those of --method nfindr are."
        )
    bright = float(np.sqrt(np.square(found.sample).mean()))
    if found.request.method == "vca" and found.medians().get("rmse", 0.0) > BLIND * bright:
        yield (
            "VCA looks for extreme colours and does not see brightness, so its mixtures miss bright and dark pixels here. "
            "Use --method sisal or nfindr, or --unit-length, which takes brightness out of the pixels."
        )


def _sections(found: Unmixing, facts: Mapping[str, str]) -> Iterator[Section]:
    request = found.request
    if (truth := known.section(found)) is not None:
        yield truth
    if found.choice.errors:
        yield Section(
            "number",
            "How many endmembers",
            (
                f"The knee of the error is at {found.choice.count}: that was taken. HySime, which counts directions with "
                f"more signal than noise, says {found.choice.subspace.count if found.choice.subspace else 'nothing'}; on "
                "real scenes it counts high.",
            ),
            (_drawing("errors", partial(figures.errors, found), "The error over the number of endmembers."),),
        )
    yield Section(
        "endmembers",
        "Endmembers",
        drawings=(
            _drawing(
                "endmembers",
                partial(figures.endmembers, found),
                "The spectra of the endmembers. An endmember is a mathematical corner, not a substance: compare its dips "
                "with the absorbers before naming it.",
            ),
            _drawing(
                "simplex",
                partial(figures.simplex, found),
                "Pixels that lie outside the simplex are moved to its nearest point, and their error grows.",
            ),
        ),
    )
    yield Section(
        "maps",
        "Abundance maps",
        drawings=(
            _drawing(
                "maps",
                partial(figures.abundance_maps, found),
                f"{_lesions(found.maps)} at even distances of their ids, with the abundance of every endmember from 0 "
                f"(black) to 1 (white). {ABUNDANCES} holds those of all lesions.",
            ),
        ),
    )
    yield Section("lesions", "Mean abundances by diagnosis", tables=(_by_diagnosis(found),))
    made = (
        f"method {request.method}, seed {request.seed}, pixels {'of unit length' if request.unit else 'as stored'}; "
        + (
            "the endmembers are those of the net's checkpoint"
            if request.method == NET and request.colours is None
            else "endmembers and abundances are the net's own, from colours matched to those of its train cubes by diagnosis"
            if request.colours is not None
            else f"the endmembers come from {found.sampled} train pixels of middle length (the shortest and longest half "
            "percent are left out)"
        )
        + ("" if request.colours else ", the abundances from fully constrained least squares")
        + ". Lesions of a test role are left out."
    )
    yield Section("made", "How it was made", items=(made, *(f"{name}: {value}" for name, value in facts.items())))


def _by_diagnosis(found: Unmixing) -> Table:
    rows = []
    kinds = dict.fromkeys(each.diagnosis for each in found.lesions)
    for kind in sorted(kinds):
        of = [each for each in found.lesions if each.diagnosis == kind]
        for region, values in (
            ("whole cube", [each.whole for each in of]),
            ("inside the mask", [each.inside for each in of if each.inside is not None]),
            ("outside the mask", [each.outside for each in of if each.outside is not None]),
        ):
            known = [one for one in values if np.isfinite(one).all()]
            if known:
                cells = (Cell(number(float(value))) for value in np.mean(known, axis=0))
                rows.append(Row((Cell(spoken(kind)), Cell(region), Cell(str(len(known))), *cells)))
    columns = (Column("diagnosis", words=True), Column("region", words=True), Column("lesions"))
    named = tuple(Column(f"endmember {k + 1}") for k in range(len(found.endmembers)))
    return Table(f"Means over lesions of their mean abundances. {LESIONS} holds every lesion.", columns + named, tuple(rows))


def _drawing(name: str, draw: Callable[[], Figure], caption: str) -> Drawing:
    return Drawing(name, draw, caption, caption)


def _lesions(of: Sequence[object]) -> str:
    return f"{len(of)} lesion{'s' * (len(of) != 1)}"


def _shown(values: Mapping[str, float], name: str) -> str:
    return number(values[name], 4) if name in values else "an unknown amount"
