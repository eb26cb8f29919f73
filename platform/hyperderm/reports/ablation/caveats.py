"""What a reader must know before believing the answer."""

from collections.abc import Iterator, Sequence

from hyperderm.metrics.recognisability import WARN
from hyperderm.reports.ablation.facts import ReportFacts, SyntheticSet
from hyperderm.statistics.ablation_results import Analysis
from hyperderm.statistics.number_format import number

_NAMED = 3


def caveats(analysis: Analysis, facts: ReportFacts) -> list[str]:
    """Return the sentences of the warning box, the gravest first; empty when there is nothing to warn of."""
    return [
        *_data(facts), *_leaks(facts), *_late(facts), *_copies(facts), *_recognisable(facts), *_gaps(analysis, facts),
        *_size(facts),
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
    flagged = [s for s in facts.sets if s.flagged]
    if flagged:
        yield (
            f"The memorisation audit flagged {_of(flagged, facts.sets)}: too many of their cubes are copies of training "
            "cubes. Arms that use them say nothing about new synthetic data."
        )
    derived = [s for s in facts.sets if s.derived]
    if derived:
        yield (
            f"{_of(derived, facts.sets)} are derived from training cubes (their own pseudo-RGB): they vary real "
            "lesions and hold no new ones."
        )
    silent = [s for s in facts.sets if s.flagged is None]
    if silent:
        yield f"{_of(silent, facts.sets)} were not audited for copies."


def _recognisable(facts: ReportFacts) -> Iterator[str]:
    told = {s: s.recognisable for s in facts.sets if s.recognisable is not None and s.recognisable > WARN}
    if told:
        low, high = number(min(told.values())), number(max(told.values()))
        yield (
            f"{_of(list(told), facts.sets)} can be told from real cubes: a plain logistic regression does so with an AUROC "
            f"of {low if low == high else f'{low} to {high}'}, where 0.5 would be indistinguishable. Where synthetic cubes "
            "are melanomas only, the classifier may learn to recognise synthetic cubes instead of melanoma."
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
        yield f"Folds without predictions: {', '.join(map(str, folds))}."


def _size(facts: ReportFacts) -> Iterator[str]:
    if facts.profile == "small":
        yield "The small profile was run (small cubes, small models, few steps): it shows that it works and settles nothing."


def _of(chosen: Sequence[SyntheticSet], every: Sequence[SyntheticSet]) -> str:
    """Write which sets: 2 of 5 synthetic sets (shsgan, folds 0, 3)."""
    generators = dict.fromkeys(s.generator for s in chosen)
    folds = {g: [str(s.fold) for s in chosen if s.generator == g] for g in generators}
    named = "; ".join(f"{g}, fold{'s' * (len(there) > 1)} {', '.join(there)}" for g, there in folds.items())
    return f"{len(chosen)} of {len(every)} synthetic sets ({named})"
