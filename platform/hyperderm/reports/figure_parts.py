"""What figures of reports are put together from: a sheet of paper, places on it in inches, words, tiles, chosen rows."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from hyperderm.reports.figure_style import DPI, FAINT, INK, WIDTH, wrapped

EDGE = 0.2
"""Inches between the edge of a figure and what is drawn."""
SMALL, TEXT, TITLE = 7.5, 8.5, 9.5
"""Sizes of letters in points."""


def sheet(height: float) -> Figure:
    """Return an empty figure of the page's width and this height in inches."""
    return Figure(figsize=(WIDTH, height), dpi=DPI, facecolor="white")


def axes_at(figure: Figure, left: float, top: float, width: float, height: float, share: Axes | None = None) -> Axes:
    """Add axes whose upper left corner lies `left` and `top` inches from that of the figure."""
    total = figure.get_figheight()
    place = (left / WIDTH, 1 - (top + height) / total, width / WIDTH, height / total)
    return figure.add_axes(place, sharey=share)


_COLUMNS, _LEAST = 3, 8.0
_WIDE, _HIGH, _BETWEEN, _LEFT, _RIGHT, _BELOW, _ABOVE = 2.85, 2.6, 0.55, 0.78, 0.3, 0.62, 0.3  # inches


def panels(count: int, ylabel: str, key: float = 0.0) -> tuple[Figure, list[Axes], float]:
    """Return a figure of `count` plots with one y axis, at most three in a row, and the width of a plot in inches.

    One or two plots share a figure of 8 inches; `key` inches stay free above them for a legend.
    """
    rows, most = -(-count // _COLUMNS), min(count, _COLUMNS)
    height = key + rows * (_ABOVE + _HIGH + _BELOW)
    width = WIDTH if most == _COLUMNS else _LEAST
    wide = _WIDE if most == _COLUMNS else (width - _LEFT - _RIGHT - (most - 1) * _BETWEEN) / most
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    made: list[Axes] = []
    for k in range(count):
        left = _LEFT + (k % _COLUMNS) * (wide + _BETWEEN)
        low = height - key - (k // _COLUMNS) * (_ABOVE + _HIGH + _BELOW) - _ABOVE - _HIGH
        place = (left / width, low / height, wide / width, _HIGH / height)
        made.append(figure.add_axes(place, sharey=made[0] if made else None))
        if k % _COLUMNS == 0:
            made[-1].set_ylabel(ylabel, fontsize=9, color=INK)
    return figure, made, wide


def words(
    figure: Figure, left: float, top: float, text: str, size: float = TEXT, *, bold: bool = False, colour: str = INK
) -> None:  # fmt: skip
    """Write text below a point, in inches from the upper left corner of the figure."""
    figure.text(
        left / WIDTH, 1 - top / figure.get_figheight(), text, fontsize=size, va="top", color=colour,
        fontweight="bold" if bold else "normal", parse_math=False, linespacing=1.15,
    )  # fmt: skip


def tile(figure: Figure, left: float, top: float, side: float, picture: NDArray[Any], **shown: Any) -> Axes:  # noqa: ANN401
    """Draw a picture as a square of `side` inches; `shown` goes to `imshow`."""
    axes = axes_at(figure, left, top, side, side)
    axes.imshow(picture, aspect="auto", **shown)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_color(FAINT)
    axes.spines[:].set_linewidth(0.5)
    return axes


def ending(text: str, width: float, size: float, lines: int) -> str:
    """Break a text into lines as `wrapped` does; one that is too long loses its beginning, as ids differ at their ends."""
    made, kept = wrapped(text, width, size, lines), text
    while made.endswith("…") and kept:
        kept = kept[1:]
        made = wrapped("…" + kept, width, size, lines)
    return made


def spoken(diagnosis: str) -> str:
    """Return a diagnosis as words."""
    return diagnosis.replace("_", " ")


def evenly(rows: Sequence[int], count: int) -> list[int]:
    """Return at most `count` of the rows at even distances, in their order."""
    n = min(count, len(rows))
    return [int(rows[(2 * k + 1) * len(rows) // (2 * n)]) for k in range(n)]
