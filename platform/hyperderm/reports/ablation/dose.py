"""Dose-response: how the primary endpoint moves with the amount of synthetic data."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from hyperderm.reports.ablation.facts import REAL, ReportFacts, result_of
from hyperderm.reports.ablation.looks import DPI, INK, QUIET, WIDTH, generator_colour, plain, wrapped
from hyperderm.statistics.ablation_results import PRIMARY, Analysis, Estimate
from hyperderm.statistics.number_format import ratio

_COLUMNS = 3
_WIDE, _HIGH, _BETWEEN, _LEFT, _RIGHT, _BELOW, _ABOVE, _KEY = 2.85, 2.6, 0.55, 0.78, 0.3, 0.62, 0.3, 0.36  # inches
_CONTROL = "#8a8a8a"
_DODGE = 0.02  # of the axis between series at one ratio
_MARKERS = ("o", "^", "D", "v")


def has_doses(analysis: Analysis, facts: ReportFacts) -> bool:
    """Return whether there is anything to draw: more than one ratio among the arms that were analysed."""
    return len({dose.ratio for arm, dose in facts.doses.items() if arm in analysis.arm_names}) > 1


def dose_response(analysis: Analysis, facts: ReportFacts) -> Figure:
    """Draw AUROC against synthetic melanomas per real one, a panel a model; grey: the controls, black band: real."""
    models = [model for model in facts.models if model in analysis.models]
    rows = -(-len(models) // _COLUMNS)
    height = _KEY + rows * (_ABOVE + _HIGH + _BELOW)
    width = WIDTH if len(models) >= _COLUMNS else max(8.0, _LEFT + len(models) * (_WIDE + _BETWEEN) - _BETWEEN + _RIGHT)
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    generators = list(dict.fromkeys(d.generator for arm, d in facts.doses.items() if arm in analysis.arm_names))
    first: Axes | None = None
    for k, model in enumerate(models):
        left = _LEFT + (k % _COLUMNS) * (_WIDE + _BETWEEN)
        low = height - _KEY - (k // _COLUMNS) * (_ABOVE + _HIGH + _BELOW) - _ABOVE - _HIGH
        place = (left / width, low / height, _WIDE / width, _HIGH / height)
        axes = figure.add_axes(place, sharey=first)
        first = first or axes
        _panel(axes, analysis, facts, model, generators)
        axes.set_xlabel("synthetic melanomas per real one", fontsize=9, color=INK)
        if k % _COLUMNS == 0:
            axes.set_ylabel("AUROC of melanoma", fontsize=9, color=INK)
    _key(figure, facts, generators)
    return figure


def _panel(axes: Axes, analysis: Analysis, facts: ReportFacts, model: str, generators: Sequence[str]) -> None:
    plain(axes)
    title = wrapped(model, _WIDE, 9.5, 1, "bold")
    axes.set_title(title, loc="left", fontsize=9.5, fontweight="bold", color=QUIET, parse_math=False)
    real = _estimate(analysis, REAL, model)
    if real is not None and real.value is not None:
        axes.axhline(real.value, color=INK, linewidth=1.3, zorder=2)
        if real.low is not None and real.high is not None:
            axes.axhspan(real.low, real.high, color=INK, alpha=0.08, linewidth=0, zorder=1)
    doses = {arm: dose for arm, dose in facts.doses.items() if arm in analysis.arm_names}
    ratios = sorted({dose.ratio for dose in doses.values()})
    controls = {dose.ratio: dose.control for dose in doses.values()}
    middle, step = len(generators) / 2, _DODGE * np.log2(1.35**2 * ratios[-1] / ratios[0])
    _series(axes, analysis, model, controls, _CONTROL, "s", (0 - middle) * step, dashed=True)
    for i, generator in enumerate(generators):
        arms = {dose.ratio: arm for arm, dose in doses.items() if dose.generator == generator}
        colour = generator_colour(facts, generator)
        _series(axes, analysis, model, arms, colour, _MARKERS[i % len(_MARKERS)], (i + 1 - middle) * step)
    axes.set_xscale("log", base=2)
    axes.set_xlim(ratios[0] / 1.35, ratios[-1] * 1.35)
    axes.xaxis.set_major_locator(FixedLocator(ratios))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(ratios, [ratio(r) for r in ratios])


def _series(
    axes: Axes,
    analysis: Analysis,
    model: str,
    arms: dict[float, str],
    colour: str,
    marker: str,
    shift: float,
    *,
    dashed: bool = False,
) -> None:
    """Draw one arm per ratio, shifted by a part of an octave so that intervals do not cover each other."""
    found = {r: e for r in sorted(arms) if (e := _estimate(analysis, arms[r], model)) is not None and e.value is not None}
    x = np.array(list(found)) * 2.0**shift
    values = [e.value for e in found.values() if e.value is not None]
    axes.plot(x, values, color=colour, linewidth=1.4, linestyle=(0, (4, 2)) if dashed else "solid", zorder=3)
    axes.plot(x, values, color=colour, linestyle="none", marker=marker, markersize=6.5, markeredgecolor="white", zorder=5)
    for place, estimate in zip(x, found.values(), strict=True):
        if estimate.low is not None and estimate.high is not None:
            axes.plot([place, place], [estimate.low, estimate.high], color=colour, linewidth=1.2, zorder=4)


def _estimate(analysis: Analysis, arm: str, model: str) -> Estimate | None:
    """The primary endpoint of an arm; None where it was not analysed."""
    result = result_of(analysis, arm, model)
    return None if result is None else result.metrics[PRIMARY]


def _key(figure: Figure, facts: ReportFacts, generators: Sequence[str]) -> None:
    width, height = figure.get_size_inches()
    handles = [
        Line2D(
            [], [], color=generator_colour(facts, g), marker=_MARKERS[i % len(_MARKERS)], markersize=6, label=f"real + {g}"
        )
        for i, g in enumerate(generators)
    ]
    handles.append(Line2D([], [], color=_CONTROL, marker="s", linestyle=(0, (4, 2)), markersize=6, label="control"))
    handles.append(Line2D([], [], color=INK, label="real alone, with its interval"))
    made = figure.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(0.25 / width, 1 - 0.12 / height), ncols=len(handles),
        fontsize=8.5, frameon=False, borderaxespad=0, borderpad=0, labelcolor=INK, columnspacing=2.0,
    )  # fmt: skip
    for text in made.get_texts():
        text.set_parse_math(False)
