"""What validation logits become: closed forms, scikit-learn, and scores that melanoma alone may raise."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score

from hyperderm.errors import StudyError
from hyperderm.learners.decision_rule import fit_decision_rule
from hyperderm.statistics.probability import HOTTEST


def scores(n=120, separation=1.5, seed=0):
    g = torch.Generator().manual_seed(seed)
    y = (torch.arange(n) % 3 == 0).long()
    return separation * (2 * y - 1) + torch.randn(n, generator=g).double() * 2, y


def test_metrics_are_scikit_learn_s_and_the_objective_comes_first():
    z, y = scores()
    made = fit_decision_rule(z, y)
    probability = made.calibration(z.numpy())
    assert next(iter(made.metrics)) == "calibrated_log_loss"
    assert made.metrics["calibrated_log_loss"] == pytest.approx(log_loss(y, probability))
    assert made.metrics["validation_auroc"] == pytest.approx(roc_auc_score(y, z))
    assert made.metrics["validation_auprc"] == pytest.approx(average_precision_score(y, z))
    assert made.metrics["threshold"] == made.threshold
    assert made.metrics["temperature"] == made.calibration.temperature


def test_calibration_is_platt_s_scaling():
    """With as many cases as here the smoothed targets are within a hundredth of plain logistic regression."""
    z, y = scores(6000)
    made = fit_decision_rule(z, y)
    fitted = LogisticRegression(C=np.inf).fit(z.numpy()[:, None], y)
    assert 1 / made.calibration.temperature == pytest.approx(float(fitted.coef_[0, 0]), rel=0.02)
    assert made.calibration.intercept == pytest.approx(float(fitted.intercept_[0]), abs=0.02)


@pytest.mark.parametrize(("scale", "shift"), [(1.0, 3.0), (5.0, -2.0), (0.2, 0.0)])
def test_the_objective_is_blind_to_a_shift_of_prevalence_and_to_overconfidence(scale, shift):
    """What oversampling and class weights do to logits must not choose the checkpoint."""
    z, y = scores()
    one, two = fit_decision_rule(z, y), fit_decision_rule(z * scale + shift, y)
    assert two.metrics["calibrated_log_loss"] == pytest.approx(one.metrics["calibrated_log_loss"], abs=1e-6)
    decided = one.calibration(z.numpy()) >= one.threshold
    np.testing.assert_array_equal(two.calibration((z * scale + shift).numpy()) >= two.threshold, decided)


def test_the_threshold_maximises_sensitivity_plus_specificity():
    z, y = scores()
    made = fit_decision_rule(z, y)
    p, truth = made.calibration(z.numpy()), y.numpy()

    def youden(threshold):
        called = p >= threshold
        return called[truth == 1].mean() + 1 - called[truth == 0].mean()

    assert youden(made.threshold) == pytest.approx(max(map(youden, p)))


def test_melanoma_is_one_a_turned_score_is_no_good():
    z, y = scores(separation=3.0)
    assert fit_decision_rule(z, y).metrics["validation_auroc"] > 0.95
    turned = fit_decision_rule(-z, y)
    assert turned.metrics["validation_auroc"] < 0.6  # calibration may flatten scores, never turn them over
    assert turned.calibration.temperature == HOTTEST


def test_validation_of_one_class_is_refused():
    with pytest.raises(StudyError, match="validation holds one class only"):
        fit_decision_rule(torch.randn(6).double(), torch.zeros(6).long())
