"""Every metric of one arm with one model, with its interval and the values of its cells."""

from collections.abc import Sequence

from hyperderm.statistics import classification, operating, ranked
from hyperderm.statistics.ablation_results import METRICS, ArmResult, CellValue, Counts, Curve, Estimate
from hyperderm.statistics.classification import Value
from hyperderm.statistics.mean_curves import GRID, Band, curves
from hyperderm.statistics.operating import Interval
from hyperderm.statistics.paired import auroc
from hyperderm.statistics.panel import Panel
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
        "auroc": Interval(primary.value, *primary.limits(), "logit, DeLong's variance clustered by group, seeds nested"),
        **operating.threshold_metrics(panel),
        **{name: ranked.rank_metric(panel, weights, metric, _of(cells, name)) for name, metric in _RANKED.items()},
        "brier": operating.brier(panel),
        "calibration_error": ranked.calibration_error(panel, weights),
    }
    metrics = {name: Estimate(*made[name]) for name in METRICS}
    roc, precision_recall = curves(panel, weights)
    return ArmResult(
        arm=panel.arm,
        model=panel.model,
        metrics=metrics,
        cells={name: _cell_values(panel, _of(cells, name)) for name in METRICS},
        counts=tuple(Counts(s, *c) for s, c in zip(panel.seeds, operating.counts(panel), strict=True)),
        mean_counts=Counts(None, *operating.mean_counts(panel)),
        roc=_curve(roc),
        precision_recall=_curve(precision_recall),
        calibration_error_raw=ranked.raw_calibration_error(panel),
        notes=tuple(f"{METRICS[name]}: {estimate.reason}." for name, estimate in metrics.items() if estimate.reason),
        auroc_bca=ranked.bca_auroc(panel, weights),
    )


def _cells(panel: Panel) -> list[list[dict[str, Value]]]:
    """Return every metric of every cell, by fold and seed."""
    return [
        [
            classification.cell_metrics(fold.truth, scores, float(threshold))
            for scores, threshold in zip(fold.probability, fold.threshold, strict=True)
        ]
        for fold in panel.folds
    ]


def _of(cells: Sequence[Sequence[dict[str, Value]]], name: str) -> list[list[Value]]:
    return [[cell[name] for cell in fold] for fold in cells]


def _cell_values(panel: Panel, values: Sequence[Sequence[Value]]) -> tuple[CellValue, ...]:
    flat = [value for fold in values for value in fold]
    return tuple(CellValue(fold, seed, *value) for (fold, seed), value in zip(panel.blocks, flat, strict=True))


def _curve(band: Band) -> Curve:
    return Curve(*(tuple(values.tolist()) for values in (GRID, band.y, band.low, band.high)))
