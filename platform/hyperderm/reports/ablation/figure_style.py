"""The look of each arm in all figures: colours that colour-blind readers tell apart (Okabe, Ito 2008), markers, dashes."""

import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.textpath import text_to_path

from hyperderm.reports.ablation.facts import REAL, ReportFacts

INK, QUIET, FAINT, GRID = "#222222", "#5c5c5c", "#9a9a9a", "#e6e6e6"
DPI = 160
WIDTH = 11.0  # inches of every figure, so that letters have one size on the page

_HUES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_MARKERS = ("o", "^", "D", "v", "P", "X", "<", ">")
Dash = tuple[int, tuple[float, ...]]
_SOLID: Dash = (0, ())
_DASHES: tuple[Dash, ...] = ((0, (5, 2)), (0, (1.2, 1.4)), (0, (6, 2, 1.2, 2)), (0, (3, 1.2)))


@dataclass(frozen=True)
class ArmStyle:
    """The colours, marker and dashes with which one arm is drawn."""

    colour: str
    marker: str
    dash: Dash


def arm_styles(facts: ReportFacts) -> dict[str, ArmStyle]:
    """Return the look of each arm: real is black, controls are grey and dashed, a generator's hue darkens with the ratio."""
    made = {REAL: ArmStyle(INK, "s", _SOLID)}
    for i, (control, shade) in enumerate(zip(facts.controls, _shades("#8a8a8a", len(facts.controls)), strict=True)):
        made[control] = ArmStyle(shade, "s", _DASHES[i % len(_DASHES)])
    generators = list(dict.fromkeys(dose.generator for dose in facts.doses.values()))
    for i, generator in enumerate(generators):
        family = sorted(
            (a for a in facts.doses if facts.doses[a].generator == generator), key=lambda a: facts.doses[a].ratio
        )
        for k, (arm, shade) in enumerate(zip(family, _shades(_HUES[i % len(_HUES)], len(family)), strict=True)):
            made[arm] = ArmStyle(shade, _MARKERS[(i + k) % len(_MARKERS)], _SOLID)
    for i, arm in enumerate((a for a in facts.arms if a not in made), start=len(generators)):
        lap = i // len(_HUES)
        dash = _SOLID if lap == 0 else _DASHES[(lap - 1) % len(_DASHES)]
        made[arm] = ArmStyle(_HUES[i % len(_HUES)], _MARKERS[i % len(_MARKERS)], dash)
    return made


def generator_colour(facts: ReportFacts, generator: str) -> str:
    """Return the hue of one generator."""
    generators = list(dict.fromkeys(dose.generator for dose in facts.doses.values()))
    return _HUES[generators.index(generator) % len(_HUES)]


def chunks(facts: ReportFacts, arms: Sequence[str], most: int = 5) -> list[list[str]]:
    """Divide arms into groups of at most `most` for one panel each; real is in each, doses stay with their controls."""
    if len(arms) <= most:
        return [list(arms)]
    first = [arm for arm in arms if arm == REAL]
    units = [[c for c in (facts.doses[a].control,) if c in arms] + [a] for a in arms if a in facts.doses]
    paired = {arm for unit in units for arm in unit}
    units += [[arm] for arm in arms if arm not in paired and arm != REAL]
    groups: list[list[str]] = []
    family: str | None = None
    for unit in units:
        before, family = family, facts.doses[unit[-1]].generator if unit[-1] in facts.doses else None
        fresh = [arm for arm in unit if not groups or arm not in groups[-1]]
        if groups and before == family and len(groups[-1]) + len(fresh) <= most:
            groups[-1] += fresh
        else:
            groups.append([*first, *unit])
    return groups


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


def arm_legend(figure: Figure, arms: Iterable[str], table: Mapping[str, ArmStyle], top: float, *, line: bool = True) -> None:
    """Draw the key of the arms at the upper left of a figure, `top` inches below its edge, in as many columns as fit."""
    width, height = figure.get_size_inches()
    names = {arm: textwrap.shorten(arm, 60, placeholder="…") for arm in arms}
    handles = [_handle(table[arm], names[arm], line) for arm in names]
    columns = legend_columns(list(names.values()), width)
    made = figure.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(0.25 / width, 1 - top / height), ncols=columns, fontsize=8.5,
        frameon=False, handlelength=2.4, columnspacing=1.6, borderaxespad=0, borderpad=0, labelcolor=INK,
    )  # fmt: skip
    for text in made.get_texts():
        text.set_parse_math(False)


def legend_columns(names: Sequence[str], width: float) -> int:
    """Return how many entries of the key fit side by side within `width` inches."""
    widest = max((text_width(name, 8.5) for name in names), default=1.0) + 0.62
    return max(1, min(len(names), int((width - 0.3) / widest)))


def legend_rows(names: Sequence[str], width: float = WIDTH) -> int:
    """Return how many lines `arm_legend` needs."""
    return -(-len(names) // legend_columns([textwrap.shorten(n, 60, placeholder="…") for n in names], width))


def _handle(look: ArmStyle, label: str, line: bool) -> Line2D:
    style = {"linestyle": look.dash, "linewidth": 1.8} if line else {"linestyle": "none", "marker": look.marker}
    return Line2D([], [], color=look.colour, label=label, markersize=6, **style)


def _fitting(piece: str, width: float, size: float, weight: str) -> list[str]:
    """Cut a piece of text that has no place to break into parts that fit."""
    parts = []
    while piece and text_width(piece.rstrip(), size, weight) > width:
        at = next((k for k in range(len(piece), 1, -1) if text_width(piece[:k], size, weight) <= width), 1)
        parts.append(piece[:at])
        piece = piece[at:]
    return [*parts, piece] if piece else parts


def _shades(colour: str, count: int) -> list[str]:
    """Return `count` shades of a colour, from light to dark; for a count of one, return the colour itself."""
    rgb = np.array(to_rgb(colour))
    if count == 1:
        return [colour]
    steps = np.linspace(-0.45, 0.45, count)
    return [to_hex(rgb + (1 - rgb) * -s if s < 0 else rgb * (1 - s)) for s in steps]
