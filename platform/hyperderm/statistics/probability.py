"""The calibration of probabilities and the decision threshold, both fitted on validation only."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from hyperderm.errors import StudyError
from hyperderm.statistics.classification import binary, roc_curve

Array = NDArray[np.float64]
HOTTEST = 1e3
"""The highest temperature. Scores that rank validation in the wrong order become almost flat instead of being reversed."""
_STEPS, _TOLERANCE, _RIDGE, _SMALLEST_STEP = 100, 1e-10, 1e-12, 1e-10


@dataclass(frozen=True)
class Calibration:
    """The calibration p = sigmoid(logit / temperature + intercept).

    Attributes:
        temperature: in (0, `HOTTEST`]; above 1 the scores were too confident.
        intercept: shifts the prevalence, e.g. to undo the shift that class weights cause.
    """

    temperature: float
    intercept: float

    def __call__(self, logits: ArrayLike) -> Array:
        """Return the calibrated P(melanoma) of raw logits of any shape."""
        return expit(np.asarray(logits, np.float64) / self.temperature + self.intercept)


def fit(truth: ArrayLike, logits: ArrayLike) -> Calibration:
    """Fit Platt's scaling by Newton's method with backtracking (Platt 1999; Lin, Lin & Weng 2007).

    Targets are smoothed to (N₊ + 1)/(N₊ + 2) and 1/(N₋ + 2), so that separable scores do not give infinite confidence. The
    slope 1/T is kept at 1/`HOTTEST` or above.

    Args:
        truth: (n,) truth of validation, melanoma = 1.
        logits: (n,) raw scores.

    Raises:
        StudyError: shapes or values are wrong, or validation does not hold both classes.
    """
    x = np.asarray(logits, np.float64)
    y = binary(truth, expit(x))[0]
    if y.all() or not y.any():
        raise StudyError("validation holds one class only: nothing can be calibrated", "Use fewer folds or another seed.")
    positives, negatives = int(y.sum()), int((~y).sum())
    target = np.where(y, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    prior = float(np.log((positives + 1) / (negatives + 1)))
    scale = max(float(np.std(x)), 1e-12)  # Newton's steps are sound where logits are of the order of 1
    slope, intercept = _newton(np.stack([x / scale, np.ones_like(x)], 1), np.zeros_like(x), target, np.array([0.0, prior]))
    slope /= scale
    if slope < 1 / HOTTEST:
        slope = 1 / HOTTEST
        intercept = _newton(np.ones((len(x), 1)), x * slope, target, np.array([prior]))[0]
    return Calibration(float(1 / slope), float(intercept))


def calibrated_log_loss(truth: ArrayLike, logits: ArrayLike, calibration: Calibration) -> float:
    """Return the mean −log P(truth) (nats) of calibrated logits; finite for any finite logit."""
    x = np.asarray(logits, np.float64)
    y = binary(truth, expit(x))[0]
    return float(_losses(x / calibration.temperature + calibration.intercept, y.astype(np.float64)).mean())


def youden_threshold(truth: ArrayLike, probability: ArrayLike) -> float:
    """Return the threshold that maximises sensitivity + specificity (Youden 1950); decide by probability >= threshold.

    The threshold lies midway between two neighbouring scores. Among equal sums, the one with the higher sensitivity is
    chosen. If no threshold is better than guessing, the threshold is 0 and every lesion is called melanoma.

    Raises:
        StudyError: shapes or values are wrong, or there is only one class.
    """
    y, p = binary(truth, probability)
    if y.all() or not y.any():
        raise StudyError("validation holds one class only: no threshold can be chosen", "Use fewer folds or another seed.")
    false, true, score = roc_curve(y, p)
    negatives, positives = int((~y).sum()), int(y.sum())
    gain = np.rint(true * positives) * negatives - np.rint(false * negatives) * positives  # whole numbers: ties are exact
    best = int(np.flatnonzero(gain == gain.max())[-1])
    if best == len(score) - 1:
        return 0.0
    upper, lower = float(score[best]), float(score[best + 1])
    middle = (upper + lower) / 2
    return middle if middle > lower else upper


def _newton(design: Array, fixed: Array, target: Array, start: Array) -> Array:
    """Return the vector `at` that minimises the log loss of the logits fixed + design @ at.

    Iterations begin at `start`, where no probability is saturated.
    """
    at = start
    for _ in range(_STEPS):
        z = fixed + design @ at
        p = expit(z)
        gradient = design.T @ (p - target)
        hessian = design.T @ (design * (p * (1 - p))[:, None]) + _RIDGE * np.eye(len(at))
        step = np.linalg.solve(hessian, gradient)
        loss, decrease = _losses(z, target).sum(), float(gradient @ step)
        if decrease < _TOLERANCE:
            break
        size = 1.0
        while _losses(fixed + design @ (at - size * step), target).sum() > loss - 1e-4 * size * decrease:
            size /= 2
            if size < _SMALLEST_STEP:
                return at
        at = at - size * step
    return at


def _losses(z: Array, target: Array) -> Array:
    """Return the cross-entropy of logits z against targets in [0, 1], stable for large |z|."""
    return np.logaddexp(0.0, z) - target * z
