"""The answer of a report in sentences: each decision and each comparison with the baseline, with its numbers."""

from collections.abc import Iterable, Sequence

from hyperderm.reports.ablation.facts import LeftOut, grouped, helping_controls
from hyperderm.reports.ablation.learning import learning_sentences, rate_sentences
from hyperderm.reports.number_format import number, signed, span
from hyperderm.statistics.ablation_results import (
    CANNOT_TELL,
    HELPS,
    HURTS,
    LARGEST_GAIN,
    REAL,
    Analysis,
    BaselineComparison,
    ContrastResult,
    Decision,
)


def decision_sentence(analysis: Analysis, made: Decision) -> str:
    """Return one decision of the analysis in words, with both differences and their adjusted intervals."""
    mine = {c.reference: c for c in analysis.contrasts if (c.arm, c.model) == (made.arm, made.model)}
    trusted = made.negative or not control_warnings(analysis)
    references = dict.fromkeys([REAL, made.control, *([made.hurdle] if made.hurdle else [])])
    changes = [f"by {_change(mine[name])} against {name}" for name in references if name in mine]
    each = " from each of them" if len(changes) > 1 else ""
    shown = f"a true difference of {number(made.detectable)}{each}" if _possible(made) else "no difference that is possible"
    case = f"with these {_compared(analysis, mine.values())} melanomas {shown}"
    answer = {
        HELPS: "it helps" if trusted else "it would be said to help, but this is not to be trusted, see above",
        HURTS: "it hurts",
        CANNOT_TELL: f"cannot tell; {case} would have been shown four times in five",
    }[made.verdict]
    if lost := [name for name in references if name not in mine]:
        answer = f"cannot tell, since its declared comparison with {_listed(lost)} has no result"
    return f"{made.arm} with {made.model} changed AUROC {_listed(changes)}: {answer}."


def _compared(analysis: Analysis, mine: Iterable[ContrastResult]) -> int:
    """Return how many melanomas the comparisons of an arm rest on: fewer than all where it was not run on every fold."""
    return min((each.melanomas for each in mine if each.melanomas is not None), default=analysis.melanomas)


def baseline_sentence(found: BaselineComparison) -> str:
    """Return in words whether a deep model beats the spectral baseline on real data, with the difference."""
    difference, model, baseline = found.difference, found.model, found.baseline
    assert difference.value is not None
    assert difference.low is not None
    assert difference.high is not None
    if difference.low > 0:
        said = f"{model} beats {baseline}"
    elif difference.high < 0:
        said = f"{model} is worse than {baseline}, which needs no deep network"
    else:
        said = f"{model} does not demonstrably beat {baseline}"
    change = f"{signed(difference.value)} {span(difference.low, difference.high, signs=True)}"
    return f"On real data {said}: difference in AUROC {change}."


NO_CURVE = "No learning curve was asked for (curve), so it is not known whether these models could use more lesions at all."
NO_CONTROL = "There is none with a result, so nothing tells whether something else than new lesions makes a difference."
NAMED = 3
"""Negative controls that a sentence names; more are counted."""
IN_PARAGRAPH = 2
"""Verdicts that a paragraph can hold; more become a list."""
_WAYS = "ways to show synthetic cubes, counted per model"
Line = tuple[str, list[str]]
"""A question, or a heading, and the sentences that answer it."""


def answer_lines(analysis: Analysis, lacking: Sequence[LeftOut] = ()) -> list[Line]:
    """Return the first screen of the report: what was tested, whether more would help, each answer with its limits.

    That the study is not to be trusted stands before all else.

    Args:
        analysis: the numbers of the report.
        lacking: the negative controls that the plan left out.
    """
    a = analysis
    tested = (
        f"Each of {a.melanomas} melanomas and {a.lesions - a.melanomas} other lesions (of {a.groups} patients or images) "
        f"was scored by models that were not trained on it ({_many(len(a.folds), 'fold')}: {_many(len(a.folds), 'part')} "
        f"tested in turn; {_many(len(a.seeds), 'seed')}: {_many(len(a.seeds), 'training')} of each model)."
    )
    seeds = [
        "Each model was trained once for each fold (one seed): no interval holds how much training again would change the "
        "numbers."
    ]
    compared = a.decisions or a.contrasts or a.unanswered or lacking
    controls = [*silent_controls(a), *_lacking_controls(a, lacking)] if compared else []
    lines = [
        ("Can the study be trusted?", control_warnings(a)),
        ("What was tested", [tested, *_without_chance(a), *_real_alone(a)]),
        ("Would more real melanomas help?", learning_sentences(a) or [NO_CURVE]),
        ("Do synthetic melanomas help?", _decided(a)),
        ("What is a synthetic melanoma worth?", rate_sentences(a)),
        ("Did any negative control help?", controls),
        ("Does a network beat plain spectra?", [baseline_sentence(each) for each in a.baselines]),
        ("What this cannot say", seeds if len(a.seeds) == 1 else []),
    ]
    return [line for line in lines if line[1]]


