"""Spectral metrics against torchmetrics, scipy, the `spectral` package and closed forms, with their invariances."""

import numpy as np
import pytest
import scipy.stats
import spectral as spectral_python
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.functional.image import error_relative_global_dimensionless_synthesis, relative_average_spectral_error

from hyperderm.cubes.regions import skin_region
from hyperderm.errors import CubeError
from hyperderm.metrics import spectral
from hyperderm.metrics.lesion_features import automatic_masks
from tests.training.tiny import blobs

PAIRS = [
    spectral.spectral_angles,
    spectral.spectral_information_divergence,
    spectral.relative_rmse,
    spectral.ergas,
    spectral.rase,
    spectral.rase_as_published,
]
SYMMETRIC = PAIRS[:2]
UNEVEN = np.array([465.0, 480, 500, 515, 540, 552, 590, 600])
few = settings(max_examples=15, deadline=None)


def pair(n=3, bands=8, side=12, noise=0.05, seed=0, dtype=torch.float32):
    rng = np.random.default_rng(seed)
    y = rng.uniform(0.1, 1.2, (n, bands, side, side))
    x = np.maximum(y + noise * rng.normal(size=y.shape), 0.02)
    return torch.from_numpy(x).to(dtype), torch.from_numpy(y).to(dtype)


def by_cosine(x, y):
    """The definition in float64, with the arc cosine."""
    a, b = (np.moveaxis(v.double().numpy(), 1, -1) for v in (x, y))
    return np.arccos((a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)).mean((1, 2))


@pytest.mark.parametrize("bands", [3, 16, 200])
def test_angles_are_the_definition_and_those_of_the_package_spectral(bands):
    x, y = pair(bands=bands)
    np.testing.assert_allclose(spectral.spectral_angles(x, y), by_cosine(x, y), rtol=1e-6)
    x, y = x.double(), y.double()
    image, member = np.moveaxis(x[0].numpy(), 0, -1), y[0, :, 5, 7].numpy()
    theirs = spectral_python.spectral_angles(image, member[None])[..., 0].mean()
    everywhere = y[:1, :, 5:6, 7:8].expand_as(x[:1])
    assert spectral.spectral_angles(x[:1], everywhere)[0] == pytest.approx(theirs, rel=1e-6)


@pytest.mark.parametrize("angle", [1e-5, 1e-3, 0.2, np.pi / 2, np.pi])
def test_angles_small_and_large_are_right_in_float32(angle):
    x = torch.zeros(1, 3, 2, 2)
    x[:, 0] = 0.7
    y = torch.zeros(1, 3, 2, 2)
    y[:, 0], y[:, 1] = 0.3 * np.cos(angle), 0.3 * np.sin(angle)
    assert spectral.spectral_angles(x, y)[0] == pytest.approx(angle, rel=1e-5)


def test_divergence_is_that_of_scipy():
    x, y = pair()
    p, q = x.double().numpy(), y.double().numpy()
    expected = (scipy.stats.entropy(p, q, axis=1) + scipy.stats.entropy(q, p, axis=1)).mean((1, 2))
    np.testing.assert_allclose(spectral.spectral_information_divergence(x, y), expected, rtol=1e-8)


def test_divergence_takes_negative_reflectance_for_the_floor():
    x, y = pair()
    floor = spectral.REFLECTANCE_FLOOR
    low, other = x.clone(), x.clone()
    low[:, 2], other[:, 2] = -0.07, floor
    one, two = (spectral.spectral_information_divergence(v, y) for v in (low, other))
    np.testing.assert_allclose(one, two, rtol=1e-7)
    assert (one > spectral.spectral_information_divergence(x, y)).all()


@pytest.mark.parametrize("ratio", [1, 4])
def test_ergas_and_its_terms(ratio):
    x, y = pair(n=3)
    theirs = error_relative_global_dimensionless_synthesis(x.double(), y.double(), ratio=ratio, reduction="none")
    np.testing.assert_allclose(spectral.ergas(x, y, ratio), theirs, rtol=1e-6)
    a, b = x.double().numpy(), y.double().numpy()
    terms = np.sqrt(((a - b) ** 2).mean((2, 3))) / b.mean((2, 3))
    np.testing.assert_allclose(spectral.relative_rmse(x, y), terms, rtol=1e-6)


