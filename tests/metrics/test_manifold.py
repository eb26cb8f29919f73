"""Against the definitions written out with scipy, values known in closed form, and what each metric is for."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from hyperderm.errors import CubeError, StoreError
from hyperderm.metrics import manifold as module
from hyperderm.metrics.manifold import METRICS, Manifold, coverage, density, manifold, precision, recall


def normal(seed, n, d):
    return np.random.default_rng(seed).normal(size=(n, d))


def written_out(real, synthetic, k=3, k_coverage=5):
    """Kynkäänniemi et al. eq. 1 and 2, Naeem et al. eq. 2 and 3, with whole matrices of distances."""

    def radius(x, k):
        own = cdist(x, x)
        return np.sort(own[~np.eye(len(x), dtype=bool)].reshape(len(x), -1), axis=1)[:, k - 1]

    between = cdist(real, synthetic)
    inside = between <= radius(real, k_coverage)[:, None]
    return Manifold(
        (between <= radius(real, k)[:, None]).any(0).mean(),
        (between <= radius(synthetic, k)).any(1).mean(),
        inside.sum() / (k_coverage * len(synthetic)),
        inside.any(1).mean(),
    )


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(7, 60), st.integers(7, 60), st.integers(1, 9))
def test_it_is_the_definition_and_no_motion_changes_it(seed, n, m, d):
    rng = np.random.default_rng(seed)
    real, synthetic = rng.normal(size=(n, d)), rng.normal(size=(m, d)) * 0.8 + 0.3
    found = manifold(real, synthetic)
    assert found == pytest.approx(written_out(real, synthetic), rel=1e-12)
    turn = np.linalg.qr(rng.normal(size=(d, d)))[0]
    assert manifold(3 * real @ turn + 100, 3 * synthetic @ turn + 100) == pytest.approx(found, rel=1e-12)
    assert manifold(synthetic, real).recall == pytest.approx(found.precision)


@pytest.mark.parametrize("tile", [7, 64])
def test_tiles_change_nothing(monkeypatch, tile):
    real, synthetic = normal(0, 150, 6).astype(np.float32), normal(1, 90, 6).astype(np.float32)
    expected = written_out(real.astype(np.float64), synthetic.astype(np.float64), 4, 2)
    monkeypatch.setattr(module, "TILE", tile)
    assert manifold(real, synthetic, 4, 2) == pytest.approx(expected, rel=1e-12)
    assert manifold(np.asfortranarray(real)[::1], synthetic, 4, 2) == pytest.approx(expected, rel=1e-12)


def test_equal_samples_have_density_1_and_the_known_coverage():
    """E density = 1; E coverage = 1 − Π_{i = 1 … k} (n − i) / (n + m − i) (Naeem et al. 2020, lemma 2)."""
    n, k = 60, 5
    found = [manifold(normal(2 * s, n, 3), normal(2 * s + 1, n, 3)) for s in range(150)]
    expected = 1 - np.prod([(n - i) / (2 * n - i) for i in range(1, k + 1)])
    assert np.mean([each.density for each in found]) == pytest.approx(1, abs=0.03)
    assert np.mean([each.coverage for each in found]) == pytest.approx(expected, abs=0.01)
    assert np.mean([each.precision - each.recall for each in found]) == pytest.approx(0, abs=0.03)


def test_a_cube_is_not_its_own_neighbour_and_copies_of_it_are():
    real = np.array([[0.0], [1.0], [3.0], [7.0]])
    nearest = manifold(real, np.array([[-1.0], [4.5], [4.6], [5.1]]), 1, 1)  # balls of radius 1, 1, 2, 4
    assert nearest == Manifold(1.0, 0.75, (1 + 2 + 2 + 1) / 4, 0.75)
    twins = manifold(np.repeat(real, 2, axis=0), real + 0.5, 1, 1)  # every ball has the radius 0
    assert twins.precision == twins.density == twins.coverage == 0


def test_each_sees_what_it_is_for():
    real = np.concatenate([normal(0, 150, 4), normal(1, 150, 4) + 20])
    same = np.concatenate([normal(2, 150, 4), normal(3, 150, 4) + 20])
    lost_mode, narrow, wide = same[:150], same * 0 + normal(4, 300, 4) * 0.05, normal(5, 300, 4) * 15 + 10
    good = manifold(real, same)
    assert manifold(real, lost_mode).recall < good.recall - 0.3
    assert manifold(real, lost_mode).coverage < good.coverage - 0.3
    assert manifold(real, lost_mode).precision > good.precision - 0.1
    assert manifold(real, narrow).density > 1.3
    assert manifold(real, narrow).coverage < 0.3
    assert manifold(real, wide).precision < 0.2
    assert manifold(real, wide).recall > 0.9  # what it cannot see: balls of outliers are huge
    assert manifold(real, same + 100) == Manifold(0, 0, 0, 0)


def test_single_metrics_and_their_descriptions():
    real, synthetic = normal(0, 30, 3), normal(1, 30, 3)
    assert manifold(real, synthetic) == tuple(one(real, synthetic) for one in (precision, recall, density, coverage))
    assert tuple(metric.function(real, synthetic) for metric in METRICS) == manifold(real, synthetic)
    assert tuple(metric.key for metric in METRICS) == Manifold._fields
    assert manifold(real.astype(np.float16), synthetic.astype(np.float16)).coverage > 0.5


def test_what_has_no_neighbour_is_refused():
    with pytest.raises(StoreError, match="Use at least 6 cubes"):
        manifold(normal(0, 5, 2), normal(1, 9, 2))
    with pytest.raises(StoreError, match="k = 0"):
        manifold(normal(0, 9, 2), normal(1, 9, 2), k=0)
    with pytest.raises(CubeError, match="not finite"):
        manifold(normal(0, 9, 2), np.full((9, 2), np.inf))
