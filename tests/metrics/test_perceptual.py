"""Perceptual metrics against the formulas of their papers, written again with scipy."""

import numpy as np
import piq
import pytest
import torch
from scipy.signal import convolve2d, correlate2d

from hyperderm.errors import CubeError
from hyperderm.metrics.folding import folded_mean
from hyperderm.metrics.perceptual import haarpsi, mdsi, ms_gmsd, ms_gmsd_scales
from tests.metrics.reflectance import reflectance

RANGE = 1.5
LUMINANCE = (0.299, 0.587, 0.114)


def pairs(size=24, noise=0.2, count=2):
    x = reflectance(count, 16, size, size)
    return x, x + noise * torch.randn(x.shape, generator=torch.Generator().manual_seed(1))


def pictures(x):
    """Fold by numpy, (n, 3, H, W) in [0, 255]."""
    bands = x.double().numpy()
    return 255 * np.clip(np.stack([bands[:, r::3].mean(1) for r in range(3)], 1) / RANGE, 0, 1)


def against(function, x, y):
    return [function(a, b) for a, b in zip(pictures(x), pictures(y), strict=True)]


def weighted(picture, *weights):
    return np.tensordot(weights, picture, 1)


def gradient(image):
    mask = np.array([[1, 0, -1]] * 3) / 3
    return np.hypot(correlate2d(image, mask, mode="same"), correlate2d(image, mask.T, mode="same"))


def reference_ms_gmsd(a, b):
    a, b = weighted(a, *LUMINANCE), weighted(b, *LUMINANCE)
    squares = []
    for weight in ms_gmsd_scales(*a.shape):
        ga, gb = gradient(a), gradient(b)
        similarity = (1.5 * ga * gb + 170) / (ga**2 + gb**2 - 0.5 * ga * gb + 170)
        squares.append(weight * similarity.var())
        a, b = ((i[::2, ::2] + i[1::2, ::2] + i[::2, 1::2] + i[1::2, 1::2]) / 4 for i in (a, b))
    return np.sqrt(sum(squares))


def reference_mdsi(a, b):
    la, lb = (weighted(i, 0.2989, 0.587, 0.114) for i in (a, b))
    ha, hb = (weighted(i, 0.3, 0.04, -0.35) for i in (a, b))
    ma, mb = (weighted(i, 0.34, -0.6, 0.17) for i in (a, b))

    def similar(p, q, c):
        return (2 * p * q + c) / (p**2 + q**2 + c)

    ga, gb, gf = gradient(la), gradient(lb), gradient((la + lb) / 2)
    gs = similar(ga, gb, 140) + similar(ga, gf, 55) - similar(gb, gf, 55)
    cs = (2 * (ha * hb + ma * mb) + 550) / (ha**2 + hb**2 + ma**2 + mb**2 + 550)
    root = (0.6 * gs + 0.4 * cs).astype(complex) ** 0.25
    return np.abs(root - root.mean()).mean() ** 0.25


