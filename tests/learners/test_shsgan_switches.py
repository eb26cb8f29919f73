"""Every switch of the configuration; samples and randomness."""

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from hyperderm.errors import ConfigError
from tests.training.tiny import batch, learner, same, sampled, state_of, tiny, tiny_data

SWITCHES = list(
    itertools.product(
        ("conv3d", "conv2d"),
        (True, False),
        ("none", "spectral", "layer", "batch"),
        ("wgan_gp", "wgan_clip", "hinge", "bce"),
    )
)


@pytest.mark.parametrize(("critic", "fft_arm", "norm", "loss"), SWITCHES)
def test_every_switch_takes_two_steps(critic, fft_arm, norm, loss):
    choice = {
        "learner__critic": critic,
        "learner__fft_arm": fft_arm,
        "learner__norm": norm,
        "learner__loss": loss,
        "learner__n_critic": 1,
    }
    if norm == "batch" and loss == "wgan_gp":
        with pytest.raises(ConfigError, match="couple the samples"):
            tiny(**choice)
        return
    data = DATA
    gan = learner(data, **choice)
    before = state_of(gan.generator), state_of(gan.critic)
    for images in (0, 4):
        metrics = gan.step(batch(data, images))
        assert all(torch.isfinite(value) for value in metrics.values())
    for module, old in zip((gan.generator, gan.critic), before, strict=True):
        for name, p in module.named_parameters():
            needless = float(p.grad.abs().max()) < 1e-12  # a bias that the norm after it takes away again
            assert needless or not torch.equal(p.detach(), old[name]), name
    assert torch.isfinite(sampled(gan, 2, 0)).all()


DATA = tiny_data()


@pytest.mark.parametrize(("size", "near"), [(20, 16), (100, 96)])
def test_sizes_the_generator_cannot_make_are_refused(size, near):
    with pytest.raises(ConfigError, match=f"data.size = {size} is refused.* such as {near}$"):
        tiny(data__size=size)


def test_too_few_bands_for_the_3d_critic_are_refused():
    data = tiny_data(bands=5)
    with pytest.raises(ConfigError, match="at least 7 bands, the store has 5"):
        learner(data)
    learner(data, learner__critic="conv2d").step(batch(data))


def test_clipping_bounds_every_critic_weight():
    data = tiny_data()
    gan = learner(data, learner__loss="wgan_clip", learner__clip=0.01)
    assert isinstance(gan.d_optimizer, torch.optim.RMSprop)
    gan.step(batch(data))
    assert max(float(p.detach().abs().max()) for p in gan.critic.parameters()) <= 0.01
    assert max(float(p.detach().abs().max()) for p in gan.generator.parameters()) > 0.01


# --- sampling and randomness


def test_samples_are_keyed_on_the_seed():
    gan = learner()
    one = sampled(gan, 30, 5)  # more than there are train cubes
    assert one.shape == (30, 16, 16, 16)
    assert one.dtype == torch.float32
    assert torch.equal(one, sampled(gan, 30, 5))
    assert not torch.equal(one, sampled(gan, 30, 6))


def test_validation_uses_each_train_picture_before_any_again():
    rows = learner()._drawn(30, 0)  # of 12 train cubes
    counts = torch.unique(rows, return_counts=True)[1]
    assert len(counts) == 12
    assert set(counts.tolist()) == {2, 3}


def test_samples_are_reflectance():
    data = tiny_data()
    cubes = sampled(learner(data), 8, 0)
    low, high = data.scaling.low.float()[:, None, None], data.scaling.high.float()[:, None, None]
    assert (cubes >= low - 1e-5).all()
    assert (cubes <= high + 1e-5).all()


def test_the_global_generator_is_neither_read_nor_moved():
    data = tiny_data()

    def run(seed: int) -> dict[str, Tensor]:
        torch.manual_seed(seed)
        np.random.seed(seed)
        before = torch.get_rng_state()
        gan = learner(data)
        for images in (0, 4):
            gan.step(batch(data, images))
        gan.validate()
        sampled(gan, 3, 1)
        assert torch.equal(before, torch.get_rng_state())
        return state_of(gan.generator) | {f"critic.{k}": v for k, v in state_of(gan.critic).items()}

    assert same(run(1), run(2))


def test_seeds_give_other_weights():
    assert not same(state_of(learner(seed=0).generator), state_of(learner(seed=1).generator))
