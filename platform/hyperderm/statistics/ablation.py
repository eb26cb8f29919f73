"""Compute all numbers of the report from the predictions, by a pure function: the artifact suffices to recompute them."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain

import numpy as np

from hyperderm.errors import StudyError, nearest
from hyperderm.statistics import classification, delong, operating, ranked
from hyperderm.statistics.ablation_results import (
    CANNOT_TELL,
    HELPS,
    HURTS,
    METRICS,
    REAL,
    Analysis,
    ArmResult,
    BaselineComparison,
    CellValue,
    Contrast,
    ContrastResult,
    Counts,
    Curve,
    Decision,
    DelongCheck,
    DiagnosisErrors,
    Estimate,
    HardLesion,
    UndeclaredDifference,
    Verdict,
)
from hyperderm.statistics.classification import Value
from hyperderm.statistics.learning_curve import CurveFacts, learning_curves
from hyperderm.statistics.mean_curves import GRID, Band, curves
from hyperderm.statistics.multiplicity import FAMILY_LEVEL, Holm, holm
from hyperderm.statistics.paired import Difference, auroc, difference
from hyperderm.statistics.panel import Panel, common, panel
from hyperderm.statistics.predictions import Predictions
from hyperderm.statistics.resampling import bootstrap

_RANKED = {
    "auprc": ranked.weighted_average_precision,
    "specificity_at_sensitivity_95": ranked.weighted_specificity,
    "sensitivity_at_specificity_90": ranked.weighted_sensitivity,
}


def arm_result(panel: Panel, *, seed: int, resamples: int) -> ArmResult:
    """Return the result of one panel; equal arguments give equal results."""
    weights = bootstrap(panel, resamples, seed)
    cells = _cells(panel)
    primary = auroc(panel)
    made = {
        "auroc": Estimate(primary.value, *primary.limits(), "logit, DeLong's variance clustered by group, seeds nested"),
        **operating.threshold_metrics(panel),
        **{name: ranked.rank_metric(panel, weights, metric, _of(cells, name)) for name, metric in _RANKED.items()},
        "brier": operating.brier(panel),
        "calibration_error": ranked.calibration_error(panel, weights),
    }
    metrics = {name: made[name] for name in METRICS}
    flat = list(zip(panel.blocks, chain.from_iterable(cells), strict=True))
    roc, precision_recall = curves(panel, weights)
    return ArmResult(
        arm=panel.arm,
        model=panel.model,
        metrics=metrics,
        cells={name: tuple(CellValue(*block, *cell[name]) for block, cell in flat) for name in METRICS},
        counts=tuple(Counts(s, *c) for s, c in zip(panel.seeds, operating.counts(panel), strict=True)),
        mean_counts=Counts(None, *operating.mean_counts(panel)),
        roc=_curve(roc),
        precision_recall=_curve(precision_recall),
        calibration_error_raw=ranked.raw_calibration_error(panel),
        notes=tuple(f"{METRICS[name]}: {estimate.reason}." for name, estimate in metrics.items() if estimate.reason),
        auroc_bca=ranked.bca_auroc(panel, weights),
    )


def _cells(panel: Panel) -> list[list[dict[str, Value]]]:
    """Return every metric of every cell, as lists over folds and seeds."""
    return [
        [
            classification.cell_metrics(fold.truth, scores, float(threshold))
            for scores, threshold in zip(fold.probability, fold.threshold, strict=True)
        ]
        for fold in panel.folds
    ]


def _of(cells: Sequence[Sequence[dict[str, Value]]], name: str) -> list[list[Value]]:
    return [[cell[name] for cell in fold] for fold in cells]


def _curve(band: Band) -> Curve:
    return Curve(*(tuple(values.tolist()) for values in (GRID, band.y, band.low, band.high)))


HARDEST = 12


def diagnosis_errors(panels: Sequence[Panel], predictions: Predictions) -> tuple[DiagnosisErrors, ...]:
    """Return the wrong decisions for each diagnosis, model and arm, sorted in this order."""
    diagnosis = _facts(predictions)
    made = []
    for each in panels:
        lesions, wrong = _wrong(each)
        kinds = np.array([diagnosis[lesion][1] for lesion in lesions])
        for kind in np.unique(kinds).tolist():
            mine = kinds == kind
            errors, count = float(wrong[mine].sum()), int(mine.sum())
            truth = diagnosis[lesions[int(np.flatnonzero(mine)[0])]][2]
            made.append(DiagnosisErrors(kind, truth, each.arm, each.model, count, errors, errors / count))
    return tuple(sorted(made, key=lambda one: (one.diagnosis, one.model, one.arm)))


def hardest(panels: Sequence[Panel], predictions: Predictions, count: int = HARDEST) -> tuple[HardLesion, ...]:
    """Return for each model the `count` lesions with the largest |truth − probability|, averaged over arms and seeds."""
    facts = _facts(predictions)
    made = []
    for model in dict.fromkeys(each.model for each in panels):
        mine = [each for each in panels if each.model == model]
        probability = {
            each.arm: _by_lesion(each, np.concatenate([fold.probability.mean(0) for fold in each.folds])) for each in mine
        }
        wrong = {each.arm: _by_lesion(each, _wrong(each)[1]) for each in mine}
        found = []
        for lesion in dict.fromkeys(lesion for arm in probability.values() for lesion in arm):
            group, diagnosis, truth, fold = facts[lesion]
            by_arm = {arm: values[lesion] for arm, values in probability.items() if lesion in values}
            error = float(np.mean([abs(truth - p) for p in by_arm.values()]))  # |mean| is mean: one sign a lesion
            wrong_by_arm = {arm: wrong[arm][lesion] for arm in by_arm}
            found.append(HardLesion(lesion, group, diagnosis, truth, fold, model, error, by_arm, wrong_by_arm))
        made += sorted(found, key=lambda each: (-each.error, each.lesion_id))[:count]
    return tuple(made)


def _facts(predictions: Predictions) -> dict[str, tuple[str, str, int, int]]:
    columns = (predictions.group, predictions.diagnosis, predictions.truth, predictions.fold)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return dict(zip(predictions.lesion_id.tolist(), rows, strict=True))


def _wrong(panel: Panel) -> tuple[list[str], np.ndarray]:
    """Return the lesions of all folds and, for each, the share of seeds whose decision was wrong."""
    lesions = [lesion for fold in panel.folds for lesion in fold.lesion_id.tolist()]
    return lesions, np.concatenate([(fold.called != fold.truth).mean(0) for fold in panel.folds])


def _by_lesion(panel: Panel, values: np.ndarray) -> Mapping[str, float]:
    return dict(zip(_wrong(panel)[0], values.tolist(), strict=True))


def decision(
    real: ContrastResult, control: ContrastResult, negative: bool = False, hurdle: ContrastResult | None = None
) -> Decision:
    """Return the decision on one synthetic arm by the declared rule: all Holm-adjusted intervals lie on one side of 0."""
    asked = [real, control, *([hurdle] if hurdle else [])]
    verdict: Verdict = CANNOT_TELL
    if all(each.adjusted_low > 0 for each in asked):
        verdict = HELPS
    elif all(each.adjusted_high < 0 for each in asked):
        verdict = HURTS
    detectable = max(each.detectable for each in asked)
    return Decision(
        real.arm, real.model, control.reference, verdict, detectable, negative, hurdle.reference if hurdle else ""
    )


FEW_DF = 5
"""Below as many degrees of freedom an interval is much wider than its standard error suggests, and a note says so."""
BASELINE = "spectral"
FEW_MELANOMAS = 20
"""With fewer melanomas than this in a fold, a sensitivity of .95 means finding all of them."""

Panels = dict[tuple[str, str], Panel]


def analyse(
    predictions: Predictions,
    contrasts: Sequence[Contrast],
    *,
    unanswered: int = 0,
    seed: int = 0,
    resamples: int = 2000,
    curve: CurveFacts | None = None,
    negative: Collection[str] = (),
    hurdle: str = "",
    lost: Collection[tuple[str, str]] = (),
    alone: Collection[tuple[str, str]] = (),
) -> Analysis:
    """Return every number of the report.

    The primary endpoint is the AUROC of melanoma within fold and seed, averaged. The declared rule: a synthetic arm helps
    (hurts) if the Holm-adjusted intervals of its differences to `real` and to its control both lie above (below) 0; where it
    is compared with `hurdle` too, that interval as well.

    Args:
        predictions: the predictions of all cells to be compared; the order of rows does not matter.
        contrasts: the declared family. If an arm is compared with `real` and with other references, each of the other
            references is a control and gets a decision.
        unanswered: number of declared contrasts without predictions, of other arms than negative controls; they stay in
            Holm's family, with p = 1.
        seed: seed of the bootstrap.
        resamples: number of bootstrap resamples.
        curve: what the arms were trained on, for learning curves and exchange rates; without it there are none.
        negative: names of the arms that are negative controls. Their contrasts are a family of their own: they ask whether
            the study can be trusted, and must not make it blind to what it is about.
        hurdle: a reference that is no control, but that an arm compared with it has to beat too; "" for none.
        lost: arms and models whose comparison with the hurdle was declared and has no result: they cannot be told.
        alone: arms and models whose control is `real` itself, since the model knows no augmentation.

    Raises:
        StudyError: a contrast has no predictions, no cell that both arms have, or is declared twice; arms test different
            lesions, or there are too few groups; or `curve` lacks a fold of the predictions.
    """
    panels = _panels(predictions)
    _check(contrasts, panels)
    results = _contrasts(contrasts, panels, unanswered, negative, seed, resamples)
    melanoma = predictions.truth == 1
    melanomas = len(np.unique(predictions.lesion_id[melanoma]))
    everything = list(panels.values())
    curves, rates = learning_curves(panels, curve, seed=seed, resamples=resamples) if curve else ((), ())
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
        decisions=tuple(_decisions(results, negative, hurdle, lost, alone)),
        baselines=tuple(_baselines(panels, seed, resamples)),
        diagnoses=diagnosis_errors(everything, predictions),
        hardest=hardest(everything, predictions),
        notes=tuple(_notes(everything, bool(contrasts))),
        unanswered=unanswered,
        undeclared=tuple(_undeclared(contrasts, panels, seed, resamples)),
        curves=curves,
        rates=rates,
    )


def _panels(predictions: Predictions) -> Panels:
    """Return the panels by (arm, model), sorted by name with `real` first."""
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
        if common(panels[contrast.arm, contrast.model], panels[contrast.reference, contrast.model]) is None:
            raise StudyError(
                f"arms {contrast.arm!r} and {contrast.reference!r} with model {contrast.model!r} have no cell in common",
                "Leave the contrast out, or finish the grid.",
            )
    if repeated := [each for at, each in enumerate(contrasts) if each in contrasts[:at]]:
        raise StudyError(f"contrast {repeated[0]} is declared twice", "It would count twice in Holm's family.")


def _contrasts(
    contrasts: Sequence[Contrast],
    panels: Panels,
    unanswered: int,
    negative: Collection[str],
    seed: int,
    resamples: int,
) -> list[ContrastResult]:
    made = []
    for contrast in contrasts:
        both = common(panels[contrast.arm, contrast.model], panels[contrast.reference, contrast.model])
        assert both is not None
        arm, reference = both
        made.append((arm, reference, difference(arm, reference, bootstrap(arm, resamples, seed))))
    family = _families(contrasts, [found.p for _, _, found in made], unanswered, negative)
    cells = [max(len(panels[each.arm, each.model].blocks) for each in pair) for *pair, _ in made]
    return [_contrast(*each, place, resamples, most) for each, place, most in zip(made, family, cells, strict=True)]


def _families(
    contrasts: Sequence[Contrast], chances: Sequence[float], unanswered: int, negative: Collection[str]
) -> list[Holm]:
    """Return the place of every contrast in its family; `unanswered` further ones belong to that of the synthetic arms."""
    found: dict[int, Holm] = {}
    for controls, more in ((False, unanswered), (True, 0)):
        rows = [row for row, each in enumerate(contrasts) if (each.arm in negative) == controls]
        places = holm([*(chances[row] for row in rows), *[1.0] * more]) if rows else []
        found |= dict(zip(rows, places, strict=False))
    return [found[row] for row in range(len(contrasts))]


def _contrast(arm: Panel, reference: Panel, found: Difference, place: Holm, resamples: int, cells: int) -> ContrastResult:
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
        notes=tuple(_contrast_notes(arm, found, cells)),
        lesion_variance=found.variance.fixed,
        seed_variance=found.variance.retrained,
        df=found.variance.df if np.isfinite(found.variance.df) else None,
        stretch=found.stretch,
        melanomas=sum(int(fold.truth.sum()) for fold in arm.folds),
    )


def _df(found: Difference) -> str:
    return f" with {found.variance.df:.0f} df" if np.isfinite(found.variance.df) else ""


def _contrast_notes(arm: Panel, found: Difference, cells: int) -> Iterator[str]:
    if len(arm.blocks) < cells:
        yield f"Compared over the {len(arm.blocks)} of {cells} cells that both arms have."
    if all(len(fold.seeds) == 1 for fold in arm.folds):
        yield "One seed: the interval cannot hold what training again would change."
    if found.variance.df < FEW_DF:
        yield (
            f"The variance has {found.variance.df:.0f} degrees of freedom, since trainings or folds disagree: more of them "
            "would narrow the interval."
        )
    if found.variance.total == 0:
        yield "Both arms rank every lesion alike: the interval is what moving a tenth of one melanoma's rank would make."


def _decisions(
    results: Sequence[ContrastResult],
    negative: Collection[str],
    hurdle: str,
    lost: Collection[tuple[str, str]],
    alone: Collection[tuple[str, str]],
) -> Iterator[Decision]:
    against_real = {(each.arm, each.model): each for each in results if each.reference == REAL}
    hurdles = {(each.arm, each.model): each for each in results if each.reference == hurdle}
    for each in results:
        real = against_real.get((each.arm, each.model))
        control = each.reference not in (REAL, hurdle) or (each is real and (each.arm, each.model) in alone)
        if real is not None and control:
            made = decision(real, each, each.arm in negative, hurdles.get((each.arm, each.model)))
            yield replace(made, verdict=CANNOT_TELL, hurdle=hurdle) if (each.arm, each.model) in lost else made


def _baselines(panels: Panels, seed: int, resamples: int) -> Iterator[BaselineComparison]:
    """Yield the comparison of every other model with every spectral baseline on real data, over the cells that both have."""
    names = [model for arm, model in panels if arm == REAL]
    for baseline in (name for name in names if name.startswith(BASELINE)):
        for model in (name for name in names if not name.startswith(BASELINE)):
            found = _beside(panels[REAL, model], panels[REAL, baseline], seed, resamples)
            if found is not None:
                yield BaselineComparison(model, baseline, *found)


def _undeclared(contrasts: Sequence[Contrast], panels: Panels, seed: int, resamples: int) -> Iterator[UndeclaredDifference]:
    """Yield comparisons with `real` that no contrast declares, such as those of classic, focal, only, pretrain, controls."""
    asked = {(each.arm, each.model) for each in contrasts if each.reference == REAL}
    for arm, model in panels:
        if arm == REAL or (arm, model) in asked or (REAL, model) not in panels:
            continue
        found = _beside(panels[arm, model], panels[REAL, model], seed, resamples)
        if found is not None:
            yield UndeclaredDifference(arm, model, *found)


def _beside(arm: Panel, reference: Panel, seed: int, resamples: int) -> tuple[Estimate, float] | None:
    """Return a difference outside the declared family, with its p value; None if the panels have no cell in common."""
    both = common(arm, reference)
    if both is None:
        return None
    found = difference(both[0], both[1], bootstrap(both[0], resamples, seed))
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
    most = {model: max(len(each.blocks) for each in panels if each.model == model) for model in {p.model for p in panels}}
    lacking = [f"{each.arm} with {each.model}" for each in panels if len(each.blocks) < most[each.model]]
    if lacking:
        yield (
            f"Some arms lack cells ({', '.join(lacking)}): their own numbers are of fewer lesions or trainings than those "
            "of other arms; differences are taken over the cells that both arms have."
        )
    ragged = sorted({each.model for each in panels if len({fold.seeds for fold in each.folds}) > 1})
    if ragged:
        yield (
            f"Folds have different numbers of seeds ({', '.join(ragged)}): each fold counts equally; where counts are "
            "pooled per seed, the fold's other seeds stand in."
        )
