"""The lesions that models get wrong, as pictures: what they look like and what every arm said."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hyperderm.reports.ablation.facts import ReportFacts
from hyperderm.reports.ablation.looks import (
    DPI,
    FAINT,
    GRID,
    INK,
    QUIET,
    WIDTH,
    Look,
    arm_legend,
    legend_rows,
    looks,
    wrapped,
)
from hyperderm.statistics.ablation_results import Analysis, HardLesion

SHOWN = 6
"""Lesions of a model that are drawn; the CSV file holds all of them."""
_TILE, _BETWEEN, _LEFT, _TITLE, _CAPTION, _LANE, _FOOT, _KEY = 1.52, 0.26, 0.3, 0.34, 0.42, 0.13, 0.42, 0.22  # inches


def hardest(analysis: Analysis, facts: ReportFacts) -> Figure:
    """Draw the worst-classified lesions of each model, worst first, with the probability of melanoma by arm below each.

    The shaded half of a strip is the right one: right of .5 for a melanoma, left of it for the others. A filled marker is
    a decision that was wrong in at least half of the seeds; thresholds are those of validation, not .5.
    """
    models = [model for model in facts.models if any(h.model == model for h in analysis.hardest)]
    arms = facts.ordered(analysis.arm_names)
    strip = _LANE * len(arms) + 0.06
    block = _TITLE + _TILE + _CAPTION + strip + _FOOT
    key = _KEY * legend_rows(arms) + 0.2
    height = key + block * max(1, len(models))
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, facecolor="white")
    table = looks(facts)
    arm_legend(figure, arms, table, 0.12, line=False)
    for row, model in enumerate(models):
        top = height - key - row * block
        title = wrapped(model, WIDTH - 1, 9.5, 1, "bold")
        words: dict[str, Any] = {"fontsize": 9.5, "fontweight": "bold", "color": QUIET, "va": "center", "parse_math": False}
        figure.text(_LEFT / WIDTH, (top - _TITLE / 2) / height, title, **words)
        for k, lesion in enumerate([h for h in analysis.hardest if h.model == model][:SHOWN]):
            left = (_LEFT + k * (_TILE + _BETWEEN)) / WIDTH
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


def _strip(axes: Axes, lesion: HardLesion, arms: list[str], table: dict[str, Look]) -> None:
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
