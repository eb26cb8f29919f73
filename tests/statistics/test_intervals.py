from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtri
from scipy.stats import binom, binomtest, bootstrap, norm
from scipy.stats import t as student

from hyperderm.statistics.clustered import Variance
from hyperderm.statistics.intervals import (
    Auroc,
    bca,
    clustered_wilson,
    critical,
    hanley_mcneil,
    perfect_limit,
    score_limits,
    wilson,
)

SIZES = np.full((5, 2), (5, 19))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 200), st.data())
def test_wilson_is_scipys(n, data):
    k = data.draw(st.integers(0, n))
    expected = binomtest(k, n).proportion_ci(method="wilson")
    assert wilson(k / n, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_covers_a_sensitivity_of_95_percent():
    """Exact, by summing the binomial; METHODS section 9 measured 70-92 % for the percentile bootstrap."""
    for n in (24, 85):
        held = [low <= 0.95 <= high for low, high in (wilson(k / n, n) for k in range(n + 1))]
        assert binom.pmf(np.arange(n + 1), n, 0.95)[held].sum() > 0.93


def test_clustered_wilson_is_wilson_of_the_size_that_gives_the_variance():
    p, n = 0.8, 100
    independent = Variance(p * (1 - p) / n, 0.0, np.inf)
    assert clustered_wilson(p, independent, n, n) == pytest.approx(wilson(p, n))
    doubled = clustered_wilson(p, Variance(2 * p * (1 - p) / n, 0.0, np.inf), n, n)
    assert doubled == pytest.approx(wilson(p, 50), abs=2e-3)  # half an error squared is added to both variances
    few = clustered_wilson(p, Variance(p * (1 - p) / n, 0.0, 10.0), n, n)
    assert few == pytest.approx(wilson(p, n, student.ppf(0.975, 10)))


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_perfect_share_counts_groups(share):
    assert clustered_wilson(share, Variance(0.0, 0.0, np.inf), 30, 20) == wilson(share, 20)


def test_a_single_error_in_one_of_three_seeds_does_not_promise_more_than_the_lesions_can():
    low, _ = clustered_wilson(1 - 1 / 72, Variance(0.0002, 0.0, 20.0), 24, 24)
    assert low < wilson(1 - 1 / 72, 72)[0]


def test_logit_interval_by_hand():
    variance = Variance(0.03**2, 0.0, np.inf)
    low, high = Auroc(0.9, variance, SIZES).limits()
    middle, half = np.log(9), norm.ppf(0.975) * 0.03 / 0.09
    assert (low, high) == pytest.approx((1 / (1 + np.exp(half - middle)), 1 / (1 + np.exp(-half - middle))))
    wider = Auroc(0.9, Variance(0.03**2, 0.0, 8.0), SIZES).limits()
    assert wider[0] < low < 0.9 < high < wider[1] < 1


def test_hanley_mcneil_is_exact_for_exponential_scores():
    """Negatives Exp(1), melanomas Exp with mean r: AUROC = r / (1 + r), and Q1 and Q2 hold exactly."""
    rng = np.random.default_rng(0)
    m, n, r = 6, 9, 4.0
    aurocs = [(rng.exponential(r, (m, 1)) > rng.exponential(1.0, n)).mean() for _ in range(20_000)]
    assert hanley_mcneil(r / (1 + r), m, n) == pytest.approx(np.var(aurocs), rel=0.05)


def test_perfect_limit_is_the_chance_of_ranking_perfectly():
    sizes = ((5, 19), (4, 20))
    d = norm.ppf(perfect_limit(sizes, 0.05)) * 2**0.5
    rng = np.random.default_rng(0)
    perfect = np.ones(40_000, bool)
    for m, n in sizes:
        perfect &= rng.normal(d, 1, (40_000, m)).min(1) > rng.normal(0, 1, (40_000, n)).max(1)
    assert perfect.mean() == pytest.approx(0.025, abs=0.003)
    assert perfect_limit(((1, 1),), 0.05) == pytest.approx(0.025, abs=1e-4)  # one pair is right with chance AUROC


def test_no_interval_has_zero_width():
    none = Variance(0.0, 0.0, np.inf)
    low, high = Auroc(1.0, none, SIZES).limits()
    assert 0.9 < low < 1 == high
    assert Auroc(0.0, none, SIZES).limits() == pytest.approx((0.0, 1 - low))
    low, high = Auroc(0.5, none, SIZES).limits()  # everything tied
    assert 0.3 < low < 0.45
    assert low == pytest.approx(1 - high)
    assert perfect_limit(((17, 35),) * 5, 0.05) > perfect_limit(((5, 19),) * 5, 0.05)


def test_bca_is_scipys():
    rng = np.random.default_rng(0)
    x = rng.exponential(size=40)
    draws = x[rng.integers(40, size=(200_000, 40))].mean(1)
    left_out = np.array([np.delete(x, i).mean() for i in range(40)])
    theirs = bootstrap((x,), np.mean, n_resamples=20_000, rng=np.random.default_rng(1), method="BCa")
    expected = theirs.confidence_interval
    assert bca(x.mean(), draws, left_out) == pytest.approx((expected.low, expected.high), abs=0.02)
    plain = np.quantile(draws, (0.025, 0.975))
    assert bca(x.mean(), draws, left_out)[0] > plain[0] + 0.01  # the correction is seen


def test_bca_without_spread_says_so():
    assert bca(1.0, np.ones(100), np.ones(10)) is None


def test_critical_values():
    assert critical(np.inf) == pytest.approx(1.959964, abs=1e-6)
    assert critical(10.0, 0.99) == pytest.approx(3.169273, abs=1e-6)


# --- score interval of an AUROC


def test_the_ends_of_a_score_interval_differ_by_as_many_errors_as_they_should():
    low, high = score_limits(0.8, [(8, 24), (12, 20)])
    for end in (low, high):
        error = np.sqrt((hanley_mcneil(end, 8, 24) + hanley_mcneil(end, 12, 20)) / 4)
        assert abs(0.8 - end) / error == pytest.approx(1.959964, abs=1e-4)
    assert low < 0.8 < high


def test_score_intervals_are_those_of_the_other_class_turned_around():
    low, high = score_limits(0.3, [(9, 9)])
    other = score_limits(0.7, [(9, 9)])
    assert (low, high) == pytest.approx((1 - other[1], 1 - other[0]), abs=0.05)  # exponential scores are not symmetric


def test_score_intervals_of_few_cases_move_with_the_value_up_to_1():
    found = [score_limits(value, [(8, 24)]) for value in (0.0, 0.01, 0.5, 0.9, 0.99, 0.999, 1.0)]
    for (low, high), (more, higher) in pairwise(found):
        assert low < more or low == more == 0.0
        assert high <= higher
    assert found[-1][0] == pytest.approx(0.79, abs=0.02)
    assert (found[0][0], found[-1][1]) == (0.0, 1.0)


def test_score_intervals_hold_the_truth_about_as_often_as_they_say():
    """1,500 drawn sets of 8 against 24 cases (standard error .6 %): few cases, so more rather than less."""
    rng = np.random.default_rng(0)
    for truth in (0.6, 0.8, 0.9, 0.97):
        separation, held = ndtri(truth) * np.sqrt(2), 0
        for _ in range(1500):
            value = float((rng.normal(separation, 1, (8, 1)) > rng.normal(size=24)).mean())
            low, high = score_limits(value, [(8, 24)])
            held += low <= truth <= high
        assert 0.93 <= held / 1500 <= 1.0
