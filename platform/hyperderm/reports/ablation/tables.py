"""The tables of the report: rounded with notes for readers, and with one number per row in full precision for programs."""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import fields

from hyperderm.metrics.recognisability import WARN
from hyperderm.reports.ablation.facts import NOT_TRUSTED, Cost, ReportFacts, SyntheticSet, result_of, verdict_of
from hyperderm.reports.ablation.learning import CURVE_CSV, RATES_CSV, curve_csv, rates_csv
from hyperderm.reports.ablation.shortcuts import SHORTCUTS_CSV, shortcuts_csv
from hyperderm.reports.document import Cell, Column, Notes, Row, Table, Tone
from hyperderm.reports.number_format import chance, hours, number, percent, ratio, short_hash, signed, span, tally
from hyperderm.statistics.ablation_results import (
    METRICS,
    Analysis,
    Contrast,
    ContrastResult,
    Estimate,
    UndeclaredDifference,
)

FIRST_METRICS = ("auroc", "auprc", "sensitivity", "specificity", "f1", "balanced_accuracy")
"""The metrics of the main table; the second table shows all others."""
_SHAM = "negative control"
_TONES: dict[str, Tone] = {"helps": "good", "hurts": "bad", "cannot tell": "quiet", NOT_TRUSTED: "bad"}


def main_table(analysis: Analysis, facts: ReportFacts) -> Table:
    """Return the table of the most important metrics, with TP FN FP TN of melanoma."""
    seeds = "mean over seeds; per seed in counts.csv" if len(analysis.seeds) > 1 else "one seed"
    caption = (
        f"Each arm with each model, 95 % intervals below the values. TP FN FP TN of melanoma: pooled over folds, {seeds}."
    )
    counts = tuple(map(Column, ("TP", "FN", "FP", "TN")))
    return _metric_table(analysis, facts, FIRST_METRICS, caption, counts)


def second_table(analysis: Analysis, facts: ReportFacts) -> Table:
    """Return the table of all other metrics."""
    keys = tuple(key for key in METRICS if key not in FIRST_METRICS)
    caption = "The other metrics. Brier score and calibration error: lower is better."
    return _metric_table(analysis, facts, keys, caption, (Column("calibration error, uncalibrated"),))


def _metric_table(
    analysis: Analysis, facts: ReportFacts, keys: tuple[str, ...], caption: str, more: tuple[Column, ...]
) -> Table:
    notes, rows = Notes(), list[Row]()
    for model in _models(analysis, facts):
        rows.append(Row((Cell(model),)))
        for arm in facts.ordered(analysis.arm_names):
            found = result_of(analysis, arm, model)
            if found is None:
                lost = notes.missing("no cell of this arm with this model was done")
                rows.append(Row((Cell(arm), *[lost] * (len(keys) + len(more)))))
                continue
            cells = [Cell(arm), *(estimate_cell(found.metrics[key], notes) for key in keys)]
            if len(more) == 4:
                c = found.mean_counts
                cells += [Cell(tally(count)) for count in (c.tp, c.fn, c.fp, c.tn)]
            else:
                raw = found.calibration_error_raw
                cells.append(notes.missing("uncalibrated probabilities were not kept") if raw is None else Cell(number(raw)))
            rows.append(Row(tuple(cells)))
    columns = (Column("arm", words=True), *(Column(METRICS[key]) for key in keys), *more)
    return Table(caption, columns, tuple(rows), notes.listed)


def estimate_cell(estimate: Estimate, notes: Notes) -> Cell:
    """Return a cell with a value and its interval; a missing value says so, with the letter of its reason."""
    if estimate.value is None:
        return notes.missing(estimate.reason)
    if estimate.low is None or estimate.high is None:
        return Cell(number(estimate.value), "no interval", notes.mark(estimate.reason or "no interval could be computed"))
    return Cell(number(estimate.value), span(estimate.low, estimate.high), notes.mark(estimate.reason))


