"""The variational autoencoder as a learner: its loss, what it rebuilds, refusals."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hyperderm.config import DataConfig, Experiment, TrainingConfig
from hyperderm.errors import ConfigError
from hyperderm.learners.base import Compute
from hyperderm.learners.data import TrainData
from hyperderm.learners.vae import VaeConfig
from hyperderm.learners.vae.learner import Vae
from hyperderm.training.checkpoint import CheckpointFolder
from hyperderm.training.context import Context
from hyperderm.training.stream import feed_of
from tests.learning import built
from tests.training.tiny import CPU, batch, tiny_data


def experiment(**values: object) -> Experiment:
    made = Experiment(
        name="tiny",
        profile="small",
        data=DataConfig(size=16, diagnoses="all"),
        learner=VaeConfig(generator_width=8, encoder_width=8, noise_dim=8, lr=3e-3),
        training=TrainingConfig(batch_size=4, images=48, validate_every=16, validation_samples=8),
    )
    return made.override({path.replace("__", "."): value for path, value in values.items()})


def vae(data: TrainData | None = None, **values: object) -> Vae:
    return built(experiment(**values), data or tiny_data(), Compute(CPU))


def test_its_loss_is_reconstruction_and_weighted_kl():
    metrics = vae(learner__kl_weight=0.5).step(batch(tiny_data()))
    assert float(metrics["loss"]) == pytest.approx(float(metrics["reconstruction"] + 0.5 * metrics["kl"]))
    assert float(metrics["kl"]) > 0


def test_held_out_cubes_are_rebuilt_by_the_average_and_better_after_training():
    data, one = tiny_data(train=24), vae(tiny_data(train=24), learner__ema_images=16.0)
    before = one.validate()
    feed = feed_of(one.run, data, Context(CheckpointFolder(Path()), device=CPU))
    for images in range(0, 800, 4):
        one.step(feed.batch(images))
    after = one.validate()
    held, made = after.rebuilt
    torch.testing.assert_close(held, data.validation.reflectance[: len(held)], rtol=1e-5, atol=1e-6)
    assert made.shape == held.shape
    error = (data.scaling.forward(made) - data.scaling.forward(held)).abs().mean()
    assert len(held) == len(data.validation)
    assert after.scores["held_out_reconstruction"] == pytest.approx(float(error), rel=1e-4)
    assert after.scores["held_out_reconstruction"] < 0.5 * before.scores["held_out_reconstruction"]
    assert one.modules["encoder"].training


def test_only_known_classes_are_rebuilt():
    data = tiny_data()
    train = replace(data.train, diagnoses=("melanoma", "nevus") * 6)
    names = ("melanoma", "solar_lentigo", "nevus") * 2
    data = replace(data, train=train, validation=replace(data.validation, diagnoses=names))
    held, _ = vae(data, learner__conditioning="class").rebuilt()
    assert torch.allclose(held, data.validation.reflectance[[0, 2, 3, 5]], atol=1e-6)


def test_a_fold_with_one_class_is_refused():
    with pytest.raises(ConfigError, match=r"in fold 0, whose train role holds melanoma alone, is refused"):
        vae(learner__conditioning="class")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"data__size": 48}, "data.size = 48 is refused: the VAE doubles"),
        ({"sweep__workers_per_trial": 2}, "norm = batch with 2 workers is refused"),
        ({"training__batch_size": 1}, "norm = batch with training.batch_size = 1 is refused"),
        ({"learner__kl_weight": -1.0}, "learner.kl_weight = -1.0 is refused"),
    ],
)
def test_refusals(values, message):
    with pytest.raises(ConfigError, match=message):
        experiment(**values)
