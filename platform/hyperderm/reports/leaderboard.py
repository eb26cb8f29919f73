"""The leaderboard of a sweep for terminal, README and spreadsheet: the best trials, their values, and the failures."""

import csv as csv_module
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hyperderm.cluster.observer import Outcome
from hyperderm.tracking.measure import Measure
from hyperderm.tracking.short_texts import short_names, three_digits

OBJECTIVE = "spectral energy distance"
Status = Outcome | Literal["running"]
_STYLES: Mapping[Status, str] = {"finished": "", "running": "cyan", "stopped early": "dim", "failed": "red"}
_TEXT_COLUMNS = ("status", "reason")


@dataclass(frozen=True)
class Row:
    """One trial of the leaderboard.

    Attributes:
        number: the trial's number in its sweep.
        status: how the trial ended, or that it runs.
        best: the objective at the checkpoint that the trial keeps; None before the first validation.
        best_images: number of images that this checkpoint has seen.
        images: number of images seen in all.
        seconds: time spent on the trial.
        values: swept configuration path to the trial's value.
        reason: why the trial failed or was stopped; may be empty.
        second: the second objective at the same checkpoint, if there are two.
        on_front: whether the trial is on the Pareto front of two objectives.
    """

    number: int
    status: Status
    best: float | None
    best_images: int | None
    images: int
    seconds: float
    values: Mapping[str, object]
    reason: str = ""
    second: float | None = None
    on_front: bool = False


WIDEST = 1_000
"""The most columns of text that a leaderboard may need."""
FRONT = "front"
"""The column that marks the trials of the Pareto front, in rows with two objectives."""


def ranked(rows: Sequence[Row]) -> list[Row]:
    """Return the rows by ascending best score (the first of two), then rows without a score, then failed rows by number."""

    def key(row: Row) -> tuple[bool, bool, float, int]:
        failed, unscored = row.status == "failed", row.best is None or math.isnan(row.best)
        return failed, unscored or failed, math.inf if row.best is None or unscored or failed else row.best, row.number

    return sorted(rows, key=key)


def table(
    rows: Sequence[Row],
    floor: float | None = None,
    mean_cube: float | None = None,
    objective: str = OBJECTIVE,
    second: Measure | None = None,
) -> Table:
    """Return the leaderboard for a terminal; 80 columns hold six swept values, and reasons of failures stand below.

    Args:
        rows: the trials, in any order.
        floor: the objective of real cubes against real ones.
        mean_cube: the objective of the constant mean cube.
        objective: the metric that scores the trials.
        second: the second objective of a search that has two; the rows say which trials are on the Pareto front.
    """
    header, body = _cells(rows, objective, second, brief=True)
    reasons = [f"Trial {row.number} failed: {row.reason}" for row in ranked(rows) if row.status == "failed"]
    legend = f"Score: the {objective}, lower is better." if rows else ""
    if second and rows:
        legend = f"Score: the {objective}; score 2: the {second.name}; lower is better."
    scale = [*footnotes(floor, mean_cube, second), *worse_than_mean(rows, floor, mean_cube)]
    notes = Text("\n".join(filter(None, [*reasons, legend, *scale])), style="dim")
    made = Table(
        box=SIMPLE_HEAD, padding=0, show_edge=False, pad_edge=False, header_style="bold",
        caption=notes, caption_justify="left",
    )  # fmt: skip
    shown = [at for at, name in enumerate(header) if name != "images"]
    for at in shown:
        name = {"trial": "#", objective: "score", second and second.name: "score 2"}.get(header[at], header[at])
        made.add_column(
            name.replace("_", "_\n").replace(" ", "\n"),
            justify="left" if header[at] in _TEXT_COLUMNS else "right",
            overflow="fold",
            min_width=max((len(cells[at]) for cells in body), default=1),
        )
    for row, cells in zip(ranked(rows), body, strict=True):
        made.add_row(*(cells[at] for at in shown), style=_STYLES[row.status])
    return made


def show(console: Console, made: Table) -> None:
    """Print a leaderboard at least as wide as its cells, so that a narrow terminal or a pipe loses no column."""
    least = made.__rich_measure__(console, console.options.update(max_width=WIDEST)).minimum
    wide = Console(file=console.file, width=max(console.width, least), force_terminal=console.is_terminal, emoji=False)
    wide.print(made)


