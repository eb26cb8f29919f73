"""Parts of the diffusion generator: augmentation that is told, the U-Net's conditions and scales, and when curves part."""

import math

import pytest
import torch
from torch import Tensor, nn

from hyperderm.learners import randomness
from hyperderm.learners.diffusion import augmentation
from hyperderm.learners.diffusion.augmentation import augmented, draws, labels_of
from hyperderm.learners.diffusion.curves import parted
from hyperderm.learners.diffusion.networks import UNTOLD, Denoiser, groups
from hyperderm.learners.diffusion.processes import SIGMA_DATA

SIZE = 16
TURNS = {0: (0.0, 0.0), 1: (-1.0, 1.0), 2: (-2.0, 0.0), 3: (-1.0, -1.0)}


def cubes(n: int = 1, channels: int = 3, seed: int = 0) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.rand(n, channels, SIZE, SIZE, generator=g, dtype=torch.float64) * 2 - 1


def label(**values: float) -> Tensor:
    return torch.tensor([[values.get(name, 0.0) for name in augmentation.LABELS]], dtype=torch.float64)


def test_labels_say_what_was_done():
    x = cubes()
    torch.testing.assert_close(augmented(x, label(flip_across=1)), x.flip(-1))
    torch.testing.assert_close(augmented(x, label(flip_down=1)), x.flip(-2))
    for turns, (cosine, sine) in TURNS.items():
        found = augmented(x, label(turn_cos=cosine, turn_sin=sine))
        torch.testing.assert_close(found, x.rot90(-turns, (-2, -1)))
    moved = augmented(x, label(shift_down=2 / SIZE, shift_across=-1 / SIZE))
    torch.testing.assert_close(moved[..., 2:, :-1], x[..., :-2, 1:])


def test_labels_of_several_kinds_are_taken_in_their_order():
    x = cubes()
    both = augmented(x, label(flip_across=1, turn_cos=-1, turn_sin=1, shift_down=3 / SIZE))
    one = augmented(augmented(x.flip(-1), label(turn_cos=-1, turn_sin=1)), label(shift_down=3 / SIZE))
    torch.testing.assert_close(both, one)


