"""The forest of scores: every value in units of what real cubes reach, so that a glance tells what differs."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from hyperderm.metrics.evaluation.measure import Measured
from hyperderm.metrics.evaluation.scores import Comparison, Score, Verdict
from hyperderm.reports.evaluation.look import HELD_OUT, SYNTHETIC, TRAIN, counted
from hyperderm.reports.figure_parts import EDGE, SMALL, TEXT, TITLE, axes_at, sheet, words
from hyperderm.reports.figure_style import FAINT, GRID, HUES, INK, QUIET, WIDTH, wrapped

REACH = 6.0
"""Standardised values beyond this end in an arrow."""
_ROW, _HEADER, _HEAD, _FOOT = 0.185, 0.27, 1.15, 0.62  # inches
_NAMES, _BETWEEN = 3.3, 0.35
_BAND = "#d9d9d9"
_TRAIN = "train"


@dataclass(frozen=True)
class _Mark:
    """How a verdict is drawn."""

    words: str
    marker: str
    colour: str
    filled: bool


_MARKS: dict[Verdict, _Mark] = {
    "as real": _Mark("as real", "o", QUIET, False),
    "worse than real": _Mark("worse than real", "o", HUES[1], True),
    "better than real": _Mark("better than real (a copier is, too)", "o", HUES[0], False),
    "above real": _Mark("above real", "D", HUES[1], True),
    "below real": _Mark("below real", "D", HUES[1], True),
}
_TITLES = {"mean_spectra": "mean spectra", "level": "single cubes", "nearest": "nearest real cubes"}


def standardised(score: Score, value: float) -> float:
    """Return a value in units of the real cubes' range: −1 and 1 are its ends, and what is worse is larger.

    For metrics without a better side, larger is simply larger.

    Args:
        score: a score with a range of real cubes.
        value: its value or an end of its interval.

    Returns:
        The standardised value; infinite if the range has no width and the value lies outside.
    """
    if score.real_low is None or score.real_high is None:
        raise ValueError(f"score {score.key} has no range of real cubes")
    middle, half = (score.real_low + score.real_high) / 2, (score.real_high - score.real_low) / 2
    away = value - middle
    ratio = away / half if half > 0 else float(np.sign(away)) * np.inf if away else 0.0
    return -ratio if score.metric.better == "higher" else ratio


def score_forest(found: Measured, how: Comparison) -> Figure:
    """Draw each score that has a range of real cubes, on the left against held-out cubes, on the right against train.

    Rows are grouped by the first parts of the key. Scores without a range, or without a finite value, are only counted.

    Args:
        found: what was measured.
        how: the comparison.
    """
    told = [score for score in found.scores.found if score.verdict != "not told" and not np.isnan(score.value)]
    rows = _rows(told)
    groups = list(dict.fromkeys(group for group, _ in rows))
    depth = len(rows) * _ROW + len(groups) * _HEADER + 0.08
    figure = sheet(_HEAD + depth + _FOOT)
    wide = (WIDTH - 2 * EDGE - _NAMES - _BETWEEN) / 2
    panels = []
    for k, title in enumerate(
        (
            f"against {counted(HELD_OUT, how.held_out.name, len(how.held_out))}",
            f"against {counted(TRAIN, how.train.name, len(how.train))}",
        )
    ):
        left = EDGE + _NAMES + k * (wide + _BETWEEN)
        panels.append(axes_at(figure, left, _HEAD, wide, depth))
        _frame(panels[k], depth)
        words(figure, left, _HEAD - 0.52, wrapped(title, wide, TEXT, 2, "bold"), TEXT, bold=True, colour=QUIET)
    y, last = 0.0, ""
    for (group, _), (name, pair) in rows.items():
        if group != last:
            text = wrapped(_TITLES.get(group, f"features: {group}"), _NAMES, TEXT, 1, "bold")
            words(figure, EDGE, _HEAD + y + 0.1, text, TEXT, bold=True, colour=QUIET)
            y, last = y + _HEADER, group
        words(figure, EDGE + 0.1, _HEAD + y + 0.03, wrapped(name, _NAMES - 0.2, SMALL, 1), SMALL)
        for axes, score in zip(panels, pair, strict=True):
            if score is not None:
                axes.fill_between([-1, 1], y, y + _ROW, color=_BAND, linewidth=0, zorder=0)
                axes.axhline(y + _ROW / 2, color=GRID, linewidth=0.6, zorder=0.5)
                _point(axes, score, y + _ROW / 2)
        y += _ROW
    _head(figure, found, told)
    _key(figure, depth)
    return figure


Pair = tuple[Score | None, Score | None]
Rows = dict[tuple[str, str], tuple[str, Pair]]


def _rows(told: Sequence[Score]) -> Rows:
    """Return (group, metric) to the metric's title and its scores against held-out cubes and against train, by group."""
    made: Rows = {}
    for score in told:
        first, *between, last = score.key.split("/")
        group = "/".join(between) or first
        held, train = made.get((group, last), ("", (None, None)))[1]
        made[group, last] = score.metric.title, (held, score) if first == _TRAIN else (score, train)
    groups = list(dict.fromkeys(group for group, _ in made))
    return dict(sorted(made.items(), key=lambda row: groups.index(row[0][0])))


