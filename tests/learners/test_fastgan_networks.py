"""FastGAN's networks: numbers of parameters, a plain second implementation, excitation, styles, noise, quadrants, state."""

import numpy as np
import pytest
import torch
from torch import nn

from hyperderm.learners.fastgan.layers import Excitation, Noise
from hyperderm.learners.fastgan.networks import FastGanDiscriminator, FastGanGenerator, halved, quadrant, targets
from hyperderm.learners.fastgan.sizes import SIZES, channels, check_size
from tests.bench.plain_fastgan import PlainDiscriminator, PlainGenerator


@pytest.fixture(autouse=True)
def _seeded():
    torch.random.default_generator.manual_seed(0)


def noisy(generator: nn.Module) -> None:
    """Give the noise of a generator, which counts nothing at first, a weight."""
    for module in generator.modules():
        if isinstance(module, Noise):
            nn.init.constant_(module.scale, 0.3)


def maps(generator: FastGanGenerator, count: int) -> list[torch.Tensor]:
    return [torch.randn(count, *shape, dtype=torch.float64) for shape in generator.noise_shapes()]


# Numbers of parameters, worked out layer by layer from METHODS section 5: i inputs, c (or o) outputs.


def up(i: int, c: int) -> int:
    return i * 2 * c * 9 + 2 * 2 * c


def comp(i: int, c: int) -> int:
    return up(i, c) + 1 + up(c, c) + 1


def excitation(i: int, o: int) -> int:
    return i * o * 16 + o * o


def down(i: int, c: int) -> int:
    return i * c * 16 + 2 * c


def residual(i: int, c: int) -> int:
    return down(i, c) + c * c * 9 + 2 * c + i * c + 2 * c


def test_numbers_of_parameters_of_the_generator():
    at_32 = 256 * 2048 * 16 + 2 * 2048 + comp(1024, 512) + up(512, 256) + comp(256, 128)
    at_64 = at_32 + up(128, 128) + excitation(1024, 128)
    at_256 = at_64 + comp(128, 64) + excitation(512, 64) + up(64, 32) + excitation(256, 32)
    assert count(FastGanGenerator(3)) == at_256 + 32 * 3 * 9 + 64 * 3 == 29_127_846
    assert count(FastGanGenerator(3, size=64)) == at_64 + 128 * 3 * 9 + 128 * 3 == 28_211_460


