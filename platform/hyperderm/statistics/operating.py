"""Metrics pooled over folds for each seed, then averaged over seeds: those at the cells' thresholds, and Brier's score."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hyperderm.statistics.ablation_results import Estimate
from hyperderm.statistics.classification import Confusion, Value
from hyperderm.statistics.clustered import Variance, components
from hyperderm.statistics.intervals import clustered_wilson, critical
from hyperderm.statistics.panel import Fold, Panel

Array = NDArray[np.float64]
PROPORTIONS = ("sensitivity", "specificity", "precision", "accuracy")


def counts(panel: Panel) -> list[Confusion]:
    """Return TP FN FP TN of every seed, pooled over folds; if a seed lacks a fold, the fold's mean over seeds is used."""
    made = []
    for seed in panel.seeds:
        total = np.zeros(4)
        for fold in panel.folds:
            own = _indicators(fold).sum(1)
            total += own[fold.seeds.index(seed)] if seed in fold.seeds else own.mean(0)
        made.append(Confusion(*total.tolist()))
    return made


def mean_counts(panel: Panel) -> Confusion:
    """Return the mean of `counts` over seeds; its numbers need not be whole."""
    return Confusion(*np.mean(counts(panel), 0).tolist())


def threshold_metrics(panel: Panel) -> dict[str, Estimate]:
    """Return sensitivity, specificity, precision, F1, accuracy and balanced accuracy with score intervals.

    The variance comes from the delta method at the mean counts, clustered by group within fold and class, plus the part of
    the seeds. F1 and balanced accuracy are treated as proportions of the melanomas.
    """
    per_seed, mean = [confusion.metrics() for confusion in counts(panel)], mean_counts(panel)
    melanoma, other = (int(groups) for groups in panel.sizes.sum(0))
    size = {  # of the denominator: lesions, and the groups they come in
        "sensitivity": (mean.tp + mean.fn, melanoma),
        "specificity": (mean.fp + mean.tn, other),
        "precision": (mean.tp + mean.fp, min(mean.tp + mean.fp, melanoma + other)),
        "accuracy": (sum(mean), melanoma + other),
        "f1": (mean.tp + mean.fn, melanoma),
        "balanced_accuracy": (mean.tp + mean.fn, melanoma),
    }
    made = {}
    for name, (lesions, groups) in size.items():
        value = mean_over_seeds([seed[name] for seed in per_seed], panel.seeds)
        if value.value is None:
            made[name] = Estimate(None, None, None, "", value.reason)
            continue
        slope = gradient(name, mean)
        variance = pooled_variance(panel, [_indicators(fold) @ slope for fold in panel.folds])
        low, high = clustered_wilson(value.value, variance, max(lesions, 1), max(groups, 1))
        method = "Wilson, clustered" if name in PROPORTIONS else "score interval, delta method, clustered"
        made[name] = Estimate(value.value, low, high, method)
    return made


def brier(panel: Panel) -> Estimate:
    """Return the Brier score with Student's interval, whose variance is clustered by group."""
    squared = [(fold.probability - fold.truth) ** 2 for fold in panel.folds]
    lesions = sum(part.shape[1] for part in squared)
    value = float(sum(part.mean(0).sum() for part in squared) / lesions)
    variance = pooled_variance(panel, [(part - value) / lesions for part in squared])
    half = critical(variance.df) * variance.error
    return Estimate(value, max(0.0, value - half), min(1.0, value + half), "Student's t, clustered")


def gradient(name: str, counts: Confusion) -> Array:
    """Return the derivative (4,) of a threshold metric with respect to TP, FN, FP and TN."""
    tp, fn, fp, tn = counts
    p, n, called, total, f1 = tp + fn, fp + tn, tp + fp, sum(counts), 2 * tp + fp + fn
    match name:
        case "sensitivity":
            return np.array([fn, -tp, 0, 0]) / p**2
        case "specificity":
            return np.array([0, 0, -tn, fp]) / n**2
        case "precision":
            return np.array([fp, 0, -tp, 0]) / called**2
        case "accuracy":
            wrong, right = fn + fp, tp + tn
            return np.array([wrong, -right, -right, wrong]) / total**2
        case "f1":
            return np.array([2 * (fp + fn), -2 * tp, -2 * tp, 0]) / f1**2
        case "balanced_accuracy":
            return (gradient("sensitivity", counts) + gradient("specificity", counts)) / 2
    raise KeyError(name)


def pooled_variance(panel: Panel, contributions: Sequence[Array]) -> Variance:
    """Return the variance of a sum over all lesions, averaged over seeds; `contributions` has (S_k, n) for each fold."""
    cells = [part.sum(1) for part in contributions]
    influences = [part @ fold.member for part, fold in zip(contributions, panel.folds, strict=True)]
    return components(cells, influences, [fold.strata for fold in panel.folds], np.ones(len(panel.folds)))


def mean_over_seeds(values: Sequence[Value], seeds: Sequence[int]) -> Value:
    """Return the mean over seeds; if a seed has no value, None with the first such seed and its reason."""
    for seed, value in zip(seeds, values, strict=True):
        if value.value is None:
            return Value(None, f"{value.reason} (seed {seed})")
    return Value(float(np.mean([value.value for value in values])))


def _indicators(fold: Fold) -> Array:
    """Return (S, n, 4) indicators of decisions: 1 in the column TP, FN, FP or TN that is true for the lesion, else 0."""
    y, called = fold.truth, fold.called
    return np.stack([y & called, y & ~called, ~y & called, ~y & ~called], -1).astype(np.float64)