def decision_sentences(analysis: Analysis, lacking: Sequence[LeftOut] = ()) -> list[str]:
    """Return the sentences of `answer_lines`, without their questions."""
    return [sentence for _, said in answer_lines(analysis, lacking) for sentence in said]


def in_short(analysis: Analysis, lacking: Sequence[LeftOut] = ()) -> tuple[list[Line], list[str]]:
    """Return `answer_lines` with many verdicts replaced by their range, and these verdicts, which a list can hold.

    Verdicts other than "cannot tell" stay, since they are what a reader looks for.
    """
    asked = [each for each in analysis.decisions if not each.negative]
    if len(asked) <= IN_PARAGRAPH:
        return answer_lines(analysis, lacking), []
    single = {decision_sentence(analysis, each): each.verdict for each in asked}
    shown = []
    for question, said in answer_lines(analysis, lacking):
        kept = [sentence for sentence in said if single.get(sentence) != CANNOT_TELL]
        shown.append((question, [*kept, *([_range(analysis)] if len(kept) < len(said) else [])]))
    return shown, list(single)


def _range(analysis: Analysis) -> str:
    """Summarise many verdicts in one sentence."""
    controls = {each.arm for each in analysis.decisions if each.negative}
    asked = [each for each in analysis.contrasts if each.arm not in controls]
    changes, sure = [each.difference for each in asked], sum(each.adjusted_low * each.adjusted_high > 0 for each in asked)
    decisions = [each for each in analysis.decisions if not each.negative]
    beside = f"all {len(asked)} intervals include 0"
    if sure:
        beside = f"{sure} of their {len(asked)} intervals exclude{'s' * (sure == 1)} 0"
    return (
        f"The differences in AUROC lie between {signed(min(changes))} and {signed(max(changes))}; {beside}. "
        f"{_shown(decisions)} Each verdict is listed below."
    )


def _possible(made: Decision) -> bool:
    return made.detectable < LARGEST_GAIN


def _shown(decisions: Sequence[Decision]) -> str:
    """Return in words which true differences would have been shown, all references of an arm taken together."""
    shown = [each.detectable for each in decisions if _possible(each)]
    hidden = len(decisions) - len(shown)
    if not shown:
        return "No difference that is possible would have been shown four times in five."
    least, most = number(min(shown)), number(max(shown))
    told = f"difference of {least}" if least == most else f"difference of {least} to {most}, depending on the arm,"
    but = f" (of {hidden} of the {len(decisions)}: none that is possible)" if hidden else ""
    return f"A true {told} would have been shown four times in five{but}; smaller gains or harms may have gone unseen."


def _without_chance(a: Analysis) -> list[str]:
    """Return which models give the same on every training: further seeds of theirs are no further trainings."""
    alike = []
    for each in (each for each in a.arms if each.arm == REAL and len(a.seeds) > 1):
        by_fold: dict[int, list[float | None]] = {}
        for cell in each.cells["auroc"]:
            by_fold.setdefault(cell.fold, []).append(cell.value)
        if all(len(values) > 1 and len(set(values)) == 1 for values in by_fold.values()):
            alike.append(each.model)
    if not alike:
        return []
    is_fitted, its = ("is fitted", "its") if len(alike) == 1 else ("are fitted", "their")
    return [f"{_listed(alike)} {is_fitted} without chance: {its} trainings on the same cubes are equal."]


def _real_alone(a: Analysis) -> list[str]:
    found = [(each.model, each.metrics["auroc"]) for each in a.arms if each.arm == REAL]
    told = [
        f"{number(each.bounds[0])} {span(*each.bounds[1:])} with {model}" for model, each in found if each.low is not None
    ]
    scale = "the AUROC of melanoma (0.5 is guessing, 1 is perfect)"
    return [f"With real cubes alone, {scale} is {' and '.join(told)}."] if told else []


