"""The look that all figures of reports share: inks, size, plain axes, and text that is measured and wrapped to a width."""

import re
from functools import cache

from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

INK, QUIET, FAINT, GRID = "#222222", "#5c5c5c", "#9a9a9a", "#e6e6e6"
DPI = 160
WIDTH = 11.0  # inches of every figure, so that letters have one size on the page

HUES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Colours that colour-blind readers tell apart (Okabe, Ito 2008)."""
MARKERS = ("o", "^", "D", "v", "P", "X", "<", ">")


@cache
def text_width(text: str, size: float, weight: str = "normal") -> float:
    """Return the width of one line of text in inches; `size` is in points."""
    if not text.strip():
        return 0.0
    font = FontProperties(family="DejaVu Sans", weight=weight, size=size)
    return float(text_to_path.get_text_width_height_descent(text, font, ismath=False)[0]) / 72


def wrapped(text: str, width: float, size: float, lines: int = 2, weight: str = "normal") -> str:
    """Break a text after spaces, `_`, `-`, `+` and `/` into lines of `width` inches at most; excess lines end in "…"."""
    made = [""]
    for piece in re.findall(r"[^\s_\-+/]*[\s_\-+/]?", text):
        for part in _fitting(piece, width, size, weight):
            if text_width(made[-1] + part.rstrip(), size, weight) <= width:
                made[-1] += part
            else:
                made.append(part)
    made = [line.strip() for line in made]
    if len(made) > lines:
        last = made[lines - 1]
        while last and text_width(last + "…", size, weight) > width:
            last = last[:-1]
        made = [*made[: lines - 1], last + "…"]
    return "\n".join(made)


def plain(axes: Axes, grid: str | None = "both") -> None:
    """Give axes the look of the report: two thin spines, and a faint grid in the background."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(colors=QUIET, labelsize=8.5, color=FAINT)
    axes.set_axisbelow(True)
    if grid is not None:
        axes.grid(axis=grid, color=GRID, linewidth=0.7)  # type: ignore[arg-type]


def _fitting(piece: str, width: float, size: float, weight: str) -> list[str]:
    """Cut a piece of text that has no place to break into parts that fit."""
    parts = []
    while piece and text_width(piece.rstrip(), size, weight) > width:
        at = next((k for k in range(len(piece), 1, -1) if text_width(piece[:k], size, weight) <= width), 1)
        parts.append(piece[:at])
        piece = piece[at:]
    return [*parts, piece] if piece else parts