def reference_haarpsi(a, b):
    c, alpha = 30, 4.2

    def channels(picture):
        rows = (LUMINANCE, (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112))
        return [weighted(picture, *row).reshape(12, 2, 12, 2).mean((1, 3)) for row in rows]

    def wavelet(image, scale, turned):
        k = 2**scale
        mask = np.ones((k, k)) / k
        mask[k // 2 :] *= -1
        full = convolve2d(image, mask.T if turned else mask)
        return np.abs(full[k // 2 :, k // 2 :][: image.shape[0], : image.shape[1]])

    def similar(p, q):
        return (2 * p * q + c) / (p**2 + q**2 + c)

    (ya, *chroma_a), (yb, *chroma_b) = channels(a), channels(b)
    local, weights = [], []
    for turned in (False, True):
        local.append(np.mean([similar(wavelet(ya, s, turned), wavelet(yb, s, turned)) for s in (1, 2)], 0))
        weights.append(np.maximum(wavelet(ya, 3, turned), wavelet(yb, 3, turned)))
    box = np.ones((2, 2)) / 4
    blurred = [[np.abs(convolve2d(i, box)[1:, 1:]) for i in pair] for pair in zip(chroma_a, chroma_b, strict=True)]
    local.append(np.mean([similar(*pair) for pair in blurred], 0))
    weights.append(np.mean(weights, 0))
    score = (np.multiply(1 / (1 + np.exp(-alpha * np.array(local))), weights)).sum() / np.sum(weights)
    return (np.log(score / (1 - score)) / alpha) ** 2


@pytest.mark.parametrize(
    ("metric", "reference"), [(ms_gmsd, reference_ms_gmsd), (mdsi, reference_mdsi), (haarpsi, reference_haarpsi)]
)
def test_is_the_formula_of_its_paper(metric, reference):
    for noise in (0.05, 0.3, 1.0):
        x, y = pairs(24, noise)
        np.testing.assert_allclose(metric(x, y, RANGE), against(reference, x, y), rtol=1e-5)


@pytest.mark.parametrize(("metric", "sign"), [(ms_gmsd, 1), (mdsi, 1), (haarpsi, -1)])
def test_the_direction_is_the_one_described(metric, sign):
    x, _ = pairs(count=4)
    values = [metric(x, pairs(24, noise, 4)[1], RANGE) for noise in (0.0, 0.05, 0.2, 0.8)]
    np.testing.assert_allclose(values[0], 0.0 if sign == 1 else 1.0, atol=1e-3)
    assert (sign * np.diff(values, axis=0) > 0).all()


def test_only_the_folded_and_clipped_image_counts():
    x, y = pairs()
    swapped = y[:, [3, 1, 2, 0, *range(4, 16)]]  # bands 0 and 3 share a channel
    for metric in (ms_gmsd, mdsi, haarpsi):
        np.testing.assert_allclose(metric(x, swapped, RANGE), metric(x, y, RANGE), rtol=1e-4)
        assert (np.abs(metric(x, y.flip(1), RANGE) - metric(x, y, RANGE)) > 1e-3).all()
        np.testing.assert_allclose(metric(x * 2, y * 2, RANGE * 2), metric(x, y, RANGE), rtol=1e-5)
        assert metric(x + 10, y + 10, RANGE) == pytest.approx(1.0 if metric is haarpsi else 0.0)


def test_two_black_cubes_are_identical_although_piq_gives_infinity():
    black = torch.cat([torch.zeros(1, 16, 24, 24), torch.full((1, 16, 24, 24), -0.05)])
    assert torch.isinf(piq.haarpsi(black[:1, :3], black[:1, :3]))
    assert haarpsi(black, black.flip(0), RANGE).tolist() == [1.0, 1.0]
    assert ms_gmsd(black, black, RANGE).tolist() == [0.0, 0.0]
    assert mdsi(black, black, RANGE) == pytest.approx(0.0, abs=1e-3)
    assert (haarpsi(black, reflectance(2), RANGE) < 0.5).all()


def test_ms_gmsd_has_as_many_scales_as_fit_and_that_is_piqs_rule():
    assert [len(ms_gmsd_scales(size, 400)) for size in (3, 4, 5, 8, 9, 16, 17, 256)] == [1, 1, 2, 2, 3, 3, 4, 4]
    assert ms_gmsd_scales(17, 17) == pytest.approx((0.096, 0.596, 0.289, 0.019))
    for size in (16, 8, 4):
        x, y = pairs(size)
        assert sum(ms_gmsd_scales(size, size)) == pytest.approx(1.0)
        np.testing.assert_allclose(ms_gmsd(x, y, RANGE), against(reference_ms_gmsd, x, y), rtol=1e-5)
        images = [(folded_mean(cubes) / RANGE).clamp(0, 1).double() for cubes in (x, y)]
        weights = torch.ones(len(ms_gmsd_scales(size, size)) + 1).double()
        with pytest.raises(ValueError, match="Invalid size"):
            piq.multi_scale_gmsd(*images, scale_weights=weights)


@pytest.mark.parametrize(("metric", "least"), [(ms_gmsd, 3), (mdsi, 3), (haarpsi, 16)])
def test_the_smallest_image_is_accepted_and_a_smaller_one_refused(metric, least):
    x, y = pairs(least)
    assert np.isfinite(metric(x, y, RANGE)).all()
    with pytest.raises(CubeError, match=f"too small for this metric. Give {least} px"):
        metric(*pairs(least - 1), RANGE)


def test_two_bands_are_refused():
    x = reflectance(2, 2)
    for metric in (ms_gmsd, mdsi, haarpsi):
        with pytest.raises(CubeError, match="three bands"):
            metric(x, x, RANGE)