def test_rase_of_errors_known_beforehand():
    """Band b of 1 + b is wrong by b / 10: M = 2, squares 0, .01, .04."""
    y = torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1, 1).expand(1, 3, 10, 10)
    x = y + torch.tensor([0.0, 0.1, 0.2]).view(1, 3, 1, 1)
    rase = 100 / 2 * np.sqrt(0.05 / 3)
    assert spectral.rase(x, y)[0] == pytest.approx(rase, rel=1e-6)
    assert spectral.rase_as_published(x, y)[0] == pytest.approx(64 * rase, rel=1e-6)


@pytest.mark.parametrize("shape", [(9, 9), (16, 21), (40, 33)])
@pytest.mark.parametrize("bands", [3, 16])
def test_rase_as_published_is_that_of_torchmetrics(shape, bands):
    torch.manual_seed(0)
    y = torch.rand(3, bands, *shape)
    x = y + 0.3 * torch.randn_like(y)
    theirs = [float(relative_average_spectral_error(a[None].double(), b[None].double())) for a, b in zip(x, y, strict=True)]
    np.testing.assert_allclose(spectral.rase_as_published(x, y), theirs, rtol=1e-5)


def test_rase_as_published_is_64_times_rase_plus_what_the_windows_add():
    """On smooth cubes the windows hardly matter: the seeds' 3634 were about 57 by the textbook."""
    y = blobs(4, bands=16)
    x = y + 0.1 * torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
    ratio = spectral.rase_as_published(x, y) / spectral.rase(x, y)
    assert ((ratio > 60) & (ratio < 80)).all()


@pytest.mark.parametrize("metric", PAIRS)
def test_equal_cubes_have_no_error_and_more_noise_has_more(metric):
    y = pair()[1]
    assert np.abs(metric(y, y)).max() == 0
    errors = [metric(pair(noise=noise)[0], y).mean() for noise in (0.01, 0.03, 0.1, 0.3)]
    assert np.all(np.diff(errors) > 0)


@few
@given(st.integers(0, 1000), st.floats(0.2, 5))
def test_what_gains_and_orders_change(seed, gain):
    """A common gain changes no metric of pairs, a gain of each pixel no angle; the symmetric ones may be swapped."""
    x, y = pair(n=2, side=9, seed=seed, dtype=torch.float64)
    pixelwise = 0.5 + torch.rand(2, 1, 9, 9, generator=torch.Generator().manual_seed(seed))
    order = np.random.default_rng(seed).permutation(8)
    for metric in PAIRS:
        value = metric(x, y)
        np.testing.assert_allclose(metric(gain * x, gain * y), value, rtol=1e-6)
        expected = value[:, order] if metric is spectral.relative_rmse else value
        np.testing.assert_allclose(metric(x[:, order], y[:, order]), expected, rtol=1e-6)
    np.testing.assert_allclose(spectral.spectral_angles(pixelwise * gain * x, y), spectral.spectral_angles(x, y), rtol=1e-6)
    for metric in SYMMETRIC:
        np.testing.assert_allclose(metric(x, y), metric(y, x), rtol=1e-6)


@few
@given(st.integers(0, 1000))
def test_angles_obey_the_triangle_inequality(seed):
    (x, y), (z, _) = pair(seed=seed), pair(seed=seed + 1)
    angle = spectral.spectral_angles
    assert (angle(x, z) <= angle(x, y) + angle(y, z) + 1e-6).all()


def test_an_offset_is_an_error_that_ergas_sees_in_dark_bands_and_rase_does_not():
    y = pair()[1]
    y[:, 0] *= 0.02
    dark, bright = y.clone(), y.clone()
    dark[:, 0] += 0.05
    bright[:, 1] += 0.05
    assert (spectral.ergas(dark, y) > 10 * spectral.ergas(bright, y)).all()
    np.testing.assert_allclose(spectral.rase(dark, y), spectral.rase(bright, y), rtol=1e-4)


