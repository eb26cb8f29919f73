"""The figure of the shortcut meter: how well each arm's set is told from real, its gain, and where its model is sure."""

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from hyperderm.metrics.recognisability import WARN
from hyperderm.reports.ablation.effect_figures import reach_of
from hyperderm.reports.ablation.facts import ReportFacts, Shortcut
from hyperderm.reports.figure_style import DPI, HUES, INK, QUIET, WIDTH, plain, text_width, wrapped
from hyperderm.statistics.ablation_results import REAL, Analysis, ContrastResult

_SHAM = "†"
_LANE, _HEAD, _TITLE, _FOOT, _BETWEEN, _EDGE = 0.24, 0.62, 0.3, 0.5, 0.35, 0.25  # inches
_KEY = 0.22  # inches of one line of the key
_NAMES = 2.6
_PARTS = (0.24, 0.4, 0.36)  # of the width that names leave: told, gain, probability


def shortcut_meter(analysis: Analysis, facts: ReportFacts) -> Figure:
    """Draw the shortcut meter beside each arm's gain: a block a model, a line an arm."""
    blocks = {model: _arms(facts, model) for model in facts.models}
    blocks = {model: arms for model, arms in blocks.items() if arms}
    height = _HEAD + sum(_TITLE + _LANE * len(arms) + _FOOT for arms in blocks.values())
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, facecolor="white")
    names = {arm: wrapped(_name(facts, arm), _NAMES, 8.5, 1) for arms in blocks.values() for arm in arms}
    left = max((text_width(name, 8.5) for name in names.values()), default=1.0) + _EDGE + 0.15
    free = WIDTH - left - _EDGE - _BETWEEN * (len(_PARTS) - 1)
    gains = {(arm, model): _gain(analysis, arm, model) for model, arms in blocks.items() for arm in arms}
    reach = reach_of([each for each in gains.values() if each])
    judged = [
        end for each in facts.shortcuts for end in (each.logistic, each.network, *(each.interval or ())) if end is not None
    ]
    lowest = min([0.45, *(end - 0.05 for end in judged)])
    top = _HEAD
    for model, arms in blocks.items():
        top += _TITLE
        high, x, panels = _LANE * len(arms), left, list[Axes]()
        for part in _PARTS:
            place = x / WIDTH, 1 - (top + high) / height, part * free / WIDTH, high / height
            panels.append(figure.add_axes(place))
            x += part * free + _BETWEEN
        _lanes(panels, [names[arm] for arm in arms])
        panels[0].set_title(model, loc="left", fontsize=9.5, fontweight="bold", color=QUIET, parse_math=False)
        measured = {each.arm: each for each in facts.shortcuts if each.model == model}
        _told(panels[0], [measured[arm] for arm in arms], lowest)
        _gains(panels[1], [gains[arm, model] for arm in arms], reach)
        _sure(panels[2], [measured[arm] for arm in arms])
        top += high + _FOOT
    _key(figure, facts, names)
    _gain_key(figure, [each for each in gains.values() if each], reach)
    return figure


def _arms(facts: ReportFacts, model: str) -> list[str]:
    """Return the arms of which something was measured, negative controls last."""
    there = {each.arm for each in facts.shortcuts if each.model == model and (each.melanoma or each.negative)}
    return sorted(facts.ordered(there), key=lambda arm: arm in facts.negative)


def _name(facts: ReportFacts, arm: str) -> str:
    return f"{arm} {_SHAM}" if arm in facts.negative else arm


def _gain(analysis: Analysis, arm: str, model: str) -> ContrastResult | None:
    """Return the difference to the arm's control, or to `real` where it has none."""
    own = [each for each in analysis.contrasts if (each.arm, each.model) == (arm, model)]
    return min(own, key=lambda each: each.reference == REAL, default=None)


def _lanes(panels: Sequence[Axes], names: Sequence[str]) -> None:
    for k, axes in enumerate(panels):
        plain(axes, "x")
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_yticks(range(len(names)), names if k == 0 else [""] * len(names), parse_math=False, fontsize=8.5, color=INK)
        axes.tick_params(axis="y", length=0)
        for y in range(0, len(names), 2):
            axes.axhspan(y - 0.5, y + 0.5, color="#f6f6f6", linewidth=0, zorder=-3)


def _told(axes: Axes, arms: Sequence[Shortcut], lowest: float) -> None:
    """Draw the AUROC of the judges; the dashed line is where a warning begins."""
    for y, each in enumerate(arms):
        if each.logistic is not None:
            axes.plot([each.logistic], [y], "o", color=INK, markersize=5, zorder=4, clip_on=False)
        if each.network is not None:
            axes.plot(each.interval or (), [y] * 2 if each.interval else (), color=QUIET, linewidth=1.2, zorder=2)
            axes.plot([each.network], [y], "s", color=QUIET, markerfacecolor="white", markersize=5, zorder=3, clip_on=False)
    axes.axvline(WARN, color=QUIET, linewidth=1, linestyle=(0, (4, 2)), zorder=1)
    axes.set_xlim(lowest, 1.0)
    axes.set_xlabel("told from real cubes (AUROC)", fontsize=9, color=INK)


