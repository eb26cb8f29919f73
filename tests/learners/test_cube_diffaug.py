"""Differentiable augmentation: kinds against a plain reference, the adjoint, draws; adaptive strength in closed form."""

import io
import math

import pytest
import torch
from torch.nn.functional import pad

from hyperderm.errors import ConfigError
from hyperderm.learners.cube_diffaug import APPLIED, EVERY, AdaptiveStrength, DiffAugment, draws
from hyperderm.learners.cube_diffaug_settings import KINDS, SIGNED_LOSSES, DiffAugmentConfig, check_strength

ALL = "flips+translation+cutout"
FLIPS, TRANSLATION, CUTOUT = range(3)


def augment(policy=ALL, **values):
    return DiffAugment(DiffAugmentConfig(policy=policy, **values))


def cubes(n, bands=4, height=16, width=16, seed=0):
    """Positive everywhere, so that only the fill is zero."""
    shape = (n, bands, height, width)
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.1


def drawn(n, images=0, stream="real"):
    return draws(5, stream, images, n, slice(0, n))


def placed(kind, down, across):
    """Draws of one cube that apply `kind` alone, at p = ½."""
    u = torch.full((1, 3, 3), 0.9, dtype=torch.float64)
    u[0, kind] = torch.tensor([0.0, down, across])
    return u