def test_a_scale_enlarges_from_the_middle():
    """A linear ramp twice as large has half the slope, and the same value in the middle."""
    ramp = torch.linspace(-1, 1, SIZE, dtype=torch.float64).expand(1, 1, SIZE, SIZE)
    torch.testing.assert_close(augmented(ramp, label(scale=1.0)), ramp / 2)
    inner = slice(SIZE // 4 + 1, -SIZE // 4 - 1)
    torch.testing.assert_close(augmented(ramp, label(scale=-1.0))[..., inner], 2 * ramp[..., inner])


def test_nothing_is_done_at_probability_zero_and_every_kind_at_one():
    drawn = draws(0, 0, 2000, slice(0, 2000))
    assert not labels_of(drawn, 0.0, SIZE).any()
    done = labels_of(drawn, 1.0, SIZE)
    assert (done[:, :2] == 1).all()
    assert sorted(set(done[:, 2].round(decimals=6).tolist())) == [-2.0, -1.0]  # turned by one, two or three quarters
    assert float(done[:, 4].std()) == pytest.approx(augmentation.LARGEST, rel=0.1)
    assert done[:, 4].abs().max() <= 2 * augmentation.LARGEST
    pixels = done[:, 5:] * SIZE
    assert sorted(set(pixels.flatten().tolist())) == [-2, -1, 0, 1, 2]
    half = labels_of(drawn, 0.5, SIZE)
    assert [float((half[:, at] != 0).double().mean()) for at in (0, 1, 2, 4)] == pytest.approx([0.5] * 4, abs=0.05)


def test_cubes_without_augmentation_keep_their_bits_and_values_stay_in_their_range():
    x = cubes(8)
    labels = labels_of(draws(1, 0, 8, slice(0, 8)), 1.0, SIZE)
    labels[::2] = 0
    made = augmented(x, labels)
    assert torch.equal(made[::2], x[::2])
    assert not torch.allclose(made[1::2], x[1::2])
    assert x.min() <= made.min()
    assert made.max() <= x.max()


def test_workers_draw_their_share():
    whole = draws(3, 40, 8, slice(0, 8))
    assert torch.equal(draws(3, 40, 8, slice(2, 5)), whole[2:5])
    assert not torch.equal(draws(3, 48, 8, slice(0, 8)), whole)


def small(classes: int = 0, channels: int = 5, **more: float) -> Denoiser:
    with randomness.initialised(0):
        made = Denoiser(channels, 8, SIZE, (1, 2), 1, 1, classes=classes, **more).double()
        if made.classes is not None:
            nn.init.normal_(made.classes.weight)
        nn.init.normal_(made.augmented.weight)
    return made.eval().requires_grad_(False)


def test_the_class_the_augmentation_and_the_time_are_told():
    network, x, time = small(classes=2), cubes(4, 5), torch.zeros(4, dtype=torch.float64)
    y = torch.tensor([0, 1, UNTOLD, 0])
    same = network(x[:1].expand(4, -1, -1, -1), time, y)
    assert len(same.flatten(1).unique(dim=0)) == 3
    torch.testing.assert_close(same[0], same[3])
    zero = network(x, time, y, torch.zeros(4, 7, dtype=torch.float64))
    torch.testing.assert_close(network(x, time, y), zero)  # no labels: not augmented
    assert not torch.allclose(network(x, time, y, torch.ones(4, 7, dtype=torch.float64)), zero)
    assert not torch.allclose(network(x, time + 1, y), zero)
    for row in range(4):
        torch.testing.assert_close(network(x[row : row + 1], time[:1], y[row : row + 1])[0], zero[row])


def test_what_is_left_out_is_drawn_outside():
    network, x, time = small(dropout=0.25), cubes(2, 5), torch.zeros(2, dtype=torch.float64)
    assert network.dropped == sum(each.channels for each in network.left_out)
    assert len(network.left_out) == 8  # one block down and two up at each of two levels, and two in the middle
    assert not [each for each in network.modules() if isinstance(each, nn.Dropout) and each.p > 0]
    before = torch.get_rng_state()
    whole = network.train()(x, time)
    some = network(x, time, draws=torch.linspace(0, 1, 2 * network.dropped).view(2, -1))
    assert not torch.allclose(some, whole)
    torch.testing.assert_close(network(x, time), whole)  # the mask does not stay
    assert torch.equal(torch.get_rng_state(), before)


def test_a_left_out_channel_is_zero_and_the_others_are_enlarged():
    network = small(dropout=0.25)
    module, x = network.left_out[0], torch.ones(1, network.left_out[0].channels, 2, 2)
    seen: list[Tensor] = []
    module.register_forward_hook(lambda _, given, made: seen.append(made[0, :, 0, 0] / given[0][0, :, 0, 0]))
    at = torch.full((1, network.dropped), 0.9)
    at[0, 1] = 0.2
    network(cubes(1, 5), torch.zeros(1, dtype=torch.float64), draws=at)
    expected = torch.full((module.channels,), 4 / 3, dtype=torch.float64)
    expected[1] = 0
    torch.testing.assert_close(seen[0], expected)
    assert torch.equal(module(x), x)


@pytest.mark.parametrize("by", ["channels", "components"])
def test_scales(by):
    mixed = torch.einsum(
        "ij,njhw->nihw", torch.tensor([[1.0, 0.0, 0.0], [0.9, 0.1, 0.0], [0.2, 0.3, 0.1]]).double(), cubes(9)
    )
    network = small(channels=3)
    network.standardise(mixed, by)
    values = network.forth(mixed)
    torch.testing.assert_close(network.back(values), mixed)
    flat = values.movedim(1, 0).flatten(1)
    torch.testing.assert_close(flat.mean(1), torch.zeros(3).double(), atol=1e-9, rtol=0)
    torch.testing.assert_close(flat.std(1, correction=0), torch.full((3,), SIGMA_DATA).double())
    correlated = (torch.corrcoef(flat) - torch.eye(3)).abs().max()
    assert correlated < 1e-6 if by == "components" else correlated > 0.3


def test_shares_that_sum_to_one_are_scaled_too():
    shares = torch.softmax(3 * cubes(5, 4), 1) * 2 - 1
    network = small(channels=4)
    network.standardise(shares, "components")
    values = network.forth(shares)
    assert torch.isfinite(values).all()
    assert values.movedim(1, 0).flatten(1).std(1).sort().values[0] < 1e-6  # their sum does not vary
    torch.testing.assert_close(network.back(values), shares)


def test_parameters_worked_out_by_hand():
    """Inner width w, one level, one block, no attention, C channels: every layer of the U-Net counted."""
    w, c = 8, 5
    conv, norm = (lambda a, b, k=3: k * k * a * b + b), (lambda a: 2 * a)
    block = lambda a, b: norm(a) + conv(a, b) + (4 * w + 1) * b + norm(b) + conv(b, b) + (conv(a, b, 1) if a != b else 0)  # noqa: E731
    time = (w + 1) * 4 * w + (4 * w + 1) * 4 * w
    expected = conv(c, w) + time + 3 * block(w, w) + 2 * block(2 * w, w) + norm(w) + conv(w, c)
    network = Denoiser(c, w, SIZE, (1,), 1, 0, classes=3)
    assert sum(p.numel() for p in network.unet.parameters()) == expected
    assert sum(p.numel() for p in network.parameters()) == expected + 4 * 4 * w + 7 * 4 * w


@pytest.mark.parametrize(("width", "count"), [(4, 1), (5, 1), (7, 1), (16, 4), (24, 6), (64, 16), (128, 32), (512, 32)])
def test_groups(width, count):
    assert groups(width) == count
    assert width % count == 0


@pytest.mark.parametrize(("channels", "width", "size"), [(3, 4, 16), (31, 5, 32), (200, 8, 16)])
def test_sizes_and_channels(channels, width, size):
    network = Denoiser(channels, width, size, (1, 2, 2), 1)
    made = network(torch.rand(1, channels, size, size), torch.zeros(1))
    assert made.shape == (1, channels, size, size)


def fall(length: int = 20) -> list[float]:
    return [math.exp(-at / 10) for at in range(length)]


def test_curves_part_when_one_rises_and_the_other_falls_on():
    falling = fall()
    rising = [*falling[:10], *(falling[9] + 0.05 * at for at in range(1, 11))]
    assert not parted(falling, falling)
    assert parted(falling, rising)
    assert not parted(falling[:10], rising[:10])
    assert not parted(rising, rising)  # on train it does not fall either: that is divergence
    first = next(n for n in range(1, 21) if parted(falling[:n], rising[:n]))
    assert first == 12  # two points above the least by 5 %


def test_one_point_above_is_no_parting_and_the_margin_is_of_the_least():
    falling = fall()
    bumped = [*falling]
    bumped[-1] *= 1.5
    assert not parted(falling, bumped)
    flat = [*falling[:10], *[1.04 * falling[9]] * 10]
    assert not parted(falling, flat)
    assert parted(falling, flat, margin=0.03)
    assert not parted([1.0], [1.0])
    assert not parted([], [])
    with pytest.raises(ValueError, match="curves of 3 and 2 points"):
        parted([1.0, 2.0, 3.0], [1.0, 2.0])
