"""The calibration and the threshold of a classifier, fitted to validation logits, and their scores."""

import math
from dataclasses import dataclass

from scipy.special import expit
from torch import Tensor

from hyperderm.learners.base import MelanomaClassifier, Validation
from hyperderm.learners.data import CubeSet, truth
from hyperderm.statistics.classification import Value, auroc, average_precision, calibration_error
from hyperderm.statistics.probability import Calibration, calibrated_log_loss, fit, youden_threshold


@dataclass(frozen=True)
class DecisionRule:
    """The decision rule and the metrics that validation gives for a classifier in its present state.

    Attributes:
        calibration: temperature and intercept.
        threshold: threshold of the calibrated probability; a lesion at or above it is called melanoma.
        metrics: metrics by name, the objective first; undefined metrics are left out.
    """

    calibration: Calibration
    threshold: float
    metrics: dict[str, float]


def fit_decision_rule(logits: Tensor, truth: Tensor) -> DecisionRule:
    """Fit calibration and threshold to validation logits (N,) and truth (N,), with melanoma = 1.

    The objective is the log loss after calibration. It is a proper score, distinguishes more finely than AUROC on few
    melanomas, and ignores the shift of prevalence that oversampling or class weights cause.
    """
    z, y = logits.double().numpy(), truth.numpy()
    calibration = fit(y, z)
    probability = calibration(z)
    threshold = youden_threshold(y, probability)
    values: dict[str, Value] = {
        "validation_auroc": auroc(y, probability),
        "validation_auprc": average_precision(y, probability),
        "calibration_error_before": calibration_error(y, expit(z)),
        "calibration_error_after": calibration_error(y, probability),
    }
    metrics = {"calibrated_log_loss": calibrated_log_loss(y, z, calibration)}
    metrics |= {name: found.value for name, found in values.items() if found.value is not None}
    metrics |= {"temperature": calibration.temperature, "intercept": calibration.intercept, "threshold": threshold}
    return DecisionRule(calibration, threshold, {k: v for k, v in metrics.items() if math.isfinite(v)})


def scored(learner: MelanomaClassifier, held: CubeSet) -> Validation:
    """Return the validation scores of a classifier in its present state; `held` are the cubes of the validation role."""
    return Validation(fit_decision_rule(learner.logits_of(held.reflectance, held.masks), truth(held.diagnoses)).metrics)
