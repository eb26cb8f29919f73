"""The diffusion generator as a learner: what it is told, what it learns, what it saves, and what is refused."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from hyperderm.config import DataConfig, Experiment, TrainingConfig
from hyperderm.errors import ConfigError
from hyperderm.learners.base import Compute
from hyperderm.learners.data import TrainData
from hyperderm.learners.diffusion import DiffusionConfig
from hyperderm.learners.diffusion.learner import Diffusion, load
from hyperderm.learners.diffusion.networks import UNTOLD
from hyperderm.learners.spec import Drawing, Request
from hyperderm.training.checkpoint import CheckpointFolder
from hyperderm.training.context import Context
from hyperderm.training.resume import pack
from hyperderm.training.run import load_sampler
from hyperderm.training.stream import feed_of
from tests.learning import built
from tests.training.tiny import CPU, batch, tiny_data

TOLD = {"learner__conditioning": "class"}


def experiment(**values: object) -> Experiment:
    made = Experiment(
        name="tiny",
        profile="small",
        data=DataConfig(size=16, diagnoses="all"),
        learner=DiffusionConfig(generator_width=8, multipliers=(1, 2), layers=1, sampling_steps=4, lr=3e-3),
        training=TrainingConfig(batch_size=4, images=48, validate_every=16, validation_samples=8),
    )
    return made.override({path.replace("__", "."): value for path, value in values.items()})


def diffusion(data: TrainData | None = None, **values: object) -> Diffusion:
    return built(experiment(**values), data or tiny_data(), Compute(CPU))


def mixed() -> TrainData:
    data = tiny_data(train=24)
    return replace(data, train=replace(data.train, diagnoses=("melanoma", "nevus") * 12))


def saved(one: Diffusion, data: TrainData) -> dict[str, Any]:
    return pack(one, one.run, data, Context(CheckpointFolder("."), device=CPU, provenance={"run": "r"}))


@pytest.mark.parametrize("process", ["edm", "flow", "ddpm"])
def test_it_learns_to_undo_noise_and_both_curves_are_kept(process):
    """On bands as they are: most principal components of these cubes are white noise, of which nothing can be learnt."""
    data = tiny_data(train=24)
    one = diffusion(data, learner__process=process, learner__ema_images=64.0, learner__standardise="none")
    before = one.validate().scores
    feed = feed_of(one.run, data, Context(CheckpointFolder("."), device=CPU))
    for images in range(0, 320, 4):
        one.step(feed.batch(images))
    after = one.validate().scores
    for name in ("denoising_train", "denoising_held_out"):
        assert after[name] < 0.8 * before[name]
    assert one.curves == [
        (0, before["denoising_train"], before["denoising_held_out"]),
        (80, after["denoising_train"], after["denoising_held_out"]),
    ]
    assert one.validate().scores == after  # the same noise at the same levels
    assert len(one.curves) == 2


def test_the_same_cubes_in_both_roles_have_the_same_loss_whatever_the_role():
    data = tiny_data()
    data = replace(data, validation=data.train)
    one = diffusion(data)
    scores = one.validate().scores
    assert scores["denoising_train"] == scores["denoising_held_out"]


def test_it_has_parted_when_its_curves_have():
    one = diffusion()
    assert not one.parted
    one.curves = [(at, 1 / (at + 1), 1 / (at + 1) if at < 5 else 1 + at) for at in range(8)]
    assert one.parted
    other = diffusion()
    other.load_state_dict(one.state_dict())
    assert other.parted


def test_updates_end_when_the_curves_part_and_do_so_again_after_a_checkpoint():
    data = tiny_data()
    one, goes_on = diffusion(data), diffusion(data, learner__stop_when_parted=False)
    curve = [(at, 1 / (at + 1), 1 / (at + 1) if at < 5 else 1 + at) for at in range(8)]
    feed = feed_of(one.run, data, Context(CheckpointFolder("."), device=CPU))
    assert one.step(feed.batch(0))["stopped"] == 0
    goes_on.step(feed.batch(0))
    last = one.validate()
    one.curves, goes_on.curves = list(curve), list(curve)
    assert one.step(feed.batch(4))["stopped"] == 0  # until a validation may have seen it
    weights = {name: value.clone() for name, value in one.generator.state_dict().items()}
    told = one.step(feed.batch(16))
    assert told["stopped"] == 1
    assert float(told["denoising"]) == pytest.approx(1 / 8)
    assert all(torch.equal(value, weights[name]) for name, value in one.generator.state_dict().items())
    assert one.validate() is last
    again = diffusion(data)
    again.load_state_dict(one.state_dict())
    assert again.step(feed.batch(20))["stopped"] == 1
    assert goes_on.step(feed.batch(16))["stopped"] == 0


def test_one_worker_that_saw_it_stops_all():
    told: list[float] = []

    def mean(value: torch.Tensor) -> torch.Tensor:
        told.append(float(value))
        return torch.tensor(0.5)  # of two workers, the other one has seen the curves part

    data = tiny_data()
    made = experiment()
    one = built(made, data, Compute(CPU, mean=mean))
    feed = feed_of(made, data, Context(CheckpointFolder("."), device=CPU))
    assert one.step(feed.batch(0))["stopped"] == 1
    assert told == [0.0]


def test_a_step_says_the_loss_of_its_batch():
    """Before the first update, by hand: the mean over the batch of the squared difference from the target."""
    data = tiny_data()
    one, two = diffusion(data), diffusion(data, learner__loss="l1")
    first = batch(data)
    x = one.generator.forth(first.real)
    levels = one.process.levels(one._rows(first, "level", (), normal=True))
    noised = one.process.noised(x, one._rows(first, "noise", tuple(x.shape[1:]), normal=True), levels)
    with torch.no_grad():
        difference = one.generator(noised.given, noised.time) - noised.target
    assert float(one.step(first)["denoising"]) == pytest.approx(float(difference.square().mean()), rel=1e-5)
    assert float(two.step(first)["denoising"]) == pytest.approx(float(difference.abs().mean()), rel=1e-5)


def test_the_share_of_cubes_that_are_told_nothing():
    first, one = batch(mixed()), diffusion(mixed(), learner__class_dropout=0.3, **TOLD)
    told = torch.cat([one._told(replace(first, images=images)) for images in range(0, 4000, 4)])
    assert float((told == UNTOLD).double().mean()) == pytest.approx(0.3, abs=0.02)
    assert set(told.tolist()) == {UNTOLD, 0, 1}


def test_guidance_moves_samples_away_from_what_classes_share():
    data = mixed()
    one = diffusion(data, learner__class_dropout=0.3, **TOLD)
    torch.nn.init.normal_(one.ema.classes.weight)
    sampler, z = one.sampler(), torch.randn(2, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    found = {}
    for guidance in (0.0, 1.0, 1.001, 1.5):
        sampler.config = one.config.model_copy(update={"guidance": guidance})
        with torch.no_grad():
            found[guidance] = [sampler.call((z, torch.tensor([5, 6]), torch.full((2,), y))) for y in (0, 1, UNTOLD)]
    assert torch.equal(found[0.0][0], found[0.0][1])
    torch.testing.assert_close(found[0.0][0], found[1.0][2])
    assert not torch.allclose(found[1.0][0], found[1.0][1])
    torch.testing.assert_close(found[1.001][0], found[1.0][0], atol=0.02, rtol=0)
    assert float((found[1.5][0] - found[1.5][1]).norm()) > float((found[1.0][0] - found[1.0][1]).norm())


def test_augmented_batches_are_told_so():
    """With an augmentation of every cube, no network sees labels of zero; without, all see them."""
    for probability, zero in ((1.0, False), (0.0, True)):
        one, seen = diffusion(learner__augment=probability), []
        one.generator.register_forward_pre_hook(lambda _, given, seen=seen: seen.append(given[3]))
        one.step(batch(tiny_data()))
        assert [bool((each == 0).all()) for each in seen] == [zero]


def test_unknown_diagnoses_are_not_denoised():
    data = mixed()
    held = replace(data.validation, diagnoses=("solar_lentigo",) * len(data.validation))
    scores = diffusion(replace(data, validation=held), **TOLD).validate().scores
    assert not {"denoising_train", "denoising_held_out"} & set(scores)


def test_a_checkpoint_of_another_size_or_of_half_its_weights_is_refused():
    data = mixed()
    one = diffusion(data, **TOLD)
    state = saved(one, data)
    wider = one.config.model_copy(update={"generator_width": 16})
    with pytest.raises(RuntimeError, match="size mismatch"):
        load(wider, one.run, state, "cpu")
    half = dict(list(state["learner"]["ema"].items())[::2])
    with pytest.raises(RuntimeError, match="Missing key"):
        load(one.config, one.run, {**state, "learner": {**state["learner"], "ema": half}}, "cpu")
    untold = one.config.model_copy(update={"conditioning": "none"})
    with pytest.raises(ValueError, match=r"learner.conditioning = none, but its networks were told melanoma, nevus"):
        load(untold, one.run, state, "cpu")


def test_a_checkpoint_keeps_the_scale_of_train():
    data = tiny_data()
    one = diffusion(data)
    made = load_sampler(saved(one, data))
    for name in ("centre", "into", "out_of"):
        assert torch.equal(getattr(made.network, name), getattr(one.generator, name))
    assert not torch.equal(one.generator.into, torch.eye(16))
    assert torch.equal(diffusion(data, learner__standardise="none").generator.into, torch.eye(16))


def test_truncated_noise_is_refused():
    with pytest.raises(ConfigError, match=r"--truncation 1.5: a diffusion generator undoes the noise of every pixel"):
        DiffusionConfig().check_request(Request({"melanoma": 1}, ["melanoma"], {}, drawing=Drawing(truncation=1.5)))


def test_a_fold_with_one_class_is_refused():
    with pytest.raises(ConfigError, match=r"in fold 0, whose train role holds melanoma alone, is refused"):
        diffusion(**TOLD)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"learner__sampling_steps": 0}, "learner.sampling_steps = 0 is refused"),
        ({"learner__process": "ddpm", "learner__ddpm__timesteps": 0}, "learner.ddpm.timesteps = 0 is refused"),
        (
            {"learner__process": "ddpm", "learner__sampling_steps": 700},
            "learner.sampling_steps = 700 is refused: it does not divide learner.ddpm.timesteps = 2000 into equal steps. "
            "Use 500",
        ),
        (
            {"learner__process": "ddpm", "learner__ddpm__timesteps": 3},
            "learner.sampling_steps = 4 is refused: there are no more than learner.ddpm.timesteps = 3. Use 3 or less",
        ),
        (
            {"learner__ddpm__timesteps": 100},
            "learner.ddpm.timesteps = 100 with learner.process = edm is refused: it has no effect",
        ),
        (
            {"learner__process": "flow", "learner__edm__rho": 3.0},
            "learner.edm.rho = 3.0 with learner.process = flow is refused",
        ),
        (
            {"learner__guidance": 2.0},
            "learner.guidance = 2 with learner.conditioning = none is refused: a generator that is",
        ),
        ({"learner__class_dropout": 0.1}, "learner.class_dropout = 0.1 with learner.conditioning = none is refused"),
        ({"learner__guidance": 2.0, **TOLD}, "learner.guidance = 2 with learner.class_dropout = 0 is refused"),
        ({"learner__guidance": -1.0}, "learner.guidance = -1.0 is refused"),
        ({"learner__edm__sigma_min": 90.0}, "learner.edm.sigma_min = 90 with learner.edm.sigma_max = 80 is refused"),
        (
            {"learner__process": "ddpm", "learner__ddpm__beta_start": 0.5},
            "learner.ddpm.beta_start = 0.5 with learner.ddpm.beta_end = 0.01 is refused",
        ),
        ({"learner__attention_levels": 3}, "learner.attention_levels = 3 is refused: learner.multipliers has 2 levels"),
        ({"learner__multipliers": [1, 0]}, "learner.multipliers"),
        (
            {"learner__multipliers": [1, 1, 1, 1], "data__size": 36},
            r"data.size = 36 is refused: the U-Net of learner.multipliers = \[1, 1, 1, 1\] halves it 3 times. Use 32",
        ),
        (
            {"learner__multipliers": [1, 1, 1, 1, 1]},
            r"data.size = 16 is refused: .* halves it 4 times. Use 32, another multiple of 16, or fewer multipliers",
        ),
    ],
)
def test_refusals(values, message):
    with pytest.raises(ConfigError, match=message):
        experiment(**values)
