import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.metrics import log_loss

from hyperderm.errors import StudyError
from hyperderm.statistics.probability import HOTTEST, Calibration, calibrated_log_loss, fit, youden_threshold


def sample(n=60, seed=0, slope=1.0, shift=0.0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n) * 2
    truth = (rng.random(n) < expit(x)).astype(int)
    return truth, (x - shift) / slope


def by_scipy(truth, x):
    """Platt's objective, minimised by somebody else."""
    p, n = truth.sum(), (1 - truth).sum()
    target = np.where(truth == 1, (p + 1) / (p + 2), 1 / (n + 2))
    found = minimize(lambda v: np.sum(np.logaddexp(0, v[0] * x + v[1]) - target * (v[0] * x + v[1])), (1.0, 0.0), tol=1e-12)
    return 1 / found.x[0], found.x[1]


@pytest.mark.parametrize("seed", range(5))
def test_minimum_is_scipys(seed):
    truth, x = sample(seed=seed, slope=0.3, shift=1.0)
    made = fit(truth, x)
    temperature, intercept = by_scipy(truth, x)
    assert made.temperature == pytest.approx(temperature, rel=1e-4)
    assert made.intercept == pytest.approx(intercept, abs=1e-4)


def test_recovers_a_known_temperature_and_shift():
    truth, x = sample(n=40_000, slope=0.25, shift=1.5)
    made = fit(truth, x)
    assert made.temperature == pytest.approx(4.0, rel=0.05)
    assert made.intercept == pytest.approx(1.5, abs=0.05)


def test_separable_scores_stay_finite_and_keep_their_order():
    truth = np.r_[np.zeros(10), np.ones(5)].astype(int)
    x = np.linspace(-50, 50, 15)
    made = fit(truth, x)
    assert 0 < made.temperature < HOTTEST
    p = made(x)
    assert (np.diff(p) >= 0).all()
    assert p.mean() == pytest.approx((5 * 6 / 7 + 10 / 12) / 15, abs=1e-6)  # the mean of Platt's smoothed targets


def test_scores_that_rank_backwards_are_flattened_never_turned_over():
    truth = np.r_[np.ones(10), np.zeros(20)].astype(int)
    made = fit(truth, np.linspace(-3, 3, 30))
    assert made.temperature == HOTTEST
    smoothed = (10 * 11 / 12 + 20 / 22) / 30
    np.testing.assert_allclose(made(np.linspace(-3, 3, 30)), smoothed, atol=2e-3)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.01, 30.0), st.floats(-20, 20))
def test_never_loses_to_doing_nothing_on_its_own_objective(seed, slope, shift):
    truth, x = sample(n=30, seed=seed, slope=slope, shift=shift)
    truth[:2] = 0, 1
    made = fit(truth, x)
    assert made.temperature > 0
    p, n = truth.sum(), (1 - truth).sum()
    target = np.where(truth == 1, (p + 1) / (p + 2), 1 / (n + 2))

    def loss(z):
        return np.sum(np.logaddexp(0, z) - target * z)

    assert loss(x / made.temperature + made.intercept) <= loss(x) + 1e-9


def test_log_loss_is_scikit_learns_and_finite_far_out():
    truth, x = sample()
    made = Calibration(2.0, 0.5)
    assert calibrated_log_loss(truth, x, made) == pytest.approx(log_loss(truth, made(x)))
    assert calibrated_log_loss([1, 0], [-800.0, 800.0], Calibration(1.0, 0.0)) == pytest.approx(800.0)


def test_one_class_cannot_be_calibrated():
    for act in (lambda: fit([1, 1], [0.0, 1.0]), lambda: youden_threshold([0, 0], [0.1, 0.2])):
        with pytest.raises(StudyError, match="one class"):
            act()


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10_000), st.integers(4, 40), st.sampled_from((4, 1000)))
def test_youden_is_the_best_of_all_thresholds(seed, n, levels):
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < 0.4
    truth[:2] = True, False
    p = np.round(np.clip(0.3 * truth + 0.7 * rng.random(n), 0, 1) * levels) / levels

    def rates(threshold):
        return (p >= threshold)[truth].mean(), (p < threshold)[~truth].mean()

    chosen = rates(youden_threshold(truth, p))
    every = [rates(t) for t in [0.0, *np.unique(p), 2.0]]
    best = max(sum(each) for each in every)
    assert sum(chosen) == pytest.approx(best, abs=1e-12)
    assert chosen[0] == pytest.approx(max(each[0] for each in every if sum(each) > best - 1e-12), abs=1e-12)


def test_youden_lies_midway_and_prefers_sensitivity():
    assert youden_threshold([0, 0, 1, 1], [0.1, 0.2, 0.6, 0.9]) == pytest.approx(0.4)
    assert youden_threshold([1, 0, 1, 0], [0.2, 0.4, 0.6, 0.1]) == pytest.approx(0.15)  # .15 and .5 tie: .15 finds both
    assert youden_threshold([1, 0], [0.1, 0.9]) == 0.0
    low = 0.5
    assert youden_threshold([0, 1], [low, np.nextafter(low, 1)]) > low  # neighbouring floats have no midpoint
