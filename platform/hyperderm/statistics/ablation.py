"""From predictions to numbers: a pure function, so that every number of the report can be recomputed from the artifact."""

from collections.abc import Iterator, Sequence

import numpy as np

from hyperderm.errors import StudyError, nearest
from hyperderm.statistics import delong
from hyperderm.statistics.ablation_results import (
    Analysis,
    BaselineComparison,
    CellValue,
    Contrast,
    ContrastResult,
    Decision,
    DelongCheck,
    Estimate,
    UndeclaredDifference,
)
from hyperderm.statistics.arm_results import arm_result
from hyperderm.statistics.lesion_errors import diagnosis_errors, hardest
from hyperderm.statistics.multiplicity import FAMILY_LEVEL, Holm, holm
from hyperderm.statistics.paired import Difference, difference
from hyperderm.statistics.panel import Panel, common, panel
from hyperderm.statistics.predictions import Predictions
from hyperderm.statistics.resampling import bootstrap
from hyperderm.statistics.sentences import baseline_comparison, decision, decision_sentences

__all__ = ["analyse", "decision_sentences"]

REAL = "real"
BASELINE = "spectral"
FEW_MELANOMAS = 20
"""Fewer in a fold, and a sensitivity of .95 means finding all of them."""

Panels = dict[tuple[str, str], Panel]


def analyse(
    predictions: Predictions,
    contrasts: Sequence[Contrast],
    *,
    unanswered: int = 0,
    seed: int = 0,
    resamples: int = 2000,
) -> Analysis:
    """Return every number of the report.

    The primary endpoint is the AUROC of melanoma within fold and seed, averaged. The declared rule: a synthetic arm helps
    (hurts) when the Holm-adjusted intervals of its differences to `real` and to its control both lie above (below) 0.

    Args:
        predictions: of all cells to be compared; the order of rows does not matter.
        contrasts: the declared family. Of an arm that is compared with `real` and with other references, each of the others
            is a control and gets a decision.
        unanswered: declared contrasts that have no predictions; they stay in Holm's family, with p = 1.
        seed: of the bootstrap.
        resamples: of the bootstrap.

    Raises:
        StudyError: a contrast without predictions or declared twice, arms that test different lesions, or too few groups.
    """
    panels = _panels(predictions)
    _check(contrasts, panels)
    results = _contrasts(contrasts, panels, unanswered, seed, resamples)
    melanoma = predictions.truth == 1
    melanomas = len(np.unique(predictions.lesion_id[melanoma]))
    everything = list(panels.values())
    return Analysis(
        lesions=len(np.unique(predictions.lesion_id)),
        groups=len(np.unique(predictions.group)),
        melanomas=melanomas,
        melanoma_groups=len(np.unique(predictions.group[melanoma])),
        folds=tuple(np.unique(predictions.fold).tolist()),
        seeds=tuple(np.unique(predictions.seed).tolist()),
        models=tuple(dict.fromkeys(model for _, model in panels)),
        arm_names=tuple(dict.fromkeys(arm for arm, _ in panels)),
        resamples=resamples,
        seed=seed,
        family_level=FAMILY_LEVEL,
        arms=tuple(arm_result(each, seed=seed, resamples=resamples) for each in everything),
        contrasts=tuple(results),
        decisions=tuple(_decisions(results, melanomas)),
        baselines=tuple(_baselines(panels, seed, resamples)),
        diagnoses=diagnosis_errors(everything, predictions),
        hardest=hardest(everything, predictions),
        notes=tuple(_notes(everything, bool(contrasts))),
        unanswered=unanswered,
        undeclared=tuple(_undeclared(contrasts, panels, seed, resamples)),
    )


def _panels(predictions: Predictions) -> Panels:
    """Return the panels in the order of their names, `real` first."""
    keys = sorted({(key.arm, key.model) for key in predictions.cells()}, key=lambda key: (key[0] != REAL, *key))
    return {(arm, model): panel(predictions, arm, model) for arm, model in keys}


def _check(contrasts: Sequence[Contrast], panels: Panels) -> None:
    for contrast in contrasts:
        for arm in (contrast.arm, contrast.reference):
            if (arm, contrast.model) not in panels:
                known = [name for name, model in panels if model == contrast.model]
                raise StudyError(
                    f"no predictions of arm {arm!r} with model {contrast.model!r}, which a contrast names",
                    nearest(arm, known) if known else f"Models: {', '.join(sorted({m for _, m in panels}))}.",
                )
        if contrast.arm == contrast.reference:
            raise StudyError(f"contrast of {contrast.arm!r} with itself", "Name two arms.")
    if repeated := [each for at, each in enumerate(contrasts) if each in contrasts[:at]]:
        raise StudyError(f"contrast {repeated[0]} is declared twice", "It would count twice in Holm's family.")


def _contrasts(
    contrasts: Sequence[Contrast], panels: Panels, unanswered: int, seed: int, resamples: int
) -> list[ContrastResult]:
    made = []
    for contrast in contrasts:
        arm, reference = panels[contrast.arm, contrast.model], panels[contrast.reference, contrast.model]
        made.append((arm, reference, difference(arm, reference, bootstrap(arm, resamples, seed))))
    family = holm([*(found.p for _, _, found in made), *[1.0] * unanswered])[: len(made)]
    return [_contrast(*each, place, resamples) for each, place in zip(made, family, strict=True)]