def contrast_table(analysis: Analysis, facts: ReportFacts) -> Table:
    """Return the table of all declared differences; declared differences without a result keep their row."""
    found = {(c.arm, c.reference, c.model): c for c in analysis.contrasts}
    asked = dict.fromkeys([(c.arm, c.reference, c.model) for c in facts.declared.contrasts] + list(found))
    notes, rows = Notes(), list[Row]()
    for model in _models(analysis, facts, declared=True):
        rows.append(Row((Cell(model),)))
        for key in (key for key in asked if key[2] == model):
            late = "declared after the first job had started" if Contrast(*key) in facts.declared.late else ""
            verdict = verdict_of(analysis, Contrast(*key))
            tone: Tone = "bad" if verdict == "helps" and key[0] in facts.negative else _TONES.get(verdict, "")
            arm = Cell(key[0], _SHAM if key[0] in facts.negative else "", notes.mark(late))
            rows.append(_contrast_row(arm, Contrast(*key), found.get(key), Cell(verdict, tone=tone), notes))
    titles = ("difference", "Holm-adjusted interval", "p", "p, adjusted", "smallest detectable", "DeLong check")
    columns = (Column("arm", True), Column("against", True), *map(Column, titles), Column("verdict", True))
    caption = (
        "Differences in AUROC of melanoma (arm − reference), within fold and seed, then averaged. "
        "Smallest detectable: what this many cases would have shown with 80 % power."
    )
    return Table(caption, columns, tuple(rows), notes.listed)


def undeclared_table(analysis: Analysis, facts: ReportFacts) -> Table:
    """Return the table of differences to real for the arms that no declared contrast covers."""
    found = {(each.arm, each.model): each for each in analysis.undeclared}
    rows = list[Row]()
    for model in _models(analysis, facts):
        mine = [arm for arm in facts.ordered(analysis.arm_names) if (arm, model) in found]
        rows += [Row((Cell(model),))] * bool(mine)
        rows += [_undeclared_row(found[arm, model]) for arm in mine]
    caption = (
        "The other arms against real, likewise in AUROC. Nobody declared these: they are not adjusted for how many there "
        "are, and no verdict rests on them."
    )
    return Table(caption, (Column("arm", True), Column("difference"), Column("p")), tuple(rows))


def _undeclared_row(each: UndeclaredDifference) -> Row:
    value, low, high = each.difference.bounds
    return Row((Cell(each.arm), Cell(signed(value), span(low, high, signs=True)), Cell(chance(each.p))))


def _contrast_row(arm: Cell, asked: Contrast, c: ContrastResult | None, verdict: Cell, notes: Notes) -> Row:
    names = (arm, Cell(asked.reference))
    if c is None:
        missing = notes.missing("declared before the run, but cells of this arm, its reference or this model are missing")
        return Row((*names, *[missing] * 6, Cell("")))
    return Row(
        (
            *names,
            Cell(signed(c.difference), span(c.low, c.high, signs=True), notes.mark(" ".join(c.notes))),
            Cell(span(c.adjusted_low, c.adjusted_high, signs=True)),
            Cell(chance(c.p)),
            Cell(chance(c.adjusted_p)),
            Cell(number(c.detectable)),
            _delong_cell(c, notes),
            verdict,
        )
    )


def _delong_cell(c: ContrastResult, notes: Notes) -> Cell:
    check = c.delong
    if check is None:
        return notes.missing("DeLong's check could not be computed")
    return Cell(signed(check.difference), f"{span(check.low, check.high, signs=True)}, p {chance(check.p)}")


def arm_list(facts: ReportFacts) -> Table:
    """Return the list of what each arm is given."""
    rows = []
    for arm, description in facts.arms.items():
        dose = facts.doses.get(arm)
        steps = f"{facts.steps[arm]:,}" if arm in facts.steps else "–"
        given = (ratio(dose.ratio), dose.control) if dose else ("–", "–")
        rows.append(Row((Cell(arm), Cell(description), Cell(given[0]), Cell(given[1]), Cell(steps))))
    columns = (
        Column("arm", True), Column("what it is trained on", True), Column("synthetic per real melanoma"),
        Column("pre-named control", True), Column("optimiser steps"),
    )  # fmt: skip
    return Table("The arms.", columns, tuple(rows))


