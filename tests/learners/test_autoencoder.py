"""The spectral autoencoder as a learner: what it learns from, what is scored, and how it is used again."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hyperderm.config import DataConfig, Experiment, TrainingConfig
from hyperderm.errors import ConfigError
from hyperderm.learners.base import Compute
from hyperderm.learners.data import TrainData
from hyperderm.learners.scaling import Scaling
from hyperderm.learners.spectral_autoencoder import AutoencoderConfig
from hyperderm.learners.spectral_autoencoder.learner import Autoencoder
from hyperderm.training.checkpoint import CheckpointFolder
from hyperderm.training.context import Context
from hyperderm.training.stream import feed_of
from tests.learners.test_unmixer import NM, scene
from tests.training.tiny import CPU


def configured(size: int = 20, **settings) -> Experiment:
    return Experiment(
        name="scene",
        profile="small",
        data=DataConfig(size=size, diagnoses="all"),
        learner=AutoencoderConfig(**{"zdims": 3, "pixels": 64} | settings),
        training=TrainingConfig(batch_size=1, images=8, validate_every=8, precision="fp32"),
    )


def trained(cubes, steps: int, held=None, **settings) -> Autoencoder:
    experiment = configured(**settings)
    data = TrainData(cubes, cubes, NM, Scaling.fit(cubes.reflectance), held_out=held)
    learner = Autoencoder(experiment.learner, experiment, data, Compute(CPU))
    feed = feed_of(experiment, data, Context(CheckpointFolder(Path()), device=CPU))
    for step in range(steps):
        learner.step(feed.batch(step))
    return learner


@pytest.mark.parametrize("settings", [{}, {"normalisation": "range"}, {"resample": 32}])
def test_it_rebuilds_what_it_learnt(settings):
    learner = trained(scene(), 150, **settings)
    scores = learner.validate().scores
    assert scores["held_out_loss"] < 0.4 * scores["loss_of_mean_spectrum"]
    assert scores["held_out_loss"] == pytest.approx(sum(scores[f"held_out_{each}"] for each in ("mse", "angle", "gradient")))
    spectra = scene().reflectance[0].flatten(1).T
    latent = learner.encode(spectra)
    assert latent.shape == (400, 3)
    rebuilt = learner.decode(latent)
    real = spectra if settings.get("normalisation") == "range" else torch.nn.functional.normalize(spectra, dim=1)
    assert (rebuilt - real).square().mean() < 0.25 * real.var(0).mean()


def test_held_out_pixels_teach_nothing_and_are_all_that_is_scored():
    held = torch.zeros(1, 20, 20, dtype=torch.bool)
    held[:, 4:8, 4:8] = True
    one = scene()
    changed = replace(one, reflectance=torch.where(held[:, None], 0.5 * one.reflectance + 0.3, one.reflectance))
    a, b = (trained(each, 5, held) for each in (one, changed))
    for name, value in a.network.state_dict().items():
        assert torch.equal(value, b.network.state_dict()[name]), name
    assert a.validate().scores["held_out_loss"] != b.validate().scores["held_out_loss"]
    elsewhere = replace(one, reflectance=torch.where(held[:, None], one.reflectance, 0.7 * one.reflectance.flip(1)))
    before = a.validate().scores
    a.data = replace(a.data, validation=elsewhere)
    assert a.validate().scores == before


def test_its_normalisation_is_part_of_its_state():
    learner, other = trained(scene(), 3), trained(scene(1), 1)
    other.load_state_dict(learner.state_dict())
    spectra = scene().reflectance[0].flatten(1).T
    assert torch.equal(learner.encode(spectra), other.encode(spectra))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"mse_weight": 0, "angle_weight": 0, "gradient_weight": 0}, "are all 0: nothing is learnt"),
        ({"mse_weight": -1}, "greater than or equal to 0"),
        ({"zdims": 0}, "greater than or equal to 1"),
        ({"pixels": 1}, "one spectrum has no statistics of a batch"),
    ],
)
def test_settings_that_are_refused(settings, said):
    with pytest.raises((ConfigError, ValueError), match=said):
        configured(**settings)
