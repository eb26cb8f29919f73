"""What the house may rely on in every learner of `LEARNERS`: a new one joins `SMALL` and passes, or says why it cannot."""

import io
import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from hyperderm.config import DataConfig, Experiment, TaskConfig, TrainingConfig
from hyperderm.cubes.pseudo_rgb import pseudo_rgb_matrix
from hyperderm.errors import ConfigError
from hyperderm.identity import read, shaping
from hyperderm.learners import LEARNERS, randomness
from hyperderm.learners.base import Compute
from hyperderm.learners.classifier import ClassifierConfig
from hyperderm.learners.colour_unmixing import ColourUnmixingConfig
from hyperderm.learners.data import TrainData
from hyperderm.learners.dcgan import DcganConfig
from hyperderm.learners.diffusion import DiffusionConfig
from hyperderm.learners.fastgan import FastGanConfig
from hyperderm.learners.hvae import HvaeConfig
from hyperderm.learners.imle import ImleConfig
from hyperderm.learners.interpolation import InterpolationConfig
from hyperderm.learners.mixture import MixtureConfig
from hyperderm.learners.r3gan import R3ganConfig
from hyperderm.learners.scaling import Scaling
from hyperderm.learners.shsgan import ShsGanConfig
from hyperderm.learners.sources import rgb_levels
from hyperderm.learners.spec import START, UNMIXING, LearnerConfig
from hyperderm.learners.spectral_autoencoder import AutoencoderConfig
from hyperderm.learners.spectral_baseline import SpectralConfig
from hyperderm.learners.unmixer import UnmixerConfig
from hyperderm.learners.unmixer.networks import UnmixingNet
from hyperderm.learners.vae import VaeConfig
from hyperderm.training.checkpoint import CheckpointFolder
from hyperderm.training.context import Context
from hyperderm.training.resume import pack
from hyperderm.training.run import load_sampler
from hyperderm.training.stream import feed_of
from tests.learning import built
from tests.training.tiny import CPU, tiny_data

