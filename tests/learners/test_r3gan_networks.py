"""R3GAN's networks: numbers of parameters, shapes, a second implementation, the first state, second derivatives."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hyperderm.learners.r3gan.networks import R3ganCritic, R3ganGenerator, ResidualBlock, groups, stage_channels
from tests.learners import plain_layers as plain


def seeded(seed: int = 0) -> None:
    torch.random.default_generator.manual_seed(seed)


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def block_parameters(c: int) -> int:
    """Twice 2c² of the 1x1 convolutions, 2c outputs of 9 weights a channel of the group, and two biases of 2c."""
    return 4 * c * c + 2 * c * 9 * (2 * c // groups(2 * c)) + 4 * c


def test_parameters_worked_out_by_hand():
    """16 bands, 32 px, width 16, two blocks a stage of 128, 64, 32 and 16 channels, groups of 16, z of 64."""
    blocks = 2 * (102_912 + 35_072 + 13_440 + 5_696)
    changes = 128 * 64 + 64 * 32 + 32 * 16
    assert count(R3ganGenerator(16, 16, 32, 64)) == 64 * 128 + 128 * 16 + blocks + changes + (16 * 16 + 16)
    assert count(R3ganCritic(16, 16, 32)) == (16 * 16 + 16) + blocks + changes + 128 * 16 + 128


@pytest.mark.parametrize(
    ("bands", "width", "size", "blocks", "classes", "widest"),
    [(3, 4, 16, 1, 0, 512), (31, 10, 28, 2, 6, 512), (200, 8, 64, 3, 2, 24), (16, 16, 256, 1, 0, 128)],
)
def test_parameters_of_any_network(bands, width, size, blocks, classes, widest):
    start = 7 if size % 7 == 0 else 4
    channels = [min(widest, width * 2**k) for k in range(int(math.log2(size // start)) + 1)]
    both = blocks * sum(map(block_parameters, channels))
    both += sum(a * b for a, b in pairwise(channels) if a != b)
    c, area = channels[-1], start * start
    generator = R3ganGenerator(bands, width, size, 20, blocks, classes, widest)
    assert count(generator) == both + 20 * c + c * area + (width * bands + bands) + classes * 20
    critic = R3ganCritic(bands, width, size, blocks, classes, widest)
    assert count(critic) == both + (bands * width + width) + c * area + c + classes * c


@pytest.mark.parametrize(("size", "bands"), [(16, 16), (28, 3), (32, 200), (64, 31), (128, 16), (256, 3)])
@pytest.mark.parametrize("width", [4, 5])
def test_sizes_bands_and_widths(size, bands, width):
    generator, critic = R3ganGenerator(bands, width, size, 8, 1), R3ganCritic(bands, width, size, 1)
    cubes = generator(torch.randn(2, 8))
    assert cubes.shape == (2, bands, size, size)
    assert critic(cubes).shape == (2,)


@pytest.mark.parametrize("network", [lambda s: R3ganGenerator(3, 4, s, 8), lambda s: R3ganCritic(3, 4, s)])
@pytest.mark.parametrize("size", [8, 24, 100])
def test_sizes_that_cannot_be_built(network, size):
    with pytest.raises(ValueError, match=f"{size} pixels"):
        network(size)


def test_channels_double_up_to_the_widest():
    assert stage_channels(256, 16) == [512, 512, 256, 128, 64, 32, 16]
    assert stage_channels(64, 24, 100) == [100, 100, 96, 48, 24]


@pytest.mark.parametrize("width", range(4, 80))
def test_groups_have_16_channels_or_the_next_divisor(width):
    inner = 2 * width
    size = inner // groups(inner)
    assert inner % size == 0
    assert size >= 16 or size == inner
    assert not any(inner % k == 0 for k in range(16, size))


def plain_block(x, w, name, inner):
    y = plain.leaky_relu(plain.conv(x, w[f"{name}.branch.0.weight"], w[f"{name}.branch.0.bias"]), 0.2)
    y = plain.conv(y, w[f"{name}.branch.2.weight"], w[f"{name}.branch.2.bias"], padding=1, groups=groups(inner))
    return x + plain.conv(plain.leaky_relu(y, 0.2), w[f"{name}.branch.4.weight"])


@pytest.mark.parametrize(("width", "size", "widest"), [(4, 16, 512), (10, 28, 20)])
def test_the_generator_against_a_plain_one(width, size, widest):
    """The map is enlarged first and its channels changed after, at the larger size, as the paper draws it."""
    generator = R3ganGenerator(5, width, size, 6, 2, 3, widest)
    w = plain.weights(generator)
    g = np.random.default_rng(0)
    z, y = g.normal(size=(2, 6)), np.array([2, 0])
    start, channels = (4, [16, 8, 4]) if size == 16 else (7, [20, 20, 10])
    x = ((z + w["embedding.weight"][y]) @ w["modulation.weight"].T)[:, :, None, None] * w["basis"]
    layer = 0
    for stage, c in enumerate(channels):
        if stage:
            x = plain.bilinear(x, start * 2**stage)
            if c != channels[stage - 1]:
                x = plain.conv(x, w[f"net.{layer}.weight"])
                layer += 1
            layer += 1
        for _ in range(2):
            x = plain_block(x, w, f"net.{layer}", 2 * c)
            layer += 1
    expected = np.tanh(plain.conv(x, w[f"net.{layer}.weight"], w[f"net.{layer}.bias"]))
    made = generator(torch.from_numpy(z), torch.from_numpy(y))
    assert made.dtype == torch.float64
    np.testing.assert_allclose(made.detach().numpy(), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("width", "size", "widest"), [(4, 16, 512), (10, 28, 20)])
def test_the_critic_against_a_plain_one(width, size, widest):
    critic = R3ganCritic(5, width, size, 2, 3, widest)
    w = plain.weights(critic)
    g = np.random.default_rng(1)
    cubes, y = g.uniform(-1, 1, (3, 5, size, size)), np.array([1, 1, 0])
    channels = [4, 8, 16] if size == 16 else [10, 20, 20]
    x = plain.conv(cubes, w["phi.0.weight"], w["phi.0.bias"])
    layer = 1
    for stage, c in enumerate(channels):
        if stage:
            x = plain.bilinear(x, size // 2**stage)
            layer += 1
            if c != channels[stage - 1]:
                x = plain.conv(x, w[f"phi.{layer}.weight"])
                layer += 1
        for _ in range(2):
            x = plain_block(x, w, f"phi.{layer}", 2 * c)
            layer += 1
    phi = (x * w[f"phi.{layer}.weight"][:, 0]).sum((2, 3))
    expected = phi @ w["psi.weight"][0] + (phi * w["projection.e.weight"][y]).sum(1)
    scores = critic(torch.from_numpy(cubes), torch.from_numpy(y)).detach().numpy()
    np.testing.assert_allclose(scores, expected, rtol=1e-9, atol=1e-12)


def test_a_block_is_the_identity_at_first():
    seeded()
    x = torch.randn(2, 8, 6, 6)
    block = ResidualBlock(8, depth=4)
    assert torch.equal(block(x), x)
    nn.init.ones_(block.branch[-1].weight)
    assert not torch.allclose(block(x), x)


@pytest.mark.parametrize("blocks", [1, 2])
def test_first_weights(blocks):
    """The inner convolutions have He's deviation times L^(-1/4), L = 4 stages of `blocks`; the others 1/sqrt(fan-in)."""
    seeded()
    he = math.sqrt(2 / (1 + 0.2**2)) * (4 * blocks) ** -0.25
    for network in (R3ganGenerator(64, 64, 32, 256, blocks), R3ganCritic(64, 64, 32, blocks)):
        inner, outer = list[tuple[Tensor, float]](), list[tuple[Tensor, float]]()
        for module in network.modules():
            if isinstance(module, ResidualBlock):
                inner += [(module.branch[k].weight, he) for k in (0, 2)]
                assert not module.branch[4].weight.any()
        seen = {id(weight) for weight, _ in inner}
        layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
        outer += [(m.weight, 1.0) for m in layers if m.weight.any() and id(m.weight) not in seen]
        assert len(outer) >= 5
        for weight, gain in inner + outer:
            if weight.numel() > 4000:
                assert float(weight.detach().std() * weight[0].numel() ** 0.5) == pytest.approx(gain, rel=0.06)
        assert not any(m.bias.any() for m in layers if m.bias is not None)


