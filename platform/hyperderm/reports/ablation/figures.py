"""Figures of the report: mean curves over folds and seeds, the lesions most often misclassified, the cost of each arm."""

from collections.abc import Callable
from functools import partial
from operator import attrgetter
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, MaxNLocator

from hyperderm.reports.ablation.arm_styles import ArmStyle, arm_legend, arm_styles, chunks, drawn, legend_rows
from hyperderm.reports.ablation.facts import ReportFacts, result_of
from hyperderm.reports.figure_style import DPI, FAINT, GRID, INK, QUIET, WIDTH, plain, text_width, wrapped
from hyperderm.reports.number_format import hours
from hyperderm.statistics.ablation_results import REAL, Analysis, ArmResult, Curve, Estimate, HardLesion

_COLUMNS = 3
_PANEL, _BIG, _BETWEEN, _LEFT, _RIGHT, _BELOW, _ABOVE, _KEY = 2.95, 3.5, 0.52, 0.62, 0.3, 0.7, 0.24, 0.22  # inches
_BAND = 0.13
_Draw = Callable[[Axes, ArmResult, ArmStyle], None]


def roc(analysis: Analysis, facts: ReportFacts) -> Figure:
    """Draw mean ROC curves with pointwise 95 % bands, in panels by model and by group of arms."""
    figure = _panels(analysis, facts, partial(_curve, attrgetter("roc")), "1 − specificity", "sensitivity")
    for axes in figure.axes:
        axes.plot([0, 1], [0, 1], color=FAINT, linewidth=0.9, linestyle=(0, (1, 2)), zorder=1)
    return figure


def precision_recall(analysis: Analysis, facts: ReportFacts) -> Figure:
    """Draw mean precision-recall curves with pointwise 95 % bands; the dotted line is chance, the share of melanomas."""
    draw = partial(_curve, attrgetter("precision_recall"))
    figure = _panels(analysis, facts, draw, "recall (sensitivity)", "precision")
    for axes in figure.axes:
        axes.axhline(analysis.melanomas / analysis.lesions, color=FAINT, linewidth=0.9, linestyle=(0, (1, 2)), zorder=1)
    return figure


def tradeoff(analysis: Analysis, facts: ReportFacts) -> Figure:
    """Draw the operating points chosen on validation, with 95 % intervals of both proportions, over faint ROC curves."""

    def draw(axes: Axes, result: ArmResult, look: ArmStyle) -> None:
        axes.plot(result.roc.x, result.roc.y, color=look.colour, linewidth=1.1, linestyle=look.dash, alpha=0.55, zorder=2)
        _point(axes, result.metrics["specificity"], result.metrics["sensitivity"], look)

    return _panels(analysis, facts, draw, "1 − specificity", "sensitivity", points=True)