def _contrast(arm: Panel, reference: Panel, found: Difference, place: Holm, resamples: int) -> ContrastResult:
    low, high = found.interval()
    adjusted_low, adjusted_high = found.interval(1 - place.alpha)
    check = delong.combined(arm, reference)
    values = np.concatenate(found.cells).tolist()
    return ContrastResult(
        arm=arm.arm,
        reference=reference.arm,
        model=arm.model,
        difference=found.value,
        low=low,
        high=high,
        adjusted_low=adjusted_low,
        adjusted_high=adjusted_high,
        p=found.p,
        adjusted_p=place.adjusted_p,
        standard_error=found.error,
        detectable=found.detectable(place.alpha),
        cells=tuple(CellValue(*block, value) for block, value in zip(arm.blocks, values, strict=True)),
        delong=DelongCheck(check.difference, *check.interval(), check.p) if check else None,
        method=(
            f"Student's t{_df(found)} stretched by {found.stretch:.2f} ({resamples} bootstrap resamples over groups within "
            "fold and class, paired, seeds nested); DeLong's variance clustered by group"
        ),
        notes=tuple(_contrast_notes(arm, found)),
    )


def _df(found: Difference) -> str:
    return f" with {found.variance.df:.0f} df" if np.isfinite(found.variance.df) else ""


def _contrast_notes(arm: Panel, found: Difference) -> Iterator[str]:
    if all(len(fold.seeds) == 1 for fold in arm.folds):
        yield "One seed: the interval cannot hold what training again would change."
    if found.variance.total == 0:
        yield "Both arms rank every lesion alike: the interval is what moving a tenth of one melanoma's rank would make."


def _decisions(results: Sequence[ContrastResult], melanomas: int) -> Iterator[Decision]:
    against_real = {(each.arm, each.model): each for each in results if each.reference == REAL}
    for each in results:
        real = against_real.get((each.arm, each.model))
        if real is not None and each.reference != REAL:
            yield decision(real, each, melanomas)


def _baselines(panels: Panels, seed: int, resamples: int) -> Iterator[BaselineComparison]:
    """Compare every other model with the spectral baselines on real data, over the cells that both have."""
    names = [model for arm, model in panels if arm == REAL]
    for baseline in (name for name in names if name.startswith(BASELINE)):
        for model in (name for name in names if not name.startswith(BASELINE)):
            found = _beside(panels[REAL, model], panels[REAL, baseline], seed, resamples)
            if found is not None:
                yield baseline_comparison(model, baseline, *found)


def _undeclared(contrasts: Sequence[Contrast], panels: Panels, seed: int, resamples: int) -> Iterator[UndeclaredDifference]:
    """Compare with `real` what no contrast compares with it: classic, focal, only, pretrain and the controls."""
    asked = {(each.arm, each.model) for each in contrasts if each.reference == REAL}
    for arm, model in panels:
        if arm == REAL or (arm, model) in asked or (REAL, model) not in panels:
            continue
        found = _beside(panels[arm, model], panels[REAL, model], seed, resamples)
        if found is not None:
            yield UndeclaredDifference(arm, model, *found)


def _beside(arm: Panel, reference: Panel, seed: int, resamples: int) -> tuple[Estimate, float] | None:
    """Return a difference that is not part of the declared family, with its p; None where no cell is common."""
    both = common(arm, reference)
    if both is None:
        return None
    found = difference(*both, bootstrap(both[0], resamples, seed))
    return Estimate(found.value, *found.interval(), "as for contrasts, not part of the declared family"), found.p


def _notes(panels: Sequence[Panel], synthetic: bool) -> Iterator[str]:
    if all(len(fold.seeds) == 1 for each in panels for fold in each.folds):
        yield "One seed a cell: intervals hold the choice of lesions, not what training again would change."
    yield (
        "Intervals speak of other lesions like these and of other seeds, for the folds as drawn; training sets of other "
        "folds overlap, which no interval can hold."
    )
    if synthetic:
        yield (
            "All classifier seeds of a fold share one generator and one synthetic set: intervals say nothing of what "
            "training the generator again would change."
        )
    few = sorted({int(fold.truth.sum()) for each in panels for fold in each.folds})
    if few[0] < FEW_MELANOMAS:
        span = f"{few[0]}" if few[0] == few[-1] else f"{few[0]} to {few[-1]}"
        yield f"Folds test {span} melanomas: below {FEW_MELANOMAS}, a sensitivity of .95 means finding all of them."
    single = sorted({f.number for each in panels for f in each.folds if (np.bincount(f.strata, minlength=2) == 1).any()})
    if single:
        yield (
            f"Fold {', '.join(map(str, single))} tests a single group of one class: its spread is taken from other folds."
        )
    ragged = sorted({each.model for each in panels if len({fold.seeds for fold in each.folds}) > 1})
    if ragged:
        yield (
            f"Folds have different numbers of seeds ({', '.join(ragged)}): each fold counts equally; where counts are "
            "pooled per seed, the fold's other seeds stand in."
        )
