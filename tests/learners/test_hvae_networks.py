"""The hierarchical VAE's networks: closed forms, a second implementation in numpy, parameters, shapes, what samples see."""

import numpy as np
import pytest
import torch
from scipy.special import erf
from torch import Tensor, nn
from torch.distributions import Normal
from torch.distributions import kl_divergence as torch_kl

from hyperderm.learners.hvae.losses import gaussian_kl
from hyperderm.learners.hvae.networks import BottomUp, TopDown, TopDownBlock, noise_length, sides
from tests.learners import plain_layers as plain


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_kl_is_torch_s():
    mu_q, log_q, mu_p, log_p = (drawn(5, 7, seed=k) for k in range(4))
    expected = torch_kl(Normal(mu_q, log_q.exp()), Normal(mu_p, log_p.exp()))
    torch.testing.assert_close(gaussian_kl(mu_q, log_q, mu_p, log_p), expected)


def test_kl_closed_forms():
    zero, three = torch.zeros(2, dtype=torch.float64), torch.full((2,), 3.0, dtype=torch.float64)
    assert torch.equal(gaussian_kl(three, three, three, three), zero)
    torch.testing.assert_close(gaussian_kl(three, zero, zero, zero), zero + 4.5)  # ½ μ²
    log4 = zero + np.log(4)
    torch.testing.assert_close(gaussian_kl(zero, log4, zero, zero), zero + 7.5 - np.log(4))  # ½ (σ² − 1) − log σ
    torch.testing.assert_close(gaussian_kl(zero, zero, three, log4), zero + np.log(4) + (1 + 9) / 32 - 0.5)


@pytest.mark.parametrize(
    ("size", "expected"), [(16, (1, 4, 8, 16)), (28, (1, 7, 14, 28)), (64, (1, 4, 8, 16, 32, 64)), (56, (1, 7, 14, 28, 56))]
)
def test_resolutions(size, expected):
    assert sides(size) == expected
    assert noise_length(size, 3, 2) == 6 * sum(side * side for side in expected)


@pytest.mark.parametrize("size", [8, 24, 100])
def test_sizes_that_cannot_be_built(size):
    for made in (lambda: BottomUp(3, 4, size, 1), lambda: TopDown(3, 4, size, 1, 2)):
        with pytest.raises(ValueError, match=f"{size} pixels"):
            made()


def bottleneck(x: np.ndarray, w: dict[str, np.ndarray], name: str) -> np.ndarray:
    for layer in (1, 3, 5, 7):
        x = x * (1 + erf(x / 2**0.5)) / 2
        weight = w[f"{name}.{layer}.weight"]
        x = plain.conv(x, weight, w[f"{name}.{layer}.bias"], padding=weight.shape[2] // 2)
    return x


@pytest.mark.parametrize("seen", [True, False])
@pytest.mark.parametrize("side", [1, 5])
def test_a_top_down_block_against_a_plain_one(side, seen):
    width, latent = 8, 3
    block = TopDownBlock(width, latent, side, 0.5, classes=4)
    w = plain.weights(block)
    x, noise, given = drawn(2, width, side, side), drawn(2, latent, side, side, seed=1), drawn(2, width, side, side, seed=2)
    y = np.array([3, 0])
    told = x.numpy() + w["embedding.weight"][y][:, :, None, None]
    mu_p, log_p, more = np.split(bottleneck(told, w, "prior"), [latent, 2 * latent], 1)
    mu, log = mu_p, log_p
    if seen:
        mu, log = np.split(bottleneck(np.concatenate([told, given.numpy()], 1), w, "posterior"), 2, 1)
    z = mu + np.exp(log) * noise.numpy()
    out = told + more + plain.conv(z, w["project.weight"], w["project.bias"])
    out = out + bottleneck(out, w, "residual")
    made, kl = block(x, noise, torch.from_numpy(y), given if seen else None)
    np.testing.assert_allclose(made.detach().numpy(), out, rtol=1e-9, atol=1e-12)
    if seen:
        expected = log_p - log + (np.exp(2 * log) + (mu - mu_p) ** 2) / (2 * np.exp(2 * log_p)) - 0.5
        np.testing.assert_allclose(kl.detach().numpy(), expected.sum((1, 2, 3)), rtol=1e-9)
    else:
        assert kl is None


def test_the_encoder_against_a_plain_one():
    encoder = BottomUp(3, 4, 16, 1)
    w, cubes = plain.weights(encoder), drawn(2, 3, 16, 16)
    x = plain.conv(cubes.numpy(), w["first.weight"], w["first.bias"], padding=1)
    found = encoder(cubes)
    for level, (side, shrunk) in enumerate([(16, 1), (8, 2), (4, 2), (1, 4)]):
        x = x.reshape(2, 4, side, shrunk, side, shrunk).mean((3, 5))
        x = x + bottleneck(x, w, f"blocks.{level}.0")
        np.testing.assert_allclose(found[3 - level].detach().numpy(), x, rtol=1e-9, atol=1e-12)


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("bands", "width", "size", "blocks", "latent", "classes"),
    [(3, 4, 16, 1, 1, 0), (31, 12, 28, 2, 5, 3), (200, 8, 32, 3, 4, 0), (16, 8, 128, 1, 2, 6)],
)
def test_parameters_worked_out_by_hand(bands, width, size, blocks, latent, classes):
    inner, levels = width // 4, len(sides(size))

    def squeezed(given: int, made: int, k: int) -> int:
        return given * inner + inner + 2 * (k * inner * inner + inner) + inner * made + made

    def all_levels(given: int, made: int) -> int:
        return blocks * (squeezed(given, made, 1) + (levels - 1) * squeezed(given, made, 9))

    assert count(BottomUp(bands, width, size, blocks)) == 9 * bands * width + width + all_levels(width, width)
    block = all_levels(width, 2 * latent + width) + all_levels(2 * width, 2 * latent) + all_levels(width, width)
    single = (latent + 1) * width + classes * width
    starts = width * sum(side * side for side in sides(size) if side <= 64)
    last = 2 * width + (width + 1) * bands
    assert count(TopDown(bands, width, size, blocks, latent, classes)) == block + blocks * levels * single + starts + last


