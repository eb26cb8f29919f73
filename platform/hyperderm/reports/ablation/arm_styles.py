"""The look of each arm in all figures: colours that colour-blind readers tell apart (Okabe, Ito 2008), markers, dashes."""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from hyperderm.reports.ablation.facts import ReportFacts
from hyperderm.reports.figure_style import HUES, INK, MARKERS, WIDTH, text_width
from hyperderm.statistics.ablation_results import CANNOT_TELL, REAL, Analysis

MOST_DRAWN = 20
"""Largest number of arms in a figure that draws each of them; nobody reads more, and a figure of 50 is three metres long."""
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
        for k, (arm, shade) in enumerate(zip(family, _shades(HUES[i % len(HUES)], len(family)), strict=True)):
            made[arm] = ArmStyle(shade, MARKERS[(i + k) % len(MARKERS)], _SOLID)
    for i, arm in enumerate((a for a in facts.arms if a not in made), start=len(generators)):
        lap = i // len(HUES)
        dash = _SOLID if lap == 0 else _DASHES[(lap - 1) % len(_DASHES)]
        made[arm] = ArmStyle(HUES[i % len(HUES)], MARKERS[i % len(MARKERS)], dash)
    return made


def generator_colour(facts: ReportFacts, generator: str) -> str:
    """Return the hue of one generator."""
    generators = list(dict.fromkeys(dose.generator for dose in facts.doses.values()))
    return HUES[generators.index(generator) % len(HUES)]


def drawn(analysis: Analysis, facts: ReportFacts) -> list[str]:
    """Return the arms that figures draw one by one: all, or those in question if they are more than `MOST_DRAWN`.

    Real comes first; then arms that were found to help or hurt, and then the others, those farthest from their control
    before nearer ones, each with its control, until there are enough; then arms without a verdict as long as there is room.
    """
    every = facts.ordered(analysis.arm_names)
    if len(every) <= MOST_DRAWN:
        return every
    far = {(c.arm, c.reference, c.model): abs(c.difference) for c in analysis.contrasts}
    ranked = sorted(analysis.decisions, key=lambda d: (d.verdict == CANNOT_TELL, -far.get((d.arm, d.control, d.model), 0.0)))
    chosen = dict.fromkeys([REAL] if REAL in every else [])
    for pair in [*([d.arm, d.control] for d in ranked), *([arm] for arm in every)]:
        fresh = [arm for arm in dict.fromkeys(pair) if arm in every and arm not in chosen]
        if len(chosen) + len(fresh) <= MOST_DRAWN:
            chosen |= dict.fromkeys(fresh)
    return facts.ordered(chosen)


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


def _shades(colour: str, count: int) -> list[str]:
    """Return `count` shades of a colour, from light to dark; for a count of one, return the colour itself."""
    rgb = np.array(to_rgb(colour))
    if count == 1:
        return [colour]
    steps = np.linspace(-0.45, 0.45, count)
    return [to_hex(rgb + (1 - rgb) * -s if s < 0 else rgb * (1 - s)) for s in steps]