SMALL: dict[str, LearnerConfig] = {
    "shsgan": ShsGanConfig(generator_width=4, critic_width=4, lr_generator=1e-3, lr_critic=1e-3, n_critic=1),
    "dcgan": DcganConfig(generator_width=4, critic_width=4, noise_dim=10),
    "dcgan told the class": DcganConfig(generator_width=4, critic_width=4, critic="conv3d", conditioning="class"),
    "acgan": DcganConfig(generator_width=4, critic_width=4, norm="spectral", conditioning="class", class_head="auxiliary"),
    "every regularisation": DcganConfig(
        generator_width=4,
        critic_width=4,
        norm="layer",
        generator_norm="layer",
        loss="hinge",
        r1_weight=0.1,
        r2_weight=0.1,
        lecam_weight=1e-2,
        diffaug={"policy": "flips+translation+cutout", "strength": "adaptive", "adapts_over": 32.0, "target": -0.9},
    ),
    "fastgan": FastGanConfig(generator_width=8, critic_width=8, noise_dim=10),
    "fastgan told the class": FastGanConfig(
        generator_width=8,
        critic_width=8,
        noise_dim=10,
        norm="layer",
        conditioning="class",
        lecam_weight=1e-3,
        diffaug={"policy": "flips+translation"},
    ),
    "r3gan": R3ganConfig(generator_width=4, critic_width=4, noise_dim=10, blocks=1),
    "r3gan told the class": R3ganConfig(generator_width=4, critic_width=4, noise_dim=10, conditioning="class"),
    "vae": VaeConfig(generator_width=4, encoder_width=4, noise_dim=8),
    "vae told the class": VaeConfig(generator_width=4, encoder_width=4, noise_dim=8, norm="layer", conditioning="class"),
    "hvae": HvaeConfig(generator_width=4, blocks=1, latent_channels=2),
    "hvae told the class": HvaeConfig(
        generator_width=4,
        blocks=1,
        latent_channels=2,
        conditioning="class",
        space="abundance",
        endmembers_by="vca",
    ),
    "abundances": VaeConfig(
        generator_width=4, encoder_width=4, noise_dim=8, norm="layer", space="abundance", endmembers=3, endmembers_by="vca"
    ),
    "abundances told the class": DcganConfig(
        generator_width=4,
        critic_width=4,
        norm="layer",
        generator_norm="layer",
        conditioning="class",
        space="abundance",
        endmembers_by="vca",
    ),
    "abundances from colours": ShsGanConfig(
        generator_width=4, critic_width=4, critic="conv2d", space="abundance", endmembers_by="nfindr"
    ),
    "abundances that are matched": ImleConfig(
        generator_width=4, noise_dim=10, pool_factor=3, space="abundance", endmembers_by="nfindr"
    ),
    "imle": ImleConfig(generator_width=4, noise_dim=10, pool_factor=3, refresh_epochs=1.0),
    "imle told the class": ImleConfig(generator_width=4, noise_dim=10, pool_factor=3, conditioning="class"),
    "mixture": MixtureConfig(components=2, dimensions=6),
    "mixture told the class": MixtureConfig(
        components=2, dimensions=6, conditioning="class", space="abundance", endmembers_by="nfindr"
    ),
    "interpolation": InterpolationConfig(),
    "interpolation told the class": InterpolationConfig(
        method="smote", dimensions=4, neighbours=2, conditioning="class", space="abundance", endmembers_by="nfindr"
    ),
    "unmixed colours": ColourUnmixingConfig(unmixing="net"),
    "diffusion": DiffusionConfig(
        generator_width=8,
        multipliers=(1, 2),
        layers=1,
        sampling_steps=3,
        dropout=0.1,
        augment=0.5,
        conditioning="class",
        class_dropout=0.2,
        guidance=1.5,
    ),
    "flow": DiffusionConfig(
        generator_width=4, multipliers=(1, 1), layers=1, attention_levels=0, sampling_steps=2, process="flow"
    ),
    "ddpm of abundances": DiffusionConfig(
        generator_width=4, multipliers=(1, 1), layers=1, sampling_steps=2, process="ddpm", loss="l1", space="abundance"
    ),
    "classifier": ClassifierConfig(lr=1e-3, dropout=0.3, augmentation="classic+spectral"),
    "spectral": SpectralConfig(),
    "autoencoder": AutoencoderConfig(zdims=2, pixels=32),
    "autoencoder by range": AutoencoderConfig(zdims=2, pixels=32, normalisation="range", resample=24),
    "unmixer": UnmixerConfig(endmembers=3, width=8, stages=1, lr=1e-2),
    "unmixer of colours": UnmixerConfig(
        endmembers=3, width=8, stages=1, lr=1e-2, bands="rgb", unit_length=True, start_by="nfindr", sparsity_weight=0.01
    ),
}
GENERATORS = [name for name, learner in SMALL.items() if learner.role == "generator"]
STEPPED = [name for name, learner in SMALL.items() if not learner.fit_once]


def experiment(name: str, size: int = 16, **training: Any) -> Experiment:
    learner = SMALL[name]
    return Experiment(
        name="contract",
        profile="small",
        data=DataConfig(size=size, flips=False) if learner.role == "classifier" else DataConfig(size=size, diagnoses="all"),
        task=TaskConfig(negatives="all_others") if learner.role == "classifier" else None,
        learner=learner,
        training=TrainingConfig(
            **{"batch_size": 4, "images": 16, "validate_every": 8, "validation_samples": 8, "precision": "fp32"} | training
        ),
    )


def data(size: int = 16, bands: int = 16) -> TrainData:
    """Melanomas darker than the nevi, in both roles."""
    made = tiny_data(size=size, bands=bands)

    def mixed(role: Any) -> Any:
        names = tuple("melanoma" if row % 3 == 0 else "nevus" for row in range(len(role)))
        dark = torch.tensor([0.6 if name == "melanoma" else 1.0 for name in names])[:, None, None, None]
        return replace(role, diagnoses=names, reflectance=role.reflectance * dark)

    return replace(made, train=mixed(made.train), validation=mixed(made.validation))