def by_hand(x, u, probability, shift=0.125, cutout=0.5):
    """One cube (B, H, W) through flips, a padded cut, and a hole that is written pixel by pixel."""
    size = x.shape[1:]
    if u[FLIPS, APPLIED] < probability:
        x = x.flip([axis for axis in (1, 2) if u[FLIPS, axis] < 0.5])
    if u[TRANSLATION, APPLIED] < probability:
        most = [math.floor(side * shift + 0.5) for side in size]
        down, across = (math.floor(u[TRANSLATION, k + 1] * (2 * most[k] + 1)) - most[k] for k in (0, 1))
        wide = pad(x, (most[1], most[1], most[0], most[0]))
        top, left = most[0] - down, most[1] - across
        x = wide[:, top : top + size[0], left : left + size[1]]
    if u[CUTOUT, APPLIED] < probability:
        x = x.clone()
        sides = [math.floor(side * cutout + 0.5) for side in size]
        centre = [math.floor(u[CUTOUT, k + 1] * (size[k] + 1 - sides[k] % 2)) for k in (0, 1)]
        for i in range(size[0]):
            for j in range(size[1]):
                if all(0 <= at - c + s // 2 < s for at, c, s in zip((i, j), centre, sides, strict=True)):
                    x[:, i, j] = 0
    return x


# --- each kind


@pytest.mark.parametrize(("down", "across", "dims"), [(0.4, 0.6, [2]), (0.6, 0.4, [3]), (0.4, 0.4, [2, 3]), (0.6, 0.6, [])])
def test_flips_turn_either_axis(down, across, dims):
    x = cubes(1)
    assert torch.equal(augment("flips")(x, placed(FLIPS, down, across), 0.5), x.flip(dims))


@pytest.mark.parametrize(("down", "across"), [(0, 0), (2, 0), (-2, 1), (1, -2), (0, 2)])
def test_translation_is_a_roll_whose_new_pixels_are_zero(down, across):
    """±2 of 16 pixels: 5 shifts, of which shift k has the draws from (k + 2) / 5 on."""
    x = cubes(1)
    seen = augment("translation")(x, placed(TRANSLATION, (down + 2.5) / 5, (across + 2.5) / 5), 0.5)
    expected = x.roll((down, across), (2, 3))
    for shift, dim in ((down, 2), (across, 3)):
        expected.narrow(dim, 0 if shift >= 0 else 16 + shift, abs(shift)).zero_()
    assert torch.equal(seen, expected)


@pytest.mark.parametrize(
    ("down", "across", "rows", "columns"),
    [
        (0.0, 0.0, (0, 4), (0, 4)),
        (0.5, 0.5, (4, 12), (4, 12)),
        (0.999, 0.5, (12, 16), (4, 12)),
        (0.2, 0.9, (0, 7), (11, 16)),
    ],
)
def test_cutout_is_a_hole_of_half_the_side_that_may_reach_beyond(down, across, rows, columns):
    x = cubes(1)
    expected = x.clone()
    expected[:, :, slice(*rows), slice(*columns)] = 0
    assert torch.equal(augment("cutout")(x, placed(CUTOUT, down, across), 0.5), expected)


@pytest.mark.parametrize("policy", ["flips", "translation", "cutout", ALL])
@pytest.mark.parametrize(("height", "width"), [(16, 16), (12, 21), (32, 17)])
@pytest.mark.parametrize("probability", [0.5, 1.0])
def test_the_plain_reference(policy, height, width, probability):
    x, u = cubes(12, 3, height, width), drawn(12)
    kept = u.clone()
    for k, kind in enumerate(KINDS):
        if kind not in policy:
            kept[:, k, APPLIED] = 1.0
    expected = torch.stack([by_hand(*each, probability) for each in zip(x, kept, strict=True)])
    assert torch.equal(augment(policy)(x, u, probability), expected)
    assert not torch.equal(expected, x)


def test_other_sizes_of_shift_and_hole():
    x, u = cubes(20), drawn(20)
    seen = augment("translation+cutout", shift=0.5, cutout=0.25)(x, u)
    u[:, FLIPS, APPLIED] = 1.0
    assert torch.equal(seen, torch.stack([by_hand(*each, 1.0, 0.5, 0.25) for each in zip(x, u, strict=True)]))
    assert not augment("cutout", cutout=1.0)(x, placed(CUTOUT, 0.5, 0.5).expand(20, 3, 3)).any()


def test_shifts_and_holes_cover_their_range_evenly():
    n = 8000
    one = torch.arange(1.0, 17).view(1, 1, 16, 1) * 100 + torch.arange(1.0, 17)
    seen = augment("translation")(one.expand(n, 1, 16, 16), drawn(n))[:, 0, 8, 8]
    shifts = torch.stack([9 - seen // 100, 9 - seen % 100], 1)
    pairs, counts = torch.unique(shifts, dim=0, return_counts=True)
    assert pairs.tolist() == [[i, j] for i in range(-2, 3) for j in range(-2, 3)]
    assert (counts - n / 25).abs().max() < 5 * math.sqrt(n / 25)
    holes = (augment("cutout")(torch.ones(n, 1, 16, 16), drawn(n)) == 0)[:, 0]
    size = torch.stack([holes.any(2).sum(1), holes.any(1).sum(1)], 1)
    assert (size.min(), size.max()) == (4, 8)
    assert torch.equal(holes.sum((1, 2)), size.prod(1))
    share = holes.double().mean(0)  # a pixel of the middle lies in the hole for 8 of 17 centres along each axis
    assert float(share[4:12, 4:12].mean()) == pytest.approx((8 / 17) ** 2, abs=0.01)
    turned = augment("flips")(one.expand(n, 1, 16, 16), drawn(n))[:, 0, 0, 0]
    assert (torch.unique(turned, return_counts=True)[1] - n / 4).abs().max() < 5 * math.sqrt(n / 4)


# --- gradients


@pytest.mark.parametrize("policy", ["flips", "translation", "cutout", ALL])
def test_the_gradient_is_the_adjoint(policy):
    """⟨A x, y⟩ = ⟨x, Aᵀ y⟩ for the linear map A, whose adjoint autograd computes."""
    change, u = augment(policy), drawn(6)
    x, y = cubes(6).requires_grad_(), cubes(6, seed=1) - 0.6
    seen = change(x, u, 0.7)
    (adjoint,) = torch.autograd.grad(seen, x, y)
    torch.testing.assert_close((seen * y).sum(), (x * adjoint).sum())
    z = cubes(6, seed=2)
    torch.testing.assert_close(change(2 * x - 3 * z, u, 0.7), 2 * seen - 3 * change(z, u, 0.7))
    (reach,) = torch.autograd.grad(change(x, u, 0.7), x, torch.ones_like(x))
    assert set(reach.unique().tolist()) <= {0, 1}  # each pixel is seen once, or not at all
    assert reach.sum() == (seen != 0).sum()


def test_penalties_pass_through_it():
    """R1 at the stored cubes needs a second derivative of D(A x)."""
    x, w = cubes(2, 2, 8, 8).requires_grad_(), torch.tensor(1.5, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad((w * augment()(x, drawn(2)).square()).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(slope.square().sum(), w)
    kept = slope.detach() != 0
    torch.testing.assert_close(second, (8 * w * x.square() * kept).sum().detach())


# --- spectra, probability, draws


def test_each_spectrum_is_one_of_the_cube_or_the_fill():
    x = cubes(8, bands=5)
    for before, after in zip(x, augment()(x, drawn(8)), strict=True):
        known = {tuple(spectrum) for spectrum in before.flatten(1).T.tolist()} | {(0.0,) * 5}
        assert {tuple(spectrum) for spectrum in after.flatten(1).T.tolist()} <= known


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_never_is_the_same_cube_and_layout_and_precision_stay(layout, dtype):
    x = cubes(6).to(dtype).contiguous(memory_format=layout)
    before = x.clone()
    for never in (0, 0.0, torch.tensor(0.0), torch.tensor(0.0, dtype=torch.float64)):
        seen = augment()(x, drawn(6), never)
        assert torch.equal(seen, x)
        assert (seen.dtype, seen.stride()) == (dtype, x.stride())
    changed = augment()(x, drawn(6))
    assert (changed.dtype, changed.stride()) == (dtype, x.stride())
    assert torch.equal(changed, augment()(cubes(6), drawn(6)).to(dtype))
    assert torch.equal(x, before)
    assert augment("none")(x, drawn(6)) is x


def test_always_is_always_and_in_between_is_as_often_as_asked():
    x = torch.ones(4000, 1, 16, 16)
    last = torch.nextafter(torch.tensor(1.0, dtype=torch.float64), torch.tensor(0.0, dtype=torch.float64))
    assert (augment("cutout")(x[:1], last.expand(1, 3, 3)) == 0).any()
    for probability in (0.2, 1.0, torch.tensor(0.2)):
        cut = (augment("cutout")(x, drawn(4000), probability) == 0).flatten(1).any(1)
        assert float(cut.double().mean()) == pytest.approx(float(probability), abs=0.025)
    assert torch.equal(augment("cutout", probability=0.2)(x, drawn(4000)), augment("cutout")(x, drawn(4000), 0.2))


def test_draws_at_the_end_of_their_range_stay_inside():
    last = torch.nextafter(torch.tensor(1.0, dtype=torch.float64), torch.tensor(0.0, dtype=torch.float64))
    x = cubes(1, height=136, width=136)
    seen = augment("translation")(x, last.expand(1, 3, 3))
    assert torch.equal(seen[:, :, 17:, 17:], x[:, :, :-17, :-17])


def test_a_larger_probability_changes_what_a_smaller_one_does_and_more():
    """The draws decide; so an adaptive strength that rises keeps what it did to a cube."""
    x, u = torch.ones(500, 1, 16, 16), drawn(500)
    few, more = ((augment("cutout")(x, u, p) == 0).flatten(1).any(1) for p in (0.3, 0.6))
    assert (more | ~few).all()
    assert more.sum() > few.sum()


def test_a_cube_s_draws_do_not_depend_on_the_workers_and_streams_differ():
    whole = drawn(8)
    shares = [draws(5, "real", 0, 8, slice(a, b)) for a, b in ((0, 3), (3, 8))]
    assert torch.equal(torch.cat(shares), whole)
    x = cubes(8)
    assert torch.equal(torch.cat([augment()(x[:3], shares[0]), augment()(x[3:], shares[1])]), augment()(x, whole))
    assert torch.equal(drawn(8), whole)
    others = drawn(8, stream="fake"), drawn(8, images=8), draws(6, "real", 0, 8, slice(0, 8))
    assert not any((whole == other).any() for other in others)


def test_a_kind_that_is_switched_off_leaves_the_others_alone():
    x, u = cubes(10), drawn(10)
    both = augment("cutout")(augment("translation")(x, u), u)
    assert torch.equal(augment("translation+cutout")(x, u), both)
    assert torch.equal(augment("cutout+flips+translation")(x, u), augment()(x, u))


def test_it_draws_from_no_generator_of_torch_s():
    state = torch.get_rng_state()
    augment()(cubes(4), drawn(4))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("wrong", [drawn(3), drawn(4).float(), drawn(4)[:, :2]])
def test_draws_of_another_form_are_refused(wrong):
    with pytest.raises(ValueError, match=r"for 4 cubes: see cube_diffaug\.draws"):
        augment()(cubes(4), wrong)


# --- adaptive strength


def strength(**values):
    return AdaptiveStrength(DiffAugmentConfig(policy="cutout", strength="adaptive", **values))


def scored(positive, of=10):
    """Scores of which `positive` are above zero."""
    return torch.arange(of, 0, -1.0) - (of - positive) - 0.5


def test_it_rises_by_its_speed_while_the_critic_is_sure_and_falls_otherwise():
    one = strength(adapts_over=1000.0)
    for update in range(1, 21):
        one.update(scored(9), 10)  # r = 0.8
        assert float(one.probability) == pytest.approx(0.04 * (update // EVERY))
    for update in range(1, 9):
        one.update(scored(7), 10)  # r = 0.4
        assert float(one.probability) == pytest.approx(0.2 - 0.04 * (update // EVERY))


def test_it_goes_from_nothing_to_always_in_the_declared_images_and_stays_within():
    one, images = strength(adapts_over=1024.0), 0
    while one.probability < 1:
        one.update(scored(16, 16), 16)
        images += 16
    assert images == 1024
    for _ in range(8):
        one.update(scored(16, 16), 16)
    assert one.probability == 1
    for _ in range(400):
        one.update(scored(0, 16), 16)
    assert one.probability == 0


def test_four_updates_decide_together():
    one = strength(adapts_over=100.0)
    for positive in (10, 10, 10, 1):  # r = (1 + 1 + 1 − 0.8) / 4 = 0.55
        one.update(scored(positive), 10)
    assert one.probability == 0
    for positive in (1, 10, 10, 10):
        one.update(scored(positive)[:, None] * torch.ones(5), 10)  # patches count like samples
    assert one.probability == 0
    for positive in (10, 10, 10, 2):  # 0.6: as aimed at
        one.update(scored(positive), 10)
    assert one.probability == 0
    for positive in (10, 10, 10, 3):  # 0.65
        one.update(scored(positive), 10)
    assert one.probability == pytest.approx(0.4)
    assert one.signs == 0


def test_the_target_is_a_setting_and_scale_does_not_matter():
    one, other = strength(adapts_over=100.0, target=0.9), strength(adapts_over=100.0)
    for _ in range(EVERY):
        one.update(scored(9) * 1e-3, 10)
        other.update(scored(9) * 1e3, 10)
    assert one.probability == 0
    assert other.probability == pytest.approx(0.4)


def test_it_goes_on_from_its_state():
    one = strength(adapts_over=1000.0)
    for _ in range(6):
        one.update(scored(10), 10)
    saved = io.BytesIO()
    torch.save(one.state_dict(), saved)
    saved.seek(0)
    restored = strength(adapts_over=1000.0)
    restored.load_state_dict(torch.load(saved))
    for each in (one, restored):
        for positive in (8, 9):
            each.update(scored(positive), 10)
    assert all(torch.equal(value, restored.state_dict()[name]) for name, value in one.state_dict().items())
    assert float(one.probability) == pytest.approx(0.08)  # (1 + 1 + 0.6 + 0.8) / 4, of which the first two were saved
    assert set(one.state_dict()) == {"probability", "signs", "updates"}


def test_all_workers_follow_the_mean_of_their_signs():
    one = AdaptiveStrength(DiffAugmentConfig(policy="cutout", strength="adaptive", adapts_over=100.0), mean=lambda x: x / 2)
    for _ in range(EVERY):
        one.update(scored(10), 10)  # the other worker's signs are 0 in the mean: r = 0.5
    assert one.probability == 0


# --- settings


def test_the_policy_is_put_in_order():
    assert DiffAugmentConfig(policy="cutout+flips") == DiffAugmentConfig(policy="flips+cutout")
    assert DiffAugmentConfig().kinds == ()
    assert DiffAugmentConfig(policy="cutout+translation").kinds == ("translation", "cutout")


@pytest.mark.parametrize(
    ("policy", "said", "remedy"),
    [
        ("colour", "invent spectra", "Choose from flips, translation, cutout"),
        ("color+translation+cutout", "invent spectra", "Choose from flips, translation, cutout"),
        ("rotation", "'rotation' is unknown", "of flips, translation, cutout"),
        ("none+flips", "'none' is unknown", "names joined by +"),
        ("", "'' is unknown", "Use none"),
        ("flips+cutout+flips", "a name is repeated", "Give each once"),
    ],
)
def test_policies_that_are_refused(policy, said, remedy):
    with pytest.raises(ConfigError) as caught:
        DiffAugmentConfig().override({"policy": policy})
    assert caught.value.what.startswith(f'policy = "{policy}" is refused: ')
    assert said in caught.value.what
    assert remedy in str(caught.value)


@pytest.mark.parametrize("field", ["shift", "cutout", "probability", "target", "adapts_over"])
def test_numbers_beyond_their_range_are_refused(field):
    with pytest.raises(ConfigError, match=f"^{field} = -1.5 is refused"):
        DiffAugmentConfig().override({field: -1.5})


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"strength": "adaptive", "policy": "flips", "probability": 0.5}, "diffaug.probability = 0.5 with .* begins at 0"),
        ({"strength": "adaptive"}, "diffaug.policy = none is refused: there is nothing to adapt"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(values, said):
    with pytest.raises(ConfigError, match=said):
        DiffAugmentConfig().override(values)


@pytest.mark.parametrize("loss", ["wgan_gp", "wgan_clip", "relativistic"])
def test_adaptive_strength_needs_scores_with_a_zero(loss):
    adaptive = DiffAugmentConfig(policy="flips", strength="adaptive")
    with pytest.raises(ValueError, match=f"strength = adaptive with learner.loss = {loss} is refused.*=fixed, or .*=bce"):
        check_strength(adaptive, loss)
    check_strength(DiffAugmentConfig(policy="flips"), loss)
    for signed in SIGNED_LOSSES:
        check_strength(adaptive, signed)