LEVELS = {
    "entropy": spectral.spectral_entropy,
    "smoothness": lambda x: spectral.spectral_smoothness(x, 400 + 10.0 * np.arange(x.shape[1])),
    "derivative": lambda x: spectral.derivative_spectra(x, 400 + 10.0 * np.arange(x.shape[1])),
}
ALL = {metric.__name__: metric for metric in PAIRS} | {
    name: (lambda x, y, level=level: level(x)) for name, level in LEVELS.items()
}


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("bands", [3, 200])
def test_types_strides_numbers_and_blocks_of_cubes_change_nothing(name, bands, monkeypatch):
    x, y = pair(n=5, bands=bands, side=10)
    metric, expected = ALL[name], ALL[name](x, y)
    assert expected.dtype == np.float64
    assert len(expected) == 5
    assert np.isfinite(expected).all()
    half = metric(x.half(), y.half())
    np.testing.assert_allclose(half, metric(x.half().double(), y.half().double()), rtol=1e-4, atol=1e-9)
    np.testing.assert_allclose(half, expected, rtol=0.05, atol=1e-4)
    strided = [v.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2) for v in (x, y)]
    np.testing.assert_allclose(metric(*strided), expected, rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(metric(x.requires_grad_(), y), expected, rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(metric(x[2:3], y[2:3]), expected[2:3], rtol=1e-5, atol=1e-9)
    assert metric(x[:0], y[:0]).shape == (0, *expected.shape[1:])
    monkeypatch.setattr(spectral, "AT_ONCE", 2 * bands * 100)
    np.testing.assert_allclose(metric(x, y), expected, rtol=1e-5, atol=1e-9)


def test_zero_spectra_are_masked_and_only_a_cube_without_any_other_is_nan():
    x, y = pair(n=2, side=10)
    x[0, :, :5], y[0, :, :, :3] = 0, 0
    for metric in (*SYMMETRIC, lambda a, b: spectral.spectral_entropy(a * (b != 0))):
        np.testing.assert_allclose(metric(x, y)[0], metric(x[:, :, 5:, 3:], y[:, :, 5:, 3:])[0], rtol=1e-6)
    x[1] = 0
    for metric in (*SYMMETRIC, lambda a, b: spectral.spectral_entropy(a)):
        np.testing.assert_array_equal(np.isnan(metric(x, y)), [False, True])
    for name in ("relative_rmse", "ergas", "rase", "rase_as_published", "smoothness", "derivative"):
        assert np.isfinite(ALL[name](x, y)).all()
        assert np.isfinite(ALL[name](y, x)).all()


def test_negative_reflectance_gives_numbers():
    x, y = (v - 0.6 for v in pair(side=10))
    for metric in ALL.values():
        assert np.isfinite(metric(x, y)).all()


def test_entropy_is_that_of_scipy_and_a_flat_spectrum_has_the_most():
    x = pair()[0]
    expected = scipy.stats.entropy(x.double().numpy(), base=2, axis=1).mean((1, 2))
    np.testing.assert_allclose(spectral.spectral_entropy(x), expected, rtol=1e-8)
    assert spectral.spectral_entropy(torch.full((1, 16, 2, 2), 0.3))[0] == pytest.approx(4)
    peak = torch.zeros(1, 16, 2, 2)
    peak[:, 3] = 1
    assert expected.max() < 3
    assert spectral.spectral_entropy(peak)[0] < 0.3


def as_cube(spectrum):
    return torch.from_numpy(np.asarray(spectrum))[None, :, None, None].expand(1, -1, 4, 5)


def test_smoothness_of_parabolas_is_their_curvature_on_any_wavelengths():
    line, parabola = 0.1 + 1e-3 * UNEVEN, 2 + 3e-5 * (UNEVEN - 500) ** 2
    assert spectral.spectral_smoothness(as_cube(line), UNEVEN)[0] == pytest.approx(0, abs=1e-15)
    for sign in (1, -1):
        spectrum = 2 + sign * (parabola - 2)
        curvature = 6e-5 / spectrum.mean()
        assert spectral.spectral_smoothness(as_cube(spectrum), UNEVEN)[0] == pytest.approx(curvature, rel=1e-9)
        assert spectral.spectral_smoothness(as_cube(5 * spectrum), UNEVEN)[0] == pytest.approx(curvature, rel=1e-9)


def test_noise_is_rougher_than_skin_even_where_the_mean_spectrum_is_the_same():
    skin = torch.from_numpy(3e-3 * UNEVEN - 1).float().view(1, 8, 1, 1).expand(1, 8, 16, 16)
    noise = 0.05 * torch.randn(1, 8, 16, 16, generator=torch.Generator().manual_seed(0))
    noise -= noise.mean((2, 3), keepdim=True)
    smooth, rough = (spectral.spectral_smoothness(v, UNEVEN)[0] for v in (skin, skin + noise))
    assert rough > 5 * smooth
    np.testing.assert_allclose(*(spectral.derivative_spectra(v, UNEVEN) for v in (skin, skin + noise)), atol=1e-7)


def test_derivatives_are_those_of_numpy():
    x = pair()[0]
    expected = np.diff(x.double().numpy().mean((2, 3)), axis=1) / np.diff(UNEVEN)
    np.testing.assert_allclose(spectral.derivative_spectra(x, UNEVEN), expected, rtol=1e-4, atol=1e-9)
    np.testing.assert_allclose(spectral.derivative_spectra(as_cube(1 + 2e-3 * UNEVEN), UNEVEN), 2e-3, rtol=1e-9)


def test_mean_spectra_are_of_the_lesion_and_of_the_skin():
    x = blobs(5, bands=16)
    masks = automatic_masks(x.numpy(), range(16))
    masks[4] = False
    found = spectral.mean_spectra(x, masks)
    for i in range(4):
        cube = np.moveaxis(x[i].double().numpy(), 0, -1)
        np.testing.assert_allclose(found[i, 0], cube[masks[i]].mean(0), rtol=1e-9)
        np.testing.assert_allclose(found[i, 1], cube[skin_region(cube, masks[i])].mean(0), rtol=1e-9)
    np.testing.assert_allclose(found[4, 0], x[4].double().mean((1, 2)), rtol=1e-9)
    assert (found[:4, 0].mean(1) < found[:4, 1].mean(1)).all()  # lesions are darker than skin
    np.testing.assert_allclose(spectral.mean_spectra(x.half(), masks), found, rtol=1e-2)


def test_signature_angles_are_between_two_spectra():
    signature = np.array([1.0, 0.0, 0.0])
    spectra = np.array([[2.0, 0, 0], [1, 1, 0], [0, 0, 3], [-1, 0, 0], [0, 0, 0]])
    expected = [0, np.pi / 4, np.pi / 2, np.pi, np.nan]
    np.testing.assert_allclose(spectral.signature_angles(spectra, signature), expected, rtol=1e-12)


def test_errors_name_the_shapes():
    x, y = pair()
    for metric in PAIRS:
        with pytest.raises(CubeError, match=r"\(3, 8, 12, 12\).*\(1, 8, 12, 12\)"):
            metric(x, y[:1])
        with pytest.raises(CubeError, match="N, B, H, W"):
            metric(x[0], y[0])
    with pytest.raises(CubeError, match="more than 8 pixels"):
        spectral.rase_as_published(x[..., :8], y[..., :8])
    with pytest.raises(CubeError, match="8 bands but 7 wavelengths"):
        spectral.spectral_smoothness(x, UNEVEN[1:])
    with pytest.raises(CubeError, match="must increase"):
        spectral.derivative_spectra(x, UNEVEN[::-1])
    with pytest.raises(CubeError, match="at least 3 bands"):
        spectral.spectral_smoothness(x[:, :2], UNEVEN[:2])
    with pytest.raises(CubeError, match="Give \\(N, H, W\\)"):
        spectral.mean_spectra(x, np.zeros((3, 12, 11), bool))
    with pytest.raises(CubeError, match=r"\(7,\)"):
        spectral.signature_angles(np.ones((2, 8)), np.ones(7))


def test_every_metric_is_described_once_and_its_span_holds():
    keys = [metric.key for metric in spectral.METRICS]
    assert len(set(keys)) == len(keys)
    x, y = pair()
    for metric in spectral.METRICS:
        if metric.kind == "pair":
            value = metric.function(x, y)
            assert np.all(value >= metric.span[0])
            assert np.all(metric.function(y, y) == metric.perfect)
        else:
            assert metric.perfect is None
