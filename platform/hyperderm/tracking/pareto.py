"""A search by two objectives in a picture: both losses of every trial, the Pareto front, and what gives them a scale."""

import math
from collections.abc import Sequence

import optuna
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState, create_trial

from hyperderm.tracking.measure import Measure
from hyperderm.tracking.short_texts import three_digits

_INK, _FAINT, _FRONT, _REST = "#333333", "#9a9a9a", "#d9601a", "#1f5a94"
_LOG_FROM = 20.0  # an axis is logarithmic when its largest value is this many times its smallest
_MARGIN = 0.08  # of an axis, beyond the outermost values


def pareto_figure(study: Study, measures: Sequence[Measure]) -> Figure:
    """Draw the finished trials of a study with two objectives; a sentence replaces the plot if there are none.

    Args:
        study: a study that minimises two objectives.
        measures: both, in the order of the study.
    """
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    front = sorted(study.best_trials, key=lambda trial: (*trial.values, trial.number))
    failed = len(study.get_trials(deepcopy=False, states=(TrialState.FAIL,)))
    figure = Figure(figsize=(8, 6), dpi=100, facecolor="white", layout="constrained")
    axes = figure.subplots()
    counted = f"{len(trials)} finished trials, {len(front)} on the front" + f", {failed} failed and not drawn" * bool(failed)
    axes.set_title(f"{study.study_name}\n{counted}", fontsize=10, loc="left", parse_math=False)
    if not trials:
        axes.text(0.5, 0.5, "No trial has finished yet.", ha="center", va="center", fontsize=9, color="#555555")
        axes.set_axis_off()
        return figure
    _axes(axes, trials, measures)
    _front(axes, front)
    others = [trial for trial in trials if trial not in front]
    axes.scatter(*_places(others), s=30, color=_REST, label="another finished trial", zorder=4)
    for trial in trials:
        colour = _INK if trial in front else _FAINT
        place = (trial.values[0], trial.values[1])
        axes.annotate(
            str(trial.number), place, xytext=(5, 5), textcoords="offset points", fontsize=8, color=colour, zorder=6
        )
    _scale(axes, measures)
    figure.legend(*axes.get_legend_handles_labels(), fontsize=8, frameon=False, ncols=3, loc="outside lower center")
    return figure


def one_objective(study: Study, index: int, name: str) -> Study:
    """Return a study in memory that holds the trials of `study` with one of their objectives, for `study_figure`.

    Args:
        study: a study with several objectives.
        index: the number of the objective.
        name: its name.
    """
    loud = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # it announces every study that is made
    try:
        made = optuna.create_study(study_name=f"{study.study_name}, {name}", direction="minimize")
    finally:
        optuna.logging.set_verbosity(loud)
    made.set_user_attr("objective", name)
    for trial in study.get_trials(deepcopy=False):
        made.add_trial(
            create_trial(
                state=trial.state,
                value=trial.values[index] if trial.state is TrialState.COMPLETE else None,
                params=trial.params,
                distributions=trial.distributions,
            )
        )
    return made


def _places(trials: Sequence[FrozenTrial]) -> tuple[list[float], list[float]]:
    return [trial.values[0] for trial in trials], [trial.values[1] for trial in trials]


def _axes(axes: Axes, trials: Sequence[FrozenTrial], measures: Sequence[Measure]) -> None:
    """Name the axes and choose scales that hold all trials and marks; one that spans much is logarithmic."""
    for values, measure, which in zip(_places(trials), measures, "xy", strict=True):
        every = [*values, *measure.marks]
        low, high = min(every), max(every)
        log = low > 0 and high > _LOG_FROM * low
        reach = (high / low) ** _MARGIN if log else _MARGIN * ((high - low) or abs(high) or 1.0)
        axes.set(
            **{
                f"{which}scale": "log" if log else "linear",
                f"{which}lim": (low / reach, high * reach) if log else (low - reach, high + reach),
                f"{which}label": f"{measure.name} (lower is better)",
            }
        )
    axes.grid(color="#e8e8e8", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _front(axes: Axes, front: Sequence[FrozenTrial]) -> None:
    """Draw the front as steps, which bound what its trials dominate, out to the edges of the plot."""
    across, up = _places(front)
    right, top = axes.get_xlim()[1], axes.get_ylim()[1]
    axes.step([across[0], *across, right], [top, *up, up[-1]], where="post", color=_FRONT, linewidth=1.4, zorder=3)
    axes.scatter(across, up, s=46, color=_FRONT, edgecolors="white", label="Pareto front", zorder=5)


def _scale(axes: Axes, measures: Sequence[Measure]) -> None:
    """Draw the floors of real cubes as lines, and the constant mean cube as a cross if both of its losses are known."""
    for measure, line, style in zip(measures, (axes.axvline, axes.axhline), ("--", ":"), strict=True):
        if measure.floor is not None and math.isfinite(measure.floor):
            label = f"real against real, {measure.name}: {three_digits(measure.floor)}"
            line(measure.floor, color=_FAINT, linestyle=style, linewidth=1.2, label=label)
    means = [measure.mean_cube for measure in measures if measure.mean_cube is not None]
    if len(means) == len(measures) and all(map(math.isfinite, means)):
        axes.scatter(means[0], means[1], marker="X", s=70, color=_INK, label="constant mean cube", zorder=5)
