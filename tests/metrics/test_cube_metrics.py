"""What holds for every metric of single cubes and of pairs: forms of tensors, blocks, refusals, and its description."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperderm.errors import CubeError
from hyperderm.metrics import blocks, perceptual, similarity, texture
from hyperderm.metrics.orientation import ORIENTATIONS, orient
from tests.metrics.reflectance import reflectance

PAIRS, LEVELS = similarity.METRICS + perceptual.METRICS, texture.METRICS
EVERY = pytest.mark.parametrize("metric", PAIRS + LEVELS, ids=lambda metric: metric.key)
PAIR = pytest.mark.parametrize("metric", PAIRS, ids=lambda metric: metric.key)
BY_BAND = pytest.mark.parametrize("metric", similarity.METRICS + LEVELS, ids=lambda metric: metric.key)


def value(metric, x):
    """The level of x, or the similarity of x with its successors in the batch and another of the same kind."""
    if metric.kind == "level":
        return metric.function(x, -0.07, 1.9) if metric.key == "spatial_entropy" else metric.function(x)
    return metric.function(x, x.flip(-1) * 0.9, 1.9)


@EVERY
def test_precision_memory_layout_and_neighbours_do_not_matter(metric):
    x = reflectance(3).half()
    found = value(metric, x)
    assert found.shape == (3,)
    assert found.dtype == np.float64
    if metric.kind == "level":  # a pair's second cube is computed in half precision here
        np.testing.assert_allclose(value(metric, x.float()), found, rtol=1e-12)
    single = x.float()
    expected = value(metric, single)
    np.testing.assert_allclose(
        value(metric, single.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)), expected, rtol=1e-10
    )
    np.testing.assert_allclose(value(metric, single.repeat_interleave(2, 0)[::2]), expected, rtol=1e-10)
    np.testing.assert_allclose([value(metric, single[i : i + 1])[0] for i in range(3)], expected, rtol=1e-10)
    assert value(metric, single[:0]).shape == (0,)


@EVERY
@pytest.mark.parametrize("bands", [3, 200])
def test_few_and_many_bands_and_zero_spectra_are_finite(metric, bands):
    x = reflectance(3, bands)
    x[0] = 0.0
    x[1, :, :12] = 0.0
    found = value(metric, x)
    assert not np.isnan(found).any()
    assert np.isfinite(found[1:]).all()
    assert np.isfinite(found[0]) or (metric.key == "psnr" and found[0] == math.inf)


@EVERY
@pytest.mark.parametrize("at_once", [1, 2000, 20_000])
def test_blocks_give_the_same_values(metric, at_once, monkeypatch):
    x = reflectance(5, 7)
    expected = value(metric, x)
    monkeypatch.setattr(blocks, "AT_ONCE", at_once)
    np.testing.assert_allclose(value(metric, x), expected, rtol=1e-10)


def test_memory_does_not_grow_with_the_number_of_cubes_or_bands(monkeypatch):
    monkeypatch.setattr(blocks, "AT_ONCE", 4000)
    seen = []

    def note(x, axes):
        seen.append(x.numel())
        return x.mean(axes)

    x = reflectance(9, 20)
    np.testing.assert_allclose(blocks.band_values(lambda p: note(p, (1, 2)), x), x.double().mean((2, 3)), rtol=1e-10)
    assert max(seen) <= 4000
    monkeypatch.setattr(blocks, "AT_ONCE", 40_000)
    seen.clear()
    np.testing.assert_allclose(blocks.cube_values(lambda c: note(c, (1, 2, 3)), x), x.double().mean((1, 2, 3)), rtol=1e-10)
    assert max(seen) <= 40_000


@PAIR
def test_a_pair_is_perfect_with_itself_and_within_its_span_otherwise(metric):
    x, y = reflectance(6), reflectance(6, seed=9)
    np.testing.assert_allclose(metric.function(x, x, 1.9), metric.perfect, atol=1e-3)
    found = metric.function(x, y, 1.9)
    low, high = metric.span
    assert low is None or (found >= low).all()
    assert high is None or (found <= high).all()
    assert (found < metric.perfect if metric.better == "higher" else found > metric.perfect).all()
    assert len({*found}) == 6
    swapped = metric.function(y, x, 1.9)
    if metric.key != "mdsi":  # its gradient similarity treats the reference and the other image differently
        np.testing.assert_allclose(swapped, found, rtol=1e-9)


@BY_BAND
@settings(max_examples=8, deadline=None)
@given(st.permutations(range(5)), st.integers(0, ORIENTATIONS - 1))
def test_the_order_of_bands_and_the_orientation_do_not_matter(metric, order, turn):
    x, y = reflectance(2, 5), reflectance(2, 5, seed=3)
    turned = [orient(cubes[:, order], turn) for cubes in (x, y)]
    if metric.kind == "level":
        np.testing.assert_allclose(value(metric, turned[0]), value(metric, x), rtol=1e-8)
    else:
        np.testing.assert_allclose(metric.function(*turned, 1.9), metric.function(x, y, 1.9), rtol=1e-8)


@EVERY
def test_cubes_that_are_none_are_refused(metric):
    with pytest.raises(CubeError, match=r"cubes of shape \(3, 24, 24\)"):
        value(metric, reflectance(1, 3)[0])
    broken = reflectance(3)
    broken[1, 2, 3, 4] = math.nan
    with pytest.raises(CubeError, match="cube 1 has values that are not finite"):
        value(metric, broken)


@PAIR
def test_pairs_of_two_shapes_and_senseless_ranges_are_refused(metric):
    x = reflectance(3)
    with pytest.raises(CubeError, match="cannot be compared"):
        metric.function(x, x[:2], 1.9)
    for wrong in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(CubeError, match="data_range = "):
            metric.function(x, x, wrong)


def test_small_images_are_refused_by_name_of_the_size():
    for metric, least in ((texture.signal_to_noise, 3), (texture.spectrum_slope, 16)):
        metric(reflectance(1, 3, least, least))
        with pytest.raises(CubeError, match=f"images of {least} x {least - 1} px are too small"):
            metric(reflectance(1, 3, least, least - 1))


def test_descriptions_are_whole_and_keys_are_single():
    everything = PAIRS + LEVELS
    assert len({metric.key for metric in everything}) == len(everything)
    for metric in everything:
        assert metric.key == metric.function.__name__
        assert metric.cannot.endswith(".")
        assert (metric.perfect is None) == (metric.kind == "level")
