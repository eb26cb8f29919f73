"""The report's tables for programs: one row per number, full precision, an empty field plus a reason where there is none."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import fields

from hyperderm.reports.ablation.facts import Cost, ReportFacts, SyntheticSet, verdict_of
from hyperderm.statistics.ablation_results import Analysis, Contrast, ContrastResult

TABLES = (
    "arms.csv", "contrasts.csv", "undeclared.csv", "counts.csv", "diagnoses.csv", "cells.csv", "hardest.csv", "costs.csv",
    "sets.csv",
)  # fmt: skip
_CONTRAST = (
    "difference", "low", "high", "adjusted_low", "adjusted_high", "p", "adjusted_p", "standard_error", "detectable",
    "method",
)  # fmt: skip
_DELONG = ("difference", "low", "high", "p")


def csv_files(analysis: Analysis, facts: ReportFacts) -> dict[str, str]:
    """Return file name (the names of `TABLES`) to text."""
    texts = (
        _arms(analysis), _contrasts(analysis, facts), _undeclared(analysis), _counts(analysis), _diagnoses(analysis),
        _cells(analysis), _hardest(analysis), _costs(facts), _sets(facts),
    )  # fmt: skip
    return dict(zip(TABLES, texts, strict=True))


def _arms(analysis: Analysis) -> str:
    rows: list[list[object]] = []
    for result in analysis.arms:
        for metric, e in result.metrics.items():
            rows.append([result.arm, result.model, metric, e.value, e.low, e.high, e.method, e.reason])
        low, high = result.auroc_bca or (None, None)
        why = "" if result.auroc_bca else "resamples do not differ"
        rows.append([result.arm, result.model, "auroc_bca", result.metrics["auroc"].value, low, high, "BCa bootstrap", why])
        raw = result.calibration_error_raw
        reason = "no interval is computed" if raw is not None else "uncalibrated probabilities were not kept"
        rows.append([result.arm, result.model, "calibration_error_raw", raw, None, None, "", reason])
    return _text(("arm", "model", "metric", "value", "low", "high", "method", "reason"), rows)


def _contrasts(analysis: Analysis, facts: ReportFacts) -> str:
    rows = [
        [
            c.arm, c.reference, c.model, *(getattr(c, name) for name in _CONTRAST), *_delong(c),
            verdict_of(analysis, Contrast(c.arm, c.reference, c.model)),
            "late" if Contrast(c.arm, c.reference, c.model) in facts.declared.late else "before", " ".join(c.notes),
        ]
        for c in analysis.contrasts
    ]  # fmt: skip
    header = (
        "arm",
        "reference",
        "model",
        *_CONTRAST,
        *(f"delong_{name}" for name in _DELONG),
        "verdict",
        "declared",
        "notes",
    )
    return _text(header, rows)


def _undeclared(analysis: Analysis) -> str:
    rows = [
        [u.arm, "real", u.model, u.difference.value, u.difference.low, u.difference.high, u.p, u.difference.method]
        for u in analysis.undeclared
    ]
    return _text(("arm", "reference", "model", "difference", "low", "high", "p", "method"), rows)


def _delong(c: ContrastResult) -> list[float | None]:
    return [getattr(c.delong, name) if c.delong is not None else None for name in _DELONG]


def _counts(analysis: Analysis) -> str:
    rows = [
        [result.arm, result.model, "mean" if c.seed is None else c.seed, c.tp, c.fn, c.fp, c.tn]
        for result in analysis.arms
        for c in (*result.counts, result.mean_counts)
    ]
    return _text(("arm", "model", "seed", "tp", "fn", "fp", "tn"), rows)


def _diagnoses(analysis: Analysis) -> str:
    header = ("diagnosis", "truth", "arm", "model", "lesions", "errors", "rate")
    return _text(header, ([getattr(d, name) for name in header] for d in analysis.diagnoses))


def _cells(analysis: Analysis) -> str:
    """Values of every (fold, seed); rows with a reference are differences to it."""
    rows = [
        [result.arm, "", result.model, metric, cell.fold, cell.seed, cell.value, cell.reason]
        for result in analysis.arms
        for metric, cells in result.cells.items()
        for cell in cells
    ]
    rows += [
        [c.arm, c.reference, c.model, "auroc_difference", cell.fold, cell.seed, cell.value, cell.reason]
        for c in analysis.contrasts
        for cell in c.cells
    ]
    return _text(("arm", "reference", "model", "metric", "fold", "seed", "value", "reason"), rows)


def _hardest(analysis: Analysis) -> str:
    lesion = ("model", "lesion_id", "group", "diagnosis", "truth", "fold", "error")
    rows = [
        [*(getattr(h, name) for name in lesion), arm, probability, h.wrong_by_arm.get(arm)]
        for h in analysis.hardest
        for arm, probability in h.by_arm.items()
    ]
    return _text((*lesion, "arm", "probability", "share_of_seeds_wrong"), rows)


def _costs(facts: ReportFacts) -> str:
    names = [f.name for f in fields(Cost)]
    rows = [[arm, *(getattr(cost, name) for name in names), facts.steps.get(arm)] for arm, cost in facts.costs.items()]
    return _text(("arm", *names, "optimiser_steps"), rows)


def _sets(facts: ReportFacts) -> str:
    names = [f.name for f in fields(SyntheticSet)]
    return _text(names, ([getattr(s, name) for name in names] for s in facts.sets))


def _text(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return out.getvalue()
