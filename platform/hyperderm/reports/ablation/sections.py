"""The sections of the report in order: the answer, what it is based on, its limits, and how to compute it again."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from hyperderm.metrics.recognisability import WARN
from hyperderm.reports.ablation import tables
from hyperderm.reports.ablation.answer import Line, baseline_sentence, control_warnings
from hyperderm.reports.ablation.arm_styles import drawn
from hyperderm.reports.ablation.effect_figures import dose_response, forest, has_doses
from hyperderm.reports.ablation.facts import ReportFacts, SyntheticSet, grouped
from hyperderm.reports.ablation.figures import SHOWN, cost, hardest, precision_recall, roc, tradeoff
from hyperderm.reports.ablation.learning import ELSEWHERE, curve_table, learning_curve, rate_table
from hyperderm.reports.ablation.shortcut_figure import shortcut_meter
from hyperderm.reports.ablation.shortcuts import shortcut_table, shortcut_warnings
from hyperderm.reports.document import Content, Drawing, Section
from hyperderm.reports.number_format import number, short_hash
from hyperderm.statistics.ablation_results import REAL, Analysis
from hyperderm.training.run_folder import ANALYSIS

_NAMED = 3


def caveats(analysis: Analysis, facts: ReportFacts) -> list[str]:
    """Return the sentences of the warning box, the most serious first; an empty list if there is nothing to warn of."""
    return [
        *_data(facts), *_leaks(facts), *_size(facts), *_gaps(analysis, facts), *_copies(facts), *shortcut_warnings(facts),
        *_recognisable(facts), *_late(facts),
    ]  # fmt: skip


def _data(facts: ReportFacts) -> Iterator[str]:
    if facts.store.phantom:
        yield "The data are simulated skin: this says something about the method and nothing about patients."


def _leaks(facts: ReportFacts) -> Iterator[str]:
    for p in facts.protections:
        if not p.passed:
            yield f"A protection did not pass: {p.what} ({p.detail}). Do not rely on the numbers before this is explained."
    if not facts.protections:
        yield "No protection against leaks was recorded."


def _late(facts: ReportFacts) -> Iterator[str]:
    if late := facts.declared.late:
        named = [f"{c.arm} against {c.reference} with {c.model}" for c in late[:_NAMED]]
        more = f" and {len(late) - _NAMED} more" if len(late) > _NAMED else ""
        yield (
            f"Not all was declared before the run: {', '.join(named)}{more} joined after the first job had started, when "
            "results could have been seen. Read them as exploration."
        )


def _copies(facts: ReportFacts) -> Iterator[str]:
    sets = [s for s in facts.sets if not s.control]
    flagged = [s for s in sets if s.flagged]
    if flagged:
        yield (
            f"The memorisation audit flagged {_of(flagged, sets)}: too many of their cubes are copies of training "
            "cubes. Arms that use them say nothing about new synthetic data."
        )
    derived = [s for s in sets if s.derived]
    if derived:
        unjudged = [s for s in derived if s.flagged is None]
        which = "they" if unjudged == derived else f"{len(unjudged)} of them"
        beside = f", and whether {which} copy the very lesions that they were made from was not judged" if unjudged else ""
        yield (
            f"{_begun(_of(derived, sets))} are derived from training cubes (their own pseudo-RGB): they vary real "
            f"lesions and hold no new ones{beside}."
        )
    silent = [s for s in sets if s.flagged is None and not s.derived]
    if silent:
        yield f"{_begun(_of(silent, sets))} were not audited for copies."


def _recognisable(facts: ReportFacts) -> Iterator[str]:
    sets = [s for s in facts.sets if not s.control]
    told = {s: s.recognisable for s in sets if s.recognisable is not None and s.recognisable > WARN}
    if told:
        low, high = number(min(told.values())), number(max(told.values()))
        yield (
            f"{_begun(_of(list(told), sets))} can be told from real cubes: a plain logistic regression does so with an "
            f"AUROC of {low if low == high else f'{low} to {high}'}, where 0.5 would be indistinguishable. Where synthetic "
            "cubes are melanomas only, the classifier may learn to recognise synthetic cubes instead of melanoma."
        )


def _gaps(analysis: Analysis, facts: ReportFacts) -> Iterator[str]:
    c = facts.cells
    if not c.complete:
        yield (
            f"The grid is incomplete: {c.done} of {c.planned} cells are done, {len(c.failed)} failed, {c.not_started} "
            "were not started. The numbers below use what is there."
        )
    found = {(k.arm, k.reference, k.model) for k in analysis.contrasts}
    lost = [k for k in facts.declared.contrasts if (k.arm, k.reference, k.model) not in found]
    if lost:
        yield f"{len(lost)} of {len(facts.declared.contrasts)} declared contrasts have no result."
    undeclared = found - {(k.arm, k.reference, k.model) for k in facts.declared.contrasts}
    if undeclared:
        yield f"{len(undeclared)} contrasts were not declared before the run; they are exploratory."
    folds = [fold for fold in facts.folds if fold not in analysis.folds]
    if folds:
        there = len(facts.folds) - len(folds)
        yield f"{there} of {len(facts.folds)} folds have results: the lesions of the others were not tested."


def _size(facts: ReportFacts) -> Iterator[str]:
    if facts.profile == "small":
        yield (
            "The small profile was run (small cubes, small models, few steps): it shows that the software works and settles "
            "nothing."
        )


def _begun(text: str) -> str:
    return text[:1].upper() + text[1:]


def _of(chosen: Sequence[SyntheticSet], every: Sequence[SyntheticSet]) -> str:
    """Return a phrase for the chosen sets, such as "2 of 5 synthetic sets (shsgan, folds 0, 3)"."""
    if len(chosen) == len(every) > 1:
        return f"all {len(every)} synthetic sets"
    generators = dict.fromkeys(s.generator for s in chosen)
    folds = {g: list(dict.fromkeys(str(s.fold) for s in chosen if s.generator == g)) for g in generators}
    named = "; ".join(f"{g}, fold{'s' * (len(there) > 1)} {', '.join(there)}" for g, there in list(folds.items())[:_NAMED])
    more = len(folds) - _NAMED
    named += f"; and {more} more kind{'s' * (more > 1)}" if more > 0 else ""
    return f"{len(chosen)} of {len(every)} synthetic sets ({named})"


FIGURES = (
    "learning_curve",
    "forest",
    "shortcut_meter",
    "roc",
    "precision_recall",
    "tradeoff",
    "dose_response",
    "hardest",
    "cost",
)
"""The names of all figures that a report can have."""
_MISSING_SHOWN = 40


def content(analysis: Analysis, facts: ReportFacts, lines: Sequence[Line], verdicts: Sequence[str] = ()) -> Content:
    """Return the whole content of the report.

    Args:
        analysis: the numbers of the report.
        facts: all facts other than the numbers.
        lines: the first screen.
        verdicts: the verdicts that it has no place for; both of `in_short(analysis)`.
    """
    return Content(
        title=f"{facts.name}: does synthetic data help?",
        subtitle=_subtitle(analysis, facts),
        answer=() if lines else ("There is no answer: no declared comparison could be computed.",),
        verdicts=tuple(verdicts),
        warnings=tuple(caveats(analysis, facts)),
        sections=tuple(_sections(analysis, facts)),
        lines=tuple((question, tuple(said)) for question, said in lines),
    )


def _sections(analysis: Analysis, facts: ReportFacts) -> Iterator[Section]:
    if analysis.curves:
        yield _learning(analysis, facts)
    yield _differences(analysis, facts)
    if facts.shortcuts:
        yield _shortcuts(analysis, facts)
    yield _arms(analysis, facts)
    yield _curves(analysis, facts)
    if has_doses(analysis, facts):
        yield _doses(analysis, facts)
    yield Section("diagnoses", "Errors by diagnosis", tables=(tables.diagnosis_table(analysis, facts),))
    if analysis.hardest:
        yield _hardest(analysis, facts)
    yield _baseline(analysis)
    yield _sets(facts)
    yield _cost(facts)
    yield _protected(facts)
    noted = () if analysis.notes else ("Nothing was noted.",)
    yield Section("limits", "What this cannot say", noted, items=analysis.notes)
    yield _cells(facts)
    yield _again(analysis, facts)


def _subtitle(analysis: Analysis, facts: ReportFacts) -> str:
    others = analysis.lesions - analysis.melanomas
    told = facts.store.negatives.replace("_", " ")
    data = (
        f"{facts.store.name}: {analysis.melanomas} melanomas against {others} others ({told}) from {analysis.groups} groups"
    )
    sizes = (("folds", analysis.folds), ("seeds", analysis.seeds), ("models", analysis.models), ("arms", analysis.arm_names))
    grid = ", ".join(f"{len(there)} {what if len(there) > 1 else what[:-1]}" for what, there in sizes)
    return f"{data}. {grid}. Run {moment(facts.started)} to {moment(facts.ended)}, profile {facts.profile}."


def moment(at: datetime) -> str:
    """Return a time with its zone, to the minute."""
    return at.strftime("%Y-%m-%d %H:%M %Z").strip()


def _learning(analysis: Analysis, facts: ReportFacts) -> Section:
    said = (
        "Before asking whether synthetic melanomas help, one must know whether real ones do. The arms real@… are trained "
        "on a part of train's melanomas, with all other lesions and as many steps; a smaller part lies within a larger "
        "one. The gain of a synthetic arm over its control is told as so many real melanomas for each synthetic one, the "
        "exchange rate, where the control's own curve surely rises: the control with fewer melanomas, shown as often "
        "(…@…). If the curve of real cubes is flat, more real melanomas alone are not expected to help this "
        f"model, as it is trained here. {ELSEWHERE} "
        "Read the interval of a rate, not the number alone. A control's curve has two points, in which no bend can be seen; "
        "where it flattens, rates are told too small (in simulated studies a rate of 1 came out as 0.29, and its interval "
        "held 1 in 82 % of them). A rate is told for a synthetic melanoma with whatever else its arm adds."
    )
    caption = (
        "AUROC of melanoma over the number of real melanomas in train (each step doubles them), with 95 % intervals; "
        "the line is fitted by least squares, its slope is the gain per doubling. All points judge the same lesions, so the "
        "slope is known better than the points are."
    )
    alt = "AUROC against the number of real melanomas in train; curve.csv holds the numbers."
    drawing = Drawing("learning_curve", lambda: learning_curve(analysis, facts), alt, caption)
    shown = [curve_table(analysis)]
    if analysis.rates:
        shown.append(rate_table(analysis, facts))
    items = tuple(f"{each.model}: {note}" for each in analysis.curves for note in each.notes)
    items += tuple(f"{each.arm}, {each.model}: {note}" for each in analysis.rates for note in each.notes)
    return Section("learning", "What one more melanoma is worth", (said,), (drawing,), tuple(shown), items)


def _differences(analysis: Analysis, facts: ReportFacts) -> Section:
    count = len(facts.declared.contrasts)
    caption = (
        "Thick: 95 % interval of this difference alone. Thin: Holm-adjusted over the declared family; synthetic data "
        "helps only where both thin lines of an arm lie right of 0, hurts only where both lie left. Filled circle: "
        "against real; hollow diamond: against the control that was named before the run. An arrow: the interval goes "
        "on."
    )
    late = len(facts.declared.late)
    when = f"{late} of them after the first job had started" if late else "before the first job started"
    said = (
        f"{count} contrasts were declared, the last {moment(facts.declared.at)}, {when} (plan "
        f"{short_hash(facts.declared.fingerprint)}). "
        f"Family level {analysis.family_level:g}; {analysis.resamples:,} resamples."
        f"{' The negative controls are a family of their own.' if facts.negative else ''}"
        f"{' No verdict here is to be trusted, since a negative control helps.' if control_warnings(analysis) else ''}"
    )
    alt = f"Forest plot of {len(analysis.contrasts)} differences in AUROC; the table below holds its numbers."
    drawing = Drawing("forest", lambda: forest(analysis, facts), alt, caption)
    shown = [tables.contrast_table(analysis, facts)]
    if analysis.undeclared:
        shown.append(tables.undeclared_table(analysis, facts))
    return Section("differences", "What synthetic data changed", (said,), (drawing,), tuple(shown))


def _shortcuts(analysis: Analysis, facts: ReportFacts) -> Section:
    said = (
        "If synthetic melanomas can be told from real ones, a classifier can learn to call melanoma whatever is synthetic. "
        "Then it is surer of synthetic melanomas than of real ones, and its training taught it nothing about the disease. "
        "Nothing here was trained on these cubes. The real ones are those of validation, by which a classifier's best "
        "moment, calibration and threshold were chosen; its network judge is trained with a quarter of its images."
    )
    caption = (
        f"Left: how well judges tell an arm's synthetic melanomas from real ones; a warning begins at the dashed line, "
        f"{number(WARN, 1)}. Middle: difference in AUROC to the arm's control (filled circle: to real, where it has none), "
        "thick: 95 % interval, thin: Holm-adjusted interval, which decides (an arrow: it goes on). Right: hollow: real "
        "cubes of validation; filled: synthetic cubes that were not shown. A long line is a shortcut."
    )
    alt = "Judges, gain and mean probability of melanoma by arm; the tables hold the numbers."
    drawing = Drawing("shortcut_meter", lambda: shortcut_meter(analysis, facts), alt, caption)
    drawings = (drawing,) if any(each.melanoma or each.negative for each in facts.shortcuts) else ()
    return Section("shortcuts", "Is there a shortcut?", (said,), drawings, (shortcut_table(analysis, facts),))


def _arms(analysis: Analysis, facts: ReportFacts) -> Section:
    said = (
        "Melanoma is the positive class. Rank metrics (AUROC, AUPRC, specificity at a sensitivity, sensitivity at a "
        "specificity) are computed within fold and seed and averaged; metrics of decisions use the threshold that each "
        "cell chose on validation, where sensitivity plus specificity is largest (Youden), and are pooled over folds."
    )
    shown = (
        tables.main_table(analysis, facts), tables.second_table(analysis, facts),
        tables.arm_list(facts), *([tables.choice_table(facts)] if facts.choices else []), tables.model_list(facts),
    )  # fmt: skip
    items = tuple(f"{r.arm}, {r.model}: {note}" for r in analysis.arms for note in r.notes)
    return Section("arms", "Every arm", (said,), (), shown, items)


def _curves(analysis: Analysis, facts: ReportFacts) -> Section:
    shown = _shown(analysis, facts)
    mean = f"{shown}Mean over folds and seeds; bands: pointwise 95 %."
    numbers = "the tables of the arms hold the areas below them."
    drawings = (
        Drawing("roc", lambda: roc(analysis, facts), f"ROC curves per model and arm; {numbers}", f"ROC. {mean}"),
        Drawing(
            "precision_recall", lambda: precision_recall(analysis, facts), f"Precision-recall curves; {numbers}",
            f"Precision-recall. {mean} Dotted: chance, the share of melanomas.",
        ),
        Drawing(
            "tradeoff", lambda: tradeoff(analysis, facts), "Operating points; both proportions stand in the table.",
            f"{shown}Sensitivity against specificity at the thresholds that validation chose, with 95 % intervals of both, "
            "on the mean ROC curves. A point may lie off its curve: thresholds of several cells are pooled.",
        ),
    )  # fmt: skip
    return Section("curves", "ROC, precision-recall and operating points", (), drawings)


def _shown(analysis: Analysis, facts: ReportFacts) -> str:
    """Return what to say of the arms that figures leave out; "" if they draw all."""
    there, every = len(drawn(analysis, facts)), len(analysis.arm_names)
    if there == every:
        return ""
    return (
        f"{there} of {every} arms are drawn: real, those with a verdict and those farthest from their control, each with "
        f"its control; {ANALYSIS} holds all. "
    )


def _doses(analysis: Analysis, facts: ReportFacts) -> Section:
    caption = (
        "AUROC of melanoma over the ratio (logarithmic axis), 95 % intervals. Dashed grey: the control with as many "
        "real melanomas repeated. Black: real alone, with its interval. Series are shifted sideways a little so that "
        "all can be seen."
    )
    alt = "AUROC against the ratio of synthetic to real melanomas; arms.csv holds the numbers."
    drawing = Drawing("dose_response", lambda: dose_response(analysis, facts), alt, caption)
    return Section("dose", "Does more synthetic data do more?", (), (drawing,))


def _hardest(analysis: Analysis, facts: ReportFacts) -> Section:
    caption = (
        f"{_shown(analysis, facts)}"
        f"Up to {SHOWN} lesions of each model with the largest mean |truth − probability| over arms and seeds, worst "
        "first. Below each: the calibrated probability of melanoma by arm. Shaded: the right side of ½. Filled markers: "
        "wrong in at least half of the seeds at the thresholds of validation; hollow: right. All of them: hardest.csv."
    )
    alt = "Pictures of the worst-classified lesions; hardest.csv holds their probabilities."
    drawing = Drawing("hardest", lambda: hardest(analysis, facts), alt, caption)
    return Section("hardest", "The lesions that models get wrong", (), (drawing,))


def _baseline(analysis: Analysis) -> Section:
    said = tuple(map(baseline_sentence, analysis.baselines))
    none = "Nothing to compare: the grid holds no spectral baseline beside a network, or cells of arm real are missing."
    return Section("baseline", "Does a network beat plain spectra?", said or (none,))


def _sets(facts: ReportFacts) -> Section:
    said = (
        "The audit asks of each synthetic cube whether it is a training lesion up to what a camera may change (exposure, "
        "angle, position, sharpness); how similar lesions are that are no copies is learnt from training lesions of "
        "different groups. Cubes made from the pseudo-RGB of a training lesion are also compared with that lesion beyond "
        "it, measured by what the same generator makes of held-out lesions. "
        "A generator that copies adds nothing that oversampling does not. "
        "How well a logistic regression tells the set's cubes from real ones asks the opposite: what gives them away "
        "can stand for melanoma where only melanomas are added. It is a lower bound; a network sees more than its features."
    )
    if not facts.sets:
        return Section("memorisation", "Synthetic sets and the memorisation audit", ("No synthetic set was used.",))
    return Section("memorisation", "Synthetic sets and the memorisation audit", (said,), tables=(tables.set_table(facts),))


def _cost(facts: ReportFacts) -> Section:
    if not facts.costs:
        return Section("cost", "What it cost", ("No times were recorded.",))
    caption = (
        "Hours per arm over all its models, folds and seeds. Hatched: its share of training and sampling its generator."
    )
    drawing = Drawing("cost", lambda: cost(facts), "Hours per arm; the table below holds the numbers.", caption)
    return Section("cost", "What it cost", (), (drawing,), (tables.cost_table(facts),))


def _protected(facts: ReportFacts) -> Section:
    store = facts.store
    diagnoses = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in store.diagnoses.items())
    height, width = store.shape
    items = (
        f"Store {store.name}, manifest fingerprint {store.fingerprint}: {height} × {width} pixels, {store.bands} "
        f"wavelengths; {diagnoses}.",
        f"Folds {_listed(facts.folds)}, assigned by group and stored in the manifest; seeds {_listed(facts.seeds)}.",
        f"Plan fingerprint {facts.declared.fingerprint}, declared {moment(facts.declared.at)}.",
    )
    shown = (tables.protection_table(facts),) if facts.protections else ()
    said = () if facts.protections else ("No check was recorded.",)
    return Section("protected", "How this was protected", said, (), shown, items, boxed=True)


def _cells(facts: ReportFacts) -> Section:
    c = facts.cells
    said = f"{c.planned} cells planned, {c.done} done, {len(c.failed)} failed, {c.not_started} not started."
    shown = (tables.failure_table(facts),) if c.failed else ()
    more = len(facts.missing) - _MISSING_SHOWN
    left = (
        f"Left out of the plan for {model}: {', '.join(arms)} ({reason})."
        for model, why in grouped(facts.left_out).items()
        for reason, arms in why.items()
    )
    items = (*left, *facts.missing[:_MISSING_SHOWN], *([f"and {more} more."] if more > 0 else []))
    return Section("cells", "What was run", (said,), tables=shown, items=items)


def _again(analysis: Analysis, facts: ReportFacts) -> Section:
    versions = ", ".join(f"{name} {version}" for name, version in facts.versions.items())
    said = (
        "Every number about lesions follows from predictions.parquet (lesion, group, fold, seed, arm, probability, "
        "threshold, truth) and the declared contrasts, both in this folder; run the lines below in it. The CSV files "
        "hold all digits.",
        f"{_commits(facts)}. Lock {facts.lock_sha256}; {versions}.",
    )
    needed = curve = ""
    if facts.trained_on:
        needed, curve = "from hyperderm.statistics.learning_curve import CurveFacts\n", f",\n    curve={facts.trained_on}"
    if facts.negative:
        curve += f",\n    negative={facts.negative}"
    if hurdle := next((each.hurdle for each in analysis.decisions if each.hurdle), ""):
        curve += f",\n    hurdle={hurdle!r}"
    if facts.lost:
        curve += f",\n    lost={facts.lost}"
    if alone := [(each.arm, each.model) for each in analysis.decisions if each.control == REAL]:
        curve += f",\n    alone={alone}"
    lines = f"""\
