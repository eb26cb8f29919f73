"""The spectral autoencoder as a learner: what it learns from, what is scored, and how it is used again."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hyperderm.config import DataConfig, Experiment, TrainingConfig
from hyperderm.errors import ConfigError
from hyperderm.learners.base import Compute
from hyperderm.learners.data import TrainData
from hyperderm.learners.held_out_pixels import held_out_blocks
from hyperderm.learners.scaling import Scaling
from hyperderm.learners.spectral_autoencoder import AutoencoderConfig
from hyperderm.learners.spectral_autoencoder.coder import SpectralCoder
from hyperderm.learners.spectral_autoencoder.learner import Autoencoder, one_cycle
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


def test_a_cycle_is_that_of_torch():
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.Adam([weight], 1.0)
    steps = 101
    reference = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.0, steps, pct_start=31 / 101, cycle_momentum=False)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        reference.step() if len(rates) < steps else None
    assert [one_cycle(step / 100) for step in range(steps)] == pytest.approx(rates, abs=1e-6)


def test_the_rate_depends_on_the_images_alone():
    learner = trained(scene(), 5, schedule="cycle")
    assert learner.optimizer.param_groups[0]["lr"] == pytest.approx(learner.config.lr * one_cycle(4 / 8))
    assert trained(scene(), 5).optimizer.param_groups[0]["lr"] == learner.config.lr


@pytest.mark.parametrize("normalisation", ["l2", "range"])
def test_a_coder_of_a_checkpoint_rebuilds_as_its_learner(normalisation):
    learner = trained(scene(), 40, normalisation=normalisation)
    coder = SpectralCoder.of(learner.config, len(NM), learner.state_dict())
    spectra = 3 * scene().reflectance[0].flatten(1).T
    assert torch.equal(coder.encode(spectra), learner.encode(spectra))
    assert torch.equal(coder.decode(coder.encode(spectra)), learner.decode(learner.encode(spectra)))
    rebuilt = coder.rebuild(spectra)
    if normalisation == "l2":
        assert torch.allclose(rebuilt.norm(dim=1), spectra.norm(dim=1), rtol=1e-5)
        shapes = torch.nn.functional.normalize(coder.decode(coder.encode(spectra)), dim=1)
        assert torch.allclose(torch.nn.functional.normalize(rebuilt, dim=1), shapes, atol=1e-5)
    else:
        assert torch.equal(rebuilt, coder.decode(coder.encode(spectra)))


def test_blocks_of_an_oblong_scene():
    (held,) = held_out_blocks(["scene"], (20, 43))
    assert held.shape == (20, 43)
    assert held.sum() == 21 * 4  # a tenth of 10 x 21 blocks of 2 x 2 pixels
    assert not held[:, 42].any()
    blocks = held[:, :42].reshape(10, 2, 21, 2)
    assert torch.equal(blocks.all(3).all(1), blocks.any(3).any(1))
    assert torch.equal(held_out_blocks(["scene"], (20, 20)), held_out_blocks(["scene"], 20))
