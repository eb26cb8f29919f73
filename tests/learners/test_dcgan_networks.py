"""DCGAN's networks: the published layers and numbers of parameters, other sizes, classes."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from hyperderm.learners.dcgan.networks import DcganCritic
from hyperderm.learners.noise_networks import DcganGenerator
from hyperderm.learners.noise_settings import stages
from tests.learners import plain_layers as plain


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_three_bands_of_64_px_are_the_published_network():
    """As PyTorch's own DCGAN example counts them for 64 features, 100 numbers of noise and three channels."""
    assert count(DcganGenerator(3, 64, 64, 100)) == 3_576_704
    assert count(DcganCritic(3, 64, 64, "batch")) == 2_765_568


@pytest.mark.parametrize(("size", "first"), [(28, 7), (32, 4), (64, 4), (128, 4), (256, 4)])
def test_sizes(size, first):
    generator, critic = DcganGenerator(16, 4, size, 20), DcganCritic(16, 4, size, "spectral")
    cubes = generator(torch.randn(2, 20))
    assert cubes.shape == (2, 16, size, size)
    assert cubes.abs().max() <= 1
    assert critic(cubes).shape == (2,)
    assert critic.phi(cubes).shape[2:] == (first, first)  # so the last convolution leaves one number
    widths = [m.out_channels for m in generator.modules() if isinstance(m, nn.ConvTranspose2d)]
    assert widths[-2:] == [4, 16]
    assert all(b == a // 2 for a, b in pairwise(widths[:-1]))


def test_widths_of_the_paper():
    def of(size: int, width: int) -> list[int]:
        with torch.device("meta"):
            return [
                m.in_channels for m in DcganGenerator(16, width, size, 100).modules() if isinstance(m, nn.ConvTranspose2d)
            ]

    assert of(64, 128) == [100, 1024, 512, 256, 128]
    assert of(256, 64) == [100, 2048, 1024, 512, 256, 128, 64]


@pytest.mark.parametrize("size", [8, 24, 48, 100])
def test_sizes_that_cannot_be_doubled_to(size):
    with pytest.raises(ValueError, match=f"{size} pixels"):
        stages(size)


@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
def test_initial_weights(norm):
    torch.random.default_generator.manual_seed(0)
    for network in (DcganGenerator(16, 32, 32, 100), DcganCritic(16, 32, 32, norm)):
        for module in network.modules():
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)) and module.weight.numel() > 10_000:
                assert float(module.weight.detach().std()) == pytest.approx(0.02, rel=0.05)


def test_a_class_changes_what_is_made_and_how_it_is_scored():
    torch.random.default_generator.manual_seed(0)
    generator, critic = DcganGenerator(16, 8, 32, 20, classes=3).eval(), DcganCritic(16, 8, 32, "none", classes=3)
    z = torch.randn(1, 20).repeat(2, 1)
    cubes = generator(z, torch.tensor([0, 2]))
    assert not torch.allclose(cubes[0], cubes[1])
    same = cubes[:1].repeat(3, 1, 1, 1)
    scores = critic(same, torch.arange(3))
    phi = critic.phi(same[:1]).mean((2, 3))
    expected = critic.psi(critic.phi(same[:1])).flatten() + (critic.projection.e.weight * phi).sum(1)  # ψ(φ) + ⟨e(y), φ⟩
    torch.testing.assert_close(scores, expected)
    assert len(set(scores.tolist())) == 3


def test_the_auxiliary_head_tells_the_class_and_multiplies_the_noise():
    """AC-GAN: z ∘ e(y) enters, and logits of the classes come out beside the score, before any softmax."""
    torch.random.default_generator.manual_seed(0)
    generator = DcganGenerator(16, 8, 32, 20, "layer", classes=3, multiplied=True)
    z, y = torch.randn(4, 20), torch.tensor([0, 2, 1, 0])
    expected = generator.net((z * generator.embedding.weight[y])[:, :, None, None])
    torch.testing.assert_close(generator(z, y), expected, rtol=0, atol=0)
    critic = DcganCritic(16, 8, 32, "none", classes=3, auxiliary=True)
    scores, logits = critic(expected)
    phi = critic.phi(expected)
    torch.testing.assert_close(scores, critic.psi(phi).flatten())
    torch.testing.assert_close(logits, phi.mean((2, 3)) @ critic.auxiliary.weight.T + critic.auxiliary.bias)
    assert critic.projection is None
    head = 3 * 32 + 3  # 32 channels at 4 px: 8, 16, 32
    assert count(critic) == count(DcganCritic(16, 8, 32, "none")) + head


