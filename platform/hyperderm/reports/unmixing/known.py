"""The part of an unmixing's report that compares it with what the pixels are known to be mixed of."""

from collections.abc import Iterator

import numpy as np
from matplotlib.figure import Figure

from hyperderm.reports.document import Cell, Column, Drawing, Row, Section, Table
from hyperderm.reports.figure_parts import axes_at, ending, sheet, tile, words
from hyperderm.reports.figure_style import INK, QUIET, WIDTH, plain
from hyperderm.reports.number_format import number
from hyperderm.reports.table_files import csv_text
from hyperderm.studies.known_unmixing import Compared
from hyperderm.studies.unmixing import Unmixing

KNOWN, KNOWN_PICTURE = "known.csv", "known"
SMALL = 8.5
_SIDE, _LEFT = 1.55, 1.5


def section(found: Unmixing) -> Section | None:
    """Return the section, or None if nothing is known."""
    truth = found.compared
    if truth is None:
        return None
    return Section(
        "known",
        "Against what is known",
        _remarks(found),
        (
            Drawing(
                KNOWN_PICTURE,
                lambda: figure(found, truth),
                "Each known material with the endmember that is matched with it.",
                "Each row is a known material: its spectrum (dashed) and that of the endmember that is matched with it, "
                "divided by their length; its known abundance; the abundance found. Maps go from 0 (black) to 1 (white).",
            ),
        ),
        (_table(truth),),
    )


def csv_files(found: Unmixing) -> dict[str, str]:
    """Return the table as CSV by file name; empty if nothing is known."""
    truth = found.compared
    if truth is None:
        return {}
    titles = ("material", "endmember", "angle_rad", "abundance_rmse", "abundance_rmse_of_true_endmembers")
    return {KNOWN: csv_text(titles, _rows(truth))}


def answer(truth: Compared) -> str:
    """Return one sentence with both scores."""
    return (
        f"Against the known mixture: mean spectral angle {number(truth.found.mean_angle, 4)} rad, abundances "
        f"{number(truth.found.abundance_rmse, 4)} off (root mean square; those of the true endmembers "
        f"{number(truth.true.abundance_rmse, 4)})."
    )


def _remarks(found: Unmixing) -> tuple[str, ...]:
    said: tuple[str, ...] = (
        "Endmembers are matched one to one with the known ones so that the sum of their spectral angles is least. The error "
        "of abundances is the root mean square over pixels and endmembers; some papers give the mean over endmembers of "
        "that of each, which is never larger. The column of the true endmembers is what noise, brightness and nonlinear "
        "mixing cost.",
    )
    if not found.request.unit:
        said += (
            "Pixels were not divided by their length. Where the brightness of the known endmembers is arbitrary, as that of "
            "Samson is, abundances then mean little: see the column of the true endmembers, and use --unit-length.",
        )
    return said


def _rows(truth: Compared) -> Iterator[tuple[str, int, float, float, float]]:
    for k, name in enumerate(truth.names):
        found, true = truth.found, truth.true
        yield name, int(found.order[k]) + 1, found.angles[k], found.abundance_errors[k], true.abundance_errors[k]


def _table(truth: Compared) -> Table:
    columns = (
        Column("material", words=True),
        Column("endmember"),
        Column("spectral angle (rad)"),
        Column("RMSE of its abundance"),
        Column("that of the true endmembers"),
    )
    rows = [
        Row((Cell(name), Cell(str(at)), *(Cell(number(value, 4)) for value in values))) for name, at, *values in _rows(truth)
    ]
    of = (truth.found.mean_angle, truth.found.mean_abundance_error, truth.true.mean_abundance_error)
    rows.append(Row((Cell("mean"), Cell(""), *(Cell(number(value, 4)) for value in of))))
    pooled = (truth.found.abundance_rmse, truth.true.abundance_rmse)
    rows.append(Row((Cell("all together"), Cell(""), Cell(""), *(Cell(number(value, 4)) for value in pooled))))
    return Table(f"The scores of every material. {KNOWN} holds them.", columns, tuple(rows))


def figure(found: Unmixing, truth: Compared) -> Figure:
    """Draw every known material: both spectra, its known abundance and the abundance found."""
    nm = np.array(found.request.nm)
    drawn = sheet(0.5 + len(truth.names) * (_SIDE + 0.45))
    right = WIDTH - 2 * (_SIDE + 0.15)
    words(drawn, right, 0.1, "known", SMALL)
    words(drawn, right + _SIDE + 0.15, 0.1, "found", SMALL)
    (shown,) = found.maps
    for k, name in enumerate(truth.names):
        top, at = 0.4 + k * (_SIDE + 0.45), int(truth.found.order[k])
        words(drawn, 0.1, top + 0.1, f"{ending(name, 1.2, SMALL, 2)}\nendmember {at + 1}", SMALL)
        axes = axes_at(drawn, _LEFT + 0.3, top, right - _LEFT - 0.6, _SIDE)
        plain(axes)
        for spectrum, line in ((truth.endmembers[k], "--"), (found.endmembers[at], "-")):
            axes.plot(nm, spectrum / np.linalg.norm(spectrum), line, color=INK if line == "-" else QUIET)
        if k == len(truth.names) - 1:
            axes.set_xlabel("nm", fontsize=SMALL, color=QUIET)
        for place, abundance in ((right, truth.abundances[..., k]), (right + _SIDE + 0.15, shown.abundances[..., at])):
            tile(drawn, place, top, _SIDE, abundance, cmap="magma", vmin=0, vmax=1)
    return drawn
