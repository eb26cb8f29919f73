"""The spectral autoencoder: a second implementation, lengths of all numbers of bands, closed forms of losses and scaling."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from hyperderm.errors import ConfigError
from hyperderm.learners.randomness import initialised
from hyperderm.learners.spectral_autoencoder.losses import (
    gradient_difference,
    loss_terms,
    mean_squared_error,
    spectral_angle,
)
from hyperderm.learners.spectral_autoencoder.networks import CHANNELS, SpectralAutoencoder, stage_lengths
from hyperderm.learners.spectral_autoencoder.normalisation import Normalisation, lengths, unit_length
from hyperderm.metrics import spectra as metric
from tests.learners.plain_layers import weights


def spectra(count=6, bands=20, seed=0):
    return torch.rand(count, bands, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# --- networks ---


def plain_conv(x, w, b):
    """One pixel's maps (C, l): kernel 4, stride 2, padding 1."""
    padded = np.pad(x, ((0, 0), (1, 1)))
    return np.array(
        [
            [(padded[:, 2 * i : 2 * i + 4] * w[o]).sum() + b[o] for i in range((padded.shape[1] - 4) // 2 + 1)]
            for o in range(len(w))
        ]
    )


def plain_transpose(x, w, b, length):
    """Every value paints its kernel; the first painted value is cut off, and the last ones down to the length."""
    out = np.zeros((w.shape[1], 2 * x.shape[1] + 4))
    for i in range(x.shape[1]):
        out[:, 2 * i : 2 * i + 4] += np.einsum("c,cok->ok", x[:, i], w)
    return out[:, 1 : 1 + length] + b[:, None]


def plain_norm(x, w, name):
    normal = (x - w[f"{name}.running_mean"][:, None]) / np.sqrt(w[f"{name}.running_var"][:, None] + 1e-5)
    return normal * w[f"{name}.weight"][:, None] + w[f"{name}.bias"][:, None]


def plain_pixel(x, w, halvings):
    """The latent vector and the reconstruction of one spectrum (B,), from METHODS section 8 alone."""
    maps, sizes = x[None], [len(x)]
    for k in range(halvings):
        name = f"convolutions.{k}"
        maps = plain_conv(maps, w[f"{name}.0.weight"], w[f"{name}.0.bias"])
        maps = np.tanh(plain_norm(maps, w, f"{name}.1"))
        sizes.append(maps.shape[1])
    latent = w["to_latent.weight"] @ maps.ravel() + w["to_latent.bias"]
    maps = (w["from_latent.weight"] @ latent + w["from_latent.bias"]).reshape(maps.shape)
    for k in range(halvings):
        name = f"mirror.{k}"
        maps = plain_transpose(maps, w[f"{name}.0.weight"], w[f"{name}.0.bias"], sizes[-2 - k])
        if k < halvings - 1:
            maps = np.tanh(plain_norm(maps, w, f"{name}.1"))
    return latent, maps[0]


@pytest.mark.parametrize(("bands", "halvings"), [(2, 1), (5, 2), (11, 3), (16, 4), (31, 4), (45, 4)])
def test_a_second_implementation_gives_the_same(bands, halvings):
    net = SpectralAutoencoder(bands, 3)
    w = weights(net)
    net.eval()
    x = spectra(2, bands)
    with torch.no_grad():
        latent, rebuilt = net.encode(x).numpy(), net(x).numpy()
    for row in range(2):
        expected = plain_pixel(x[row].numpy(), w, halvings)
        np.testing.assert_allclose(latent[row], expected[0], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(rebuilt[row], expected[1], rtol=1e-9, atol=1e-12)


def test_every_number_of_bands_comes_back_as_long_as_it_went_in():
    with torch.no_grad():
        for bands in range(2, 401):
            net = SpectralAutoencoder(bands, 1).eval()
            latent = net.encode(torch.zeros(2, bands))
            assert latent.shape == (2, 1)
            assert net.decode(latent).shape == (2, bands)


def test_short_spectra_have_fewer_stages():
    assert [len(stage_lengths(bands)) - 1 for bands in (2, 3, 4, 7, 8, 15, 16, 400)] == [1, 1, 2, 2, 3, 3, 4, 4]
    assert stage_lengths(156) == [156, 78, 39, 19, 9]
    for bands in range(2, 401):
        assert min(stage_lengths(bands)) >= 1


@pytest.mark.parametrize(("bands", "zdims", "resample"), [(156, 8, None), (16, 5, None), (3, 7, None), (156, 8, 512)])
def test_number_of_parameters(bands, zdims, resample):
    sizes = stage_lengths(resample or bands)
    stages = list(pairwise(CHANNELS[: len(sizes)]))
    top = CHANNELS[len(stages)] * sizes[-1]
    down = sum(4 * a * b + b + 2 * b for a, b in stages)
    up = sum(4 * a * b + a + 2 * a for a, b in stages) - 2  # the last stage has no batch norm of its one channel
    expected = down + up + (top * zdims + zdims) + (zdims * top + top)
    assert sum(p.numel() for p in SpectralAutoencoder(bands, zdims, resample).parameters()) == expected


def test_resampling_is_linear_interpolation():
    net = SpectralAutoencoder(7, 2, resample=512).double()
    x = spectra(3, 7)
    seen, expected = [], np.stack([np.interp(np.linspace(0, 6, 512), np.arange(7), row) for row in x.numpy()])
    net.convolutions.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    long = []
    net.mirror.register_forward_hook(lambda _, __, out: long.append(out))
    rebuilt = net(x)
    np.testing.assert_allclose(seen[0][:, 0].numpy(), expected, atol=1e-12)
    back = np.stack([np.interp(np.linspace(0, 511, 7), np.arange(512), row) for row in long[0][:, 0].detach().numpy()])
    np.testing.assert_allclose(rebuilt.detach().numpy(), back, atol=1e-12)


@pytest.mark.parametrize(
    ("given", "named"),
    [((1, 4), "1 band"), ((16, 0), "0 numbers"), ((16, 4, 1), "1 band"), ((1, 4, 512), "1 band")],
)
def test_networks_that_cannot_be(given, named):
    with pytest.raises(ConfigError, match=named):
        SpectralAutoencoder(*given)


def test_mixtures_of_two_spectra_can_be_learned():
    """What is left after 150 steps is under a tenth of the variance between pixels."""
    g = torch.Generator().manual_seed(0)
    share = torch.rand(64, 1, generator=g)
    x = share * torch.linspace(-0.5, 0.5, 30).sin() + (1 - share) * torch.linspace(0, 6, 30).cos() / 2
    with initialised(0):
        net = SpectralAutoencoder(30, 2)
    optimiser = torch.optim.Adam(net.parameters(), 1e-2)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.0, 150)
    for _ in range(150):
        optimiser.zero_grad()
        sum(loss_terms(net(x), x).values()).backward()
        optimiser.step()
        schedule.step()
    net.eval()
    with torch.no_grad():
        left = mean_squared_error(net(x), x)
    assert float(left) < 0.1 * float((x - x.mean(0)).square().mean())


# --- losses ---


def test_losses_closed_forms():
    """A line of slope 1 against one of slope 3, from the same start: differences 0, 2, 4 and steps that differ by 2."""
    a, b = torch.tensor([[1.0, 2, 3]]), torch.tensor([[1.0, 4, 7]])
    assert float(mean_squared_error(a, b)) == pytest.approx((0 + 4 + 16) / 3)
    assert float(gradient_difference(a, b)) == pytest.approx(4)
    assert float(gradient_difference(a, a + 5)) == 0
    turned = torch.tensor([[np.cos(0.7), np.sin(0.7)], [0, 2.0]])
    assert float(spectral_angle(torch.tensor([[3.0, 0], [0, 1]]), turned)) == pytest.approx(0.7 / 2)


def test_small_angles_are_exact():
    """arccos of a float32 product would give 0 or 3.5e-4 here."""
    for angle in (1e-5, 1e-4, np.pi - 1e-3):
        v = torch.tensor([[np.cos(angle), np.sin(angle)]], dtype=torch.float32)
        assert float(spectral_angle(torch.tensor([[1.0, 0.0]]), v)) == pytest.approx(angle, rel=1e-3)


def test_the_angle_is_that_of_the_metric():
    a, b = spectra(seed=1) - 0.3, spectra(seed=2) - 0.3
    expected = np.mean([metric.spectral_angle(x, y) for x, y in zip(a.numpy(), b.numpy(), strict=True)])
    assert float(spectral_angle(a, b)) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("rebuilt", "target", "angle"),
    [([0.0, 0], [1.0, 2], np.pi / 2), ([0.0, 0], [0.0, 0], 0), ([2.0, 4], [1.0, 2], 0), ([-1.0, -2], [1.0, 2], np.pi)],
)
def test_the_angle_has_finite_gradients_everywhere(rebuilt, target, angle):
    x = torch.tensor([rebuilt], requires_grad=True)
    found = spectral_angle(x, torch.tensor([target]))
    found.backward()
    assert found.item() == pytest.approx(angle, abs=1e-6)
    assert torch.isfinite(x.grad).all()


def test_gradients_are_those_of_finite_differences():
    a, b = spectra(3, 5, seed=1).requires_grad_(), spectra(3, 5, seed=2)
    assert torch.autograd.gradcheck(lambda x: sum(loss_terms(x, b, -0.2).values()), (a,))


def test_terms_by_name_and_the_origin_of_the_angle():
    a, b = spectra(seed=1), spectra(seed=2)
    terms = loss_terms(a - 0.4, b - 0.4, origin=-0.4)
    torch.testing.assert_close(terms["angle"], spectral_angle(a, b))
    torch.testing.assert_close(terms["mse"], mean_squared_error(a, b))
    torch.testing.assert_close(terms["gradient"], gradient_difference(a, b))
    assert list(terms) == ["mse", "angle", "gradient"]


def test_losses_compare_equal_shapes_only():
    for loss in (mean_squared_error, spectral_angle, gradient_difference):
        with pytest.raises(ValueError, match="compared"):
            loss(torch.zeros(2, 5), torch.zeros(1, 5))


# --- normalisation ---


def test_range_scaling_is_centred_within_one_and_invertible():
    x = 3 * spectra(50) - 1
    scaling = Normalisation.fit(x, "range")
    y = scaling.forward(x)
    assert float(y.mean()) == pytest.approx(0, abs=1e-12)
    assert float(y.max() - y.min()) == pytest.approx(1)
    torch.testing.assert_close(scaling.inverse(y), x)
    torch.testing.assert_close(
        scaling.forward(torch.zeros(1, 20, dtype=torch.float64)), torch.full((1, 20), scaling.origin).double()
    )


def test_l2_does_not_see_brightness_and_is_inverted_with_the_lengths():
    x = spectra(50)
    scaling = Normalisation.fit(x, "l2")
    torch.testing.assert_close(scaling.forward(x), scaling.forward(7 * x))
    torch.testing.assert_close(scaling.inverse(scaling.forward(x), lengths(x)), x)
    torch.testing.assert_close(lengths(scaling.inverse(scaling.forward(x))), torch.ones(50).double())
    assert float((unit_length(x) * x).sum(1).sub(lengths(x)).abs().max()) < 1e-12


def test_a_zero_spectrum_stays_finite():
    x = torch.cat([spectra(5), torch.zeros(1, 20)])
    y = Normalisation.fit(x, "l2").forward(x)
    assert torch.isfinite(y).all()
    assert float(unit_length(x)[-1].abs().max()) == 0


def test_a_fit_survives_a_checkpoint():
    scaling = Normalisation.fit(spectra(), "l2")
    assert Normalisation(**scaling.state_dict()) == scaling


@pytest.mark.parametrize(
    ("given", "kind"),
    [(torch.ones(4, 5), "range"), (torch.ones(4, 5) * torch.arange(1, 5)[:, None], "l2"), (spectra() / 0, "range")],
)
def test_spectra_that_have_no_range(given, kind):
    with pytest.raises(ConfigError, match="cannot be scaled"):
        Normalisation.fit(given, kind)


def test_a_value_that_is_missing_is_refused():
    x = spectra()
    x[2, 3] = torch.nan
    with pytest.raises(ConfigError, match="nan"):
        Normalisation.fit(x, "range")