def choice_table(facts: ReportFacts) -> Table:
    """Return how often validation chose each arm; choices.csv holds every choice with its losses."""
    rows = []
    for arm, model in dict.fromkeys((each.arm, each.model) for each in facts.choices):
        mine = [each.chosen for each in facts.choices if (each.arm, each.model) == (arm, model)]
        counts = Counter(mine).most_common()
        said = ", ".join(f"{name} {count} of {len(mine)}" for name, count in counts)
        rows.append(Row((Cell(arm), Cell(model), Cell(said))))
    columns = (Column("arm", True), Column("model", True), Column("chosen in so many folds and seeds", True))
    return Table("What validation chose, by the lowest calibrated log loss.", columns, tuple(rows))


def model_list(facts: ReportFacts) -> Table:
    """Return the list of what each model is."""
    rows = tuple(Row((Cell(name), Cell(text))) for name, text in facts.models.items())
    return Table("The models.", (Column("model", True), Column("architecture and weights", True)), rows)


def diagnosis_table(analysis: Analysis, facts: ReportFacts) -> Table:
    """Return the share of wrong decisions per diagnosis: one row per arm, one column per diagnosis, melanoma first."""
    found = {(d.diagnosis, d.model, d.arm): d for d in analysis.diagnoses}
    lesions = {d.diagnosis: (-d.truth, d.diagnosis, d.lesions) for d in analysis.diagnoses}
    notes, rows = Notes(), list[Row]()
    for model in _models(analysis, facts):
        rows.append(Row((Cell(model),)))
        for arm in facts.ordered(analysis.arm_names):
            cells = [Cell(arm)]
            for name in sorted(lesions, key=lambda name: lesions[name]):
                d = found.get((name, model, arm))
                if d is None:
                    cells.append(notes.missing("no lesion of this diagnosis was predicted"))
                else:
                    cells.append(Cell(percent(d.rate), f"{tally(d.errors)} of {d.lesions}"))
            rows.append(Row(tuple(cells)))
    titles = [f"{name.replace('_', ' ')} ({lesions[name][2]})" for name in sorted(lesions, key=lambda name: lesions[name])]
    caption = "Wrong decisions per diagnosis (number of lesions in brackets), mean over seeds."
    return Table(caption, (Column("arm", True), *map(Column, titles)), tuple(rows), notes.listed)


def set_table(facts: ReportFacts) -> Table:
    """Return the synthetic sets and the results of their memorisation audits."""
    notes, rows = Notes(), list[Row]()
    for s in facts.sets:
        rows.append(
            Row(
                (
                    Cell(s.generator), Cell(str(s.fold)), Cell(f"{s.count:,}"), Cell(f"{s.rejected:,}"),
                    Cell("yes", tone="bad") if s.derived else Cell("no"),
                    notes.missing("not audited") if s.copies is None else Cell(percent(s.copies), mark=notes.mark(s.detail)),
                    _verdict(s),
                    _recognisable(s, notes), Cell(short_hash(s.checkpoint)),
                )
            )
        )  # fmt: skip
    columns = (
        Column("generator", True), Column("fold"), Column("cubes"), Column("rejected"),
        Column("made from train's colours", True), Column("copies of train lesions"), Column("audit", True),
        Column("told from real (AUROC)"), Column("checkpoint", True),
    )  # fmt: skip
    caption = (
        "Synthetic sets. Rejected: drawn and left out, such as cubes out of range. One cube in a thousand that is no copy "
        "reaches the audit's threshold; passed: too few copies were found to call the set one of copies, and the note says "
        "how many of known copies would have been found. Told from real: how well a logistic regression on spectral "
        "features tells the set's melanomas from train's; 0.5 is indistinguishable."
    )
    return Table(caption, columns, tuple(rows), notes.listed)


