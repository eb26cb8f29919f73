import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from hyperderm.errors import StudyError
from hyperderm.statistics import classification as ours


@st.composite
def scored(draw, both=True):
    """Truth and probabilities with many ties."""
    n = draw(st.integers(4, 60))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    truth = rng.random(n) < draw(st.sampled_from((0.2, 0.5, 0.8)))
    if both:
        truth[:2] = True, False
    levels = draw(st.sampled_from((3, 7, 1000)))
    probability = np.round(np.clip(0.4 * truth + 0.6 * rng.random(n), 0, 1) * levels) / levels
    return truth.astype(int), probability, float(rng.integers(levels + 1) / levels)


@settings(max_examples=60, deadline=None)
@given(scored())
def test_agrees_with_scikit_learn(case):
    truth, probability, threshold = case
    called = probability >= threshold
    tn, fp, fn, tp = reference.confusion_matrix(truth, called, labels=[0, 1]).ravel()
    found = ours.cell_metrics(truth, probability, threshold)
    assert ours.confusion(truth, probability, threshold) == (tp, fn, fp, tn)
    expected = {
        "auroc": reference.roc_auc_score(truth, probability),
        "auprc": reference.average_precision_score(truth, probability),
        "brier": reference.brier_score_loss(truth, probability),
        "accuracy": reference.accuracy_score(truth, called),
        "balanced_accuracy": reference.balanced_accuracy_score(truth, called),
        "sensitivity": reference.recall_score(truth, called),
        "specificity": reference.recall_score(truth, called, pos_label=0),
        "f1": reference.f1_score(truth, called),
    }
    for name, value in expected.items():
        assert found[name].value == pytest.approx(value, abs=1e-12), name
    if called.any():
        assert found["precision"].value == pytest.approx(reference.precision_score(truth, called), abs=1e-12)
    else:
        assert found["precision"] == (None, "nothing was called melanoma")


@settings(max_examples=60, deadline=None)
@given(scored())
def test_curves_are_scikit_learns(case):
    truth, probability, _ = case
    for mine, theirs in zip(
        ours.roc_curve(truth, probability), reference.roc_curve(truth, probability, drop_intermediate=False), strict=True
    ):
        np.testing.assert_allclose(mine, theirs, atol=1e-12)
    precision, recall, threshold = reference.precision_recall_curve(truth, probability)
    mine = ours.precision_recall_curve(truth, probability)
    for values, expected in zip(mine, (recall[:-1], precision[:-1], threshold), strict=True):
        np.testing.assert_allclose(values[::-1], expected, atol=1e-12)


def best_by_enumeration(truth, probability, needed, of, rewarded):
    """The best reward over every threshold whose `of`-rate meets the target, by trying them all."""
    rates = []
    for threshold in [*np.unique(probability), 2.0]:
        called = probability >= threshold
        right = {1: called[truth == 1].mean(), 0: (~called)[truth == 0].mean()}
        if right[of] >= needed - 1e-12:
            rates.append(right[rewarded])
    return max(rates)


@settings(max_examples=150, deadline=None)
@given(scored())
def test_operating_points_are_the_best_of_all_thresholds_and_never_zero(case):
    truth, probability, _ = case
    for found, of, needed in (
        (ours.specificity_at_sensitivity(truth, probability), 1, 0.95),
        (ours.sensitivity_at_specificity(truth, probability), 0, 0.90),
    ):
        expected = best_by_enumeration(truth, probability, needed, of, 1 - of)
        if expected == 0:
            assert found.value is None
            assert "only by" in found.reason
        else:
            assert found.value == pytest.approx(expected, abs=1e-12)
            assert found.reason == ""


def test_nineteen_of_twenty_are_enough_for_95_percent_and_eighteen_of_nineteen_are_not():
    for melanomas, expected in ((20, 1.0), (19, 0.0)):
        truth = np.r_[np.ones(melanomas), np.zeros(10)]
        probability = np.r_[0.1, np.full(melanomas - 1, 0.9), np.full(10, 0.5)]  # one melanoma lies below every negative
        found = ours.specificity_at_sensitivity(truth, probability)
        assert found.value == (expected or None)
        assert bool(found.reason) == (expected == 0)