def _decided(a: Analysis) -> list[str]:
    asked = [each for each in a.decisions if not each.negative]
    controls = {each.arm for each in a.decisions if each.negative}
    if not asked and not a.unanswered and all(each.arm in controls for each in a.contrasts):
        return ["No synthetic arm was asked for, so there is no answer."]
    if not asked:
        return ["No synthetic arm could be compared with both real and its control, so there is no answer."]
    count = sum(each.arm not in controls for each in a.contrasts) + a.unanswered
    family = (
        f"Intervals are widened for {_many(count, 'declared comparison')} (Holm-adjusted, family level "
        f"{number(a.family_level, 2)})."
    )
    beaten = dict.fromkeys(["real cubes alone", *(each.hurdle for each in asked if each.hurdle)])
    controlled = any(each.control != REAL for each in asked)
    also = " and also its control, which was shown real cubes in place of the synthetic ones" if controlled else ""
    rule = f"An arm helps only if it beats {_listed(list(beaten))}{also}."
    return [_summary(asked, not control_warnings(a)), rule, *(decision_sentence(a, each) for each in asked), family]


def control_warnings(a: Analysis) -> list[str]:
    """Return what a negative control that helps says of the whole study; [] if none does."""
    helping = [f"{each.arm} with {each.model}" for each in helping_controls(a)]
    if not helping:
        return []
    helps, their = ("helps", "its") if len(helping) == 1 else ("help", "their")
    return [
        f"THIS STUDY IS NOT TO BE TRUSTED: {_listed(helping)} {helps}, although {their} synthetic cubes can teach nothing "
        "about melanoma. Something else than synthetic melanomas makes the difference."
    ]


def silent_controls(a: Analysis) -> list[str]:
    """Return whether a negative control helped, or that there is none."""
    controls = [each for each in a.decisions if each.negative]
    if not controls:
        return [NO_CONTROL]
    if helping := [f"{each.arm} with {each.model}" for each in helping_controls(a)]:
        return [f"Yes, as is said above: {_listed(helping)}."]
    arms = list(dict.fromkeys(each.arm for each in controls))
    named = [*arms[:NAMED], *([f"{len(arms) - NAMED} more"] if len(arms) > NAMED else [])]
    were = "was" if len(arms) == 1 else "were"
    return [
        f"No, as it should be: {_listed(named)} can teach nothing about melanoma and {were} not shown to help "
        f"({_many(len(controls), 'verdict')}, Holm-adjusted among themselves). Where few cases are tested, this is weak "
        "reassurance."
    ]


def _lacking_controls(a: Analysis, lacking: Sequence[LeftOut]) -> list[str]:
    """Return for each model the negative controls that the plan left out, and that none with a result speaks for it."""
    controlled = {each.model for each in a.decisions if each.negative}
    alone = ", so no negative control says whether its answers can be trusted"
    told = {model for _, model, _ in lacking}
    answered = dict.fromkeys(each.model for each in a.decisions if not each.negative)
    silent = [model for model in answered if controlled and model not in controlled | told]
    return [f"{model} has none with a result{alone}." for model in silent] + [
        f"{model} lacks {_listed([f'{_listed(arms)} ({reason})' for reason, arms in why.items()])}, which the plan left out"
        f"{'' if model in controlled else alone}."
        for model, why in grouped(lacking).items()
    ]


def _summary(asked: Sequence[Decision], trusted: bool) -> str:
    verdicts = [each.verdict for each in asked]
    helping, hurting = verdicts.count(HELPS), verdicts.count(HURTS)
    parts = [f"{helping} help{'s' * (helping == 1)}" if trusted else f"{helping} would be said to help"] * (helping > 0)
    parts += [f"{hurting} hurt{'s' * (hurting == 1)}"] * (hurting > 0)
    open_ones = verdicts.count(CANNOT_TELL)
    if open_ones == len(verdicts):
        arms = _many(len(asked), "synthetic arm")
        return f"This cannot be told: of {arms} ({_WAYS}), none was shown to help or to hurt."
    left = [f"{open_ones} cannot be told"] if open_ones else []
    return f"Of {_many(len(verdicts), 'synthetic arm')} ({_WAYS}), {', '.join(parts + left)}."


def _change(result: ContrastResult) -> str:
    return f"{signed(result.difference)} {span(result.adjusted_low, result.adjusted_high, signs=True)}"


def _listed(words: Sequence[str]) -> str:
    return " and ".join([*([", ".join(words[:-1])] if words[:-1] else []), words[-1]])


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