def test_first_cubes_vary_and_are_not_saturated():
    seeded()
    cubes = R3ganGenerator(16, 16, 32, 64)(torch.randn(32, 64)).detach()
    assert 0.3 < float(cubes.std()) < 0.7
    assert float((cubes.abs() > 0.95).float().mean()) < 0.05
    assert float(cubes.std(0).mean()) > 0.2  # over noise vectors, at one pixel


def test_no_layer_sees_other_cubes_and_nothing_is_drawn():
    seeded()
    generator, critic = R3ganGenerator(3, 4, 16, 8, classes=2), R3ganCritic(3, 4, 16, classes=2)
    plain.weights(generator), plain.weights(critic)
    assert not [*generator.buffers(), *critic.buffers()]
    z, y = torch.randn(4, 8, dtype=torch.float64), torch.tensor([0, 1, 1, 0])
    before = torch.get_rng_state()
    cubes = generator(z, y)
    scores = critic(cubes, y)
    assert torch.equal(torch.get_rng_state(), before)
    for i in range(4):
        torch.testing.assert_close(generator(z[i : i + 1], y[i : i + 1])[0], cubes[i])
        torch.testing.assert_close(critic(cubes[i : i + 1], y[i : i + 1])[0], scores[i])
    assert not torch.allclose(generator(z, 1 - y), cubes)
    assert not torch.allclose(critic(cubes, 1 - y), scores)


