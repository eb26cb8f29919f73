"""The learning curve in a report: would more real melanomas help, and what is a synthetic one worth in real ones?"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from hyperderm.reports.ablation.facts import ReportFacts, helping_controls
from hyperderm.reports.document import Cell, Column, Row, Table
from hyperderm.reports.figure_parts import panels
from hyperderm.reports.figure_style import HUES, INK, QUIET, plain, wrapped
from hyperderm.reports.number_format import number, percent, signed, span, tally
from hyperderm.reports.table_files import csv_text
from hyperderm.statistics.ablation_results import (
    HELPS,
    REAL,
    WOULD_HELP,
    WOULD_NOT,
    Analysis,
    Estimate,
    ExchangeRate,
    LearningCurve,
)

CURVE_CSV, RATES_CSV = "curve.csv", "rates.csv"
ELSEWHERE = (
    "A gain of synthetic cubes would then come from something else, such as balance, augmentation or photographs of other "
    "lesions."
)
_TOLD = 2
"""Exchange rates of a model that are told one by one."""


def curve_sentence(curve: LearningCurve, helped: bool = False) -> str:
    """Return in words whether more real melanomas would help a model, with the gain per doubling.

    Args:
        curve: the learning curve of the model.
        helped: whether a synthetic arm of the model is decided to help; then no doubt is cast on that.
    """
    slope, model = curve.slope, curve.model
    if slope.value is None:
        return f"Whether more real melanomas would help {model} cannot be told: {slope.reason}."
    value, low, high = slope.bounds
    first, last = (tally(round(end([point.melanomas for point in curve.points]))) for end in (min, max))
    each = (
        f"each doubling, from {first} to {last} melanomas in training, changes its AUROC by {signed(value)} "
        f"{span(low, high, signs=True)}"
    )
    if curve.usefulness == WOULD_HELP:
        return f"More real melanomas would help {model}: {each}."
    if curve.usefulness == WOULD_NOT:
        doubt = "" if helped else f" {ELSEWHERE}"
        if high < 0:
            return f"More real melanomas alone are expected to harm {model}, as it is trained here: {each}.{doubt}"
        return (
            f"More real melanomas alone are not expected to help {model}, as it is trained here: {each}, which is less than "
            f"the {number(curve.smallest_gain, 2)} that would be worth them.{doubt}"
        )
    return f"Whether more real melanomas would help {model} cannot be told from these cases: {each}."


def rate_sentence(found: ExchangeRate) -> str:
    """Return in words what a synthetic melanoma of an arm is worth in real ones."""
    rate = found.rate
    if rate.value is None:
        return f"What a synthetic melanoma of {found.arm} is worth to {found.model} is not defined: {rate.reason}."
    worth = f"{'less than none, ' * (rate.value < 0)}{number(rate.value, 2)} real ones {_rate_span(found)}"
    by = ""
    if found.slope and found.reference != REAL:
        value, low, high = found.slope.bounds
        by = f", by the curve of {found.reference} ({signed(value)} {span(low, high, signs=True)} per doubling)"
    return f"A synthetic melanoma of {found.arm} is worth {worth} to {found.model}{by}."


def learning_sentences(analysis: Analysis) -> list[str]:
    """Return the sentences with which an answer begins; [] for a grid without a learning curve."""
    helped = {each.model for each in analysis.decisions if each.verdict == HELPS and not each.negative}
    return [curve_sentence(each, each.model in helped) for each in analysis.curves]


def rate_sentences(analysis: Analysis) -> list[str]:
    """Return what each synthetic arm is worth, where that is defined; one sentence tells why for all others of a model.

    Of more than `_TOLD` arms of a model, those that help are told one by one, and the others by their range.
    """
    trusted = not helping_controls(analysis)
    helping = {(each.arm, each.model) for each in analysis.decisions if each.verdict == HELPS and trusted}
    said: list[str] = []
    for model in dict.fromkeys(each.model for each in analysis.rates):
        mine = [each for each in analysis.rates if each.model == model and each.rate.value is not None]
        told = [each for each in mine if len(mine) <= _TOLD or (each.arm, model) in helping]
        said += map(rate_sentence, told)
        if others := [each for each in mine if each not in told]:
            said.append(_rates_between(others, "other " if told else ""))
    silent = [each for each in analysis.rates if each.rate.value is None]
    for model in dict.fromkeys(each.model for each in silent):
        reasons = dict.fromkeys(_why(each) for each in silent if each.model == model)
        said.append(f"What a synthetic melanoma is worth in real ones to {model} is not defined: {'; '.join(reasons)}.")
    return said


def _rates_between(rates: Sequence[ExchangeRate], other: str) -> str:
    if len(rates) == 1:
        return rate_sentence(rates[0])
    values = [each.rate.value for each in rates if each.rate.value is not None]
    ends = [(each.rate.low, each.rate.high) for each in rates]
    sure = sum((low is not None and low > 0) or (high is not None and high < 0) for low, high in ends)
    beside = f"{sure} of their intervals exclude{'s' * (sure == 1)} 0" if sure else "but every interval includes 0"
    return (
        f"To {rates[0].model}, the best estimates of {len(rates)} {other}arms are {number(min(values), 2)} to "
        f"{number(max(values), 2)} real melanomas for a synthetic one (below 0: less than none), {beside} (rates.csv)."
    )


def curve_table(analysis: Analysis) -> Table:
    """Return the table of the points and the slope of every curve."""
    columns = (
        Column("model", True), Column("melanomas in train"), Column("share"), Column("AUROC"), Column("gain per doubling"),
        Column("would more help?"),
    )  # fmt: skip
    rows = [row for curve in analysis.curves for row in _curve_rows_shown(curve)]
    return Table("The learning curve of each model, over the cells that all its points have.", columns, tuple(rows))


def _curve_rows_shown(curve: LearningCurve) -> Iterator[Row]:
    first = (Cell(curve.model), _signed(curve.slope), Cell(curve.usefulness))
    for point in curve.points:
        model, gain, more = first
        value, low, high = point.auroc.bounds
        melanomas = Cell(tally(round(point.melanomas, 1)))
        yield Row((model, melanomas, Cell(percent(point.share)), Cell(number(value), span(low, high)), gain, more))
        first = (Cell(""), Cell(""), Cell(""))


def rate_table(analysis: Analysis, facts: ReportFacts) -> Table:
    """Return the table of exchange rates."""
    columns = (
        Column("arm", True), Column("model", True), Column("against", True), Column("real"), Column("synthetic"),
        Column("gain"), Column("gain per doubling of the control"), Column("real ones per synthetic one"),
    )  # fmt: skip
    known = {(each.arm, each.model): each for each in analysis.rates}
    rows = [
        _rate_row(known[arm, model])
        for model in analysis.models
        for arm in facts.ordered({arm for arm, of in known if of == model})
    ]
    return Table(
        "Exchange rates: the gain of each synthetic arm over its control, in real melanomas by the control's own curve.",
        columns,
        tuple(rows),
    )


def _rate_row(each: ExchangeRate) -> Row:
    names = (Cell(each.arm), Cell(each.model), Cell(each.reference))
    counts = (Cell(tally(round(each.melanomas, 1))), Cell(tally(round(each.synthetic, 1))))
    rate = Cell("not defined", _why(each))
    if each.rate.value is not None:
        rate = Cell(number(each.rate.value, 2), _rate_span(each))
    return Row((*names, *counts, _signed(each.gain), _signed(each.slope) if each.slope else Cell("–"), rate))


def _why(each: ExchangeRate) -> str:
    """Return why a rate is not defined, with the minus signs of a report."""
    return re.sub(r"-(?=\d)", "−", each.rate.reason)


def _signed(found: Estimate) -> Cell:
    return Cell("–") if found.value is None else Cell(signed(found.value), span(*found.bounds[1:], signs=True))


def _rate_span(found: ExchangeRate) -> str:
    low, high = found.rate.low, found.rate.high
    assert low is not None
    return f"[{number(low, 2)}, {'no end' if high is None else number(high, 2)}]"


def learning_curve(analysis: Analysis, facts: ReportFacts) -> Figure:
    """Draw the learning curve of each model in a panel of its own."""
    curves = [each for model in facts.models for each in analysis.curves if each.model == model]
    figure, drawn, wide = panels(len(curves), "AUROC of melanoma")
    for axes, curve in zip(drawn, curves, strict=True):
        _panel(axes, curve, wide)
    return figure


def _panel(axes: Axes, curve: LearningCurve, wide: float) -> None:
    plain(axes)
    title = wrapped(curve.model, wide, 9.5, 1, "bold")
    axes.set_title(title, loc="left", fontsize=9.5, fontweight="bold", color=QUIET, parse_math=False)
    x = np.log2([point.melanomas for point in curve.points])
    y, low, high = np.array([point.auroc.bounds for point in curve.points]).T
    look: dict[str, Any] = {"color": HUES[0], "ecolor": HUES[0], "capsize": 3, "markersize": 6}
    axes.errorbar(x, y, yerr=[y - low, high - y], fmt="o", elinewidth=1.4, zorder=3, **look)
    if curve.slope.value is not None:
        ends = np.array([x.min(), x.max()])
        axes.plot(ends, y.mean() + curve.slope.value * (ends - x.mean()), color=HUES[0], linewidth=1.6, zorder=2)
        said = f"{signed(curve.slope.value)} per doubling: {curve.usefulness}"
        axes.text(0.03, 0.97, said, transform=axes.transAxes, fontsize=8.5, color=INK, va="top")
        axes.margins(y=0.15)
    axes.set_xlim(x.min() - 0.4, x.max() + 0.4)
    axes.xaxis.set_major_locator(FixedLocator(x.tolist()))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: tally(round(2**value, 1))))
    axes.set_xlabel("real melanomas in train", fontsize=9, color=INK)


def curve_csv(analysis: Analysis) -> str:
    """Return the points and the slope of every curve as CSV; the slope stands in each row of its model."""
    names = (
        "model", "arm", "share", "melanomas", "auroc", "low", "high", "slope", "slope_low", "slope_high", "p", "usefulness",
        "cells", "reason",
    )  # fmt: skip
    return csv_text(names, _curve_rows(analysis.curves))


def _curve_rows(curves: Sequence[LearningCurve]) -> Iterator[list[object]]:
    for curve in curves:
        slope = curve.slope
        own = [slope.value, slope.low, slope.high, curve.p, curve.usefulness, curve.cells, slope.reason]
        for point in curve.points:
            yield [curve.model, point.arm, point.share, point.melanomas, *point.auroc.bounds, *own]


def rates_csv(analysis: Analysis) -> str:
    """Return every exchange rate as CSV."""
    names = (
        "arm", "model", "reference", "melanomas", "synthetic", "gain", "gain_low", "gain_high", "rate", "low", "high",
        "reason", "slope", "slope_low", "slope_high",
    )  # fmt: skip
    rows = [
        [
            each.arm, each.model, each.reference, each.melanomas, each.synthetic, each.gain.value, each.gain.low,
            each.gain.high, each.rate.value, each.rate.low, each.rate.high, each.rate.reason,
            *((each.slope.value, each.slope.low, each.slope.high) if each.slope else (None, None, None)),
        ]
        for each in analysis.rates
    ]  # fmt: skip
    return csv_text(names, rows)
