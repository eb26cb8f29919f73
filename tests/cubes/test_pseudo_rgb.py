import numpy as np
import pytest

from hyperderm.cubes.cube import HSIDERMOSCOPY_NM as NM
from hyperderm.cubes.pseudo_rgb import (
    SKIN_TONE_SRGB,
    display_rgb,
    fit_gain,
    pseudo_rgb_matrix,
    srgb_decode,
    srgb_encode,
)
from hyperderm.errors import CubeError

MATRIX = pseudo_rgb_matrix(NM)


def to_rgb(reflectance, matrix, gain):
    return np.clip(gain * (reflectance @ matrix.T), 0.0, 1.0).astype(np.float32)


def test_rows_sum_to_one_and_every_band_is_in_use():
    assert MATRIX.shape == (3, 16)
    assert MATRIX.dtype == np.float64
    np.testing.assert_allclose(MATRIX.sum(axis=1), 1, atol=1e-12)
    assert (MATRIX >= 0).all()
    assert (MATRIX.max(axis=0) > 0.05).all()


def test_channels_lie_in_order_and_well_apart():
    r, g, b = MATRIX @ np.array(NM)  # centres of gravity, nm
    assert 590 < r < 610
    assert 525 < g < 550
    assert 465 < b < 485
    overlap = [np.minimum(MATRIX[i], MATRIX[j]).sum() for i, j in ((0, 1), (1, 2), (0, 2))]
    assert max(overlap) < 0.3
    assert np.linalg.cond(MATRIX) < 2


def test_green_row_by_hand():
    """Three bands at table points: x, y, z of 540 and 600 nm, sRGB's second line, times the bands' widths 70 and 60 nm.

    At 460 nm the line is negative, so that band has no weight in G.
    """
    at_540 = (-0.9689 * 0.2904 + 1.8758 * 0.9540 + 0.0415 * 0.0203) * (600 - 460) / 2
    at_600 = (-0.9689 * 1.0622 + 1.8758 * 0.6310 + 0.0415 * 0.0008) * (600 - 540)
    expected = np.array([0, at_540, at_600]) / (at_540 + at_600)
    np.testing.assert_allclose(pseudo_rgb_matrix([460, 540, 600])[1], expected, atol=1e-6)


def test_grey_stays_grey_and_channels_stay_within_the_bands():
    np.testing.assert_allclose(to_rgb(np.full((4, 5, 16), 0.25), MATRIX, 2.0), 0.5, rtol=1e-6)
    x = np.random.default_rng(0).random((8, 8, 16))
    rgb = to_rgb(x, MATRIX, 1.0)
    assert (rgb >= x.min(axis=2, keepdims=True) - 1e-6).all()
    assert (rgb <= x.max(axis=2, keepdims=True) + 1e-6).all()


def test_to_rgb_is_the_clipped_product():
    x = np.random.default_rng(0).normal(0.5, 1, (3, 4, 16)).astype(np.float32)
    expected = np.clip(1.7 * np.einsum("cb,hwb->hwc", MATRIX, x.astype(np.float64)), 0, 1)
    rgb = to_rgb(x, MATRIX, 1.7)
    assert rgb.dtype == np.float32
    np.testing.assert_allclose(rgb, expected, atol=1e-6)


def test_gain_puts_the_percentile_at_one():
    assert fit_gain(np.full((2, 3, 3, 16), 0.4), MATRIX) == pytest.approx(2.5)
    x = np.random.default_rng(0).random((5, 20, 20, 16))
    gain = fit_gain(x, MATRIX, percentile=90)
    clipped = (to_rgb(x, MATRIX, gain) >= 1).any(axis=-1).mean()
    assert clipped == pytest.approx(0.1, abs=1e-3)
    assert fit_gain(10 * x, MATRIX, percentile=90) == pytest.approx(gain / 10)


@pytest.mark.parametrize("stack", [np.zeros((1, 2, 2, 16)), -np.ones((1, 2, 2, 16)), np.empty((0, 2, 2, 16))])
def test_gain_of_a_black_stack_is_refused(stack):
    with pytest.raises(CubeError, match="no gain can be fitted"):
        fit_gain(stack, MATRIX)


def test_srgb_curve_against_known_values():
    np.testing.assert_allclose(srgb_encode(np.array([0.0, 0.0031308, 0.2140411, 1.0])), [0, 0.04045, 0.5, 1], atol=1e-5)
    values = np.linspace(0, 1, 256)
    np.testing.assert_allclose(srgb_encode(srgb_decode(values)), values, atol=1e-6)


def test_display_encodes_and_white_maps_skin_to_the_declared_tone():
    grey = np.full((2, 2, 16), 0.216)
    assert (display_rgb(grey, MATRIX, 1.0) == 128).all()
    skin = np.linspace(0.15, 0.9, 16) * np.ones((2, 2, 1))
    white = 0.5 * (skin[0, 0] @ MATRIX.T)
    picture = display_rgb(skin, MATRIX, 0.5, white=white)
    assert picture.dtype == np.uint8
    assert (picture == np.array(SKIN_TONE_SRGB)).all()
    assert (display_rgb(100 * skin, MATRIX, 0.5, white=white) == 255).all()
    with pytest.raises(CubeError, match="three positive levels"):
        display_rgb(skin, MATRIX, 0.5, white=(1, 0, 1))


def test_other_band_sets():
    np.testing.assert_allclose(pseudo_rgb_matrix(np.linspace(400, 1000, 61)).sum(axis=1), 1)
    with pytest.raises(CubeError, match="has weight in B"):
        pseudo_rgb_matrix([550, 580, 620])
    with pytest.raises(CubeError, match="at least three"):
        pseudo_rgb_matrix([550, 580])
    with pytest.raises(CubeError, match="must increase"):
        pseudo_rgb_matrix([550, 540, 620])
