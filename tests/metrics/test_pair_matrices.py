"""Metrics read from matrices of all pairs equal those computed from the features of the same rows."""

import numpy as np
import pytest

from hyperderm.errors import StoreError
from hyperderm.metrics.distribution import frechet_distance, kernel_distance
from hyperderm.metrics.manifold import manifold
from hyperderm.metrics.pair_matrices import MOST, PairMatrices
from hyperderm.metrics.spectra import energy_distance
from hyperderm.metrics.subsampling import at_smaller, largest_floor


@pytest.fixture(scope="module")
def sets():
    rng = np.random.default_rng(0)
    spread = np.exp(-np.arange(96) / 20)
    f = (rng.normal(size=(60, 96)) * spread + 0.3 * spread + 2).astype(np.float32)
    g = (rng.normal(size=(45, 96)) * spread * 1.2 + 2).astype(np.float32)
    return f, g, PairMatrices(f, g)


@pytest.mark.parametrize(("size_x", "size_y"), [(60, 45), (20, 20), (30, 7)])
def test_every_metric_equals_that_of_the_features(sets, size_x, size_y):
    f, g, pairs = sets
    rng = np.random.default_rng(size_x)
    x, y = rng.permutation(60)[:size_x], rng.permutation(45)[:size_y]
    a, b = f[x].astype(np.float64), g[y].astype(np.float64)
    assert pairs.frechet(x, y) == pytest.approx(frechet_distance(a, b), rel=1e-6)
    assert pairs.kernel(x, y) == pytest.approx(kernel_distance(a, b), rel=1e-6, abs=1e-9)
    assert pairs.energy(x, y) == pytest.approx(energy_distance(a, b), rel=1e-6, abs=1e-9)
    assert pairs.manifold(x, y) == pytest.approx(manifold(b, a))


def test_equal_rows_have_distance_zero_and_too_few_or_too_many_are_refused(sets):
    f, _, _ = sets
    pairs, every = PairMatrices(f), np.arange(60)
    first, second = every[:30], every[30:]
    assert pairs.energy(first, second) == pytest.approx(energy_distance(f[first].astype(float), f[second].astype(float)))
    assert pairs.frechet(every, every) == pytest.approx(0, abs=1e-6)
    with pytest.raises(StoreError, match="no neighbour number 5"):
        pairs.manifold(every[:5], every)
    with pytest.raises(StoreError, match="too many"):
        PairMatrices(np.zeros((MOST, 2)), np.ones((2, 2)))


def test_the_interval_at_the_smaller_size_holds_the_value_of_new_samples():
    """The distance of two normal laws one apart, in a hundred studies of 60 against 40 rows."""
    rng = np.random.default_rng(5)
    truth = [PairMatrices(*_two(rng, 40, 40)).energy(np.arange(40), np.arange(40)) for _ in range(200)]
    found = []
    for _ in range(100):
        pairs = PairMatrices(*_two(rng, 60, 40))
        found.append(at_smaller(pairs.energy, 60, 40, 32))
    assert {each.size for each in found} == {40}
    assert sum(each.low <= np.mean(truth) <= each.high for each in found) >= 90
    assert np.mean([each.value for each in found]) == pytest.approx(np.mean(truth), abs=0.05)


def test_the_largest_floor_leaves_room_for_the_largest_group():
    assert largest_floor([]) == 0
    assert largest_floor(list("abcd")) == 2
    assert largest_floor(["a"] * 3 + list("bcd")) == 2


def _two(rng, n, m):
    return rng.normal(size=(n, 3)) + 1, rng.normal(size=(m, 3))
