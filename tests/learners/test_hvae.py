"""The hierarchical variational autoencoder as a learner: its loss, updates that are left out, what it rebuilds and makes."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hyperderm.config import DataConfig, Experiment, TrainingConfig
from hyperderm.errors import ConfigError
from hyperderm.learners.average import gradient_norm
from hyperderm.learners.base import Compute
from hyperderm.learners.data import TrainData
from hyperderm.learners.hvae import HvaeConfig
from hyperderm.learners.hvae.learner import Hvae
from hyperderm.learners.spec import Drawing
from hyperderm.training.checkpoint import CheckpointFolder
from hyperderm.training.context import Context
from hyperderm.training.stream import feed_of
from tests.learning import built
from tests.training.tiny import CPU, batch, same, state_of, tiny_data


def experiment(**values: object) -> Experiment:
    made = Experiment(
        name="tiny",
        profile="small",
        data=DataConfig(size=16, diagnoses="all"),
        learner=HvaeConfig(generator_width=16, blocks=1, latent_channels=2, lr=3e-3),
        training=TrainingConfig(batch_size=4, images=48, validate_every=16, validation_samples=8),
    )
    return made.override({path.replace("__", "."): value for path, value in values.items()})


def hvae(data: TrainData | None = None, **values: object) -> Hvae:
    return built(experiment(**values), data or tiny_data(), Compute(CPU))


def test_its_loss_is_reconstruction_and_weighted_kl_of_all_resolutions():
    metrics = hvae(learner__kl_weight=0.5).step(batch(tiny_data()))
    assert float(metrics["loss"]) == pytest.approx(float(metrics["reconstruction"] + 0.5 * metrics["kl"]))
    parts = [float(metrics[f"kl_at_{side}"]) for side in (1, 4, 8, 16)]
    assert float(metrics["kl"]) == pytest.approx(sum(parts))
    assert min(parts) > 0
    assert metrics["skipped"] == 0


def test_an_update_by_too_large_gradients_is_left_out():
    data, one = tiny_data(), hvae(learner__skip=1e-6)
    before = {name: state_of(network) for name, network in {**one.modules, "ema": one.ema}.items()}
    assert one.step(batch(data))["skipped"] == 1
    assert all(same(state_of(network), before[name]) for name, network in {**one.modules, "ema": one.ema}.items())
    assert one.generator_updates == 0
    assert not one.optimizer.state_dict()["state"]


def test_an_update_by_gradients_that_are_not_numbers_is_left_out():
    one = hvae()
    before = state_of(one.generator)
    data = tiny_data()
    broken = replace(batch(data), draw_real=lambda: torch.full((4, 16, 16, 16), torch.nan))
    assert one.step(broken)["skipped"] == 1
    assert same(state_of(one.generator), before)


def test_gradients_of_both_networks_together_are_shortened():
    one = hvae(learner__clip=1e-3)
    metrics = one.step(batch(tiny_data()))
    whole = float(metrics["encoder_gradient"].square() + metrics["generator_gradient"].square()) ** 0.5
    assert whole > 1e-3
    now = [float(gradient_norm(network)) for network in one.modules.values()]
    assert sum(value**2 for value in now) ** 0.5 == pytest.approx(1e-3, rel=1e-3)
    assert one.generator_updates == 1


def test_held_out_cubes_are_rebuilt_by_the_average_and_better_after_training():
    data, one = tiny_data(train=24), hvae(tiny_data(train=24), learner__ema_images=16.0)
    before = one.validate()
    feed = feed_of(one.run, data, Context(CheckpointFolder(Path()), device=CPU))
    for images in range(0, 320, 4):
        one.step(feed.batch(images))
    after = one.validate()
    held, made = after.rebuilt
    torch.testing.assert_close(held, data.validation.reflectance[: len(held)], rtol=1e-5, atol=1e-6)
    error = (data.scaling.forward(made) - data.scaling.forward(held)).abs().mean()
    assert len(held) == len(data.validation)
    assert after.scores["held_out_reconstruction"] == pytest.approx(float(error), rel=1e-4)
    assert after.scores["held_out_reconstruction"] < 0.5 * before.scores["held_out_reconstruction"]
    assert after.scores["held_out_kl"] > 0
    assert one.modules["encoder"].training


def test_truncation_draws_cubes_towards_the_middle_of_the_prior():
    one = hvae()
    one.step(batch(tiny_data()))
    whole, sampler = one.sample(3, range(6), None), one.sampler()
    spread = [whole.std(0).mean()]
    for truncation in (1.0, 0.05):
        sampler.drawing = Drawing(truncation=truncation)
        spread.append(sampler.sample(3, range(6), None).std(0).mean())
    assert spread[0] > 1.2 * spread[1] > 1.2 * 10 * spread[2] > 0


def test_a_fold_with_one_class_is_refused():
    with pytest.raises(ConfigError, match=r"in fold 0, whose train role holds melanoma alone, is refused"):
        hvae(learner__conditioning="class")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"data__size": 48}, "data.size = 48 is refused: the hierarchical VAE doubles"),
        ({"learner__noise_dim": 8}, "unknown configuration key 'learner.noise_dim'"),
        ({"learner__kl_weight": -1.0}, "learner.kl_weight = -1.0 is refused"),
        ({"learner__blocks": 0}, "learner.blocks = 0 is refused"),
    ],
)
def test_refusals(values, message):
    with pytest.raises(ConfigError, match=message):
        experiment(**values)