def test_numbers_of_parameters_of_the_discriminator():
    heads = 256 * 512 + 2 * 512 + 512 * 16 + 128 * 16
    at_64 = 3 * 64 * 9 + residual(64, 128) + residual(128, 128) + residual(128, 256) + excitation(64, 256)
    at_64 += 3 * 128 * 16 + down(128, 128)
    decoders = [up(i, 128) + up(128, 64) + 64 * 3 * 9 for i in (256, 128, 128)]
    assert count(FastGanDiscriminator(3, size=64)) == at_64 + heads + sum(decoders) == 4_232_448
    at_256 = 3 * 16 * 9 + sum(residual(i, c) for i, c in ((16, 32), (32, 64), (64, 128), (128, 128), (128, 256)))
    at_256 += excitation(16, 128) + excitation(32, 128) + excitation(64, 256)
    at_256 += 3 * 32 * 16 + down(32, 64) + down(64, 128) + down(128, 128)
    decoders = [up(i, 128) + up(128, 64) + up(64, 64) + up(64, 32) + 32 * 3 * 9 for i in (256, 128, 128)]
    assert count(FastGanDiscriminator(3)) == at_256 + heads + sum(decoders) == 4_942_352


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("size", "width"), [(16, 8), (32, 8), (64, 8), (128, 8), (256, 4)])
def test_a_plain_implementation_makes_the_same(size, width, training):
    """In double, from the same weights: cubes, logits, rebuilt cubes, and the gradients of all weights."""
    generator, plain = FastGanGenerator(5, width, size, 12).double(), PlainGenerator(5, width, size, 12).double()
    noisy(generator)
    discriminator, plainer = FastGanDiscriminator(5, width, size).double(), PlainDiscriminator(5, width, size).double()
    plain.load_state_dict(generator.state_dict())
    plainer.load_state_dict(discriminator.state_dict())
    for network in (generator, plain, discriminator, plainer):
        network.train(training)
    z, noise = torch.randn(2, 12, dtype=torch.float64), maps(generator, 2)
    ours, theirs = generator(z, noise=noise, both=True), plain(z, noise)
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)
    (logits, rebuilt), (expected, expected_rebuilt) = discriminator(*ours, part=2), plainer(*theirs, part=2)
    torch.testing.assert_close(logits, expected, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(rebuilt, expected_rebuilt, rtol=1e-9, atol=1e-12)
    for one, three in ((logits, rebuilt), (expected, expected_rebuilt)):
        (one.sum() + sum(each.square().sum() for each in three)).backward()
    for network, other in ((generator, plain), (discriminator, plainer)):
        wanted = dict(other.named_parameters())
        for name, p in network.named_parameters():
            torch.testing.assert_close(p.grad, wanted[name].grad, rtol=1e-7, atol=1e-9, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("bands", [3, 16, 31])
@pytest.mark.parametrize("size", [16, 32, 64, 128])
def test_shapes(size, bands):
    generator, discriminator = FastGanGenerator(bands, 4, size, 20), FastGanDiscriminator(bands, 4, size)
    z = torch.randn(2, 20)
    cubes = generator(z)
    assert cubes.shape == (2, bands, size, size)
    full, small = generator(z, both=True)
    assert full.shape == cubes.shape
    assert small.shape == (2, bands, size // 2, size // 2)
    assert full.abs().max() <= 1
    assert small.abs().max() <= 1
    assert discriminator(full, small).shape == (2, 50)
    logits, rebuilt = discriminator(full, halved(full), part=0)
    assert logits.shape == (2, 50)
    assert [each.shape for each in rebuilt] == [small.shape] * 3 == [each.shape for each in targets(full, 0)]


def test_two_hundred_bands():
    generator, discriminator = FastGanGenerator(200, 4, 256, 20), FastGanDiscriminator(200, 4, 256)
    full, small = generator(torch.randn(1, 20), both=True)
    assert (full.shape, small.shape) == ((1, 200, 256, 256), (1, 200, 128, 128))
    logits, rebuilt = discriminator(full, small, part=3)
    assert logits.shape == (1, 50)
    assert [each.shape for each in rebuilt] == [small.shape] * 3


def test_widths_of_the_paper():
    assert [channels(64, side) for side in (4, 8, 16, 32, 64, 128, 256, 512)] == [1024, 512, 256, 128, 128, 64, 32, 16]


@pytest.mark.parametrize("size", [0, 8, 48, 100, 512])
def test_sizes_that_cannot_be_built(size):
    for build in (check_size, lambda s: FastGanGenerator(3, 4, s), lambda s: FastGanDiscriminator(3, 4, s)):
        with pytest.raises(ValueError, match=f"does not come to {size}.*Choose 16, 32, 64, 128, 256"):
            build(size)


def test_sizes_that_can_be_built():
    assert [check_size(size) for size in SIZES] == [16, 32, 64, 128, 256]


@pytest.mark.parametrize("side", [4, 8])
def test_skip_layer_excitation(side):
    """Mean over 4 x 4 fields, a product with all 16 of them, Swish, a product, sigmoid."""
    gate = Excitation(3, 5).double().eval()
    low = torch.randn(2, 3, side, side, dtype=torch.float64)
    fields = low.numpy().reshape(2, 3, 4, side // 4, 4, side // 4).mean((3, 5))
    first, second = (gate.net[i].weight.detach().numpy() for i in (0, 2))
    hidden = np.einsum("ncij,ocij->no", fields, first)
    hidden = hidden / (1 + np.exp(-hidden))
    expected = 1 / (1 + np.exp(-hidden @ second[:, :, 0, 0].T))
    np.testing.assert_allclose(gate(low).detach().numpy()[:, :, 0, 0], expected, rtol=1e-12)


@pytest.mark.parametrize(("size", "first_gated"), [(64, 64), (128, 64), (256, 64)])
def test_styles(size, first_gated):
    """The gates come from the style, the maps that they gate from z; below 64 px nothing changes."""
    generator = FastGanGenerator(3, 4, size, 20, classes=2).double().eval()
    noisy(generator)
    z, style, y = torch.randn(2, 20).double(), torch.randn(2, 20).double(), torch.tensor([0, 1])
    noise = maps(generator, 2)
    seen: dict[str, list[torch.Tensor]] = {"gate": [], "32": [], "64": []}
    generator.gates["64"].register_forward_hook(lambda module, given, made: seen["gate"].append(made))
    for side in ("32", "64"):
        generator.blocks[side].register_forward_hook(lambda module, given, made, side=side: seen[side].append(made))
    with torch.no_grad():
        plain = generator(z, y, noise=noise)
        assert torch.equal(generator(z, y, style=z, noise=noise), plain)
        other, mixed = generator(style, y, noise=noise), generator(z, y, style=style, noise=noise)
    assert not torch.allclose(mixed, plain)
    assert not torch.allclose(mixed, other)
    (gate, _, gate_of_style, gate_of_mixed), low, gated = seen["gate"], seen["32"], seen["64"]
    assert torch.equal(gate_of_mixed, gate_of_style)
    assert not torch.allclose(gate_of_mixed, gate)
    assert torch.equal(low[3], low[0])
    assert torch.equal(gated[3], gated[0])


@pytest.mark.parametrize("size", [16, 32])
def test_a_size_without_styles(size):
    z = torch.randn(1, 20)
    with pytest.raises(ValueError, match=f"a FastGAN of {size} px has no styles"):
        FastGanGenerator(3, 4, size, 20)(z, style=z)


def test_noise_counts_nothing_at_first():
    generator = FastGanGenerator(3, 4, 128, 20).double().eval()
    assert generator.noise_shapes() == [(1, 8, 8), (1, 8, 8), (1, 32, 32), (1, 32, 32), (1, 128, 128), (1, 128, 128)]
    z, noise = torch.randn(2, 20, dtype=torch.float64), maps(generator, 2)
    with torch.no_grad():
        plain = generator(z)
        assert torch.equal(generator(z, noise=noise), plain)
        noisy(generator)
        assert torch.equal(generator(z), plain)
        assert not torch.allclose(generator(z, noise=noise), plain)
    with pytest.raises(ValueError, match="5 noise maps were given to a FastGAN of 128 px, which takes 6"):
        generator(z, noise=noise[:5])


def test_quadrants_of_an_image():
    image = torch.tensor([[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3.0]])[None, None]
    assert [quadrant(image, part).unique().tolist() for part in range(4)] == [[0], [1], [2], [3]]
    whole, small, piece = targets(image, 2)
    assert torch.equal(whole, torch.tensor([[[[0, 1], [2, 3.0]]]]))
    assert torch.equal(whole, small)
    assert torch.equal(piece, torch.full((1, 1, 2, 2), 2.0))
    for part in (-1, 4):
        with pytest.raises(ValueError, match=f"part {part} is none of the quadrants"):
            quadrant(image, part)


@pytest.mark.parametrize("part", range(4))
def test_a_rebuilt_quadrant_sees_that_quadrant(part):
    """It depends on every pixel of its quadrant of the full cube, and on 4 px around it: as far as three layers reach."""
    discriminator = FastGanDiscriminator(3, 8, 32).double().eval()
    cube = torch.randn(1, 3, 32, 32, dtype=torch.float64, requires_grad=True)
    _, (_, _, piece) = discriminator(cube, halved(cube).detach(), part=part)
    piece.square().sum().backward()
    seen = (cube.grad != 0).any(1)[0]
    row, column = divmod(part, 2)
    rows, columns = ((slice(max(0, 16 * at - 4), 16 * at + 20)) for at in (row, column))
    inside = torch.zeros_like(seen)
    inside[rows, columns] = True
    assert not seen[~inside].any()
    assert quadrant(seen[None, None], part).all()


@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_a_state_goes_on_bit_for_bit(norm):
    """Spectral norm's vectors and batch norm's statistics change in each pass, so they are in the state."""

    def networks() -> tuple[nn.Module, nn.Module]:
        return FastGanGenerator(3, 4, 64, 20, 2, norm), FastGanDiscriminator(3, 4, 64, 2, norm)

    def passes(generator: nn.Module, discriminator: nn.Module) -> list[torch.Tensor]:
        made = generator(z, y, both=True)
        return [*made, discriminator(*made, y, part=1)[0]]

    z, y = torch.randn(4, 20), torch.tensor([0, 1, 1, 0])
    first, second = networks(), networks()
    for _ in range(2):
        passes(*first)
    for one, other in zip(first, second, strict=True):
        assert any(name.endswith("_u") for name in one.state_dict())
        other.load_state_dict(one.state_dict())
    for _ in range(2):
        assert all(torch.equal(a, b) for a, b in zip(passes(*first), passes(*second), strict=True))


def test_layer_norm_does_not_depend_on_the_batch():
    generator, discriminator = FastGanGenerator(3, 4, 64, 20, norm="layer"), FastGanDiscriminator(3, 4, 64, norm="layer")
    for network in (generator.double().eval(), discriminator.double().eval()):
        assert not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
        for module in network.modules():  # as in training, but for the power iterations of spectral norm
            if isinstance(module, nn.GroupNorm):
                module.train()
    z = torch.randn(4, 20, dtype=torch.float64)
    full, small = generator(z, both=True)
    torch.testing.assert_close(generator(z[:1]), full[:1], rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(discriminator(full[:1], small[:1]), discriminator(full, small)[:1], rtol=1e-9, atol=1e-12)


def test_a_class_changes_what_is_made_and_how_it_is_scored():
    generator, discriminator = FastGanGenerator(3, 8, 32, 20, 3).eval(), FastGanDiscriminator(3, 8, 32, 3).eval()
    z = torch.randn(1, 20).repeat(2, 1)
    cubes = generator(z, torch.tensor([0, 2]))
    assert not torch.allclose(cubes[0], cubes[1])
    same = cubes[:1].repeat(3, 1, 1, 1)
    last: list[torch.Tensor] = []
    discriminator.blocks["8"].register_forward_hook(lambda module, given, made: last.append(made))
    scores = discriminator(same, halved(same), torch.arange(3))
    discriminator.projection, e = None, discriminator.projection.e.weight
    expected = discriminator(same, halved(same)) + (e * last[0].mean((2, 3))).sum(1, keepdim=True)  # ψ + ⟨e(y), φ⟩
    torch.testing.assert_close(scores, expected)
    assert len(set(scores[:, 0].tolist())) == 3


def test_initial_weights():
    for network in (FastGanGenerator(16, 32, 64, 100), FastGanDiscriminator(16, 32, 64)):
        for name, p in network.named_parameters():
            if name.endswith("original") and p.numel() > 10_000:
                assert float(p.detach().std()) == pytest.approx(0.02, rel=0.05)
        factors = torch.cat([m.weight.detach() for m in network.modules() if isinstance(m, nn.BatchNorm2d)])
        assert float(factors.mean()) == pytest.approx(1, abs=0.002)
        assert float(factors.std()) == pytest.approx(0.02, rel=0.1)


def test_channels_last_and_autocast_make_the_same():
    """Maps and gradients of weights lie in the format asked for, so that nothing is copied; bf16 is near."""
    generator, discriminator = FastGanGenerator(5, 16, 64, 20), FastGanDiscriminator(5, 16, 64)
    z, y = torch.randn(4, 20), torch.rand(4, 5, 64, 64) * 2 - 1
    states = generator.state_dict(), discriminator.state_dict()
    states = tuple({name: value.clone() for name, value in each.items()} for each in states)

    def passes() -> list[torch.Tensor]:
        for network, state in zip((generator, discriminator), states, strict=True):
            network.load_state_dict(state)
        full, small = generator(z, both=True)
        return [full, small, discriminator(full, small), *discriminator(y, halved(y), part=0)[1]]

    plain = passes()
    generator.to(memory_format=torch.channels_last), discriminator.to(memory_format=torch.channels_last)
    y = y.to(memory_format=torch.channels_last)
    fast = passes()
    torch.testing.assert_close(fast, plain, rtol=1e-4, atol=1e-4)
    assert all(each.is_contiguous(memory_format=torch.channels_last) for each in fast if each.dim() == 4)
    sum(each.square().sum() for each in fast).backward()
    for network in (generator, discriminator):
        assert all(p.grad.stride() == p.stride() for p in network.parameters() if p.grad is not None)
    with torch.autocast("cpu", torch.bfloat16):
        near = passes()
    for a, b in zip(near, plain, strict=True):
        assert float((a - b).detach().norm() / b.detach().norm()) < 0.1