def _panels(
    analysis: Analysis, facts: ReportFacts, draw: _Draw, x_label: str, y_label: str, *, points: bool = False
) -> Figure:
    """Lay out square panels: for each group of arms its key, and then its models in rows of `_COLUMNS` panels."""
    groups = chunks(facts, drawn(analysis, facts))
    models = [model for model in facts.models if model in analysis.models]
    columns, rows = min(_COLUMNS, len(models)), -(-len(models) // _COLUMNS)
    panel = _PANEL if columns == _COLUMNS else _BIG
    width = WIDTH if columns == _COLUMNS else _LEFT + columns * (panel + _BETWEEN) - _BETWEEN + _RIGHT
    keys = [_KEY * legend_rows(group, width) + 0.14 for group in groups]
    pitch = _ABOVE + panel + _BELOW
    height = sum(keys) + len(groups) * rows * pitch
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    table, top = arm_styles(facts), 0.12
    for group, key in zip(groups, keys, strict=True):
        arm_legend(figure, group, table, top, line=not points)
        top += key
        for k, model in enumerate(models):
            left = _LEFT + (k % _COLUMNS) * (panel + _BETWEEN)
            low = height - top - (k // _COLUMNS) * pitch - _ABOVE - panel
            axes = figure.add_axes((left / width, low / height, panel / width, panel / height))
            _square(axes, model, x_label, y_label, leftmost=k % _COLUMNS == 0)
            for arm in sorted(group, key=lambda arm: arm == REAL):  # real on top: all arms are compared with it
                result = result_of(analysis, arm, model)
                if result is not None:
                    draw(axes, result, table[arm])
        top += rows * pitch
    return figure


def _square(axes: Axes, model: str, x_label: str, y_label: str, *, leftmost: bool) -> None:
    plain(axes)
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.01, 1.01)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(FixedLocator(np.linspace(0, 1, 6).tolist()))
    title = wrapped(model, _PANEL, 9.5, 1, "bold")
    axes.set_title(title, loc="left", fontsize=9.5, fontweight="bold", color=QUIET, parse_math=False)
    axes.set_xlabel(x_label, fontsize=9, color=INK)
    if leftmost:
        axes.set_ylabel(y_label, fontsize=9, color=INK)


def _curve(of: Callable[[ArmResult], Curve], axes: Axes, result: ArmResult, look: ArmStyle) -> None:
    curve = of(result)
    axes.fill_between(curve.x, curve.low, curve.high, color=look.colour, alpha=_BAND, linewidth=0, zorder=2)
    axes.plot(curve.x, curve.y, color=look.colour, linewidth=1.7, linestyle=look.dash, zorder=3)


def _point(axes: Axes, specificity: Estimate, sensitivity: Estimate, look: ArmStyle) -> None:
    """Draw one operating point; draw nothing if one of the two proportions is missing."""
    if specificity.value is None or sensitivity.value is None:
        return
    x, y = 1 - specificity.value, sensitivity.value
    thin: dict[str, Any] = {"color": look.colour, "linewidth": 1.1, "zorder": 4}
    if specificity.low is not None and specificity.high is not None:
        axes.plot([1 - specificity.high, 1 - specificity.low], [y, y], **thin)
    if sensitivity.low is not None and sensitivity.high is not None:
        axes.plot([x, x], [sensitivity.low, sensitivity.high], **thin)
    axes.plot([x], [y], marker=look.marker, color=look.colour, markersize=7.5, markeredgecolor="white", zorder=5)


SHOWN = 6
"""The number of lesions drawn for each model; the CSV file holds all lesions."""
_TILE, _LESION_BETWEEN, _LESION_LEFT, _TITLE, _CAPTION, _LESION_LANE, _LESION_FOOT, _LESION_KEY = (
    1.52,
    0.26,
    0.3,
    0.34,
    0.42,
    0.13,
    0.42,
    0.22,
)  # inches


def hardest(analysis: Analysis, facts: ReportFacts) -> Figure:
    """Draw the worst-classified lesions of each model, worst first, each with its probability of melanoma by arm below.

    The shaded half of a strip is the correct half: right of .5 for a melanoma, left of .5 for other lesions. A filled marker
    means that the decision was wrong in at least half of the seeds; decisions use the thresholds of validation, not .5.
    """
    models = [model for model in facts.models if any(h.model == model for h in analysis.hardest)]
    arms = drawn(analysis, facts)
    strip = _LESION_LANE * len(arms) + 0.06
    block = _TITLE + _TILE + _CAPTION + strip + _LESION_FOOT
    key = _LESION_KEY * legend_rows(arms) + 0.2
    height = key + block * max(1, len(models))
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, facecolor="white")
    table = arm_styles(facts)
    arm_legend(figure, arms, table, 0.12, line=False)
    for row, model in enumerate(models):
        top = height - key - row * block
        title = wrapped(model, WIDTH - 1, 9.5, 1, "bold")
        words: dict[str, Any] = {"fontsize": 9.5, "fontweight": "bold", "color": QUIET, "va": "center", "parse_math": False}
        figure.text(_LESION_LEFT / WIDTH, (top - _TITLE / 2) / height, title, **words)
        for k, lesion in enumerate([h for h in analysis.hardest if h.model == model][:SHOWN]):
            left = (_LESION_LEFT + k * (_TILE + _LESION_BETWEEN)) / WIDTH
            low = top - _TITLE - _TILE
            picture = figure.add_axes((left, low / height, _TILE / WIDTH, _TILE / height))
            _picture(picture, lesion, facts)
            below = low - _CAPTION - strip
            probabilities = figure.add_axes((left, below / height, _TILE / WIDTH, strip / height))
            _strip(probabilities, lesion, arms, table)
    return figure


def _picture(axes: Axes, lesion: HardLesion, facts: ReportFacts) -> None:
    image = facts.picture(lesion.lesion_id)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    if image is None:
        axes.set_facecolor(GRID)
        axes.text(0.5, 0.5, "no picture", ha="center", va="center", fontsize=8, color=QUIET, transform=axes.transAxes)
    else:
        axes.imshow(np.asarray(image), interpolation="nearest", aspect="equal")
    words: dict[str, Any] = {
        "fontsize": 8,
        "ha": "left",
        "va": "top",
        "color": INK,
        "transform": axes.transAxes,
        "parse_math": False,
    }
    axes.text(0, -0.03, wrapped(lesion.lesion_id, _TILE, 8, 1, "bold"), **words | {"fontweight": "bold"})
    diagnosis = wrapped(f"{lesion.diagnosis.replace('_', ' ')}, fold {lesion.fold}", _TILE, 8, 1)
    axes.text(0, -0.135, diagnosis, **words)


