"""From rows to tensors: the axes are swapped once, sizes shrink by area, nothing is invented."""

import numpy as np
import pytest
import torch

from hyperderm.errors import ConfigError
from hyperderm.store.reader import open_store
from hyperderm.store.writer import write_store
from hyperderm.training.data import cube_set, train_data
from tests.store.lesions import NM, lesion, lesions

COUNT = 70  # more than one part


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    place = tmp_path_factory.mktemp("data") / "store"
    write_store(str(place), lesions(COUNT, 16), fold_count=3)
    return open_store(place)


@pytest.fixture(scope="module")
def rows(store):
    return store.read([lesion(i).lesion_id for i in range(COUNT)])


def test_axes_are_swapped_exactly_once(rows):
    data = cube_set(rows, 16)
    assert data.reflectance.shape == (COUNT, 3, 16, 16)
    assert data.reflectance.is_contiguous()
    for i in range(COUNT):
        one = lesion(i, 16)
        for band in range(3):
            np.testing.assert_array_equal(data.reflectance[i, band].numpy(), one.cube.reflectance[:, :, band])
        expected = np.zeros((16, 16), bool) if one.mask is None else one.mask
        np.testing.assert_array_equal(data.masks[i].numpy(), expected)
    assert data.lesion_ids == tuple(lesion(i).lesion_id for i in range(COUNT))
    assert data.diagnoses == tuple(lesion(i).diagnosis for i in range(COUNT))


@pytest.mark.parametrize("size", [8, 4])
def test_area_resize_is_the_mean_of_the_pixels(rows, size):
    data, whole = cube_set(rows, size), cube_set(rows, 16)
    step = 16 // size
    blocks = whole.reflectance.reshape(COUNT, 3, size, step, size, step).mean((3, 5))
    torch.testing.assert_close(data.reflectance, blocks, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(data.reflectance.mean((2, 3)), whole.reflectance.mean((2, 3)), rtol=1e-5, atol=1e-5)


def test_area_resize_uses_every_pixel_at_odd_ratios(rows):
    """At sizes that do not divide, areas overlap: the mean moves, but no more than the overlap weighs."""
    data, whole = cube_set(rows, 11), cube_set(rows, 16)
    torch.testing.assert_close(data.reflectance.mean((0, 2, 3)), whole.reflectance.mean((0, 2, 3)), rtol=0.05, atol=0.05)


def test_mask_keeps_the_pixels_mostly_covered(rows):
    data = cube_set(rows, 8)
    share = np.stack([np.zeros((16, 16)) if lesion(i).mask is None else lesion(i, 16).mask for i in range(COUNT)])
    share = share.reshape(COUNT, 8, 2, 8, 2).mean((2, 4))
    np.testing.assert_array_equal(data.masks.numpy(), share > 0.5)


def test_more_pixels_than_the_store_holds(rows):
    with pytest.raises(ConfigError) as caught:
        cube_set(rows, 32)
    assert caught.value.what == "data.size = 32 asks for more pixels than the store's 16 x 16"
    assert "--set data.size=16" in caught.value.remedy


def test_scaling_is_fitted_on_train_alone(store):
    train = store.read(store.select("train", 0, "all"))
    validation = store.read(store.select("validation", 0, "all"))
    data = train_data(train, validation, NM, 16)
    other = train_data(train, train, NM, 16)
    assert data.wavelengths_nm == tuple(NM)
    assert torch.equal(data.scaling.low, other.scaling.low)
    assert torch.equal(data.scaling.high, other.scaling.high)
    assert not set(data.train.lesion_ids) & set(data.validation.lesion_ids)
