"""Figures of differences: a forest plot of every declared difference, and the endpoint against the synthetic dose."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from matplotlib.transforms import Transform, blended_transform_factory

from hyperderm.reports.ablation.arm_styles import ArmStyle, arm_styles, generator_colour
from hyperderm.reports.ablation.facts import ReportFacts, result_of, verdict_of
from hyperderm.reports.figure_parts import panels
from hyperderm.reports.figure_style import DPI, FAINT, INK, QUIET, WIDTH, plain, text_width, wrapped
from hyperderm.reports.number_format import MISSING, chance, ratio, signed, span
from hyperderm.statistics.ablation_results import (
    CANNOT_TELL,
    HELPS,
    HURTS,
    PRIMARY,
    REAL,
    Analysis,
    Contrast,
    ContrastResult,
    Estimate,
)

_ROW, _MORE, _GAP, _HEADER, _HEAD, _FOOT = 0.25, 0.13, 0.12, 0.36, 0.5, 0.92  # inches; _MORE: a row's second line
_SIZE = 8.5
_EDGE = 0.2
_NAME_MOST, _REFERENCE_MOST = 2.2, 1.75
_COLUMNS = (("difference [95 % interval]", 1.78), ("Holm-adjusted", 1.2), ("p, adjusted", 0.78), ("verdict", 0.78))
_SHAM = "†"
_STRIPE = "#f6f6f6"
_VERDICTS = {HELPS: "#00694c", HURTS: "#a84300", CANNOT_TELL: QUIET}
_OUTLIER = 3.0  # an interval may stretch the axis to this many times the median reach; beyond it ends in an arrow


@dataclass(frozen=True)
class _Line:
    """One contrast with its row in the forest plot.

    Attributes:
        result: the result of the contrast; None if cells are missing.
        reference: the name of the reference, with line breaks so that it fits.
        y: middle of the row, in inches below the upper edge of the axes.
        half: half the height of the row, in inches.
    """

    asked: Contrast
    result: ContrastResult | None
    reference: str
    y: float
    half: float


@dataclass(frozen=True)
class _Block:
    """The contrasts of one arm and model.

    Attributes:
        label: the arm's name, with `_SHAM` for a negative control.
        header: the height of the model's name, set on the model's first block.
    """

    arm: str
    label: str
    model: str
    lines: tuple[_Line, ...]
    header: float | None

    @property
    def middle(self) -> float:
        return (self.lines[0].y + self.lines[-1].y) / 2


def forest(analysis: Analysis, facts: ReportFacts) -> Figure:
    """Draw each declared contrast of each model: thick = 95 % interval, thin = Holm-adjusted, numbers on the right.

    Declared contrasts without a result keep their row, which says that there is no result.
    """
    blocks, depth = _blocks(analysis, facts)
    sham = any(block.label != block.arm for block in blocks)
    height = _HEAD + depth + _FOOT
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, facecolor="white")
    names = min(_NAME_MOST, max((text_width(b.label, _SIZE, "bold") for b in blocks), default=1.0) + 0.1)
    references = [text_width(part, _SIZE) for b in blocks for line in b.lines for part in line.reference.split("\n")]
    reference_at = _EDGE + names + 0.15
    left = reference_at + max(references, default=1.0) + 0.2
    right = WIDTH - sum(width for _, width in _COLUMNS) - _EDGE
    place = (left / WIDTH, _FOOT / height, (right - left) / WIDTH, depth / height)
    axes = figure.add_axes(place)
    axes.set_ylim(depth, 0)
    reach = reach_of(analysis.contrasts)
    axes.set_xlim(-reach, reach)
    table = arm_styles(facts)
    across = blended_transform_factory(figure.dpi_scale_trans, axes.transData)
    for k, block in enumerate(blocks):
        if k % 2 == 0:
            _stripe(axes, block, across)
        _words(axes, block, across, (names, reference_at, right), _verdicts(analysis, block))
        for line in block.lines:
            _interval(axes, line, table[block.arm], reach)
    _frame(axes, reach, right)
    if sham:
        words: dict[str, Any] = {"fontsize": 8.5, "color": QUIET, "va": "bottom"}
        figure.text(_EDGE / WIDTH, 1 - (_HEAD - 0.1) / height, f"{_SHAM} negative control, must not help", **words)
    return figure


def _blocks(analysis: Analysis, facts: ReportFacts) -> tuple[list[_Block], float]:
    """Return every declared contrast with its place, by model and then by arm, and the height of all of them together."""
    found = {(c.arm, c.reference, c.model): c for c in analysis.contrasts}
    asked = list(dict.fromkeys([*facts.declared.contrasts, *(Contrast(*key) for key in found)]))
    y, made = 0.0, list[_Block]()
    for model in facts.models:
        arms = sorted(facts.ordered({c.arm for c in asked if c.model == model}), key=lambda arm: arm in facts.negative)
        header = y + _HEADER / 2 if arms else None
        y += _HEADER * bool(arms)
        for arm in arms:
            lines = []
            for contrast in (c for c in asked if (c.arm, c.model) == (arm, model)):
                reference = wrapped(f"vs {contrast.reference}", _REFERENCE_MOST, _SIZE, 3)
                half = (_ROW + _MORE * reference.count("\n")) / 2
                lines.append(_Line(contrast, found.get((arm, contrast.reference, model)), reference, y + half, half))
                y += 2 * half
            label = f"{arm} {_SHAM}" if arm in facts.negative else arm
            made.append(_Block(arm, label, model, tuple(lines), header))
            y, header = y + _GAP, None
    return made, max(y, _ROW)


def reach_of(contrasts: Sequence[ContrastResult]) -> float:
    """Return half the width of a symmetric axis for the intervals; what few of them need beyond it ends in an arrow."""
    ends = [max(abs(c.adjusted_low), abs(c.adjusted_high), abs(c.low), abs(c.high)) for c in contrasts]
    if not ends:
        return 0.1
    return 1.06 * max(min(max(ends), _OUTLIER * float(np.median(ends))), 0.01)


def _verdicts(analysis: Analysis, block: _Block) -> dict[float, str]:
    """Return height to verdict: one verdict in the middle of the block, or one beside each control if there are several."""
    found = {line.y: verdict_of(analysis, line.asked) for line in block.lines}
    controls = sum((d.arm, d.model) == (block.arm, block.model) for d in analysis.decisions)
    return {block.middle: next(iter(found.values()))} if controls == 1 else found


def _stripe(axes: Axes, block: _Block, across: Transform) -> None:
    first, last = block.lines[0], block.lines[-1]
    low, high = first.y - first.half - _GAP / 2, last.y + last.half + _GAP / 2
    corners = ([_EDGE - 0.1, WIDTH - _EDGE + 0.1], [low, low], [high, high])
    axes.fill_between(*corners, color=_STRIPE, linewidth=0, transform=across, clip_on=False, zorder=-3)


def _words(
    axes: Axes, block: _Block, across: Transform, columns: tuple[float, float, float], verdicts: dict[float, str]
) -> None:
    names, reference_at, right = columns
    base: dict[str, Any] = {"fontsize": _SIZE, "va": "center", "color": INK, "transform": across, "parse_math": False}
    if block.header is not None:
        base_header = base | {"fontsize": 9.5, "fontweight": "bold", "color": QUIET}
        axes.text(_EDGE, block.header, wrapped(block.model, 4.5, 9.5, 1, "bold"), **base_header)
    rows = max(1, round(sum(2 * line.half for line in block.lines) / 0.17))
    axes.text(_EDGE, block.middle, wrapped(block.label, names, _SIZE, rows, "bold"), **base | {"fontweight": "bold"})
    for line in block.lines:
        axes.text(reference_at, line.y, line.reference, linespacing=1.1, **base)
        if line.result is None:
            axes.text(
                right + 0.15, line.y, f"{MISSING}: cells are missing", **base | {"color": QUIET, "fontstyle": "italic"}
            )
            continue
        x = right
        for text, (_, width) in zip(_numbers(line.result), _COLUMNS, strict=False):
            axes.text(x + width - 0.08, line.y, text, ha="right", **base)
            x += width
    for y, verdict in verdicts.items():
        alarm = verdict == HELPS and block.label != block.arm  # a negative control
        look = base | {"color": _VERDICTS[HURTS] if alarm else _VERDICTS.get(verdict, QUIET), "fontweight": "bold"}
        axes.text(WIDTH - _EDGE, y, verdict, ha="right", **look)


def _numbers(c: ContrastResult) -> tuple[str, str, str]:
    both = f"{signed(c.difference)} {span(c.low, c.high, signs=True)}"
    return both, span(c.adjusted_low, c.adjusted_high, signs=True), chance(c.adjusted_p)


def _interval(axes: Axes, line: _Line, look: ArmStyle, reach: float) -> None:
    c, y = line.result, line.y
    if c is None:
        return
    for low, high, width in ((c.adjusted_low, c.adjusted_high, 1.2), (c.low, c.high, 4.2)):
        axes.plot([low, high], [y, y], color=look.colour, linewidth=width, solid_capstyle="butt", zorder=3)
    for end, marker in ((c.adjusted_low, "<"), (c.adjusted_high, ">")):
        if abs(end) > reach:
            axes.plot([np.sign(end) * reach * 0.985], [y], marker=marker, color=look.colour, markersize=6, zorder=4)
        else:
            axes.plot([end], [y], marker="|", color=look.colour, markersize=7, markeredgewidth=1.2, zorder=3)
    filled = look.colour if line.asked.reference == REAL else "white"
    marker = "o" if line.asked.reference == REAL else "D"
    axes.plot(
        [c.difference], [y], marker=marker, markersize=7 if marker == "o" else 6, color=look.colour,
        markerfacecolor=filled, markeredgewidth=1.4, zorder=5,
    )  # fmt: skip


def _frame(axes: Axes, reach: float, right: float) -> None:
    """Draw the axis, the zero line, the headings and the key."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    height = figure.get_figheight()
    plain(axes, "x")
    axes.spines["left"].set_visible(False)
    axes.set_yticks([])
    axes.axvline(0, color=INK, linewidth=1.1, zorder=1)
    axes.xaxis.set_major_locator(MaxNLocator(5, symmetric=True, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: signed(value, 2 if reach > 0.03 else 3)))
    axes.set_xlabel("difference in AUROC of melanoma (arm − reference)", fontsize=9, color=INK)
    above: dict[str, Any] = {"fontsize": 8.5, "color": QUIET, "va": "bottom", "transform": axes.transAxes}
    lift = 1 + 0.1 / (height - _HEAD - _FOOT)
    axes.text(0.48, lift, "← arm is worse", ha="right", **above)
    axes.text(0.52, lift, "arm is better →", ha="left", **above)
    x, y = right, 1 - (_HEAD - 0.1) / height
    for title, width in _COLUMNS:
        x += width
        end = x - 0.08 if title != "verdict" else WIDTH - _EDGE
        figure.text(end / WIDTH, y, title, ha="right", va="bottom", fontsize=8.5, color=QUIET)
    key: dict[str, Any] = {"color": QUIET, "markersize": 6.5}
    handles = [
        Line2D([], [], marker="o", linestyle="none", label="vs real", **key),
        Line2D([], [], marker="D", linestyle="none", markerfacecolor="white", label="vs its control", **key),
        Line2D([], [], linewidth=4.2, color=QUIET, solid_capstyle="butt", label="95 % interval"),
        Line2D([], [], linewidth=1.2, color=QUIET, label="Holm-adjusted interval (decides)"),
    ]
    figure.legend(
        handles=handles, loc="lower left", bbox_to_anchor=(_EDGE / WIDTH, 0.1 / height), ncols=4, frameon=False,
        fontsize=8.5, borderaxespad=0, labelcolor=INK, handlelength=2.2, columnspacing=2.2,
    )  # fmt: skip
    axes.tick_params(axis="x", colors=QUIET, labelsize=8.5, color=FAINT)