def _verdict(s: SyntheticSet) -> Cell:
    if s.flagged is None:
        return Cell("not judged: derived" if s.derived and s.copies is not None else "not audited", tone="bad")
    return Cell("copies", tone="bad") if s.flagged else Cell("passed", tone="good")


def _recognisable(s: SyntheticSet, notes: Notes) -> Cell:
    if s.recognisable is None:
        return notes.missing("not measured: too few cubes, or a set from before this was measured")
    return Cell(number(s.recognisable), tone="bad" if s.recognisable > WARN else "")


def cost_table(facts: ReportFacts) -> Table:
    """Return the time that each arm took."""
    rows = []
    for arm in facts.ordered(facts.costs):
        c = facts.costs[arm]
        spent = (c.gpu_hours, c.cpu_hours, c.generator_gpu_hours, c.generator_cpu_hours)
        rows.append(Row((Cell(arm), *(Cell(hours(amount)) for amount in spent))))
    titles = ("classifiers, GPU", "classifiers, CPU", "generator's share, GPU", "generator's share, CPU")
    caption = "Time per arm, over all its models, folds and seeds."
    return Table(caption, (Column("arm", True), *map(Column, titles)), tuple(rows))


def failure_table(facts: ReportFacts) -> Table:
    """Return the cells that failed for good."""
    rows = tuple(
        Row((Cell(f.arm), Cell(f.model), Cell(str(f.fold)), Cell(str(f.seed)), Cell(f.reason))) for f in facts.cells.failed
    )
    columns = (Column("arm", True), Column("model", True), Column("fold"), Column("seed"), Column("reason", True))
    return Table("Cells that failed.", columns, rows)


def protection_table(facts: ReportFacts) -> Table:
    """Return the protections against leaks, and whether the check of each passed."""
    rows = tuple(
        Row((Cell("passed", tone="good") if p.passed else Cell("NOT PASSED", tone="bad"), Cell(p.what), Cell(p.detail)))
        for p in facts.protections
    )
    return Table("", (Column("result", True), Column("what", True), Column("detail", True)), rows)


def _models(analysis: Analysis, facts: ReportFacts, *, declared: bool = False) -> list[str]:
    asked = {c.model for c in facts.declared.contrasts} if declared else set()
    return [model for model in facts.models if model in analysis.models or model in asked]


TABLES = (
    "arms.csv", "contrasts.csv", "undeclared.csv", "counts.csv", "diagnoses.csv", "cells.csv", "hardest.csv", "costs.csv",
    "sets.csv", CURVE_CSV, RATES_CSV, "choices.csv",
    SHORTCUTS_CSV,
)  # fmt: skip
_CONTRAST = (
    "difference", "low", "high", "adjusted_low", "adjusted_high", "p", "adjusted_p", "standard_error", "detectable",
    "method",
)  # fmt: skip
_DELONG = ("difference", "low", "high", "p")


def csv_files(analysis: Analysis, facts: ReportFacts) -> dict[str, str]:
    """Return the CSV texts by file name (the names in `TABLES`)."""
    texts = (
        _arms(analysis), _contrasts(analysis, facts), _undeclared(analysis), _counts(analysis), _diagnoses(analysis),
        _cells(analysis), _hardest(analysis), _costs(facts), _sets(facts), curve_csv(analysis), rates_csv(analysis),
        _choices(facts), shortcuts_csv(facts),
    )  # fmt: skip
    return dict(zip(TABLES, texts, strict=True))


def _choices(facts: ReportFacts) -> str:
    rows = [
        [each.arm, each.model, each.fold, each.seed, name, loss, int(name == each.chosen)]
        for each in facts.choices
        for name, loss in each.losses.items()
    ]
    return _text(("arm", "model", "fold", "seed", "candidate", "validation_log_loss", "chosen"), rows)


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
            c.arm, c.reference, c.model, *(getattr(c, name) for name in _CONTRAST),
            *(getattr(c.delong, name, None) for name in _DELONG),
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
    """Return the values of every (fold, seed) as CSV; a row with a reference holds the difference to it."""
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
