"""The best score so far of several sweeps, against images and against seconds, with the budgets that are equal for all."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from hyperderm.reports.compare_sweeps import amount_of
from hyperderm.reports.figure_style import DPI, FAINT, HUES, INK, MARKERS, QUIET, WIDTH, plain, wrapped
from hyperderm.reports.leaderboard import duration
from hyperderm.reports.sweep_comparison import Budget, SweepComparison, best_so_far, total
from hyperderm.tracking.short_texts import three_digits

_LOG_FROM = 20.0  # the score's axis is logarithmic when its largest value is this many times its smallest
_NAME = 2.6  # inches of a name in the legend
_TICKS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 36000, 86400)  # seconds between ticks


def best_so_far_figure(found: SweepComparison) -> Figure:
    """Draw the best score so far of every sweep: one panel for images, and one for seconds if they were recorded.

    A dot marks each new best score. The dashed line is the budget in all that every sweep has spent.
    """
    budgets = [budget for budget in found.budgets if budget.whole]
    figure = Figure(figsize=(WIDTH, 4.6), dpi=DPI, facecolor="white", layout="constrained")
    panels: Sequence[Axes] = figure.subplots(1, len(budgets), sharey=True, squeeze=False)[0]
    for axes, budget in zip(panels, budgets, strict=True):
        _panel(axes, found, budget)
    panels[0].set_ylabel(
        wrapped(f"best {found.sweeps[0].objective} so far (lower is better)", 3.4, 9), fontsize=9, color=INK
    )
    _scale(panels, found)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8.5, frameon=False)
    return figure


def _panel(axes: Axes, found: SweepComparison, budget: Budget) -> None:
    plain(axes)
    for at, sweep in enumerate(found.sweeps):
        across, up = best_so_far(sweep, budget.unit)
        colour, marker = HUES[at % len(HUES)], MARKERS[at % len(MARKERS)]
        end = total(sweep, budget.unit)
        name = wrapped(sweep.name, _NAME, 8.5)
        style = "-" if at < len(HUES) else "--"
        axes.step([*across, end], [*up, up[-1]], where="post", color=colour, linewidth=1.6, linestyle=style, zorder=3)
        new = [place for place in range(len(up)) if place == 0 or up[place] < up[place - 1]]
        xs, ys = [across[place] for place in new], [up[place] for place in new]
        axes.plot(xs, ys, marker, color=colour, markersize=4.5, markeredgecolor="white", zorder=4)
        axes.plot([], [], marker=marker, linestyle=style, color=colour, markersize=4.5, linewidth=1.6, label=name)
    label = f"equal budget, {amount_of(budget)}"
    axes.axvline(budget.amount, color=QUIET, linewidth=1.1, linestyle=(0, (4, 3)), zorder=2)
    axes.set_title(label, fontsize=9, color=QUIET, loc="left")
    axes.set_xlim(left=0)
    if budget.unit == "images":
        axes.set_xlabel("real images shown, trials one behind the other", fontsize=9, color=INK)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.xaxis.set_major_locator(MaxNLocator(6))
    else:
        axes.set_xlabel("time of the trials, one behind the other", fontsize=9, color=INK)
        most = axes.get_xlim()[1]
        between = next((step for step in _TICKS if most / step <= 6), _TICKS[-1])
        axes.set_xticks([between * k for k in range(int(most // between) + 1)])
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: "0" if value == 0 else duration(value)))


def _scale(panels: Sequence[Axes], found: SweepComparison) -> None:
    """Choose the axis of the scores, and draw the floor of real cubes and the mean cube where they are the same for all."""
    values = [value for sweep in found.sweeps for value in best_so_far(sweep, "images")[1]]
    marks = []
    for name, known in (
        ("real against real", {sweep.floor for sweep in found.sweeps}),
        ("constant mean cube", {sweep.mean_cube for sweep in found.sweeps}),
    ):
        (value,) = known if len(known) == 1 else (None,)
        if value is not None:
            marks.append((name, value))
    every = [*values, *(value for _, value in marks)]
    if min(every) > 0 and max(every) > _LOG_FROM * min(every):
        panels[0].set_yscale("log")
    for axes in panels:
        for (name, value), style in zip(marks, (":", "-."), strict=False):
            axes.axhline(
                value, color=FAINT, linewidth=1.2, linestyle=style, zorder=1, label=f"{name}, {three_digits(value)}"
            )
