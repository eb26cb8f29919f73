"""Moments and quantiles of values that come piece by piece, against numpy on all of them at once."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hyperderm.metrics.streaming import ExactQuantiles, RunningMoments

SHARES = (0.0, 0.005, 0.5, 0.995, 1.0)
FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False, min_value=-(2.0**100), max_value=2.0**100)


def quantiles(values, pieces=3):
    made = ExactQuantiles(values.shape[1], SHARES)
    for piece in np.array_split(values, pieces):
        made.count(piece)
    for piece in np.array_split(values[::-1], pieces + 2):  # in any order
        made.refine(piece)
    return made


@given(arrays(np.float32, st.tuples(st.integers(1, 40), st.just(2)), elements=FLOATS))
def test_quantiles_are_those_of_numpy(values):
    expected = np.quantile(values.astype(np.float64), SHARES, axis=0).T
    np.testing.assert_allclose(quantiles(values).found(), expected, rtol=1e-12, atol=1e-300)


def test_many_values_that_share_their_first_digits():
    rng = np.random.default_rng(0)
    values = (0.5 + 1e-4 * rng.random((20_000, 2))).astype(np.float32)
    values[:, 1] *= -1
    np.testing.assert_array_equal(quantiles(values).found(), np.quantile(values.astype(np.float64), SHARES, axis=0).T)


def test_values_that_are_not_finite_count_nowhere():
    values = np.array([[1, np.nan], [np.nan, np.inf], [3, -np.inf]], np.float32)
    made = quantiles(values)
    assert made.counted.tolist() == [2, 0]
    assert made.found()[0].tolist() == pytest.approx([1, 1.01, 2, 2.99, 3])
    assert np.isnan(made.found()[1]).all()


def test_moments_are_those_of_numpy():
    rows = np.random.default_rng(1).normal(1e3, 1e-2, (50, 4))
    made = RunningMoments(4)
    assert np.isnan(made.found().mean).all()
    made.add(rows[0])
    assert made.found().mean.tolist() == rows[0].tolist()
    assert np.isnan(made.found().sd).all()
    for row in rows[1:]:
        made.add(row)
    found = made.found()
    assert found.count == 50
    np.testing.assert_allclose(found.mean, rows.mean(0), rtol=1e-14)
    np.testing.assert_allclose(found.sd, rows.std(0, ddof=1), rtol=1e-9)
