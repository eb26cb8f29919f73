"""The VAE's networks and losses: closed forms, a second implementation, shapes, and that a few cubes can be learned."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal

from hyperderm.learners.vae.losses import kl_divergence, l1_reconstruction
from hyperderm.learners.vae.networks import VaeDecoder, VaeEncoder, halvings, latent
from hyperderm.phantom.rendering import phantom
from tests.learners import plain_layers as plain


def gaussians(n: int = 5, dims: int = 7, seed: int = 0) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    mu = torch.randn(n, dims, generator=g, dtype=torch.float64)
    return mu, torch.randn(n, dims, generator=g, dtype=torch.float64)


def test_kl_is_torch_s():
    mu, log_variance = gaussians()
    q, p = Normal(mu, log_variance.exp().sqrt()), Normal(torch.zeros_like(mu), torch.ones_like(mu))
    torch.testing.assert_close(kl_divergence(mu, log_variance), torch.distributions.kl_divergence(q, p).mean())


def test_kl_closed_forms():
    zero = torch.zeros(3, 4, dtype=torch.float64)
    assert float(kl_divergence(zero, zero)) == 0
    assert float(kl_divergence(zero + 2, zero)) == pytest.approx(2)  # ½ μ², whatever the number of dimensions
    assert float(kl_divergence(zero, zero + np.log(4))) == pytest.approx(0.5 * (4 - 1 - np.log(4)))


def test_kl_against_draws():
    """The mean of log q(z) - log p(z) over draws z = μ + σ ε of `latent`; its standard error is 0.003."""
    mu, log_variance = gaussians(2, 3)
    draws = 40_000
    noise = torch.randn(draws, 2, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    z = latent(mu, log_variance, noise)
    q, p = Normal(mu, log_variance.exp().sqrt()), Normal(0.0, 1.0)
    assert float(kl_divergence(mu, log_variance)) == pytest.approx(float((q.log_prob(z) - p.log_prob(z)).mean()), abs=0.012)


def test_latent_vectors_and_their_gradients():
    """z = μ + σ ε, dz/dμ = 1, dz/d log σ² = ½ σ ε."""
    mu, log_variance = (each.requires_grad_() for each in gaussians())
    noise = gaussians(seed=9)[0]
    z = latent(mu, log_variance, noise)
    sigma = log_variance.detach().exp().sqrt()
    torch.testing.assert_close(z.detach(), mu.detach() + sigma * noise)
    z.sum().backward()
    torch.testing.assert_close(mu.grad, torch.ones_like(z))
    torch.testing.assert_close(log_variance.grad, sigma * noise / 2)


def test_l1_is_the_mean_over_everything():
    cubes = torch.zeros(2, 3, 4, 4)
    rebuilt = cubes.clone()
    rebuilt[0, 1, 2, 3] = -0.96
    assert float(l1_reconstruction(rebuilt, cubes)) == pytest.approx(0.96 / 96)
    with pytest.raises(ValueError, match=r"\(1, 3, 4, 4\) is compared with \(2, 3, 4, 4\)"):
        l1_reconstruction(rebuilt[:1], cubes)


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_parameters_worked_out_by_hand(norm):
    """16 bands, 64 px, width 64, z of 64: maps of 64, 128 and 256 channels at 32, 16 and 8 px."""
    encoder = 16 * (16 * 64 + 64 * 128 + 128 * 256) + 2 * (64 + 128 + 256) + 256 * 64 * 128 + 128
    assert count(VaeEncoder(16, 64, 64, 64, norm)) == encoder
    first = 64 * 256 * 64 + 256 * 64 + 2 * 256
    up = 16 * (256 * 128 + 128 * 64 + 64 * 64)
    skips = 65 * 64 * (128 + 64 + 64)
    merge = 9 * 2 * (128 * 128 + 64 * 64 + 64 * 64)
    norms = 2 * 2 * (128 + 64 + 64)
    assert count(VaeDecoder(16, 64, 64, 64, norm)) == first + up + skips + merge + norms + (9 * 64 * 16 + 16)


@pytest.mark.parametrize(
    ("bands", "width", "size", "dims", "classes"),
    [(3, 4, 16, 5, 0), (31, 5, 28, 8, 3), (200, 4, 32, 64, 2), (16, 4, 256, 64, 6)],
)
def test_parameters_of_any_network(bands, width, size, dims, classes):
    times, side = {16: (1, 8), 28: (2, 7), 32: (2, 8), 256: (5, 8)}[size]
    channels = [width * 2**k for k in range(times)]
    c, area = channels[-1], side * side
    convs = sum(16 * a * b + 2 * b for a, b in pairwise([bands, *channels]))
    assert count(VaeEncoder(bands, width, size, dims, classes=classes)) == convs + (c * area + 1 + classes) * 2 * dims
    first = (dims + 1) * c * area + 2 * c
    scales = sum(16 * a * b + 18 * b * b + 4 * b + (dims + 1) * b * area for a, b in pairwise([*reversed(channels), width]))
    last = (9 * width + 1) * bands
    assert count(VaeDecoder(bands, width, size, dims, classes=classes)) == first + scales + last + classes * dims


@pytest.mark.parametrize("bands", [3, 16, 31])
@pytest.mark.parametrize(("size", "times"), [(16, 1), (28, 2), (32, 2), (64, 3), (128, 4)])
def test_sizes_and_bands(size, times, bands):
    encoder, decoder = VaeEncoder(bands, 4, size, 8), VaeDecoder(bands, 4, size, 8)
    mu, log_variance = encoder(torch.rand(2, bands, size, size) * 2 - 1)
    assert mu.shape == log_variance.shape == (2, 8)
    cubes = decoder(mu)
    assert cubes.shape == (2, bands, size, size)
    assert cubes.abs().max() <= 1
    assert halvings(size) == times == sum(isinstance(m, nn.Conv2d) for m in encoder.modules())


@pytest.mark.parametrize("network", [VaeEncoder, VaeDecoder])
@pytest.mark.parametrize("size", [8, 24, 100])
def test_sizes_that_cannot_be_built(network, size):
    with pytest.raises(ValueError, match=f"{size} pixels"):
        network(3, 4, size, 8)


def normal(x, w, name, norm, training):
    y = plain.layer_norm(x, w, name) if norm == "layer" else plain.batch_norm(x, w, name, training)
    return np.maximum(y, 0)


CASES = pytest.mark.parametrize(("norm", "training"), [("batch", True), ("batch", False), ("layer", True)])


@CASES
@pytest.mark.parametrize("size", [16, 28, 32])
def test_the_encoder_against_a_plain_one(size, norm, training):
    encoder = VaeEncoder(5, 4, size, 6, norm, 3).train(training)
    w = plain.weights(encoder)
    g = np.random.default_rng(0)
    cubes, y = g.uniform(-1, 1, (3, 5, size, size)), np.array([2, 0, 2])
    x = cubes
    for layer in range(0, 3 * halvings(size), 3):
        x = plain.conv(x, w[f"net.{layer}.weight"], stride=2, padding=1)
        x = normal(x, w, f"net.{layer + 1}", norm, training)
    heads = x.reshape(3, -1) @ w["heads.weight"].T + w["heads.bias"] + w["embedding.weight"][y]
    mu, log_variance = encoder(torch.from_numpy(cubes), torch.from_numpy(y))
    np.testing.assert_allclose(mu.detach().numpy(), heads[:, :6], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(log_variance.detach().numpy(), heads[:, 6:], rtol=1e-9, atol=1e-12)


@CASES
@pytest.mark.parametrize("size", [16, 28, 32])
def test_the_decoder_against_a_plain_one(size, norm, training):
    decoder = VaeDecoder(5, 4, size, 6, norm, 3).train(training)
    w = plain.weights(decoder)
    g = np.random.default_rng(0)
    z, y = g.normal(size=(3, 6)), np.array([2, 0, 2])
    side, channels = {16: (8, [4, 4]), 28: (7, [8, 4, 4]), 32: (8, [8, 4, 4])}[size]
    told = z + w["embedding.weight"][y]

    def mapped(name, c):
        return (told @ w[f"{name}.weight"].T + w[f"{name}.bias"]).reshape(3, c, side, side)

    x = normal(mapped("first.0", channels[0]), w, "first.2", norm, training)
    for k, c in enumerate(channels[1:]):
        up = plain.conv_transpose(x, w[f"scales.{k}.up.0.weight"], 2, 1)
        up = normal(up, w, f"scales.{k}.up.1", norm, training)
        skip = plain.bilinear(mapped(f"scales.{k}.skip.0", c), side * 2 ** (k + 1))
        merged = plain.conv(np.concatenate([up, skip], 1), w[f"scales.{k}.merge.0.weight"], padding=1)
        x = normal(merged, w, f"scales.{k}.merge.1", norm, training)
    expected = np.tanh(plain.conv(x, w["last.weight"], w["last.bias"], padding=1))
    made = decoder(torch.from_numpy(z), torch.from_numpy(y))
    assert made.dtype == torch.float64
    np.testing.assert_allclose(made.detach().numpy(), expected, rtol=1e-9, atol=1e-12)


def test_layer_norm_sees_one_cube_at_a_time_and_nothing_is_drawn():
    encoder, decoder = VaeEncoder(3, 4, 16, 6, "layer"), VaeDecoder(3, 4, 16, 6, "layer")
    plain.weights(encoder), plain.weights(decoder)
    cubes = torch.rand(4, 3, 16, 16, dtype=torch.float64)
    before = torch.get_rng_state()
    mu, _ = encoder(cubes)
    made = decoder(mu)
    assert torch.equal(torch.get_rng_state(), before)
    assert not [*encoder.buffers(), *decoder.buffers()]
    for i in range(4):
        torch.testing.assert_close(encoder(cubes[i : i + 1])[0][0], mu[i])
        torch.testing.assert_close(decoder(mu[i : i + 1])[0], made[i])


def test_at_first_a_class_changes_cubes_but_not_codes():
    torch.random.default_generator.manual_seed(0)
    encoder, decoder = VaeEncoder(3, 4, 16, 6, classes=2).eval(), VaeDecoder(3, 4, 16, 6, classes=2).eval()
    cubes = torch.rand(1, 3, 16, 16).repeat(2, 1, 1, 1)
    mu, log_variance = encoder(cubes, torch.tensor([0, 1]))
    torch.testing.assert_close(mu[0], mu[1])
    torch.testing.assert_close(log_variance[0], log_variance[1])
    made = decoder(mu, torch.tensor([0, 1]))
    assert not torch.allclose(made[0], made[1])


@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_bf16_is_near_float(norm):
    encoder, decoder = VaeEncoder(16, 8, 32, 16, norm, 2), VaeDecoder(16, 8, 32, 16, norm, 2)
    g = torch.Generator().manual_seed(0)
    torch.random.default_generator.manual_seed(0)
    cubes, noise, y = torch.rand(8, 16, 32, 32, generator=g) * 2 - 1, torch.randn(8, 16, generator=g), torch.arange(8) % 2

    def rebuilt() -> tuple[Tensor, Tensor]:
        mu, log_variance = encoder(cubes, y)
        made = decoder(latent(mu, log_variance, noise), y)
        return made, l1_reconstruction(made.float(), cubes) + 0.01 * kl_divergence(mu.float(), log_variance.float())

    _, exact = rebuilt()
    with torch.autocast("cpu", torch.bfloat16):
        made, loss = rebuilt()
    assert made.dtype == torch.bfloat16
    assert float(loss.detach()) == pytest.approx(float(exact.detach()), rel=0.02)
    loss.backward()
    parameters = [*encoder.parameters(), *decoder.parameters()]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in parameters)


@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_four_phantom_cubes_are_learned(norm):
    """In 100 steps the reconstruction error falls to a fifth, and to a quarter of what the mean cube would leave."""
    torch.random.default_generator.manual_seed(0)
    raw = torch.from_numpy(np.stack([one.lesion.cube.reflectance for one in phantom(4, 32, 0)])).permute(0, 3, 1, 2)
    low, high = raw.amin((0, 2, 3), keepdim=True), raw.amax((0, 2, 3), keepdim=True)
    cubes = 2 * (raw - low) / (high - low) - 1
    encoder, decoder = VaeEncoder(16, 8, 32, 64, norm), VaeDecoder(16, 8, 32, 64, norm)
    parameters = [*encoder.parameters(), *decoder.parameters()]
    optimizer = torch.optim.Adam(parameters, 2e-3, (0.5, 0.999), weight_decay=1e-5)
    errors = list[float]()
    for _ in range(101):
        mu, log_variance = encoder(cubes)
        error = l1_reconstruction(decoder(latent(mu, log_variance, torch.randn(mu.shape))), cubes)
        errors.append(float(error.detach()))
        optimizer.zero_grad()
        (error + 0.01 * kl_divergence(mu, log_variance)).backward()
        optimizer.step()
    assert errors[-1] < errors[0] / 5
    assert errors[-1] < float((cubes - cubes.mean(0)).abs().mean()) / 4