def markdown(
    rows: Sequence[Row],
    floor: float | None = None,
    mean_cube: float | None = None,
    objective: str = OBJECTIVE,
    second: Measure | None = None,
) -> str:
    """Return the leaderboard as a Markdown table with its footnotes; arguments as for `table`."""
    header, body = _cells(rows, objective, second)
    if any(row.reason for row in rows):
        header = [*header, "reason"]
        body = [[*cells, row.reason] for cells, row in zip(body, ranked(rows), strict=True)]
    rule = [":--" if name in _TEXT_COLUMNS else "--:" for name in header]
    lines = ["| " + " | ".join(map(_escaped, cells)) + " |" for cells in (header, rule, *body)]
    scale = [*footnotes(floor, mean_cube, second), *worse_than_mean(rows, floor, mean_cube)]
    notes = [f"\n{note}" for note in scale]
    return "\n".join([*lines, *notes]) + "\n"


def csv(rows: Sequence[Row], objective: str = OBJECTIVE, second: Measure | None = None) -> str:
    """Return the leaderboard as CSV with full precision and full paths; missing values are empty.

    With two objectives, their columns stand side by side, and a column `front` says yes or no.
    """
    paths = _paths(rows)
    out = io.StringIO()
    write = csv_module.writer(out, lineterminator="\n").writerow
    more = [second.name.replace(" ", "_"), FRONT] if second else []
    write(["trial", "status", objective.replace(" ", "_"), *more, "best_images", "images", "seconds", *paths, "reason"])
    for row in ranked(rows):
        values = [row.values.get(path, "") for path in paths]
        both = [row.best, *([row.second, "yes" if row.on_front else "no"] if second else [])]
        write([row.number, row.status, *both, row.best_images, row.images, row.seconds, *values, row.reason])
    return out.getvalue()


def footnotes(floor: float | None, mean_cube: float | None, second: Measure | None = None) -> list[str]:
    """Return the sentences that explain the scale of the scores; a sentence is left out if its number is unknown.

    An objective that prefers the constant mean cube to real cubes is told: a search by it finds blur.
    """
    if second:
        front = 'Front: no other finished trial is at least as good in both scores and better in one. "*" marks it.'
        each = ((1, footnotes(floor, mean_cube)), (2, footnotes(second.floor, second.mean_cube)))
        return [front, *(f"Score {at}: {note[0].lower()}{note[1:]}" for at, notes in each for note in notes)]
    notes = []
    if floor is not None:
        notes.append(f"Real against real, the floor: {three_digits(floor, keep_zeros=True)}.")
    if mean_cube is not None:
        notes.append(f"Constant mean cube: {three_digits(mean_cube, keep_zeros=True)}.")
    if floor is not None and mean_cube is not None and mean_cube < floor:
        notes.append("Beware: this score prefers the constant mean cube to real cubes, so the best trial may be a blur.")
    return notes


def worse_than_mean(rows: Sequence[Row], floor: float | None, mean_cube: float | None) -> list[str]:
    """Say which trials the constant mean cube beats, where the score does not prefer it to real cubes."""
    if mean_cube is None or (floor is not None and mean_cube < floor):
        return []
    worse = [
        str(row.number) for row in ranked(rows) if row.status != "failed" and row.best is not None and row.best > mean_cube
    ]
    return [f"Worse than the constant mean cube: trial{'s' * (len(worse) > 1)} {', '.join(worse)}."] if worse else []


def duration(seconds: float) -> str:
    """Return a duration as text, such as 42 s, 3.4 min or 1.1 h."""
    if not math.isfinite(seconds):
        return "–"
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3597 else f"{seconds / 3600:.1f} h"


def _cells(
    rows: Sequence[Row], objective: str, second: Measure | None, brief: bool = False
) -> tuple[list[str], list[list[str]]]:
    """Return the header and the ordered cells that all written forms share; `brief` shortens the status."""
    short = short_names(_paths(rows))
    more = [second.name, FRONT] if second else []
    header = ["trial", "status", objective, *more, "best at", "images", "time", *short.values()]
    body = [
        [
            str(row.number),
            "stopped" if brief and row.status == "stopped early" else row.status,
            three_digits(row.best, keep_zeros=True),
            *([three_digits(row.second, keep_zeros=True), "*" if row.on_front else ""] if second else []),
            "–" if row.best_images is None else f"{row.best_images:,}",
            f"{row.images:,}",
            duration(row.seconds),
            *(three_digits(row.values.get(path)) for path in short),
        ]
        for row in ranked(rows)
    ]
    return header, body


def _paths(rows: Sequence[Row]) -> list[str]:
    """Return every swept path in the order of its first appearance; trials of one sweep may sweep different paths."""
    return list(dict.fromkeys(path for row in rows for path in row.values))


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|").replace("\n", " ")
