"""Metrics without a formula for their variance: AUPRC, the two operating points and calibration error; and AUROC by BCa.

Groups are resampled within fold and class. Each resample gives weights to lesions, so every metric is computed on weights
(R, n). Drawing n of n groups reduces the variance by the factor (n − 1)/n. Therefore the deviations of a fold are stretched
by the corresponding factor for its number n of melanoma groups, the scarcer class. Differences between seeds beyond the
noise of the lesions are added, as in `paired`.

The bootstrap gives the standard error; the interval is made on the logit scale with Student's t. Resampling repeats lesions,
which shifts the operating points by up to .06. BCa treats this shift as a bias of the estimate and doubles it: in
simulations, BCa covered 71-82 % for specificity at sensitivity .95, and this interval 89-95 %.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from hyperderm.statistics import classification
from hyperderm.statistics.ablation_results import Estimate
from hyperderm.statistics.classification import TARGET_SENSITIVITY, TARGET_SPECIFICITY, Value, calibration_bins
from hyperderm.statistics.intervals import bca, critical
from hyperderm.statistics.panel import Fold, Panel
from hyperderm.statistics.resampling import BootstrapWeights, leave_one_out

Array = NDArray[np.float64]
Weighted = Callable[[NDArray[np.bool_], Array, Array], Array]
METHOD = "logit, bootstrap over groups within fold and class, seeds nested"


def weighted_auroc(truth: NDArray[np.bool_], score: Array, weights: Array) -> Array:
    """Return the AUROC of each set of weights, (R, n) -> (R,), by the trapezoidal rule; NaN without both classes."""
    true, called = cumulated(truth, score, weights)
    false = called - true
    before = np.concatenate([np.zeros((len(true), 1)), true[:, :-1]], 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return (np.diff(false, axis=1, prepend=0.0) * (true + before)).sum(1) / (2 * true[:, -1] * false[:, -1])


def weighted_average_precision(truth: NDArray[np.bool_], score: Array, weights: Array) -> Array:
    """Return the AUPRC of each set of weights, (R, n) -> (R,); NaN without melanoma."""
    true, called = cumulated(truth, score, weights)
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = np.where(called > 0, true / called, 0.0)
        return (np.diff(true, axis=1, prepend=0.0) * precision).sum(1) / true[:, -1]


def weighted_specificity(truth: NDArray[np.bool_], score: Array, weights: Array) -> Array:
    """Return the specificity at sensitivity .95 for each set of weights; if unattainable, 0, the worst value."""
    true, called = cumulated(truth, score, weights)
    false = called - true
    at = np.argmax(true >= np.ceil(TARGET_SENSITIVITY * true[:, -1:] - 1e-9) - 1e-9, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return 1 - np.take_along_axis(false, at[:, None], 1)[:, 0] / false[:, -1]


def weighted_sensitivity(truth: NDArray[np.bool_], score: Array, weights: Array) -> Array:
    """Return the sensitivity at specificity .90 for each set of weights; if unattainable, 0, the worst value."""
    true, called = cumulated(truth, score, weights)
    false = called - true
    kept = false <= np.floor((1 - TARGET_SPECIFICITY) * false[:, -1:] + 1e-9) + 1e-9
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(kept, true, 0.0).max(1) / true[:, -1]


def rank_metric(panel: Panel, weights: BootstrapWeights, weighted: Weighted, cells: Sequence[Sequence[Value]]) -> Estimate:
    """Return a metric averaged over folds and seeds with its interval.

    Args:
        panel: the panel of the arm.
        weights: bootstrap weights.
        weighted: function that computes the metric for each set of weights.
        cells: the metric for each fold and seed. If one is None, the mean is None: without the worst cells it would be too
            good.
    """
    flat = [value for fold in cells for value in fold]
    lost = [value for value in flat if value.value is None]
    if lost:
        rest = [value.value for value in flat if value.value is not None]
        others = f"; the others average {np.mean(rest):.2f}, which flatters" if rest else ""
        return Estimate(None, None, None, "", f"{lost[0].reason} in {len(lost)} of {len(flat)} cells{others}")
    values = [np.array([value.value for value in fold], np.float64) for fold in cells]
    drawn = _stretched(panel, values, _evaluated(panel, weights, weighted))
    return _interval(panel, values, drawn, weights)


def bca_auroc(panel: Panel, weights: BootstrapWeights) -> tuple[float, float] | None:
    """Return the BCa interval of the AUROC, a cross-check of that of `paired.auroc`; None if all resamples are equal."""
    values = [fold.kernel.mean((1, 2)) for fold in panel.folds]
    drawn = _stretched(panel, values, _evaluated(panel, weights, weighted_auroc))
    left_out = np.mean([fold.mean(1) for fold in _evaluated(panel, leave_one_out(panel), weighted_auroc)], 0)
    return bca(float(np.mean([fold.mean() for fold in values])), _draws(values, drawn, weights), left_out)


def calibration_error(panel: Panel, weights: BootstrapWeights) -> Estimate:
    """Return the calibration error, pooled over folds for each seed, with its interval (bins as in the original sample).

    If a seed lacks a fold, another seed of that fold is used instead.
    """
    truth = np.concatenate([fold.truth for fold in panel.folds])
    scores = [pooled(panel, seed) for seed in panel.seeds]
    value = np.array([classification.calibration_error(truth, score).value for score in scores], np.float64)

    def on(groups: BootstrapWeights) -> Array:
        lesions = np.concatenate([w[:, fold.group] for w, fold in zip(groups.folds, panel.folds, strict=True)], 1)
        return np.stack([_binned(truth, score, lesions) for score in scores], 1)

    return _interval(panel, [value], [on(weights)], weights)


def raw_calibration_error(panel: Panel) -> float | None:
    """Return the calibration error before calibration, pooled over folds for each seed, then averaged over seeds."""
    truth = np.concatenate([fold.truth for fold in panel.folds])
    errors = [classification.calibration_error(truth, pooled(panel, seed, raw=True)).value for seed in panel.seeds]
    return None if None in errors else float(np.mean([each for each in errors if each is not None]))


def pooled(panel: Panel, seed: int, raw: bool = False) -> Array:
    """Return the probabilities of one seed in all folds, in order; if the seed lacks a fold, another seed of it is used."""
    rows = [fold.seeds.index(seed) if seed in fold.seeds else seed % len(fold.seeds) for fold in panel.folds]
    source = [fold.raw_probability if raw else fold.probability for fold in panel.folds]
    return np.concatenate([scores[row] for scores, row in zip(source, rows, strict=True)])


def _interval(panel: Panel, values: Sequence[Array], drawn: Sequence[Array], weights: BootstrapWeights) -> Estimate:
    value = float(np.mean([fold.mean() for fold in values]))
    error = float(_draws(values, drawn, weights).std(ddof=1))
    if error == 0 or not 0 < value < 1:
        return Estimate(value, None, None, "", "the lesions show no spread: no interval can be made")
    middle = np.log(value / (1 - value))
    half = critical(float((panel.sizes[:, 0] - 1).sum())) * error / (value * (1 - value))
    return Estimate(value, float(expit(middle - half)), float(expit(middle + half)), METHOD)


def _draws(values: Sequence[Array], drawn: Sequence[Array], weights: BootstrapWeights) -> Array:
    """Return the mean over folds and seeds for every resample, (R,)."""
    return np.mean([fold.mean(1) for fold in drawn], 0) + _seeds(values, drawn, weights)


def _stretched(panel: Panel, values: Sequence[Array], drawn: Sequence[Array]) -> list[Array]:
    """Return the draws with the spread of every fold restored, which drawing n of n groups has reduced."""
    melanoma = np.maximum(panel.sizes[:, 0], 2)
    factors = np.sqrt(melanoma / (melanoma - 1))
    return [value + (draw - value) * factor for value, draw, factor in zip(values, drawn, factors, strict=True)]


def _seeds(values: Sequence[Array], drawn: Sequence[Array], weights: BootstrapWeights) -> Array:
    """Return the shift (R,) that a new draw of seeds in every fold adds to each resample.

    The shift is 0 unless the seeds differ by more than the noise of the lesions. `values` has (S_k,) for each fold, `drawn`
    has (R, S_k).
    """
    shift = np.zeros(len(weights))
    df = sum(len(cells) - 1 for cells in values)
    between = sum(float(((cells - cells.mean()) ** 2).sum()) for cells in values) / max(df, 1)
    noise = sum(float((each - each.mean(1, keepdims=True)).var(0).sum()) for each in drawn) / max(df, 1)
    if between <= noise:
        return shift
    rng, excess = weights.rng(), np.sqrt((between - noise) / between)
    for cells in values:
        seeds = len(cells)
        if seeds > 1:
            deviation = (cells - cells.mean()) * excess * np.sqrt(seeds / (seeds - 1))
            shift += deviation[rng.integers(seeds, size=(len(weights), seeds))].mean(1) / len(values)
    return shift


def _evaluated(panel: Panel, weights: BootstrapWeights, weighted: Weighted) -> list[Array]:
    """Return the metric of every resample and cell, (R, S_k) for each fold."""
    return [_fold(fold, groups, weighted) for fold, groups in zip(panel.folds, weights.folds, strict=True)]


def _fold(fold: Fold, groups: Array, weighted: Weighted) -> Array:
    lesions = groups[:, fold.group]
    return np.stack([weighted(fold.truth, score, lesions) for score in fold.probability], 1)


def cumulated(truth: NDArray[np.bool_], score: Array, weights: Array) -> tuple[Array, Array]:
    """Return the weights of melanomas and of all lesions called at each distinct threshold, descending: (R, thresholds)."""
    order = np.argsort(-score, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(score[order]) != 0, True))
    sorted_weights = weights[:, order]
    return np.cumsum(sorted_weights * truth[order], 1)[:, ends], np.cumsum(sorted_weights, 1)[:, ends]


def _binned(truth: NDArray[np.bool_], score: Array, weights: Array) -> Array:
    bins = calibration_bins(score)
    share = (bins[:, None] == np.arange(bins.max() + 1)) * (truth - score)[:, None]
    return np.abs(weights @ share).sum(1) / weights.sum(1)
