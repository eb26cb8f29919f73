"""What every arm cost: hours of GPU and CPU, the generator's share apart."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from hyperderm.reports.ablation.facts import ReportFacts
from hyperderm.reports.ablation.looks import DPI, INK, QUIET, WIDTH, looks, plain, text_width, wrapped
from hyperderm.statistics.number_format import hours

_LANE, _HEAD, _FOOT = 0.33, 0.5, 0.5  # inches
_HATCH = "////"


def cost(facts: ReportFacts) -> Figure:
    """Draw hours per arm over all its models, folds and seeds; hatched: this arm's share of training its generator.

    There is no GPU panel where no arm used one.
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
    table = looks(facts)
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
