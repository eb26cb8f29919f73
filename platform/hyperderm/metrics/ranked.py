"""Metrics without a formula for their variance: AUPRC, the two operating points and calibration error, with BCa intervals.

Groups are resampled within fold and class; each resample weights lesions, so every metric is computed on weights (R, n).
Drawing n of n shrinks the spread by (n − 1)/n: deviations of a fold are stretched back by its number of melanoma groups,
which are the scarce ones. What the seeds differ by beyond that is added, as in `paired`.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from hyperderm.metrics import classification
from hyperderm.metrics.classification import TARGET_SENSITIVITY, TARGET_SPECIFICITY, Value, calibration_bins
from hyperderm.metrics.intervals import bca
from hyperderm.metrics.operating import Interval
from hyperderm.metrics.panel import Fold, Panel
from hyperderm.metrics.resampling import Weights, leave_one_out

Array = NDArray[np.float64]
Weighted = Callable[[NDArray[np.bool_], Array, Array], Array]
METHOD = "BCa bootstrap over groups, seeds nested"


def weighted_average_precision(truth: NDArray[np.bool_], score: Array, weights: Array) -> Array:
    """Return the AUPRC of each set of weights, (R, n) -> (R,); NaN without melanoma."""
    true, called = cumulated(truth, score, weights)
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = np.where(called > 0, true / called, 0.0)
        return (np.diff(true, axis=1, prepend=0.0) * precision).sum(1) / true[:, -1]


def weighted_specificity(truth: NDArray[np.bool_], score: Array, weights: Array) -> Array:
    """Return specificity at sensitivity .95 of each set of weights; 0, the worst, where unattainable."""
    true, called = cumulated(truth, score, weights)
    false = called - true
    at = np.argmax(true >= np.ceil(TARGET_SENSITIVITY * true[:, -1:] - 1e-9) - 1e-9, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return 1 - np.take_along_axis(false, at[:, None], 1)[:, 0] / false[:, -1]


def weighted_sensitivity(truth: NDArray[np.bool_], score: Array, weights: Array) -> Array:
    """Return sensitivity at specificity .90 of each set of weights; 0, the worst, where unattainable."""
    true, called = cumulated(truth, score, weights)
    false = called - true
    kept = false <= np.floor((1 - TARGET_SPECIFICITY) * false[:, -1:] + 1e-9) + 1e-9
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(kept, true, 0.0).max(1) / true[:, -1]


def rank_metric(panel: Panel, weights: Weights, weighted: Weighted, cells: list[list[Value]]) -> Interval:
    """Return a metric averaged over folds and seeds with its BCa interval.

    Args:
        panel: the arm.
        weights: of the bootstrap.
        weighted: the metric on weights.
        cells: (K, S) the metric itself. When any is None the mean is None: leaving the worst cells out would flatter it.
    """
    flat = [value for fold in cells for value in fold]
    lost = [value for value in flat if value.value is None]
    if lost:
        rest = [value.value for value in flat if value.value is not None]
        others = f"; the others average {np.mean(rest):.2f}, which flatters" if rest else ""
        return Interval(None, None, None, "", f"{lost[0].reason} in {len(lost)} of {len(flat)} cells{others}")
    values = np.array([[value.value for value in fold] for fold in cells])
    drawn = _evaluated(panel, weights, weighted)
    left_out = _evaluated(panel, leave_one_out(panel), weighted).mean((1, 2))
    melanoma = np.maximum(panel.sizes[:, 0], 2)
    drawn = values + (drawn - values) * np.sqrt(melanoma / (melanoma - 1))[:, None]
    return _interval(values, drawn, left_out, weights)


def calibration_error(panel: Panel, weights: Weights, raw: bool = False) -> Interval:
    """Return the calibration error, pooled over folds per seed, with its BCa interval (bins as in the original sample).

    Args:
        panel: the arm.
        weights: of the bootstrap.
        raw: take the probabilities before calibration.
    """
    truth = np.concatenate([fold.truth for fold in panel.folds])
    scores = np.concatenate([fold.raw_probability if raw else fold.probability for fold in panel.folds], 1)
    value = np.array([[classification.calibration_error(truth, score).value for score in scores]], np.float64)

    def on(groups: Weights) -> Array:
        lesions = np.concatenate([w[:, fold.group] for w, fold in zip(groups.folds, panel.folds, strict=True)], 1)
        return np.stack([_binned(truth, score, lesions) for score in scores], 1)[:, None]

    return _interval(value, on(weights), on(leave_one_out(panel)).mean((1, 2)), weights)


def _interval(values: Array, drawn: Array, left_out: Array, weights: Weights) -> Interval:
    value = float(values.mean())
    ends = bca(value, drawn.mean((1, 2)) + _seeds(values, drawn, weights), left_out)
    if ends is None:
        return Interval(value, None, None, "", "no resample differs from the estimate: no interval can be made")
    return Interval(value, min(max(0.0, ends[0]), value), max(min(1.0, ends[1]), value), METHOD)


def _seeds(values: Array, drawn: Array, weights: Weights) -> Array:
    """Return what drawing seeds anew in every fold adds to each resample, (R,).

    Nothing, unless the seeds differ beyond the lesions' noise. values: (K, S); drawn: (R, K, S).
    """
    folds, seeds = values.shape
    if seeds == 1:
        return np.zeros(len(drawn))
    noise = (drawn - drawn.mean(2, keepdims=True)).var(0).sum() / (folds * (seeds - 1))
    deviation = values - values.mean(1, keepdims=True)
    between = (deviation**2).sum() / (folds * (seeds - 1))
    if between <= noise:
        return np.zeros(len(drawn))
    deviation = deviation * np.sqrt((between - noise) / between * seeds / (seeds - 1))
    picks = weights.rng().integers(seeds, size=drawn.shape)
    return np.take_along_axis(np.broadcast_to(deviation, picks.shape), picks, 2).mean((1, 2))


def _evaluated(panel: Panel, weights: Weights, weighted: Weighted) -> Array:
    """Return the metric of every resample and cell, (R, K, S)."""
    folds = zip(panel.folds, weights.folds, strict=True)
    return np.stack([_fold(fold, groups, weighted) for fold, groups in folds], 1)


def _fold(fold: Fold, groups: Array, weighted: Weighted) -> Array:
    lesions = groups[:, fold.group]
    return np.stack([weighted(fold.truth, score, lesions) for score in fold.probability], 1)


def cumulated(truth: NDArray[np.bool_], score: Array, weights: Array) -> tuple[Array, Array]:
    """Return weights of the melanomas and of all lesions called at each distinct threshold, descending: (R, distinct)."""
    order = np.argsort(-score, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(score[order]) != 0, True))
    sorted_weights = weights[:, order]
    return np.cumsum(sorted_weights * truth[order], 1)[:, ends], np.cumsum(sorted_weights, 1)[:, ends]


def _binned(truth: NDArray[np.bool_], score: Array, weights: Array) -> Array:
    bins = calibration_bins(score)
    share = (bins[:, None] == np.arange(bins.max() + 1)) * (truth - score)[:, None]
    return np.abs(weights @ share).sum(1) / weights.sum(1)
