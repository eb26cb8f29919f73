"""The answer in plain words, made from the numbers."""

from hyperderm.statistics.ablation_results import (
    CANNOT_TELL,
    HELPS,
    HURTS,
    Analysis,
    BaselineComparison,
    ContrastResult,
    Decision,
    Estimate,
    Verdict,
)
from hyperderm.statistics.number_format import number, signed, span


def decision(real: ContrastResult, control: ContrastResult, melanomas: int) -> Decision:
    """Apply the declared rule to one synthetic arm: both Holm-adjusted intervals must lie on one side of 0."""
    verdict: Verdict = CANNOT_TELL
    if real.adjusted_low > 0 and control.adjusted_low > 0:
        verdict = HELPS
    elif real.adjusted_high < 0 and control.adjusted_high < 0:
        verdict = HURTS
    detectable = max(real.detectable, control.detectable)
    answer = {
        HELPS: "it helps",
        HURTS: "it hurts",
        CANNOT_TELL: f"cannot tell; with these {melanomas} melanomas only differences of at least {number(detectable)} "
        "would have shown",
    }[verdict]
    sentence = (
        f"{real.arm} with {real.model} changed AUROC by {_change(real)} against {real.reference} and by {_change(control)} "
        f"against {control.reference}: {answer}."
    )
    return Decision(real.arm, real.model, control.reference, verdict, detectable, sentence)


def baseline_comparison(model: str, baseline: str, difference: Estimate, p: float) -> BaselineComparison:
    """Say whether a deep model beats the spectral baseline on real data."""
    assert difference.value is not None
    assert difference.low is not None
    assert difference.high is not None
    if difference.low > 0:
        found = f"{model} beats {baseline}"
    elif difference.high < 0:
        found = f"{model} is worse than {baseline}, which needs no deep network"
    else:
        found = f"{model} does not demonstrably beat {baseline}"
    change = f"{signed(difference.value)} {span(difference.low, difference.high, signs=True)}"
    return BaselineComparison(model, baseline, difference, p, f"On real data {found}: AUROC {change}.")


def decision_sentences(analysis: Analysis) -> list[str]:
    """Return the report's first paragraph: what was asked, each answer with its uncertainty, and what limits it."""
    a = analysis
    said = [
        f"{a.melanomas} melanomas and {a.lesions - a.melanomas} other lesions from {a.groups} images were tested out of "
        f"fold ({_many(len(a.folds), 'fold')}, {_many(len(a.seeds), 'seed')})."
    ]
    if a.decisions:
        said.append(_summary(a))
        said += [each.sentence for each in a.decisions]
        said.append(
            f"Intervals are Holm-adjusted over {_many(len(a.contrasts) + a.unanswered, 'declared contrast')} "
            f"(family level {number(a.family_level, 2)})."
        )
    else:
        said.append("No synthetic arm could be compared with both real and its control, so there is no answer.")
    said += [each.sentence for each in a.baselines]
    if len(a.seeds) == 1:
        said.append("With one seed the intervals cannot say how much training again would change the numbers.")
    return said


def _summary(a: Analysis) -> str:
    verdicts = [each.verdict for each in a.decisions]
    parts = [
        f"{verdicts.count(v)} {text}{'s' if verdicts.count(v) == 1 else ''}"
        for v, text in ((HELPS, "help"), (HURTS, "hurt"))
        if v in verdicts
    ]
    open_ones = verdicts.count(CANNOT_TELL)
    if open_ones == len(verdicts):
        return "Whether synthetic data help cannot be told from these cases."
    left = [f"{open_ones} cannot be told"] if open_ones else []
    return f"Of {_many(len(verdicts), 'synthetic arm')} (counted per model), {', '.join(parts + left)}."


def _change(result: ContrastResult) -> str:
    return f"{signed(result.difference)} {span(result.adjusted_low, result.adjusted_high, signs=True)}"


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
