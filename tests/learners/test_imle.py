"""RS-IMLE as a learner: it learns, covers two modes, matches by class and flip, goes on, and shares a batch."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hyperderm.config import DataConfig, Experiment, TrainingConfig
from hyperderm.errors import ConfigError
from hyperderm.learners.base import Batch, Compute
from hyperderm.learners.data import TrainData
from hyperderm.learners.imle import ImleConfig
from hyperderm.learners.imle.learner import Imle
from hyperderm.learners.scaling import Scaling
from hyperderm.phantom.rendering import phantom
from hyperderm.training.checkpoint import CheckpointFolder
from hyperderm.training.context import Context
from hyperderm.training.stream import check_streams, feed_of
from tests.learning import built
from tests.training.tiny import CPU, batch, blobs, cube_set, tiny_data


def experiment(size: int = 16, flips: bool = False, batch_size: int = 4, **settings: Any) -> Experiment:
    small = {"generator_width": 4, "noise_dim": 10, "pool_factor": 5, "ema_images": 100.0}
    return Experiment(
        name="tiny",
        profile="small",
        data=DataConfig(size=size, diagnoses="all", flips=flips),
        learner=ImleConfig(**(small | settings)),
        training=TrainingConfig(
            batch_size=batch_size, images=48, validate_every=16, validation_samples=48, precision="fp32"
        ),
    )


def imle(made: Experiment, data: TrainData, dtype: torch.dtype = torch.float32) -> Imle:
    learner: Imle = built(made, data, Compute(CPU, dtype))
    return learner


def trained(made: Experiment, data: TrainData, steps: int) -> tuple[Imle, list[dict[str, float]]]:
    learner, size = imle(made, data), made.training.batch_size
    feed = feed_of(made, data, Context(CheckpointFolder(Path()), device=CPU))
    told = [{k: float(v) for k, v in learner.step(feed.batch(step * size)).items()} for step in range(steps)]
    return learner, told


def of(train: Tensor, validation: Tensor, names: tuple[str, ...] = ()) -> TrainData:
    role = cube_set(train, "train")
    wavelengths = tuple(np.linspace(465.0, 630.0, train.shape[1]).tolist())
    return TrainData(replace(role, diagnoses=names or role.diagnoses), cube_set(validation), wavelengths, Scaling.fit(train))


def two_modes(dark: int, bright: int) -> TrainData:
    """Cubes of two clusters that lie far apart: 0.3 and 1 times as bright, the dark ones first."""
    cubes = blobs(dark + bright) * torch.tensor([0.3] * dark + [1.0] * bright)[:, None, None, None]
    return of(cubes, cubes, ("melanoma",) * dark + ("nevus",) * bright)


def test_it_is_far_better_than_untrained_on_phantom_lesions():
    made = [np.moveaxis(one.lesion.cube.reflectance, 2, 0) for one in phantom(36, 16, 0)]
    cubes = torch.from_numpy(np.stack(made))
    data = of(cubes[:24], cubes[24:])
    settings = experiment(batch_size=8, generator_width=8, pool_factor=10, lr=3e-3)
    before = imle(settings, data).validate().scores["spectral_energy_distance"]
    learner, told = trained(settings, data, 200)
    after = learner.validate().scores
    assert after["spectral_energy_distance"] < before / 5
    assert after["spectral_energy_distance"] < after["score_of_mean_cube"] / 2
    assert told[-1]["squared_distance"] < 0.3 * told[0]["squared_distance"]


@pytest.mark.parametrize("dark", [8, 4])
def test_both_modes_get_samples(dark):
    """A generator that collapses gives all its samples to one of them, or makes their mean."""
    data = two_modes(dark, 16 - dark)
    made = experiment(lr=3e-3, generator_width=16, pool_factor=10, refresh_epochs=5.0, batch_size=8)
    learner, _ = trained(made, data, 300)
    brightness = learner.sample(5, range(100), None).mean((1, 2, 3))
    real = data.train.reflectance.mean((1, 2, 3))
    lower, upper = float(real[:dark].max()) * 1.3, float(real[dark:].min()) / 1.3
    assert lower < upper
    shares = [float((brightness < lower).double().mean()), float((brightness > upper).double().mean())]
    assert min(shares) > 0.1
    assert sum(shares) > 0.8


def test_each_class_is_matched_and_asked_for_alone():
    data = two_modes(8, 8)
    made = experiment(lr=3e-3, generator_width=16, refresh_epochs=5.0, batch_size=8, conditioning="class")
    learner, _ = trained(made, data, 250)
    assert learner.classes == ("melanoma", "nevus")
    real = data.train.reflectance.mean((1, 2, 3))
    middle = (real[:8].max() + real[8:].min()) / 2
    shares = []
    for number in (0, 1):
        brightness = learner.sample(5, range(40), torch.full((40,), number)).mean((1, 2, 3))
        shares.append(float((brightness < middle).double().mean()))
    assert shares[0] - shares[1] > 0.5  # of two classes that are one, or that nobody tells apart, it is 0


def matched(learner: Imle) -> Tensor:
    """The distance of every train cube to the sample that it is matched with."""
    with torch.no_grad():
        everything = torch.arange(learner.data.rows)
        real = learner.distance.features(learner.real_cubes(everything))
        labels = (learner.kinds,) if learner.classes else ()
        made = learner.distance.features(learner.generator(learner.latents.to(real), *labels))
    return (made - real).square().sum(1).sqrt()


@pytest.mark.parametrize("conditioning", ["none", "class"])
def test_a_matched_sample_is_the_nearest_of_the_pool_that_is_far_enough(conditioning):
    data = two_modes(6, 6)
    learner = imle(experiment(epsilon_factor=0.0, conditioning=conditioning, pool_factor=10), data, torch.float64)
    learner.match(0)
    nearest = matched(learner)
    assert learner.rejected == 0
    learner.epsilon = float(nearest.min()) * 1.001
    learner.match(0)
    assert 0 < learner.rejected < 0.9
    assert (matched(learner) >= learner.epsilon).all()
    assert (matched(learner) >= nearest).all()
    assert 0 < learner.distinct <= 1


def test_a_matching_stays_until_the_next_one_and_pulls():
    made = experiment(refresh_epochs=30.0, lr=5e-3, generator_width=16, pixel_weight=0.0)  # pixels have noise
    learner, told = trained(made, tiny_data(), 80)
    assert learner.period == 0
    first = learner.latents
    again = imle(made, tiny_data())
    again.match(0)
    assert torch.equal(first, again.latents)
    assert np.mean([each["squared_distance"] for each in told[-3:]]) < 0.5 * told[0]["squared_distance"]
    feed = feed_of(made, tiny_data(), Context(CheckpointFolder(Path()), device=CPU))
    learner.step(feed.batch(30 * 12))
    assert learner.period == 1
    assert not torch.equal(first, learner.latents)


def test_epsilon_is_measured_in_the_train_cubes():
    plain, wide = imle(experiment(), tiny_data()), imle(experiment(epsilon_factor=3.0), tiny_data())
    assert wide.epsilon == pytest.approx(6 * plain.epsilon)
    assert 0.02 < plain.epsilon < 1  # the mean squared distance of two train cubes is 1
    assert imle(experiment(epsilon_factor=0.0), tiny_data()).epsilon == 0


def test_a_cube_is_flipped_in_one_way_until_the_next_matching():
    data = tiny_data()
    still, turned = (imle(experiment(flips=flips), data) for flips in (False, True))
    everything = torch.arange(12)
    scaled = data.scaling.forward(data.train.reflectance)
    assert torch.equal(still.real_cubes(everything), scaled)
    ways = [scaled, scaled.flip(-1), scaled.flip(-2), scaled.flip(-1).flip(-2)]
    seen = []
    for turned.period in range(8):
        cubes = turned.real_cubes(everything)
        assert torch.equal(turned.real_cubes(torch.tensor([7, 2])), cubes[[7, 2]])
        seen.append([next(k for k, way in enumerate(ways) if torch.equal(cube, way[i])) for i, cube in enumerate(cubes)])
    assert len({tuple(each) for each in seen}) == 8
    assert {way for each in seen for way in each} == {0, 1, 2, 3}


def part(whole: Batch, share: slice) -> Batch:
    return replace(whole, share=share, rows=whole.rows[share], labels=whole.labels[share])


def test_workers_match_alike_and_their_losses_are_those_of_one():
    data = tiny_data()
    made = experiment(flips=True)
    whole = batch(data)
    one, first, second = (imle(made, data, torch.float64) for _ in range(3))
    told = one.step(whole)
    parts = [learner.step(part(whole, share)) for learner, share in ((first, slice(0, 2)), (second, slice(2, 4)))]
    assert torch.equal(one.latents, first.latents)
    assert torch.equal(one.latents, second.latents)
    mean = sum(float(each["squared_distance"]) for each in parts) / 2
    assert mean == pytest.approx(float(told["squared_distance"]), rel=1e-12)
    grads = zip(one.generator.parameters(), first.generator.parameters(), second.generator.parameters(), strict=True)
    for a, b, c in grads:
        assert a.grad is not None
        assert b.grad is not None
        assert c.grad is not None
        torch.testing.assert_close(a.grad, (b.grad + c.grad) / 2)


def test_it_cannot_be_streamed():
    with pytest.raises(ConfigError, match=r"learner.kind = imle cannot be fed by a stream: it is fitted to all of train"):
        check_streams(experiment())


def test_sizes_that_cannot_be_built_are_refused():
    with pytest.raises(ConfigError, match=r"data.size = 20 is refused: the generator of RS-IMLE doubles a map"):
        experiment().override({"data.size": 20})


def test_showings_between_matchings_that_cannot_be_counted_are_refused():
    with pytest.raises(ConfigError, match=r"learner.refresh_epochs = 1e-320 is refused: it should be greater than or equal"):
        experiment().override({"learner.refresh_epochs": 1e-320})


def test_the_memory_of_a_matching_is_counted():
    few, many = (experiment(pool_factor=factor).learner.scoring_bytes(256, 16, 100, 10) for factor in (1, 3))
    assert many - few == 3 * 2 * 100 * 100 * 4