def _gains(axes: Axes, gains: Sequence[ContrastResult | None], reach: float) -> None:
    for y, each in enumerate(gains):
        if each is None:
            continue
        for end, marker in ((each.adjusted_low, "<"), (each.adjusted_high, ">")):
            if abs(end) > reach:
                axes.plot([math.copysign(reach * 0.97, end)], [y], marker, color=INK, markersize=5, zorder=4)
        axes.plot([each.adjusted_low, each.adjusted_high], [y, y], color=INK, linewidth=1.2, zorder=2)
        axes.plot([each.low, each.high], [y, y], color=INK, linewidth=4, solid_capstyle="butt", zorder=3)
        look: dict[str, Any] = {"color": INK, "markerfacecolor": INK if each.reference == REAL else "white"}
        axes.plot([each.difference], [y], "o" if each.reference == REAL else "D", markersize=5.5, zorder=4, **look)
    axes.axvline(0, color=INK, linewidth=1.2, zorder=1)
    axes.set_xlim(-reach, reach)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set_xlabel("difference in AUROC to its control", fontsize=9, color=INK)


def _sure(axes: Axes, arms: Sequence[Shortcut]) -> None:
    whole: dict[str, Any] = {"clip_on": False}
    for y, each in enumerate(arms):
        for pair, colour, shift in ((each.melanoma, HUES[1], -0.14), (each.negative, HUES[0], 0.14)):
            if pair is not None:
                place = y + shift * (each.melanoma is not None and each.negative is not None)
                axes.plot(pair, [place] * 2, color=colour, linewidth=1.4, zorder=2)
                axes.plot(pair[:1], [place], "o", color=colour, markerfacecolor="white", markersize=5.5, zorder=3, **whole)
                axes.plot(pair[1:], [place], "o", color=colour, markersize=5.5, zorder=4, **whole)
    axes.set_xlim(0, 1)
    axes.set_xlabel("mean probability of melanoma", fontsize=9, color=INK)


def _key(figure: Figure, facts: ReportFacts, names: dict[str, str]) -> None:
    """Write what the marks mean, of those that are drawn."""
    height = figure.get_figheight()
    shown = [each for each in facts.shortcuts if each.melanoma or each.negative]
    marks = [("judge: regression", "o", INK, INK)]
    if any(each.network is not None for each in shown):
        marks.append(("judge: network", "s", QUIET, "white"))
    for what, colour, there in (("melanomas", HUES[1], "melanoma"), ("others", HUES[0], "negative")):
        if any(getattr(each, there) for each in shown):
            marks += [(f"real {what}", "o", colour, "white"), (f"synthetic {what}", "o", colour, colour)]
    handles = [
        Line2D([], [], color=colour, marker=mark, markerfacecolor=face, linestyle="none", label=said)
        for said, mark, colour, face in marks
    ]
    handles.append(Line2D([], [], color=QUIET, linewidth=1, linestyle=(0, (4, 2)), label="warning from here"))
    _legend(figure, handles, 0)
    if any(arm in facts.negative for arm in names):
        words: dict[str, Any] = {"fontsize": 8.5, "color": QUIET, "va": "top", "ha": "right"}
        figure.text(1 - _EDGE / WIDTH, 1 - (0.1 + _KEY) / height, f"{_SHAM} negative control", **words)


def _gain_key(figure: Figure, gains: Sequence[ContrastResult], reach: float) -> None:
    """Write in a second line what the marks of the gains mean, of those that are drawn."""
    marks = [("difference to the control", "D", "white", False), ("difference to real", "o", INK, True)]
    handles = [
        Line2D([], [], color=INK, marker=mark, markerfacecolor=face, linestyle="none", label=said)
        for said, mark, face, real in marks
        if any((each.reference == REAL) == real for each in gains)
    ]
    if gains:
        handles.append(Line2D([], [], color=INK, linewidth=4, solid_capstyle="butt", label="95 %"))
        handles.append(Line2D([], [], color=INK, linewidth=1.2, label="Holm-adjusted, which decides"))
    if any(max(abs(each.adjusted_low), abs(each.adjusted_high)) > reach for each in gains):
        handles.append(Line2D([], [], color=INK, marker=">", linestyle="none", markersize=5, label="goes on"))
    _legend(figure, handles, 1)


def _legend(figure: Figure, handles: Sequence[Line2D], line: int) -> None:
    """Write one line of the key; line 0 is the upper one."""
    height = figure.get_figheight()
    figure.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(_EDGE / WIDTH, 1 - (0.1 + _KEY * line) / height),
        ncols=max(1, len(handles)), fontsize=8.5, frameon=False, borderaxespad=0, borderpad=0, labelcolor=INK,
        columnspacing=1.2, handletextpad=0.5,
    )  # fmt: skip
