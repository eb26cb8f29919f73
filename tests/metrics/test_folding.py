"""Folding of bands: networks see through the fold what they would see through repeated weights."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.models import adapt_input_conv
from torch.nn.functional import conv2d

from hyperderm.errors import CubeError
from hyperderm.metrics.folding import folded_mean, folded_sum
from tests.metrics.reflectance import reflectance


@pytest.mark.parametrize("bands", [3, 4, 5, 16, 200])
def test_a_network_of_three_channels_sees_what_repeated_and_scaled_weights_see(bands):
    x = reflectance(2, bands).double()
    weight, bias = torch.randn(8, 3, 3, 3).double(), torch.randn(8).double()
    wide = adapt_input_conv(bands, weight.float()).double()  # timm repeats them and scales by 3/B
    assert torch.allclose(conv2d(folded_sum(x), weight, bias), conv2d(x, wide, bias), rtol=1e-5, atol=1e-5)
    exact = weight[:, torch.arange(bands) % 3]
    torch.testing.assert_close(
        conv2d(folded_sum(x), weight, bias), conv2d(x, exact * 3 / bands, bias), rtol=1e-10, atol=1e-10
    )
    torch.testing.assert_close(
        conv2d(folded_sum(x, scaled=False), weight, bias), conv2d(x, exact, bias), rtol=1e-10, atol=1e-10
    )


def test_a_white_cube_of_16_bands_folds_to_more_than_one_in_the_sum_and_to_one_in_the_mean():
    white = torch.ones(1, 16, 2, 2)
    assert folded_sum(white)[0, :, 0, 0].tolist() == pytest.approx([1.125, 0.9375, 0.9375])
    assert torch.equal(folded_mean(white), torch.ones(1, 3, 2, 2))


@settings(max_examples=20, deadline=None)
@given(st.integers(3, 40), st.integers(0, 1000))
def test_the_mean_is_numpys_mean_of_every_third_band_and_stays_within_the_range(bands, seed):
    x = reflectance(2, bands, 5, 7, seed)
    found = folded_mean(x).numpy()
    np.testing.assert_allclose(found, np.stack([x.numpy()[:, r::3].mean(1) for r in range(3)], 1), rtol=1e-5, atol=1e-6)
    assert x.min() - 1e-6 <= found.min()
    assert found.max() <= x.max() + 1e-6


def test_half_precision_is_summed_in_single():
    x = reflectance(2, 200).half()
    assert folded_sum(x).dtype == torch.float32
    torch.testing.assert_close(folded_mean(x), folded_mean(x.float()))
    spread = x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    torch.testing.assert_close(folded_mean(spread), folded_mean(x))


@pytest.mark.parametrize("shape", [(2, 2, 4, 4), (16, 4, 4)])
def test_other_shapes_are_refused(shape):
    for fold in (folded_sum, folded_mean):
        with pytest.raises(CubeError, match="cannot be folded"):
            fold(torch.zeros(shape))