def test_a_constant_score_attains_nothing():
    truth, probability = [1, 0, 0, 1], [0.5] * 4
    assert ours.auroc(truth, probability).value == 0.5
    assert ours.specificity_at_sensitivity(truth, probability).value is None
    assert ours.sensitivity_at_specificity(truth, probability).value is None


@pytest.mark.parametrize(("truth", "missing"), [([0, 0, 0], "no melanoma"), ([1, 1, 1], "other than melanoma")])
def test_one_class_is_undefined_with_its_reason(truth, missing):
    found = ours.cell_metrics(truth, [0.1, 0.5, 0.9], 0.5)
    for name in ("auroc", "balanced_accuracy", "specificity_at_sensitivity_95", "sensitivity_at_specificity_90"):
        assert found[name].value is None
        assert missing in found[name].reason


def test_metrics_speak_of_melanoma():
    """METHODS section 2, mistake 1: 14 melanomas, 29 nevi; the published rows are true of nevi only."""
    real_only = ours.Confusion(tp=9, fn=5, fp=4, tn=25)  # of melanoma; of nevi TP 25 FN 4 FP 5 TN 9
    with_synthetic = ours.Confusion(tp=7, fn=7, fp=0, tn=29)
    assert real_only.metrics()["sensitivity"].value == pytest.approx(9 / 14)
    assert with_synthetic.metrics()["sensitivity"].value == pytest.approx(7 / 14)
    assert with_synthetic.metrics()["specificity"].value == 1.0  # what was published as recall 1.00
    published = ours.Confusion(tp=25, fn=4, fp=5, tn=9).metrics()
    assert [round(published[name].value, 2) for name in ("accuracy", "precision", "sensitivity", "f1")] == [
        0.79,
        0.83,
        0.86,
        0.85,
    ]
    truth = np.r_[np.ones(14), np.zeros(29)]
    probability = np.r_[np.full(9, 0.9), np.full(5, 0.2), np.full(4, 0.8), np.full(25, 0.1)]
    assert ours.confusion(truth, probability, 0.5) == real_only


@pytest.mark.parametrize(
    ("truth", "probability"),
    [
        (np.eye(2)[[0, 1, 1]], np.full((3, 2), 0.5)),  # one-hot: each lesion twice
        ([0, 1, 1], np.full((3, 2), 0.5)),
        ([0, 1, 2], [0.1, 0.2, 0.3]),
        ([0, 1], [0.1, 1.2]),
        ([0, 1], [0.1, np.nan]),
    ],
)
def test_what_is_not_one_probability_a_lesion_is_refused(truth, probability):
    with pytest.raises(StudyError):
        ours.auroc(truth, probability)


def test_calibration_error_by_hand_and_whatever_the_order():
    truth = np.r_[np.zeros(15), np.ones(15)].astype(int)
    probability = np.r_[np.full(15, 0.2), np.full(15, 0.7)]  # two bins of 15, each of one probability
    assert ours.calibration_error(truth, probability).value == pytest.approx((0.2 + 0.3) / 2)
    rng = np.random.default_rng(0)
    order = rng.permutation(30)
    probability = np.round(rng.random(30), 1)
    assert ours.calibration_error(truth[order], probability[order]).value == pytest.approx(
        ours.calibration_error(truth, probability).value, abs=1e-12
    )


def test_calibration_error_of_a_calibrated_model_fades_and_of_a_shifted_one_stays():
    rng = np.random.default_rng(0)
    probability = rng.random(50_000)
    truth = rng.random(50_000) < probability
    assert ours.calibration_error(truth, probability).value < 0.01
    assert ours.calibration_error(truth, np.clip(probability * 0.5, 0, 1)).value == pytest.approx(0.25, abs=0.01)


def test_bins_hold_equal_numbers():
    bins = ours.calibration_bins(np.random.default_rng(0).random(200))
    assert np.bincount(bins).tolist() == [20] * 10
    assert np.bincount(ours.calibration_bins(np.random.default_rng(0).random(45))).tolist() == [15, 15, 15]