def _strip(axes: Axes, lesion: HardLesion, arms: list[str], table: dict[str, ArmStyle]) -> None:
    axes.set_xlim(-0.04, 1.04)
    axes.set_ylim(len(arms) - 0.3, -0.7)
    right = (0.5, 1.0) if lesion.truth else (0.0, 0.5)
    axes.axvspan(*right, color="#e3f0e8", linewidth=0, zorder=0)
    for y, arm in enumerate(arms):
        axes.axhline(y, color=GRID, linewidth=0.6, zorder=1)
        if arm in lesion.by_arm:
            look = table[arm]
            inside = look.colour if lesion.wrong_by_arm.get(arm, 0) >= 0.5 else "white"
            style: dict[str, Any] = {"markersize": 5, "markerfacecolor": inside, "markeredgewidth": 1.1, "clip_on": False}
            axes.plot([lesion.by_arm[arm]], [y], marker=look.marker, color=look.colour, zorder=3, **style)
    axes.set_yticks([])
    axes.set_xticks([0, 0.5, 1], ["0", "½", "1"])
    axes.tick_params(length=2, labelsize=7.5, colors=QUIET, color=FAINT, pad=1.5)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(FAINT)
    axes.set_xlabel("P(melanoma)", fontsize=7.5, color=QUIET, labelpad=1)


_LANE, _HEAD, _FOOT = 0.33, 0.5, 0.5  # inches
_HATCH = "////"


def cost(facts: ReportFacts) -> Figure:
    """Draw the hours of each arm over all its models, folds and seeds; the hatched part is its share of generator training.

    There is no GPU panel if no arm used a GPU.
    """
    arms = facts.ordered(facts.costs)
    panels = [
        (unit, [(getattr(facts.costs[a], kind), getattr(facts.costs[a], f"generator_{kind}")) for a in arms])
        for unit, kind in (("GPU", "gpu_hours"), ("CPU", "cpu_hours"))
    ]
    panels = [panel for panel in panels if any(map(sum, panel[1]))] or panels[1:]
    height = _HEAD + _LANE * max(1, len(arms)) + _FOOT
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, facecolor="white")
    names = [wrapped(arm, 3.2, 8.5) for arm in arms]
    left = max((text_width(part, 8.5) for name in names for part in name.split("\n")), default=1.0) + 0.4
    wide = (WIDTH - left - 0.3) / len(panels) - 0.35
    for k, (unit, spent) in enumerate(panels):
        at = left + k * (wide + 0.5)
        axes = figure.add_axes((at / WIDTH, _FOOT / height, wide / WIDTH, (height - _HEAD - _FOOT) / height))
        _bars(axes, facts, arms, spent)
        axes.set_xlabel(f"{unit} hours", fontsize=9, color=INK)
        axes.set_yticks(range(len(arms)), names if k == 0 else [""] * len(arms), parse_math=False, fontsize=8.5, color=INK)
    keys = [
        Patch(facecolor=QUIET, label="classifiers"),
        Patch(facecolor="white", edgecolor=QUIET, hatch=_HATCH, label="generator"),
    ]
    figure.legend(
        handles=keys, loc="upper left", bbox_to_anchor=(0.25 / WIDTH, 1 - 0.12 / height), ncols=2, fontsize=8.5,
        frameon=False, borderaxespad=0, borderpad=0, labelcolor=INK,
    )  # fmt: skip
    return figure


def _bars(axes: Axes, facts: ReportFacts, arms: list[str], spent: list[tuple[float, float]]) -> None:
    table = arm_styles(facts)
    plain(axes, "x")
    axes.set_ylim(len(arms) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    most = max(map(sum, spent), default=0.0) or 1.0
    axes.set_xlim(0, 1.16 * most)
    for y, (arm, (own, generator)) in enumerate(zip(arms, spent, strict=True)):
        colour = table[arm].colour
        axes.barh([y], [own], height=0.6, color=colour)
        axes.barh([y], [generator], height=0.6, left=[own], facecolor="white", edgecolor=colour, hatch=_HATCH, linewidth=0.8)
        axes.text(own + generator + 0.012 * most, y, hours(own + generator), fontsize=8, va="center", color=QUIET)
