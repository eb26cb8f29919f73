"""ROC, precision-recall and the trade-off between sensitivity and specificity: mean curves over folds and seeds."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator

from hyperderm.reports.ablation.facts import REAL, ReportFacts, result_of
from hyperderm.reports.ablation.looks import (
    DPI,
    FAINT,
    INK,
    QUIET,
    WIDTH,
    Look,
    arm_legend,
    chunks,
    legend_rows,
    looks,
    plain,
    wrapped,
)
from hyperderm.statistics.ablation_results import Analysis, ArmResult, Curve, Estimate

_COLUMNS = 3
_PANEL, _BIG, _BETWEEN, _LEFT, _RIGHT, _BELOW, _ABOVE, _KEY = 2.95, 3.5, 0.52, 0.62, 0.3, 0.7, 0.24, 0.22  # inches
_BAND = 0.13
_Draw = Callable[[Axes, ArmResult, Look], None]


def roc(analysis: Analysis, facts: ReportFacts) -> Figure:
    """Draw mean ROC curves with pointwise 95 % bands; a row of panels, one a model, per handful of arms."""

    def draw(axes: Axes, result: ArmResult, look: Look) -> None:
        _curve(axes, result.roc, look)

    figure = _panels(analysis, facts, draw, "1 − specificity", "sensitivity")
    for axes in figure.axes:
        axes.plot([0, 1], [0, 1], color=FAINT, linewidth=0.9, linestyle=(0, (1, 2)), zorder=1)
    return figure


def precision_recall(analysis: Analysis, facts: ReportFacts) -> Figure:
    """Draw mean precision-recall curves with pointwise 95 % bands; dotted: what chance reaches (the share of melanomas)."""

    def draw(axes: Axes, result: ArmResult, look: Look) -> None:
        _curve(axes, result.precision_recall, look)

    figure = _panels(analysis, facts, draw, "recall (sensitivity)", "precision")
    for axes in figure.axes:
        axes.axhline(analysis.melanomas / analysis.lesions, color=FAINT, linewidth=0.9, linestyle=(0, (1, 2)), zorder=1)
    return figure


def tradeoff(analysis: Analysis, facts: ReportFacts) -> Figure:
    """Draw the operating points that validation chose, with 95 % intervals of both proportions, on faint ROC curves."""

    def draw(axes: Axes, result: ArmResult, look: Look) -> None:
        axes.plot(result.roc.x, result.roc.y, color=look.colour, linewidth=1.1, linestyle=look.dash, alpha=0.55, zorder=2)
        _point(axes, result.metrics["specificity"], result.metrics["sensitivity"], look)

    return _panels(analysis, facts, draw, "1 − specificity", "sensitivity", points=True)


def _panels(
    analysis: Analysis, facts: ReportFacts, draw: _Draw, x_label: str, y_label: str, *, points: bool = False
) -> Figure:
    """Lay out square panels: for each group of arms its key, then its models in rows of `_COLUMNS`."""
    groups = chunks(facts, facts.ordered(analysis.arm_names))
    models = [model for model in facts.models if model in analysis.models]
    columns, rows = min(_COLUMNS, len(models)), -(-len(models) // _COLUMNS)
    panel = _PANEL if columns == _COLUMNS else _BIG
    width = WIDTH if columns == _COLUMNS else _LEFT + columns * (panel + _BETWEEN) - _BETWEEN + _RIGHT
    keys = [_KEY * legend_rows(group, width) + 0.14 for group in groups]
    pitch = _ABOVE + panel + _BELOW
    height = sum(keys) + len(groups) * rows * pitch
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    table, top = looks(facts), 0.12
    for group, key in zip(groups, keys, strict=True):
        arm_legend(figure, group, table, top, line=not points)
        top += key
        for k, model in enumerate(models):
            left = _LEFT + (k % _COLUMNS) * (panel + _BETWEEN)
            low = height - top - (k // _COLUMNS) * pitch - _ABOVE - panel
            axes = figure.add_axes((left / width, low / height, panel / width, panel / height))
            _square(axes, model, x_label, y_label, leftmost=k % _COLUMNS == 0)
            for arm in _real_last(group):
                result = result_of(analysis, arm, model)
                if result is not None:
                    draw(axes, result, table[arm])
        top += rows * pitch
    return figure


def _real_last(group: Sequence[str]) -> list[str]:
    """Real is drawn on top: everything is told from it."""
    return sorted(group, key=lambda arm: arm == REAL)


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


def _curve(axes: Axes, curve: Curve, look: Look) -> None:
    axes.fill_between(curve.x, curve.low, curve.high, color=look.colour, alpha=_BAND, linewidth=0, zorder=2)
    axes.plot(curve.x, curve.y, color=look.colour, linewidth=1.7, linestyle=look.dash, zorder=3)


def _point(axes: Axes, specificity: Estimate, sensitivity: Estimate, look: Look) -> None:
    """Draw one operating point; an arm without both proportions has none."""
    if specificity.value is None or sensitivity.value is None:
        return
    x, y = 1 - specificity.value, sensitivity.value
    thin: dict[str, Any] = {"color": look.colour, "linewidth": 1.1, "zorder": 4}
    if specificity.low is not None and specificity.high is not None:
        axes.plot([1 - specificity.high, 1 - specificity.low], [y, y], **thin)
    if sensitivity.low is not None and sensitivity.high is not None:
        axes.plot([x, x], [sensitivity.low, sensitivity.high], **thin)
    axes.plot([x], [y], marker=look.marker, color=look.colour, markersize=7.5, markeredgecolor="white", zorder=5)