def _frame(axes: Axes, depth: float) -> None:
    """Draw the axis and what its sides mean."""
    axes.set_xlim(-REACH - 0.35, REACH + 0.35)
    axes.set_ylim(depth, 0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(FAINT)
    axes.set_yticks([])
    axes.set_xticks([-6, -3, -1, 1, 3, 6], ["≤ −6", "−3", "−1", "1", "3", "≥ 6"])
    axes.tick_params(labelsize=SMALL, colors=QUIET, color=FAINT, length=2)
    lift = 1 + 0.06 / depth
    above: dict[str, Any] = {"fontsize": SMALL, "color": QUIET, "va": "bottom", "transform": axes.transAxes}
    axes.text(0, lift, "← better or lower", ha="left", **above)
    axes.text(0.5, lift, "real", ha="center", **above)
    axes.text(1, lift, "worse or higher →", ha="right", **above)


def _point(axes: Axes, score: Score, y: float) -> None:
    mark = _MARKS[score.verdict]
    ends = [standardised(score, each) for each in (score.low, score.high) if each is not None and not np.isnan(each)]
    if len(ends) == 2:
        axes.plot(np.clip(ends, -REACH, REACH), [y, y], color=mark.colour, linewidth=1.1, zorder=3)
    at = standardised(score, score.value)
    marker = mark.marker if abs(at) <= REACH else ">" if at > 0 else "<"
    axes.plot(
        [float(np.clip(at, -REACH, REACH))], [y], marker=marker, markersize=6.5 if marker in "<>" else 5.5,
        color=mark.colour, markerfacecolor=mark.colour if mark.filled else "white", markeredgewidth=1.2, zorder=5,
    )  # fmt: skip


def _head(figure: Figure, found: Measured, told: Sequence[Score]) -> None:
    """Write the name of the set and how many scores have which verdict."""
    words(
        figure,
        EDGE,
        0.1,
        wrapped(counted(SYNTHETIC, found.synthetic.name, len(found.synthetic)), WIDTH - 2 * EDGE, TITLE, 1, "bold"),
        TITLE,
        bold=True,
    )
    counts = Counter(score.verdict for score in told)
    said = [f"{counts[verdict]} {verdict}" for verdict in _MARKS if counts[verdict]]
    silent, left = len(found.scores.found) - len(told), len(found.scores.left)
    text = f"{len(told)} scores: {', '.join(said)}" if told else "No score has a range of real cubes"
    text += f"; not shown: {silent} without a range of real cubes, {left} that could not be computed" * bool(silent + left)
    words(figure, EDGE, 0.32, text, TEXT, colour=INK)


def _key(figure: Figure, depth: float) -> None:
    def handle(mark: _Mark, text: str) -> Line2D:
        fill = mark.colour if mark.filled else "white"
        return Line2D([], [], marker=mark.marker, color=mark.colour, markerfacecolor=fill, linestyle="none", label=text)

    verdicts: tuple[Verdict, ...] = ("as real", "worse than real", "better than real")
    handles: list[Any] = [handle(_MARKS[verdict], _MARKS[verdict].words) for verdict in verdicts]
    handles.append(handle(_MARKS["above real"], "above or below real"))
    handles.append(Line2D([], [], color=QUIET, linewidth=1.1, label="95 % interval"))
    handles.append(Patch(facecolor=_BAND, label="95 % of real sets"))
    figure.legend(
        handles=handles, loc="lower left", bbox_to_anchor=(EDGE / WIDTH, 0.1 / figure.get_figheight()), ncols=6,
        frameon=False, fontsize=SMALL, borderaxespad=0, borderpad=0, labelcolor=INK, columnspacing=1.6, handlelength=1.6,
    )  # fmt: skip
