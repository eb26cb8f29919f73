"""Means over seeds: intervals against scipy and closed forms."""

import math

import numpy as np
import pytest
from scipy import stats

from hyperderm.statistics.seed_means import mean_over, paired, welch


def test_intervals_in_closed_form():
    one = mean_over([1.0, 2.0, 3.0])  # t(.975, 2) = 4.302652729749464
    assert one.value == 2.0
    assert one.half == pytest.approx(4.302652729749464 / math.sqrt(3), rel=1e-12)
    two = paired([2.0, 4.0], [1.0, 1.0])  # t(.975, 1) = tan(.475 π)
    assert (two.value, two.half) == (2.0, pytest.approx(math.tan(0.475 * math.pi), rel=1e-12))
    equal = welch([0.0, 2.0], [5.0, 7.0])  # equal spread and size: 2 degrees of freedom, error √(1 + 1)
    assert (equal.value, equal.half) == (-5.0, pytest.approx(4.302652729749464 * math.sqrt(2), rel=1e-12))


@pytest.mark.parametrize("sizes", [(2, 2), (3, 3), (5, 2), (12, 7)])
def test_intervals_against_scipy(sizes):
    draw = np.random.default_rng(sum(sizes))
    x, y = draw.normal(0.7, 0.05, sizes[0]), draw.normal(0.6, 0.01, sizes[1])
    pairs = [
        (mean_over(x), stats.ttest_1samp(x, 0)),
        (paired(x, x[::-1] ** 2), stats.ttest_rel(x, x[::-1] ** 2)),
        (welch(x, y), stats.ttest_ind(x, y, equal_var=False)),
    ]
    for mine, theirs in pairs:
        interval = theirs.confidence_interval(0.95)
        assert (mine.low, mine.high) == pytest.approx((interval.low, interval.high), rel=1e-10)


def test_one_value_has_no_interval_and_constants_a_width_of_zero():
    for estimate in (mean_over([0.5]), paired([0.5], [0.25]), welch([0.5], [0.2, 0.3]), welch([0.2, 0.3], [0.0])):
        assert (estimate.low, estimate.high, estimate.half) == (None, None, None)
        assert estimate.value in (0.5, 0.25)
    for estimate in (mean_over([0.5, 0.5]), paired([3.0, 2.0], [2.5, 1.5]), welch([0.75, 0.75], [0.25, 0.25, 0.25])):
        assert (estimate.low, estimate.high) == (0.5, 0.5)


def test_values_that_cannot_be_estimated_from():
    for wrong in ([], [0.1, math.nan], [math.inf]):
        with pytest.raises(ValueError, match="finite"):
            mean_over(wrong)
    with pytest.raises(ValueError, match="paired"):
        paired([1.0, 2.0], [1.0])


# --- groups and differences ---