def prepared(name: str, size: int = 16, bands: int = 16) -> tuple[Experiment, TrainData]:
    made, held = experiment(name, size), data(size, bands)
    if UNMIXING in made.learner.needed:
        held = held.given({UNMIXING: colour_net(held)}, made.learner.scaled_as)
    return made, made.learner.in_space(made, held)


def colour_net(held: TrainData, stages: int = 1) -> dict[str, Any]:
    """The checkpoint of an unmixing net that sees colours; its endmembers are pixels of train, its weights random."""
    pixels = held.train.reflectance.movedim(1, 3).flatten(0, 2)
    ends = pixels[pixels.mean(1).argsort()][:: len(pixels) // 3 - 1].clamp_min(0)  # from the darkest to the brightest
    levels = rgb_levels(held.train.reflectance, pseudo_rgb_matrix(held.wavelengths_nm))
    seen = torch.from_numpy(levels).float().movedim(1, 3).flatten(0, 2)
    with randomness.initialised(0):
        net = UnmixingNet(len(seen[0]), ends, width=8, stages=stages, seen=seen)
    with torch.no_grad():
        net.encode[-1].weight.mul_(20)  # abundances that differ between pixels
    return {"learner": {"network": net.state_dict()}}


def context() -> Context:
    return Context(CheckpointFolder(Path()), device=CPU, provenance={"run": "r"})


def stepping(made: Experiment, held: TrainData, learner: Any, images: range) -> list[dict[str, float]]:
    feed = feed_of(made, held, context())
    return [{k: float(v) for k, v in learner.step(feed.batch(at)).items()} for at in images]


def saved(state: Any) -> Any:
    """As a checkpoint leaves it: through a file, on the CPU, weights alone."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, map_location="cpu", weights_only=True)


def leaves(node: Any, at: str = "") -> dict[str, Any]:
    if isinstance(node, dict | list | tuple):
        pairs = node.items() if isinstance(node, dict) else enumerate(node)
        return {k: v for name, each in pairs for k, v in leaves(each, f"{at}.{name}").items()}
    return {at: node}


def same(a: Any, b: Any) -> bool:
    one, two = leaves(a), leaves(b)
    return one.keys() == two.keys() and all(
        torch.equal(value, two[name]) if isinstance(value, torch.Tensor) else value == two[name]
        for name, value in one.items()
    )


def test_every_learner_is_here():
    assert {type(learner) for learner in SMALL.values()} == set(LEARNERS)
    kinds = [each.model_fields["kind"].default for each in LEARNERS]
    assert len(set(kinds)) == len(kinds)


@pytest.mark.parametrize("name", STEPPED)
def test_it_goes_on_bit_for_bit_from_its_state(name):
    made, held = prepared(name)
    undisturbed = built(made, held, Compute(CPU))
    expected = stepping(made, held, undisturbed, range(0, 24, 4))
    first = built(made, held, Compute(CPU))
    began = stepping(made, held, first, range(0, 12, 4))
    second = built(made, held, Compute(CPU))
    second.load_state_dict(saved(first.state_dict()))
    assert same(second.state_dict(), first.state_dict())
    assert began + stepping(made, held, second, range(12, 24, 4)) == expected
    assert same(second.state_dict(), undisturbed.state_dict())
    assert dict(second.validate().scores) == dict(undisturbed.validate().scores)


@pytest.mark.parametrize("name", [name for name in SMALL if name not in STEPPED])
def test_what_is_fitted_at_once_is_again_what_its_state_says(name):
    """It may be fitted anew, or hold its fit in its state: scores and judgements are the same bits."""
    made, held = prepared(name)
    first = built(made, held, Compute(CPU))
    state = saved(pack(first, made, held, context()))
    second = built(read(json.loads(state["experiment"])), held, Compute(CPU))
    second.load_state_dict(state["learner"])
    assert same(second.state_dict(), first.state_dict())
    assert dict(second.validate().scores) == dict(first.validate().scores)
    if made.learner.role == "generator":
        judged = [each.sample(5, range(4), first.condition(torch.arange(4))).flatten() for each in (first, second)]
    else:
        judged = [each.logits_of(held.validation.reflectance, held.validation.masks) for each in (first, second)]
    assert torch.equal(*judged)
    assert len(judged[0].unique()) > 1


@pytest.mark.parametrize("name", [name for name in GENERATORS if START in SMALL[name].inputs])
def test_what_begins_from_another_run_begins_where_that_ended(name):
    """Its cubes, critic and scaling are the other's; its optimizers are new; the other's networks are asked for."""
    made, held = prepared(name)
    before = built(made, held, Compute(CPU))
    stepping(made, held, before, range(0, 12, 4))
    state = saved(pack(before, made, held, context()))
    darker = replace(held.train, reflectance=held.train.reflectance * 0.5)
    other = replace(held, train=darker, scaling=Scaling.fit(darker.reflectance))
    begins = made.override({"learner.start": "a-run", "seed": 5})
    given = begins.learner.in_space(begins, other.given({START: state}, begins.learner.scaled_as))
    assert torch.equal(given.scaling.low, held.scaling.low)
    begun = built(begins, given, Compute(CPU))
    now = begun.state_dict()
    for part in (*begun.modules, "ema"):
        assert same(now[part], state["learner"][part])
    assert not any(now[name]["state"] for name in begun.optimizers)
    condition = before.condition(torch.arange(3))
    assert torch.equal(begun.sample(7, range(3), condition), before.sample(7, range(3), condition))
    stepping(begins, given, begun, range(0, 4, 4))
    begins.learner.check_input(START, made.learner, made, begins)
    for field in begins.learner.network_fields:
        changed = made.learner.model_copy(update={field: "another"})
        with pytest.raises(ConfigError, match=rf"its learner.{field} is another, here it is"):
            begins.learner.check_input(START, changed, made, begins)


def test_a_generator_that_is_told_the_class_goes_on_with_the_same_classes():
    made = experiment("dcgan told the class")
    fewer = made.override({"data.diagnoses": ["melanoma", "nevus"]})
    with pytest.raises(ConfigError, match=r"it was told other diagnoses \(data.diagnoses = all\)"):
        fewer.learner.check_input(START, made.learner, made, fewer)
    turned = made.override({"data.diagnoses": ["nevus", "melanoma"]})
    turned.learner.check_input(START, fewer.learner, fewer, turned)


@pytest.mark.parametrize("name", STEPPED)
def test_it_learns_something_and_moves_nobody_s_random_numbers(name):
    made, held = prepared(name)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    learner = built(made, held, Compute(CPU))
    weights = saved(learner.state_dict())
    metrics = stepping(made, held, learner, range(0, 8, 4))
    learner.validate()
    assert torch.equal(before, torch.get_rng_state())
    assert not same(weights, learner.state_dict())
    assert all(value == value and abs(value) < 1e6 for each in metrics for value in each.values())


@pytest.mark.parametrize("name", SMALL)
def test_its_objective_is_a_number_on_the_validation_role_alone(name):
    made, held = prepared(name)
    learner = built(made, held, Compute(CPU))
    scores = learner.validate().scores
    assert isinstance(scores[made.learner.objective], float)
    other = replace(held, validation=replace(held.validation, reflectance=held.validation.reflectance.flip(0) * 0.7))
    assert built(made, other, Compute(CPU)).validate().scores[made.learner.objective] != scores[made.learner.objective]


@pytest.mark.parametrize("name", GENERATORS)
def test_a_cube_is_known_by_its_seed_its_index_and_its_condition(name):
    made, held = prepared(name)
    learner = built(made, held, Compute(CPU))
    stepping(made, held, learner, range(0, 8, 4))
    sampler = load_sampler(saved(pack(learner, made, held, context())))
    condition = learner.condition(torch.arange(7))
    whole = sampler.sample(5, range(7), condition)
    assert whole.shape == (7, 16, 16, 16)
    assert whole.dtype == torch.float32
    assert torch.isfinite(whole).all()
    for rows in ([3], [6, 0], [5, 4, 3]):
        part = None if condition is None else condition[rows]
        assert torch.equal(sampler.sample(5, rows, part), whole[rows])
    assert torch.equal(learner.sample(5, range(7), condition), whole)  # training and generate make the same
    assert len(torch.unique(whole.flatten(1), dim=0)) == 7
    assert (condition is None) == (made.learner.condition == "none")


@pytest.mark.parametrize(("name", "size", "bands"), [(n, *s) for n, s in itertools.product(SMALL, [(32, 8), (16, 31)])])
def test_other_sizes_and_bands(name, size, bands):
    made, held = prepared(name, size, bands)
    learner = built(made, held, Compute(CPU))
    if name in STEPPED:
        stepping(made, held, learner, range(0, 4, 4))
    cubes = learner.validate().cubes
    assert cubes is None or cubes.shape[1:] == (bands, size, size)


def precisions() -> list[Any]:
    gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
    return ["cpu", pytest.param("cuda", marks=gpu)]


@pytest.mark.parametrize("device", precisions())
@pytest.mark.parametrize("name", STEPPED)
def test_bf16(name, device):
    made, held = prepared(name)
    compute = Compute(torch.device(device), bf16=True)
    learner = built(made, held, compute)
    feed = feed_of(made, held, Context(CheckpointFolder(Path()), device=compute.device))
    metrics = learner.step(feed.batch(0))
    assert all(torch.isfinite(value) for value in metrics.values())
    assert learner.validate().scores[made.learner.objective] == learner.validate().scores[made.learner.objective]


@pytest.mark.parametrize("name", SMALL)
def test_it_is_read_back_from_what_is_written_down(name):
    made = experiment(name)
    again = read({**saved({"e": made.model_dump(mode="json")})["e"]})
    assert again == made
    assert shaping(again) == shaping(made)


SHARED = {
    "shsgan",
    "classifier",
    "every regularisation",
    "r3gan",
    "r3gan told the class",
    "vae told the class",
    "hvae",
    "hvae told the class",
    "abundances",
    "abundances told the class",
    "abundances from colours",
    "abundances that are matched",
    "fastgan told the class",
    "imle",
    "imle told the class",
    "diffusion",
    "flow",
    "ddpm of abundances",
    "unmixer",
    "unmixer of colours",
}
"""Those that several workers train as one does (`tests/training/test_ddp.py`); DCGAN with layer norms is another."""


@pytest.mark.parametrize("name", sorted(SHARED))
def test_several_workers_are_served(name):
    assert experiment(name).override({"sweep.workers_per_trial": 2}).sweep.workers_per_trial == 2


@pytest.mark.parametrize("name", sorted(set(SMALL) - SHARED))
def test_several_workers_are_refused_with_the_way_out(name):
    with pytest.raises(ConfigError, match=r"2 workers is refused.*[Oo]ne worker"):
        experiment(name).override({"sweep.workers_per_trial": 2})


REFUSED: dict[str, dict[str, Any]] = {
    "unknown configuration key 'learner.no_such_knob'": {"learner.no_such_knob": 1},
    'training.batch_size = "many" is refused: it should be': {"training.batch_size": "many"},
}


@pytest.mark.parametrize("said", REFUSED)
@pytest.mark.parametrize("name", SMALL)
def test_refusals_come_in_milliseconds_and_say_what(name, said):
    with pytest.raises(ConfigError, match=said):
        experiment(name).override(REFUSED[said])


@pytest.mark.parametrize("name", sorted(SHARED))
def test_a_batch_that_several_workers_cannot_share_is_refused(name):
    with pytest.raises(ConfigError, match=r"training.batch_size = 5 is not divisible by 2 workers"):
        experiment(name).override({"training.batch_size": 5, "sweep.workers_per_trial": 2})
