"""PSNR, SSIM and MS-SSIM against torchmetrics, piq and their definitions."""

import math

import numpy as np
import piq
import pytest
import torch
from scipy.signal import convolve2d
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from hyperderm.metrics.similarity import SCALES, ms_ssim, ms_ssim_scales, psnr, ssim
from tests.metrics.reflectance import reflectance

RANGE = 1.97


def pairs(count=3, bands=4, height=24, width=30, noise=0.2):
    x = reflectance(count, bands, height, width)
    return x, x + noise * torch.randn(x.shape, generator=torch.Generator().manual_seed(1))


def by_definition(a, b, side=11):
    """Mean SSIM and mean contrast term of two images (H, W), by two-dimensional convolution."""
    line = np.arange(side) - side // 2
    window = np.exp(-(line[:, None] ** 2 + line**2) / (2 * 1.5**2))
    window /= window.sum()

    def mean(image):
        return convolve2d(image, window, mode="valid")

    c1, c2 = (0.01 * RANGE) ** 2, (0.03 * RANGE) ** 2
    ma, mb = mean(a), mean(b)
    cs = (2 * (mean(a * b) - ma * mb) + c2) / (mean(a * a) - ma**2 + mean(b * b) - mb**2 + c2)
    return ((2 * ma * mb + c1) / (ma**2 + mb**2 + c1) * cs).mean(), cs.mean()


def over_bands(function, x, y):
    planes = [
        [function(a, b) for a, b in zip(p, q, strict=True)]
        for p, q in zip(x.double().numpy(), y.double().numpy(), strict=True)
    ]
    return np.mean(planes, axis=1)


def test_psnr_is_that_of_torchmetrics_for_every_pair():
    x, y = pairs()
    expected = peak_signal_noise_ratio(x.double(), y.double(), data_range=RANGE, reduction="none", dim=(1, 2, 3))
    np.testing.assert_allclose(psnr(x, y, RANGE), expected, rtol=1e-6)


def test_psnr_of_a_constant_difference_has_a_closed_form_and_of_none_is_infinite():
    x = reflectance(2).double()
    assert psnr(x, x + 0.1, 2.0) == pytest.approx(20 * math.log10(2.0 / 0.1))
    assert psnr(x, x, 2.0).tolist() == [math.inf, math.inf]


def test_ssim_is_the_definition_and_torchmetrics_without_its_padding():
    x, y = pairs()
    np.testing.assert_allclose(ssim(x, y, RANGE), over_bands(lambda a, b: by_definition(a, b)[0], x, y), rtol=1e-9)
    _, image = structural_similarity_index_measure(x.double(), y.double(), data_range=RANGE, return_full_image=True)
    np.testing.assert_allclose(ssim(x, y, RANGE), image[..., 5:-5, 5:-5].mean((1, 2, 3)), rtol=1e-6)


@pytest.mark.parametrize(("height", "width", "side"), [(11, 40, 11), (10, 40, 9), (7, 8, 7), (2, 2, 1), (1, 5, 1)])
def test_the_window_shrinks_to_the_largest_odd_one_that_fits(height, width, side):
    x, y = pairs(2, 3, height, width)
    np.testing.assert_allclose(ssim(x, y, RANGE), over_bands(lambda a, b: by_definition(a, b, side)[0], x, y), rtol=1e-9)


def test_ssim_of_constant_images_is_the_luminance_term():
    a, b = torch.full((1, 3, 12, 12), 0.4), torch.full((1, 3, 12, 12), 0.8)
    c1 = (0.01 * 2.0) ** 2
    assert ssim(a, b, 2.0)[0] == pytest.approx((2 * 0.32 + c1) / (0.16 + 0.64 + c1), rel=1e-6)


@pytest.mark.parametrize(("size", "scales"), [(32, 2), (64, 3), (176, 5)])
def test_ms_ssim_is_that_of_piq_within_zero_to_one(size, scales):
    x = reflectance(2, 3, size, size, low=0.0, high=1.0).double()
    y = (x + 0.2 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1))).clamp(0, 1)
    weights = torch.tensor(SCALES[:scales], dtype=torch.float64)
    expected = piq.multi_scale_ssim(x, y, data_range=1.0, reduction="none", scale_weights=weights)
    assert len(ms_ssim_scales(size, size)) == scales
    np.testing.assert_allclose(ms_ssim(x, y, 1.0), expected, rtol=1e-6)


def test_ms_ssim_leaves_out_an_odd_last_row_and_counts_negative_terms_as_zero():
    x, y = pairs(3, 4, 47, 43)
    y[0] = -y[0] + x[0].mean() * 2  # contrast reversed: the terms are negative

    def reference(a, b):
        halved = [image[:46, :42].reshape(23, 2, 21, 2).mean((1, 3)) for image in (a, b)]
        first, second = ms_ssim_scales(47, 43)
        return max(by_definition(a, b)[1], 0) ** first * max(by_definition(*halved)[0], 0) ** second

    found = ms_ssim(x, y, RANGE)
    np.testing.assert_allclose(found, over_bands(reference, x, y), rtol=1e-9)
    assert found[0] == 0.0
    assert found[1] > 0.5


def test_the_weights_of_the_scales_that_fit_sum_to_one():
    assert [len(ms_ssim_scales(size, 500)) for size in (5, 21, 22, 43, 44, 87, 88, 175, 176, 256)] == [
        1,
        1,
        2,
        2,
        3,
        3,
        4,
        4,
        5,
        5,
    ]
    assert ms_ssim_scales(8, 8) == (1.0,)
    assert ms_ssim_scales(256, 30) == pytest.approx((0.0448 / 0.3304, 0.2856 / 0.3304))
    for size in (8, 32, 64, 128, 256):
        assert sum(ms_ssim_scales(size, size)) == pytest.approx(1.0, abs=1e-12)


def test_one_scale_is_ssim():
    x, y = pairs(2, 3, 20, 20)
    np.testing.assert_allclose(ms_ssim(x, y, RANGE), ssim(x, y, RANGE), rtol=1e-12)


@pytest.mark.parametrize("metric", [psnr, ssim, ms_ssim])
def test_more_noise_is_worse_and_a_larger_range_is_kinder(metric):
    x = reflectance(4)
    values = [metric(x, pairs(4, 16, 24, 24, noise)[1], RANGE) for noise in (0.01, 0.05, 0.2, 0.8)]
    assert (np.diff(values, axis=0) < 0).all()
    assert (metric(x, pairs(4, 16, 24, 24)[1], 2 * RANGE) > metric(x, pairs(4, 16, 24, 24)[1], RANGE)).all()


def test_a_brighter_copy_loses_psnr_long_before_ssim():
    x = reflectance(2, high=1.0, low=0.5)
    brighter, noisy = x + 0.05, x + 0.05 * torch.randn(x.shape, generator=torch.Generator().manual_seed(2))
    np.testing.assert_allclose(psnr(x, brighter, 1.0), psnr(x, noisy, 1.0), atol=0.2)
    assert (ssim(x, brighter, 1.0) > ssim(x, noisy, 1.0) + 0.05).all()
