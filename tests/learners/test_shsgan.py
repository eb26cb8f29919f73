"""The SHS-GAN step: losses, pairing, moving average, switches."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hyperderm.cubes.pseudo_rgb import fit_gain, pseudo_rgb_matrix
from hyperderm.errors import StoreError
from hyperderm.learners.average import RAMP
from hyperderm.learners.data import TrainData
from hyperderm.training.feed import MemoryFeed
from tests.training.tiny import batch, blobs, cube_set, learner, same, sampled, state_of, tiny_data


def to_rgb(reflectance, matrix, gain):
    return np.clip(gain * (reflectance @ matrix.T), 0.0, 1.0).astype(np.float32)


class Linear(nn.Module):
    """A critic whose gradient is w everywhere."""

    def __init__(self, w: Tensor) -> None:
        super().__init__()
        self.w = nn.Parameter(w)

    def forward(self, x: Tensor) -> Tensor:
        return (x * self.w).sum((1, 2, 3))


# --- the gradient penalty


def test_penalty_of_a_linear_critic_is_that_of_the_flattened_weight():
    data = tiny_data()
    gan = learner(data, torch.float64)
    w = torch.randn(16, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) / 20
    gan.d = Linear(w)
    one = batch(data)
    penalty, norm = gan.penalty(one.real.double(), one.source.double(), one)
    assert float(norm.detach()) == pytest.approx(float(w.norm()), rel=1e-9)
    assert float(penalty.detach()) == pytest.approx((float(w.norm()) - 1) ** 2, rel=1e-9)
    assert float(w.norm()) > 2  # a norm per pixel or per band would be far from it
    penalty.backward()  # d/dw (‖w‖ − 1)² = 2 (‖w‖ − 1) w / ‖w‖
    torch.testing.assert_close(gan.d.w.grad, 2 * (w.norm() - 1) * w / w.norm(), rtol=1e-7, atol=1e-12)


def test_penalty_is_taken_on_lines_between_pairs_at_keyed_places():
    data = tiny_data()
    gan = learner(data, torch.float64)
    seen: list[Tensor] = []
    gan.d = lambda x: seen.append(x.detach().clone()) or x.sum((1, 2, 3))
    one = batch(data)
    real, fake = torch.ones_like(one.real.double()), torch.zeros_like(one.real.double())
    for images in (0, 0, 4):
        gan.penalty(real, fake, batch(data, images))
    places = [x[:, 0, 0, 0] for x in seen]
    assert all((x == x[:, :1, :1, :1]).all() for x in seen)  # one place a sample
    assert all(((p > 0) & (p < 1)).all() and len(set(p.tolist())) == 4 for p in places)
    assert torch.equal(places[0], places[1])
    assert not torch.equal(places[0], places[2])


def test_penalty_is_not_computed_in_bf16():
    data = tiny_data()
    gan = learner(data, bf16=True)
    inside, outside = [], []

    class Spy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            (inside if torch.is_autocast_enabled("cpu") else outside).append(gan.critic(x).dtype)
            return gan.critic(x)

    gan.d = Spy()
    metrics = gan.critic_step(batch(data))
    assert inside == [torch.bfloat16] * 2
    assert outside == [torch.float32]
    assert {m.dtype for m in metrics.values()} == {torch.float32}  # means of scores are not taken in bf16 either


def test_second_derivatives_of_the_whole_critic_are_right():
    """The penalty's gradient, which needs them, against finite differences."""
    data = tiny_data()
    gan = learner(data, torch.float64)
    one = batch(data)
    real, fake = one.real.double(), one.source.double()
    gan.penalty(real, fake, one)[0].backward()
    for name, p in gan.critic.named_parameters():
        if "head.bias" in name or p.grad is None:
            continue
        place = np.unravel_index(int(p.grad.abs().argmax()), p.shape)
        step = 1e-5
        ends = []
        for sign in (1, -1):
            with torch.no_grad():
                p[place] += sign * step
            ends.append(float(gan.penalty(real, fake, one)[0].detach()))
            with torch.no_grad():
                p[place] -= sign * step
        assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(float(p.grad[place]), rel=1e-3, abs=1e-6), name


def test_wasserstein_loss_has_the_right_sign_and_sum():
    data = tiny_data()
    gan = learner(data, torch.float64)
    one = batch(data)
    with torch.no_grad():
        fake = gan.generator(gan.rgb(one.source.double()))
        gap = gan.critic(one.real.double()).mean() - gan.critic(fake).mean()
    metrics = gan.critic_step(one)
    assert float(metrics["wasserstein"].detach()) == pytest.approx(float(gap), rel=1e-9)
    total = -gap + gan.config.gp_weight * metrics["penalty"].detach()
    assert float(metrics["critic_loss"].detach()) == pytest.approx(float(total), rel=1e-9)


# --- units: H acts on reflectance


def test_rgb_is_gain_h_reflectance_clipped():
    data = tiny_data()
    gan = learner(data, torch.float64)
    scaled = data.scaling.forward(data.train.reflectance.double())
    cubes = data.train.reflectance.movedim(1, 3).numpy()
    matrix = pseudo_rgb_matrix(data.wavelengths_nm)
    expected = to_rgb(cubes, matrix, fit_gain(cubes, matrix)) * 2 - 1
    got = gan.rgb(scaled).movedim(1, 3).numpy()
    np.testing.assert_allclose(got, expected, atol=1e-6)
    assert got.max() == pytest.approx(1)  # the brightest pixels clip


