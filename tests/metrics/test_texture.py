"""Levels of texture: closed forms, noise of known strength and slope, and references of scipy and torchmetrics."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from scipy.signal import convolve2d
from scipy.stats import entropy
from torchmetrics.functional.image import total_variation as total_variation_of_torchmetrics

from hyperderm.errors import CubeError
from hyperderm.metrics.texture import signal_to_noise, spatial_entropy, spectrum_slope, total_variation, variance
from tests.metrics.reflectance import reflectance


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def with_slope(slope, *shape):
    """Periodic noise whose expected power falls as frequency to the power `slope`."""
    fy, fx = (torch.fft.fftfreq(n).double() for n in shape[-2:])
    radius = torch.hypot(fy[:, None], fx)
    radius[0, 0] = 1.0
    return torch.fft.ifft2(torch.fft.fft2(noise(*shape)) * radius ** (slope / 2)).real


def planes(x, function):
    return np.array([np.mean([function(plane) for plane in cube]) for cube in x.double().numpy()])


def test_total_variation_of_a_checkerboard():
    board = (torch.arange(6)[:, None] + torch.arange(10)) % 2 * 0.3
    assert total_variation(board.expand(2, 5, 6, 10)) == pytest.approx(0.3 * (2 - 1 / 6 - 1 / 10), rel=1e-6)
    assert total_variation(torch.ones(1, 3, 1, 1)) == 0.0


def test_total_variation_is_that_of_torchmetrics_for_each_pixel_and_band():
    x = reflectance(3, 5, 12, 17)
    expected = total_variation_of_torchmetrics(x.double(), reduction="none") / (5 * 12 * 17)
    np.testing.assert_allclose(total_variation(x), expected, rtol=1e-9)


def test_variance_is_numpys_and_blind_to_places():
    x = reflectance(3, 5)
    np.testing.assert_allclose(variance(x), planes(x, np.var), rtol=1e-9)
    shuffled = x.flatten(2)[..., torch.randperm(24 * 24)].view_as(x)
    np.testing.assert_allclose(variance(shuffled), variance(x), rtol=1e-9)
    assert (total_variation(shuffled) > 1.5 * total_variation(x)).all()


def test_entropy_is_that_of_scipy_with_values_outside_in_the_outermost_bins():
    x = reflectance(3, 5).double()
    low, high, bins = 0.1, 1.3, 37

    def reference(plane):
        counts, _ = np.histogram(np.clip(plane, low, high), bins, (low, high))
        return entropy(counts, base=2)

    np.testing.assert_allclose(spatial_entropy(x, low, high, bins), planes(x, reference), rtol=1e-9)
    assert (spatial_entropy(x, low, high, bins) < spatial_entropy(x, -0.07, 1.9, 256)).all()


def test_entropy_in_closed_form():
    ramp = (torch.arange(256.0) / 256).view(1, 1, 16, 16)
    assert spatial_entropy(ramp, 0.0, 1.0)[0] == pytest.approx(8.0)
    assert spatial_entropy(ramp, 0.0, 1.0, 4)[0] == pytest.approx(2.0)
    assert spatial_entropy(ramp, 0.0, 1.0, 1)[0] == 0.0
    half = torch.cat([ramp, torch.full_like(ramp, 0.5)], 1)  # the second band is constant
    assert spatial_entropy(half, 0.0, 1.0)[0] == pytest.approx(4.0)


@pytest.mark.parametrize(
    ("low", "high", "bins"), [(1.0, 1.0, 8), (2.0, 1.0, 8), (math.nan, 1.0, 8), (0.0, math.inf, 8), (0, 1, 0)]
)
def test_an_empty_histogram_is_refused(low, high, bins):
    with pytest.raises(CubeError, match="a histogram from"):
        spatial_entropy(reflectance(1), low, high, bins)


def test_signal_to_noise_is_the_median_of_immerkaers_mask():
    mask = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]])

    def reference(plane):
        sigma = np.median(np.abs(convolve2d(plane, mask, mode="valid"))) / (6 * 0.6744897501960817)
        return 20 * np.log10(plane.mean() / sigma)

    x = reflectance(3, 5, low=0.2)
    np.testing.assert_allclose(signal_to_noise(x), planes(x, reference), rtol=1e-9)


@pytest.mark.parametrize("sigma", [0.003, 0.02, 0.1])
def test_signal_to_noise_finds_the_noise_on_a_lesion_with_slopes_edges_and_hairs(sigma):
    y, x = torch.meshgrid(torch.linspace(-1, 1, 96), torch.linspace(-1, 1, 96), indexing="ij")
    lesion = 0.6 + 0.1 * x - 0.3 * torch.sigmoid(20 * (0.5 - torch.hypot(x, y)))
    lesion[:, 20], lesion[40] = 0.05, 0.05  # hairs
    cubes = lesion + sigma * noise(2, 16, 96, 96)
    expected = 20 * math.log10(lesion.mean().item() / sigma)
    np.testing.assert_allclose(signal_to_noise(cubes), expected, atol=0.4)


def test_signal_to_noise_without_noise_or_signal_is_finite():
    assert signal_to_noise(torch.zeros(1, 4, 8, 8))[0] == 0.0
    assert signal_to_noise(torch.full((1, 4, 8, 8), 0.5))[0] == pytest.approx(20 * math.log10(0.5 / 1e-6))
    assert signal_to_noise(-1.0 + 0.1 * noise(1, 4, 8, 8))[0] < -80


@pytest.mark.parametrize("size", [32, 64])
@pytest.mark.parametrize("slope", [0.0, -1.0, -2.0, -3.0])
def test_the_slope_of_noise_with_a_known_spectrum_is_found(slope, size):
    assert spectrum_slope(with_slope(slope, 16, 8, size, size)).mean() == pytest.approx(slope, abs=0.15)


def test_the_slope_of_a_part_of_a_larger_image_is_found_because_of_the_window():
    """The edges of a part do not meet, which without a window would put power at all frequencies along the axes."""
    part = with_slope(-3.0, 8, 8, 128, 192)[..., :64, :80]
    assert spectrum_slope(part).mean() == pytest.approx(-3.0, abs=0.15)


def test_the_slope_is_that_of_a_double_loop():
    x = reflectance(1, 2, 16, 20).double()

    def reference(plane):
        window = np.hanning(16)[:, None] * np.hanning(20)
        power = np.abs(np.fft.fft2((plane - (plane * window).sum() / window.sum()) * window)) ** 2
        rings = {k: ([], []) for k in range(3, 9)}
        for i, fy in enumerate(np.fft.fftfreq(16)):
            for j, fx in enumerate(np.fft.fftfreq(20)):
                radius = math.hypot(fy, fx)
                if round(16 * radius) in rings:
                    rings[round(16 * radius)][0].append(radius)
                    rings[round(16 * radius)][1].append(power[i, j])
        return np.polyfit(*(np.log([np.mean(ring[k]) for ring in rings.values()]) for k in (0, 1)), 1)[0]

    np.testing.assert_allclose(spectrum_slope(x), planes(x, reference), rtol=1e-6)


@settings(max_examples=10, deadline=None)
@given(st.floats(0.01, 100.0), st.floats(-5.0, 5.0))
def test_gain_and_offset_scale_what_they_should(gain, offset):
    x = reflectance(2, 3).double()
    moved = gain * x + offset
    np.testing.assert_allclose(spectrum_slope(moved), spectrum_slope(x), rtol=1e-6)
    np.testing.assert_allclose(total_variation(moved), gain * total_variation(x), rtol=1e-6)
    np.testing.assert_allclose(variance(moved), gain**2 * variance(x), rtol=1e-6)
    np.testing.assert_allclose(signal_to_noise(gain * (x + 0.1)), signal_to_noise(x + 0.1), rtol=1e-6)
    ends = (gain * -0.07 + offset, gain * 1.9 + offset)
    np.testing.assert_allclose(spatial_entropy(moved, *ends, 16), spatial_entropy(x, -0.07, 1.9, 16), atol=0.05)


def test_constant_bands_have_slope_zero():
    x = reflectance(1, 4)
    only = spectrum_slope(x[:, :1])
    x[:, 1:] = torch.tensor([0.0, 0.3, 1.1]).view(3, 1, 1)
    assert spectrum_slope(x) == pytest.approx(only / 4)


def test_blur_takes_noise_variation_and_fine_structure_away():
    x = reflectance(3, 4)
    blurred = torch.from_numpy(gaussian_filter(x.numpy(), (0, 0, 1, 1)))
    for level in (total_variation, variance, spectrum_slope):
        assert (level(blurred) < level(x)).all()
    assert (signal_to_noise(blurred) > signal_to_noise(x) + 6).all()