import csv
from pathlib import Path
from hyperderm.statistics.predictions import Predictions
from hyperderm.statistics.ablation import analyse
from hyperderm.statistics.ablation_results import Contrast
{needed}
with Path("contrasts.csv").open(newline="") as stream:
    contrasts = [Contrast(row["arm"], row["reference"], row["model"]) for row in csv.DictReader(stream)]
predictions = Predictions.from_parquet(Path("predictions.parquet"))
analysis = analyse(
    predictions, contrasts, unanswered={analysis.unanswered}, seed={analysis.seed}, resamples={analysis.resamples}{curve}
)"""
    again = "# the whole grid again, by all commands that asked for it; cells that are done are not repeated:"
    whole = f"\n\n{again}\n# {facts.recompute}" if facts.recompute else ""
    return Section("again", "How to compute it again", said, code=lines + whole)


def _commits(facts: ReportFacts) -> str:
    """Return which code computed this report and, where that was other code, which ran its jobs."""
    if set(facts.jobs_by) <= {facts.git_commit}:
        return f"Commit {facts.git_commit}"
    jobs = ", ".join(f"{count} by {code}" for code, count in sorted(facts.jobs_by.items()))
    return f"This report was computed by commit {facts.git_commit}; its jobs were run: {jobs}"


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))