def r1(critic: nn.Module, cubes: Tensor, y: Tensor) -> Tensor:
    """½ ‖∇D(x)‖², the mean over the cubes, as in the critic's update."""
    x = cubes.detach().requires_grad_()
    (slope,) = torch.autograd.grad(critic(x, y).sum(), x, create_graph=True)
    return 0.5 * slope.square().sum((1, 2, 3)).mean()


def test_the_penalty_s_gradient_against_finite_differences():
    """Derivative of R1 along one random direction of all parameters; the critic's second derivative, in double."""
    critic = R3ganCritic(5, 4, 16, classes=2)
    plain.weights(critic)
    g = torch.Generator().manual_seed(3)
    cubes = torch.rand(2, 5, 16, 16, generator=g, dtype=torch.float64) * 2 - 1
    y = torch.tensor([0, 1])
    ways = [torch.randn(p.shape, generator=g, dtype=torch.float64) for p in critic.parameters()]
    slopes = torch.autograd.grad(r1(critic, cubes, y), [*critic.parameters()], allow_unused=True, materialize_grads=True)
    derivative = sum(float((a * b).sum()) for a, b in zip(slopes, ways, strict=True))
    ends = []
    for step in (1e-6, -2e-6):
        with torch.no_grad():
            for p, way in zip(critic.parameters(), ways, strict=True):
                p += step * way
        ends.append(float(r1(critic, cubes, y).detach()))
    assert derivative == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-6)
    assert all(slope.any() for name, slope in zip(dict(critic.named_parameters()), slopes, strict=True) if "weight" in name)


def test_the_penalty_s_gradient_in_float_is_that_in_double():
    critic = R3ganCritic(16, 4, 32)
    plain.weights(critic)
    cubes = torch.rand(2, 16, 32, 32, generator=torch.Generator().manual_seed(3), dtype=torch.float64) * 2 - 1

    def slopes(x: Tensor) -> Tensor:
        found = torch.autograd.grad(r1(critic, x, None), [*critic.parameters()], allow_unused=True, materialize_grads=True)
        return torch.cat([each.flatten() for each in found])

    exact, single = slopes(cubes), (critic.float(), slopes(cubes.float()))[1]
    assert single.dtype == torch.float32
    assert float((single - exact).norm() / exact.norm()) < 1e-4


def test_the_generator_has_second_derivatives():
    generator = R3ganGenerator(3, 4, 16, 5, 1)
    plain.weights(generator)
    z = torch.randn(1, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(generator, (z,), fast_mode=True)


def test_bf16_is_near_float():
    generator, critic = R3ganGenerator(16, 8, 32, 16, classes=2), R3ganCritic(16, 8, 32, classes=2)
    plain.weights(generator), plain.weights(critic)
    generator.float(), critic.float()
    z, y = torch.randn(4, 16, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 0, 1])
    cubes = generator(z, y)
    scores = critic(cubes, y)
    with torch.autocast("cpu", torch.bfloat16):
        made = generator(z, y)
        told = critic(cubes, y)
        loss = nn.functional.softplus(-critic(made, y).float()).mean()
    assert made.dtype == torch.bfloat16
    assert float((made.float() - cubes).detach().abs().mean()) < 0.02
    assert float(((told.float() - scores).norm() / scores.norm()).detach()) < 0.05
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in generator.parameters())
