"""The shortcut meter in a report: can synthetic melanomas be told from real ones, and does the answer rest on that?

Beside each arm's gain stand two things that were measured on cubes nothing was trained on: how well judges tell the set from
real cubes, and how sure the classifier is of synthetic cubes where it is sure of real ones.
"""

from collections.abc import Sequence

from hyperderm.metrics.recognisability import WARN
from hyperderm.reports.ablation.facts import ReportFacts, Shortcut
from hyperderm.reports.document import Cell, Column, Row, Table
from hyperderm.reports.number_format import number, signed, span
from hyperderm.reports.table_files import csv_text
from hyperderm.statistics.ablation_results import REAL, Analysis

SHORTCUTS_CSV = "shortcuts.csv"
SHIFT = 0.2
"""Difference in mean probability of melanoma from which on a warning says that a decision rests on a shortcut."""
_NAMED = 3


def shortcut_warnings(facts: ReportFacts) -> list[str]:
    """Return a sentence for each model that is much surer of synthetic melanomas, which judges know, than of real ones."""
    said = []
    for model in dict.fromkeys(each.model for each in facts.shortcuts):
        sure = [each for each in facts.shortcuts if each.model == model and _rests(each)]
        if sure:
            most = max(sure, key=lambda each: (each.arm not in facts.negative, _shift(each.melanoma) or 0.0))
            assert most.melanoma is not None
            real, synthetic = most.melanoma
            said.append(
                f"{model} seems to recognise synthetic cubes instead of melanoma: in arm {most.arm}"
                f"{' (a negative control)' if most.arm in facts.negative else ''} its mean probability of melanoma is "
                f"{number(synthetic, 2)} for synthetic melanomas that it never saw, but {number(real, 2)} for unseen real "
                f"ones; the set is told from real cubes with an AUROC of {number(max(_told(most)), 2)}.{_beside(sure, most)}"
            )
    return said


def _beside(sure: Sequence[Shortcut], most: Shortcut) -> str:
    """Return what is to be added on further arms, and on lesions that are no melanoma; "" if there is nothing."""
    rest = [each.arm for each in sure if each is not most]
    named = ", ".join(rest[:_NAMED]) + (f" and {len(rest) - _NAMED} more" if len(rest) > _NAMED else "")
    said = f" The same is seen in {named}." if rest else ""
    beside = next((each for each in sure if each.negative and (_shift(each.negative) or 0) >= SHIFT), None)
    if beside and beside.negative:
        calm, alarmed = beside.negative
        said += (
            f" In {beside.arm} it gives synthetic lesions that are no melanoma {number(alarmed, 2)}, real ones "
            f"{number(calm, 2)}."
        )
    return said


def _rests(each: Shortcut) -> bool:
    shift = _shift(each.melanoma)
    return shift is not None and shift >= SHIFT and max(_told(each), default=0.0) > WARN


def _told(each: Shortcut) -> list[float]:
    return [value for value in (each.logistic, each.network) if value is not None]


def _shift(pair: tuple[float, float] | None) -> float | None:
    return None if pair is None else pair[1] - pair[0]


def shortcut_table(analysis: Analysis, facts: ReportFacts) -> Table:
    """Return the table of the meter beside each arm's difference to `real`."""
    columns = (
        Column("arm", True), Column("model", True), Column("difference in AUROC to real"), Column("told by a regression"),
        Column("told by a network"), Column("P(melanoma) of melanomas, real → synthetic"),
        Column("P(melanoma) of others, real → synthetic"),
    )  # fmt: skip
    changes = {(each.arm, each.model): each.difference.bounds for each in analysis.undeclared}
    declared = [each for each in analysis.contrasts if each.reference == REAL]
    changes |= {(each.arm, each.model): (each.difference, each.low, each.high) for each in declared}
    rows = []
    for each in facts.shortcuts:
        found = changes.get((each.arm, each.model))
        change = Cell(signed(found[0]), span(*found[1:], signs=True)) if found else Cell("–")
        judges = (_judge(each.logistic), _judge(each.network, each.interval))
        rows.append(Row((Cell(each.arm), Cell(each.model), change, *judges, _pair(each.melanoma), _pair(each.negative))))
    caption = (
        "The shortcut meter. Difference: with its 95 % interval, not Holm-adjusted. Told: AUROC of telling the set's "
        "melanomas from real ones, by a logistic regression on spectral features and by a network of the model's own kind, "
        "with its 95 % interval (few cubes are held out for it); 0.5 is indistinguishable. P: mean calibrated probability "
        "of melanoma of validation cubes and of synthetic cubes that the classifier was not shown. –: not measured, since "
        "the set holds no cubes to spare, or is not one of melanomas beside real cubes."
    )
    return Table(caption, columns, tuple(rows))


def _judge(value: float | None, interval: tuple[float, float] | None = None) -> Cell:
    if value is None:
        return Cell("–")
    return Cell(number(value, 2), span(*interval) if interval else "", tone="bad" if value > WARN else "")


def _pair(pair: tuple[float, float] | None) -> Cell:
    if pair is None:
        return Cell("–")
    return Cell(f"{number(pair[0], 2)} → {number(pair[1], 2)}", tone="bad" if abs(pair[1] - pair[0]) >= SHIFT else "")


def shortcuts_csv(facts: ReportFacts) -> str:
    """Return the meter as CSV."""
    names = (
        "arm", "model", "logistic_auroc", "network_auroc", "network_low", "network_high", "p_real_melanoma",
        "p_synthetic_melanoma", "p_real_negative", "p_synthetic_negative",
    )  # fmt: skip
    none = (None, None)
    rows = [
        [
            *(each.arm, each.model, each.logistic, each.network),
            *(pair for held in (each.interval, each.melanoma, each.negative) for pair in held or none),
        ]
        for each in facts.shortcuts
    ]
    return csv_text(names, rows)