def test_gain_and_scaling_come_from_train_alone():
    data = tiny_data()
    other = TrainData(data.train, cube_set(data.validation.reflectance * 3), data.wavelengths_nm, data.scaling)
    assert learner(data).gain == learner(other).gain


def test_rgb_error_is_nothing_for_a_cube_that_reproduces_its_picture():
    data = tiny_data()
    gan = learner(data, torch.float64)
    scaled = data.scaling.forward(data.train.reflectance.double())
    rgb = gan.rgb(scaled)
    assert gan._rgb_error(rgb, scaled).max() <= 1e-6
    off = gan._rgb_error(rgb - 0.1, scaled)
    torch.testing.assert_close(off, torch.full_like(off, 0.1))


# --- pairing


def test_real_cubes_and_sources_are_independent_draws():
    cubes = torch.arange(50.0).view(-1, 1, 1, 1).expand(-1, 2, 4, 4)
    feed = MemoryFeed(cubes, 5, seed=3)
    batches = [feed.batch(i) for i in range(0, 1000, 5)]
    real = torch.cat([b.real[:, 0, 0, 0] for b in batches])
    source = torch.cat([b.source[:, 0, 0, 0] for b in batches])
    assert (real == source).float().mean() < 0.06  # 1 in 50 by chance
    assert abs(np.corrcoef(real, source)[0, 1]) < 0.12


def test_changing_validation_cubes_changes_no_generated_cube():
    data = tiny_data()
    other = TrainData(data.train, cube_set(blobs(6, seed=77) * 0.5), data.wavelengths_nm, data.scaling)
    mine, theirs = learner(data), learner(other)
    for gan, d in ((mine, data), (theirs, other)):
        for images in range(0, 16, 4):
            gan.step(batch(d, images))
    one, two = mine.validate(), theirs.validate()
    assert torch.equal(one.cubes, two.cubes)
    assert torch.equal(sampled(mine, 5, 1), sampled(theirs, 5, 1))
    assert one.scores["spectral_energy_distance"] != two.scores["spectral_energy_distance"]


def test_scores_are_of_the_cubes_that_are_reported():
    data = tiny_data()
    gan = learner(data)
    report = gan.validate()
    assert report.cubes.shape == (8, 16, 16, 16)
    assert gan._reference.score(report.cubes)["spectral_energy_distance"] == report.scores["spectral_energy_distance"]
    assert torch.equal(report.cubes, sampled(gan, 8, 0))  # seed 0 is the experiment's


def test_a_role_of_one_cube_is_refused():
    data = tiny_data(validation=1)
    with pytest.raises(StoreError, match="validation role holds 1 cube"):
        learner(data).validate()


# --- the moving average


def test_moving_average_is_the_recursion_with_its_ramp():
    data = tiny_data()
    gan = learner(data, torch.float64, learner__n_critic=2, learner__ema_images=1.0)
    mean = state_of(gan.generator)
    for images in range(0, 40, 4):
        gan.step(batch(data, images))
        shown = images + 4
        if shown // 4 % 2 == 0:
            half_life = min(1.0, RAMP * shown)  # the ramp ends at 20 images
            keep = 0.5 ** (8 / half_life)
            live = gan.generator.state_dict()
            mean = {name: keep * value + (1 - keep) * live[name] for name, value in mean.items()}
        for name, value in gan.ema.state_dict().items():
            torch.testing.assert_close(value, mean[name], rtol=1e-9, atol=1e-12)
    assert not same(state_of(gan.ema), state_of(gan.generator))


def test_samples_and_scores_use_the_moving_average():
    data = tiny_data()
    gan = learner(data)
    before, score = sampled(gan, 4, 0), gan.validate().scores
    with torch.no_grad():
        for p in gan.generator.parameters():
            p.add_(1)
    assert torch.equal(sampled(gan, 4, 0), before)
    assert gan.validate().scores == score
    with torch.no_grad():
        for p in gan.ema.parameters():
            p.add_(0.05)
    assert not torch.equal(sampled(gan, 4, 0), before)


# --- the schedule


def test_generator_moves_every_nth_step_alone():
    data = tiny_data()
    gan = learner(data, learner__n_critic=3)
    moved = []
    for images in range(0, 4 * 9, 4):
        g, d = state_of(gan.generator), state_of(gan.critic)
        metrics = gan.step(batch(data, images))
        moved.append(not same(g, state_of(gan.generator)))
        assert ("generator_loss" in metrics) == moved[-1]
        assert not same(d, state_of(gan.critic))
    assert moved == [False, False, True] * 3
    assert gan.generator_updates == 3


def test_schedule_goes_on_across_a_resume():
    data = tiny_data()
    undisturbed, first = learner(data, learner__n_critic=3), learner(data, learner__n_critic=3)
    for images in range(0, 28, 4):
        undisturbed.step(batch(data, images))
    for images in range(0, 16, 4):  # stops one step after a generator update
        first.step(batch(data, images))
    second = learner(data, learner__n_critic=3, seed=9)  # other initial weights: all must come from the state
    second.seed = 0
    second.load_state_dict(first.state_dict())
    for images in range(16, 28, 4):
        second.step(batch(data, images))
    assert second.generator_updates == undisturbed.generator_updates == 2
    for name in ("generator", "critic", "ema"):
        assert same(state_of(getattr(second, name)), state_of(getattr(undisturbed, name)))


def test_critic_is_untouched_by_the_generator_s_update():
    data = tiny_data()
    gan = learner(data)
    before = state_of(gan.critic)
    gan.generator_step(batch(data))
    assert same(before, state_of(gan.critic))
    assert all(p.requires_grad for p in gan.critic.parameters())
