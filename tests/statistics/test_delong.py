import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from hyperderm.statistics.classification import auroc
from hyperderm.statistics.delong import Delong, combined, delong_test, placements
from tests.simulation import Design, simulate


def by_double_loop(truth, score):
    """DeLong's placements as he defines them."""
    x, y = score[truth == 1], score[truth == 0]
    psi = (x[:, None] > y) + 0.5 * (x[:, None] == y)
    return psi.mean(1), psi.mean(0)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from((3, 1000)))
def test_midranks_give_the_double_loop(seed, levels):
    rng = np.random.default_rng(seed)
    truth = np.r_[1, 0, rng.random(30) < 0.4].astype(int)
    score = rng.integers(levels, size=32) / levels
    for mine, theirs in zip(placements(truth, score), by_double_loop(truth, score), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-12)
        assert mine.mean() == pytest.approx(auroc(truth, score).value)


def test_variance_is_that_of_the_structural_components():
    """Var = S10 / m + S01 / n with the 2 x 2 covariance matrices of DeLong et al. 1988, eq. 4, contracted with (1, −1)."""
    rng = np.random.default_rng(0)
    truth = np.r_[np.ones(12), np.zeros(20)].astype(int)
    a, b = rng.normal(size=32) + truth, rng.normal(size=32) + 0.5 * truth
    up = np.cov(np.stack([by_double_loop(truth, s)[0] for s in (a, b)]))
    down = np.cov(np.stack([by_double_loop(truth, s)[1] for s in (a, b)]))
    contrast = np.array([1, -1])
    found = delong_test(truth, a, b)
    assert found.variance == pytest.approx(contrast @ (up / 12 + down / 20) @ contrast)
    assert found.difference == pytest.approx(auroc(truth, norm.cdf(a)).value - auroc(truth, norm.cdf(b)).value)
    assert found.p == pytest.approx(2 * norm.sf(abs(found.difference) / found.variance**0.5))
    low, high = found.interval()
    assert (low > 0 or high < 0) == (found.p < 0.05)


def test_null_rejections_are_five_percent():
    rng = np.random.default_rng(0)
    truth = np.r_[np.ones(40), np.zeros(60)].astype(int)
    shared = rng.normal(size=(600, 100)) + 1.2 * truth
    rejected = [delong_test(truth, row + rng.normal(size=100), row + rng.normal(size=100)).p < 0.05 for row in shared]
    assert np.mean(rejected) == pytest.approx(0.05, abs=0.03)


def test_without_spread():
    assert Delong(0.0, 0.0).p == 1.0
    assert Delong(0.1, 0.0).p == 0.0


def test_folds_combine_and_seeds_do_not_multiply_lesions():
    made = simulate(Design(seeds=1), np.random.default_rng(0)).panels
    one = combined(*made)
    tests = [
        delong_test(a.truth, a.probability[0], b.probability[0]) for a, b in zip(made[0].folds, made[1].folds, strict=True)
    ]
    assert one.difference == pytest.approx(np.mean([t.difference for t in tests]))
    assert one.variance == pytest.approx(np.sum([t.variance for t in tests]) / 25)
