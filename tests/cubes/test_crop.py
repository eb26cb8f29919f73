import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperderm.cubes.crop import kept_box, mask_box, resize, resize_mask, scaled_box
from hyperderm.errors import CubeError


def test_mask_box_is_tight_and_half_open():
    mask = np.zeros((10, 12), bool)
    mask[3, 4] = mask[6, 9] = True
    assert mask_box(mask) == (3, 4, 7, 10)
    assert mask_box(np.ones((2, 3), bool)) == (0, 0, 2, 3)
    with pytest.raises(CubeError, match="empty"):
        mask_box(np.zeros((4, 4), bool))


def test_scaled_box_grows_a_quarter_a_side_and_is_clipped():
    assert scaled_box((40, 40, 60, 80), (100, 200)) == (35, 30, 65, 90)
    assert scaled_box((0, 180, 20, 200), (100, 200)) == (0, 175, 25, 200)
    assert scaled_box((10, 10, 11, 11), (100, 200)) == (9, 9, 12, 12)  # outwards, never less than asked for
    assert scaled_box((40, 40, 60, 80), (100, 200), factor=1.0) == (40, 40, 60, 80)


@given(st.integers(0, 40), st.integers(0, 40), st.integers(1, 40), st.integers(1, 40), st.floats(1.0, 3.0))
def test_scaled_box_holds_the_box_and_lies_in_the_image(top, left, h, w, factor):
    y0, x0, y1, x1 = scaled_box((top, left, top + h, left + w), (80, 80), factor)
    assert 0 <= y0 <= top < top + h <= y1 <= 80
    assert 0 <= x0 <= left < left + w <= x1 <= 80


@pytest.mark.parametrize("bands", [1, 3, 4, 5, 16])
def test_shrinking_by_a_whole_factor_averages_blocks(bands):
    x = np.random.default_rng(0).random((24, 36, bands)).astype(np.float32)
    blocks = x.reshape(8, 3, 12, 3, bands).mean(axis=(1, 3))
    np.testing.assert_allclose(resize(x, 8), blocks[:, 2:10], rtol=1e-5)


@settings(deadline=None, max_examples=30)
@given(st.integers(9, 90), st.integers(0, 1000))
def test_shrinking_keeps_every_bands_mean(side, seed):
    x = np.random.default_rng(seed).normal(0.5, 1, (side, side, 16)).astype(np.float32)  # a square loses no margin
    means = (each.mean(axis=(0, 1), dtype=np.float64) for each in (resize(x, 9), x))  # float32 sums err by as much
    np.testing.assert_allclose(*means, atol=2e-6)


def test_growing_is_bilinear():
    x = np.arange(16, dtype=np.float32).reshape(1, 16, 1).repeat(16, 0).repeat(6, 2)
    grown = resize(x, 32)[:, :, 5]
    centres = (np.arange(32) + 0.5) / 2 - 0.5  # where the new pixels' centres lie on the old grid
    np.testing.assert_allclose(grown, np.tile(np.clip(centres, 0, 15), (32, 1)), atol=1e-5)


def test_same_size_only_cuts_the_centre():
    x = np.random.default_rng(0).random((10, 17, 16)).astype(np.float32)
    np.testing.assert_array_equal(resize(x, 10), x[:, 3:13])
    np.testing.assert_array_equal(resize(x.transpose(1, 0, 2), 10), x.transpose(1, 0, 2)[3:13])


@pytest.mark.parametrize(("h", "w"), [(64, 64), (65, 64), (63, 200), (272, 512), (7, 500), (1, 1), (1, 9)])
def test_result_is_always_square(h, w):
    assert resize(np.ones((h, w, 16), np.float32), 64).shape == (64, 64, 16)
    assert resize_mask(np.ones((h, w), bool), 64).all()
    np.testing.assert_allclose(resize(np.full((h, w, 16), 0.3, np.float32), 64), 0.3, rtol=1e-5)


def test_mask_follows_the_majority_of_the_area():
    mask = np.zeros((8, 8), bool)
    mask[:2, :2] = True  # a whole 2 x 2 block
    mask[4, 4:6] = True  # half of a block
    mask[6, 0] = True  # a quarter
    small = resize_mask(mask, 4)
    assert small[0, 0]
    assert small[2, 2]
    assert small.sum() == 2


@given(st.integers(2, 60), st.integers(2, 60), st.sampled_from([None, 8, 16]))
def test_the_kept_box_is_what_resize_shows(rows, columns, size):
    top, left, bottom, right = kept_box((rows, columns), size)
    assert 0 <= top < bottom <= rows
    assert 0 <= left < right <= columns
    ramps = np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"), axis=2).astype(np.float32)
    shown = resize(ramps, size)
    middle = np.array([(top + bottom - 1) / 2, (left + right - 1) / 2])
    pixel = 1 if size is None else max(1, min(rows, columns) / size)
    assert np.all(np.abs(shown.mean(axis=(0, 1)) - middle) <= 0.5 + pixel)


def test_of_an_oblong_crop_the_centre_is_kept():
    assert kept_box((12, 12), 6) == (0, 0, 12, 12)
    assert kept_box((12, 36), None) == (0, 0, 12, 36)
    assert kept_box((12, 36), 6) == (0, 12, 12, 24)
    assert kept_box((40, 10), 20) == (15, 0, 25, 10)