CASES = pytest.mark.parametrize(("norm", "training"), [("batch", True), ("batch", False), ("layer", True)])


def normal(x, w, name, norm, training):
    return plain.layer_norm(x, w, name) if norm == "layer" else plain.batch_norm(x, w, name, training)


@CASES
@pytest.mark.parametrize("multiplied", [False, True])
@pytest.mark.parametrize("size", [16, 28])
def test_the_generator_against_a_plain_one(size, multiplied, norm, training):
    generator = DcganGenerator(5, 4, size, 6, norm, 3, multiplied).train(training)
    w = plain.weights(generator)
    z, y = np.random.default_rng(0).normal(size=(3, 6)), np.array([2, 0, 2])
    told = w["embedding.weight"][y]
    x = (z * told if multiplied else z + told)[:, :, None, None]
    for layer in range(0, 3 * stages(size)[1], 3):  # every layer but the last
        x = plain.conv_transpose(x, w[f"net.{layer}.weight"], 2 if layer else 1, 1 if layer else 0)
        x = np.maximum(normal(x, w, f"net.{layer + 1}", norm, training), 0)
    expected = np.tanh(plain.conv_transpose(x, w[f"net.{layer + 3}.weight"], 2, 1))
    made = generator(torch.from_numpy(z), torch.from_numpy(y)).detach().numpy()
    assert made.shape == (3, 5, size, size)
    np.testing.assert_allclose(made, expected, rtol=1e-9, atol=1e-12)


@CASES
@pytest.mark.parametrize("auxiliary", [False, True])
@pytest.mark.parametrize("size", [16, 28])
def test_the_critic_against_a_plain_one(size, auxiliary, norm, training):
    critic = DcganCritic(5, 4, size, norm, 3, auxiliary).train(training)
    w = plain.weights(critic)
    cubes, y = np.random.default_rng(0).uniform(-1, 1, (3, 5, size, size)), np.array([2, 0, 2])
    phi, layer = cubes, 0
    for stage in range(stages(size)[1]):
        phi = plain.conv(phi, w[f"phi.{layer}.weight"], w.get(f"phi.{layer}.bias"), 2, 1)
        if norm == "layer" or stage:  # the first layer has no batch norm
            layer += 1
            phi = normal(phi, w, f"phi.{layer}", norm, training)
        phi, layer = plain.leaky_relu(phi, 0.2), layer + 2
    expected = plain.conv(phi, w["psi.weight"], w.get("psi.bias"))[:, 0, 0, 0]
    mean = phi.mean((2, 3))
    if auxiliary:
        scores, logits = critic(torch.from_numpy(cubes))
        np.testing.assert_allclose(
            logits.detach().numpy(), mean @ w["auxiliary.weight"].T + w["auxiliary.bias"], rtol=1e-9, atol=1e-12
        )
    else:
        scores = critic(torch.from_numpy(cubes), torch.from_numpy(y))
        expected = expected + (w["projection.e.weight"][y] * mean).sum(1)
    np.testing.assert_allclose(scores.detach().numpy(), expected, rtol=1e-9, atol=1e-12)


def test_a_critic_with_spectral_norm_against_a_plain_one():
    """Each weight is divided by u·W·v, where W has a row for each output channel (Miyato et al. 2018)."""
    critic = DcganCritic(5, 4, 16, "spectral").eval()
    w = plain.weights(critic)

    def divided(name):
        own = f"{name}.parametrizations.weight"
        weight = w[f"{own}.original"]
        return weight / (w[f"{own}.0._u"] @ weight.reshape(len(weight), -1) @ w[f"{own}.0._v"])

    cubes = np.random.default_rng(0).uniform(-1, 1, (3, 5, 16, 16))
    x = cubes
    for layer in (0, 2):
        x = plain.leaky_relu(plain.conv(x, divided(f"phi.{layer}"), w[f"phi.{layer}.bias"], 2, 1), 0.2)
    expected = plain.conv(x, divided("psi"), w["psi.bias"])[:, 0, 0, 0]
    np.testing.assert_allclose(critic(torch.from_numpy(cubes)).detach().numpy(), expected, rtol=1e-9, atol=1e-12)


def test_spectral_norm_bounds_every_layer():
    critic = DcganCritic(16, 8, 32, "spectral", classes=2)
    for _ in range(60):
        critic(torch.rand(2, 16, 32, 32), torch.tensor([0, 1]))
    critic.eval()
    for module in critic.modules():
        if isinstance(module, (nn.Conv2d, nn.Embedding)):
            assert float(torch.linalg.matrix_norm(module.weight.detach().flatten(1), 2)) == pytest.approx(1, abs=0.03)
