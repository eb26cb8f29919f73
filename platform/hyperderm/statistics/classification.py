"""Point metrics of a classifier of melanoma (1) against everything else (0), from P(melanoma) alone.

A metric that cannot be computed is a `Value` of None with a reason, never 0. torchmetrics would give 0 in such cases. It
also computes AUROC and average precision of float64 in float32, with differences of 3e-8 from these metrics, which agree
with scikit-learn to 1e-12.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from hyperderm.errors import StudyError

TARGET_SENSITIVITY, TARGET_SPECIFICITY = 0.95, 0.90
BINS, LESIONS_PER_BIN = 10, 15
"""The calibration error uses equal-mass bins of about 15 lesions each: at most 10 bins and at least 2."""
Array = NDArray[np.float64]


class Value(NamedTuple):
    """A number, or None with the reason why the number is missing."""

    value: float | None
    reason: str = ""


class Confusion(NamedTuple):
    """Counts of decisions about melanoma, or their means over seeds.

    tp are melanomas called melanoma, fn melanomas missed, fp other lesions called melanoma, tn other lesions not called.
    """

    tp: float
    fn: float
    fp: float
    tn: float

    def metrics(self) -> dict[str, Value]:
        """Return sensitivity, specificity, precision, F1, accuracy and balanced accuracy."""
        tp, fn, fp, tn = self
        sensitivity = _ratio(tp, tp + fn, "there is no melanoma")
        specificity = _ratio(tn, fp + tn, "there is no lesion other than melanoma")
        balanced = Value(None, sensitivity.reason or specificity.reason)
        if sensitivity.value is not None and specificity.value is not None:
            balanced = Value((sensitivity.value + specificity.value) / 2)
        return {
            "sensitivity": sensitivity,
            "specificity": specificity,
            "precision": _ratio(tp, tp + fp, "nothing was called melanoma"),
            "f1": _ratio(2 * tp, 2 * tp + fp + fn, "there is no melanoma and none was called"),
            "accuracy": _ratio(tp + tn, tp + fn + fp + tn, "there is no lesion"),
            "balanced_accuracy": balanced,
        }


def confusion(truth: ArrayLike, probability: ArrayLike, threshold: float) -> Confusion:
    """Count the decisions; a lesion is called melanoma if probability >= threshold."""
    y, p = binary(truth, probability)
    called = p >= threshold
    return Confusion(
        float((y & called).sum()), float((y & ~called).sum()), float((~y & called).sum()), float((~y & ~called).sum())
    )


def binary(truth: ArrayLike, probability: ArrayLike) -> tuple[NDArray[np.bool_], Array]:
    """Check truth and probability, and return truth (n,) as bool and probability (n,) as float64.

    Raises:
        StudyError: there is not exactly one value for each lesion (one-hot columns would count every lesion twice), a truth
            is not 0 or 1, or a probability lies outside [0, 1].
    """
    y, p = np.asarray(truth), np.asarray(probability, np.float64)
    if y.ndim != 1 or y.shape != p.shape:
        raise StudyError(
            f"truth has shape {y.shape}, probability {p.shape}",
            "Give one truth and one P(melanoma) a lesion; one-hot columns would count every lesion twice.",
        )
    if not np.isin(y, (0, 1)).all():
        raise StudyError("truth holds values other than 0 and 1", "Melanoma is 1, all others 0.")
    if not ((p >= 0) & (p <= 1)).all():
        raise StudyError("a probability lies outside [0, 1] or is not a number", "Give P(melanoma).")
    return y == 1, p


def auroc(truth: ArrayLike, probability: ArrayLike) -> Value:
    """Return the probability that a melanoma scores above a negative; ties count ½ (Mann & Whitney 1947)."""
    y, p = binary(truth, probability)
    if missing := _one_class(y):
        return missing
    m, n = int(y.sum()), int((~y).sum())
    return Value(float((rankdata(p)[y].sum() - m * (m + 1) / 2) / (m * n)))


def average_precision(truth: ArrayLike, probability: ArrayLike) -> Value:
    """Return the AUPRC as the step sum of (recall_i − recall_{i−1}) · precision_i over distinct thresholds."""
    y, p = binary(truth, probability)
    if not y.any():
        return Value(None, "there is no melanoma")
    recall, precision, _ = precision_recall_curve(y, p)
    return Value(float(np.sum(np.diff(recall, prepend=0.0) * precision)))


def specificity_at_sensitivity(truth: ArrayLike, probability: ArrayLike, target: float = TARGET_SENSITIVITY) -> Value:
    """Return the highest specificity among thresholds that find at least the share `target` of the melanomas.

    Of n melanomas these are ⌈target · n⌉; for .95 and n below 20, all of them. Calling every lesion melanoma always finds
    enough. If no other threshold does, the target is unattainable: the value is None with the reason, not 0.
    """
    y, p = binary(truth, probability)
    if missing := _one_class(y):
        return missing
    false, true, _ = roc_curve(y, p)
    needed = np.ceil(target * y.sum() - 1e-9) / y.sum()
    at = int(np.argmax(true >= needed - 1e-12))
    if false[at] >= 1:
        return Value(None, f"sensitivity {target:g} is reached only by calling every lesion melanoma")
    return Value(float(1 - false[at]))


def sensitivity_at_specificity(truth: ArrayLike, probability: ArrayLike, target: float = TARGET_SPECIFICITY) -> Value:
    """Return the highest sensitivity among thresholds that leave at least the share `target` of the negatives uncalled.

    Calling no lesion melanoma always reaches the target. If every other threshold calls too many negatives, the target is
    unattainable: the value is None with the reason.
    """
    y, p = binary(truth, probability)
    if missing := _one_class(y):
        return missing
    false, true, _ = roc_curve(y, p)
    allowed = np.floor((1 - target) * (~y).sum() + 1e-9) / (~y).sum()
    best = float(true[np.flatnonzero(false <= allowed + 1e-12)[-1]])
    return Value(best) if best > 0 else Value(None, f"specificity {target:g} is kept only by finding no melanoma")


def brier(truth: ArrayLike, probability: ArrayLike) -> Value:
    """Return the mean squared difference between probability and truth (Brier 1950)."""
    y, p = binary(truth, probability)
    return Value(float(np.mean((p - y) ** 2))) if len(y) else Value(None, "there is no lesion")


def calibration_bins(probability: Array) -> NDArray[np.intp]:
    """Return the number of each probability's equal-mass bin (n,).

    Equal probabilities share a bin, so the order of rows does not matter.
    """
    n = len(probability)
    count = int(np.clip(n // LESIONS_PER_BIN, 2, BINS))
    return np.minimum(((rankdata(probability) - 0.5) / n * count).astype(np.intp), count - 1)


def calibration_error(truth: ArrayLike, probability: ArrayLike) -> Value:
    """Return the expected calibration error, Σ_bins (n_b / n) |mean truth − mean probability|, over equal-mass bins.

    The bins have equal mass, because with few lesions most bins of equal width hold one lesion or none (Nixon et al. 2019;
    Roelofs et al. 2022). On few cases the error is biased upwards: a perfectly calibrated model does not score 0.
    """
    y, p = binary(truth, probability)
    if not len(y):
        return Value(None, "there is no lesion")
    return Value(float(np.abs(np.bincount(calibration_bins(p), y - p)).sum() / len(y)))


def roc_curve(truth: ArrayLike, probability: ArrayLike) -> tuple[Array, Array, Array]:
    """Return 1 − specificity, sensitivity and threshold for every distinct threshold, from the highest to the lowest.

    The first entry calls no lesion melanoma, the last one calls all.
    """
    y, p = binary(truth, probability)
    true, called, threshold = _cumulated(y, p)
    false = called - true
    start = [0.0]
    return (
        np.concatenate([start, false / max(float(false[-1]), 1.0)]),
        np.concatenate([start, true / max(float(true[-1]), 1.0)]),
        np.concatenate([[np.inf], threshold]),
    )


def precision_recall_curve(truth: ArrayLike, probability: ArrayLike) -> tuple[Array, Array, Array]:
    """Return recall (ascending), precision and threshold for every distinct threshold."""
    y, p = binary(truth, probability)
    true, called, threshold = _cumulated(y, p)
    precision: Array = true / called
    return true / max(float(true[-1]), 1.0), precision, threshold


def cell_metrics(truth: ArrayLike, probability: ArrayLike, threshold: float) -> dict[str, Value]:
    """Return every metric of one cell, by the keys that the report uses."""
    return {
        "auroc": auroc(truth, probability),
        "auprc": average_precision(truth, probability),
        **confusion(truth, probability, threshold).metrics(),
        "specificity_at_sensitivity_95": specificity_at_sensitivity(truth, probability),
        "sensitivity_at_specificity_90": sensitivity_at_specificity(truth, probability),
        "brier": brier(truth, probability),
        "calibration_error": calibration_error(truth, probability),
    }


def _cumulated(y: NDArray[np.bool_], p: Array) -> tuple[Array, Array, Array]:
    """Return, by descending threshold, the numbers of melanomas and of all lesions called, and each distinct threshold."""
    order = np.argsort(-p, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(p[order]) != 0, True))
    return np.cumsum(y[order])[ends].astype(np.float64), (ends + 1).astype(np.float64), p[order][ends]


def _ratio(part: float, whole: float, reason: str) -> Value:
    return Value(float(part / whole)) if whole > 0 else Value(None, reason)


def _one_class(y: NDArray[np.bool_]) -> Value | None:
    if not y.any():
        return Value(None, "there is no melanoma")
    return Value(None, "there is no lesion other than melanoma") if y.all() else None