@pytest.mark.parametrize(
    ("size", "bands"), [(16, 3), (28, 200), (32, 31), (56, 5), (64, 16), (112, 3), (128, 16), (256, 200)]
)
def test_sizes_and_bands(size, bands):
    encoder, decoder = BottomUp(bands, 4, size, 1), TopDown(bands, 4, size, 1, 2)
    with torch.no_grad():
        seen = encoder(torch.rand(1, bands, size, size) * 2 - 1)
        cubes, kl = decoder(torch.zeros(1, noise_length(size, 1, 2)), seen)
    assert [each.shape for each in seen] == [(1, 4, side, side) for side in sides(size)]
    assert cubes.shape == (1, bands, size, size)
    assert cubes.abs().max() <= 1
    assert kl.shape == (1, len(sides(size)))


def networks(classes: int = 0) -> tuple[BottomUp, TopDown]:
    encoder, decoder = BottomUp(3, 8, 16, 2), TopDown(3, 8, 16, 2, 3, classes)
    for network in (encoder, decoder):
        plain.weights(network)
        with torch.no_grad():
            for weight in network.parameters():
                weight.mul_(0.5)  # of deviations that stay finite through all blocks
    return encoder, decoder


def test_samples_see_the_prior_alone():
    encoder, decoder = networks()
    noise, cubes = drawn(2, noise_length(16, 2, 3)), drawn(2, 3, 16, 16, seed=1)
    made, rebuilt = decoder.sampled(noise), decoder(noise, encoder(cubes)).cubes
    for block in decoder.modules():
        if isinstance(block, TopDownBlock):
            plain.weights(block.posterior, seed=7)
    assert torch.equal(decoder.sampled(noise), made)
    assert not torch.allclose(decoder(noise, encoder(cubes)).cubes, rebuilt)


def test_where_the_posterior_is_the_prior_there_is_no_divergence_and_rebuilding_is_sampling():
    """At first each prior is N(0, I); posteriors are made N(0, I) too."""
    encoder, decoder = BottomUp(3, 8, 16, 2).double(), TopDown(3, 8, 16, 2, 3).double()
    noise, cubes = drawn(2, noise_length(16, 2, 3)), drawn(2, 3, 16, 16, seed=1)
    assert (decoder(noise, encoder(cubes)).kl > 0).all()
    for block in decoder.modules():
        if isinstance(block, TopDownBlock):
            nn.init.zeros_(block.posterior[-1].weight)
    found = decoder(noise, encoder(cubes))
    assert torch.equal(found.kl, torch.zeros_like(found.kl))
    assert torch.equal(found.cubes, decoder.sampled(noise))


def test_every_latent_map_and_the_class_matter():
    _, decoder = networks(classes=2)
    noise, y = drawn(1, noise_length(16, 2, 3)).requires_grad_(), torch.tensor([1])
    decoder.sampled(noise, y).square().sum().backward()
    assert (noise.grad != 0).all()
    assert not torch.allclose(decoder.sampled(noise, y), decoder.sampled(noise, 1 - y))


def test_a_cube_is_made_alone():
    encoder, decoder = networks()
    noise, cubes = drawn(3, noise_length(16, 2, 3)), drawn(3, 3, 16, 16, seed=1)
    together = decoder(noise, encoder(cubes))
    for row in range(3):
        alone = decoder(noise[row : row + 1], encoder(cubes[row : row + 1]))
        torch.testing.assert_close(alone.cubes[0], together.cubes[row])
        torch.testing.assert_close(alone.kl[0], together.kl[row])