_KEY = 0.36  # inches
_CONTROL = "#8a8a8a"
_DODGE = 0.02  # of the axis between series at one ratio
_MARKERS = ("o", "^", "D", "v")


def has_doses(analysis: Analysis, facts: ReportFacts) -> bool:
    """Return whether there are doses to draw, which means more than one ratio among the analysed arms."""
    return len({dose.ratio for arm, dose in facts.doses.items() if arm in analysis.arm_names}) > 1


def dose_response(analysis: Analysis, facts: ReportFacts) -> Figure:
    """Draw AUROC against synthetic melanomas per real one, one panel per model; grey: controls, black band: real."""
    models = [model for model in facts.models if model in analysis.models]
    figure, drawn, wide = panels(len(models), "AUROC of melanoma", _KEY)
    generators = list(dict.fromkeys(d.generator for arm, d in facts.doses.items() if arm in analysis.arm_names))
    for axes, model in zip(drawn, models, strict=True):
        _panel(axes, analysis, facts, model, generators, wide)
        axes.set_xlabel("synthetic melanomas per real one", fontsize=9, color=INK)
    _key(figure, facts, generators)
    return figure


def _panel(
    axes: Axes, analysis: Analysis, facts: ReportFacts, model: str, generators: Sequence[str], wide: float
) -> None:  # fmt: skip
    plain(axes)
    title = wrapped(model, wide, 9.5, 1, "bold")
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
    """Draw one arm per ratio, shifted by part of an octave so that intervals do not cover each other."""
    found = {r: e for r in sorted(arms) if (e := _estimate(analysis, arms[r], model)) is not None and e.value is not None}
    x = np.array(list(found)) * 2.0**shift
    values = [e.value for e in found.values() if e.value is not None]
    axes.plot(x, values, color=colour, linewidth=1.4, linestyle=(0, (4, 2)) if dashed else "solid", zorder=3)
    axes.plot(x, values, color=colour, linestyle="none", marker=marker, markersize=6.5, markeredgecolor="white", zorder=5)
    for place, estimate in zip(x, found.values(), strict=True):
        if estimate.low is not None and estimate.high is not None:
            axes.plot([place, place], [estimate.low, estimate.high], color=colour, linewidth=1.2, zorder=4)


def _estimate(analysis: Analysis, arm: str, model: str) -> Estimate | None:
    """Return the primary endpoint of an arm; None if the arm was not analysed."""
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
