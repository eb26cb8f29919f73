"""An unmixing net as a generator: its cubes are the mixtures of what the net sees, plus the residual of seed and index."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from hyperderm.config import DataConfig, Experiment, TrainingConfig
from hyperderm.cubes.pseudo_rgb import pseudo_rgb_matrix
from hyperderm.errors import ConfigError, CubeError
from hyperderm.learners.base import Compute
from hyperderm.learners.colour_unmixing import ColourUnmixingConfig
from hyperderm.learners.colour_unmixing.learner import ColourUnmixingLearner
from hyperderm.learners.data import TrainData
from hyperderm.learners.sources import Sources
from hyperderm.learners.spec import SPACE, UNMIXING, Drawing, Request
from hyperderm.learners.unmixer import UnmixerConfig
from hyperderm.learners.unmixer.networks import UnmixingNet
from hyperderm.learners.vae import VaeConfig
from hyperderm.metrics.orientation import ORIENTATIONS, restore
from hyperderm.store.manifest import Manifest
from hyperderm.training.resume import pack
from hyperderm.training.run import load_sampler
from tests.learners.test_contract import colour_net, context, data, saved
from tests.learning import built
from tests.training.tiny import CPU

SEED = 3


def experiment(**learner) -> Experiment:
    return Experiment(
        name="tiny",
        profile="small",
        data=DataConfig(size=16, diagnoses="all"),
        learner=ColourUnmixingConfig(**{"unmixing": "net"} | learner),
        training=TrainingConfig(batch_size=4, images=8, validate_every=8, validation_samples=8),
    )


def given(stages: int = 1, **learner) -> tuple[Experiment, TrainData]:
    made, held = experiment(**learner), data()
    held = held.given({UNMIXING: colour_net(held, stages)}, None)
    return made, made.learner.in_space(made, held)


def fitted(stages: int = 1, **learner) -> ColourUnmixingLearner:
    made, held = given(stages, **learner)
    return built(made, held, Compute(CPU))


def restored(learner: ColourUnmixingLearner):
    return load_sampler(saved(pack(learner, learner.run, learner.data, context())))


def mixtures(held: TrainData, levels: Tensor) -> Tensor:
    """E·a (n, B, H, W) of the net's own abundances, by its forward pass and its endmembers alone."""
    net = UnmixingNet.from_state(held.inputs[UNMIXING]["learner"]["network"]).double()
    with torch.no_grad():
        abundances, _ = net(levels.double())
    return torch.einsum("rb,nrhw->nbhw", net.endmembers, abundances)


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found.double(), expected, atol=2e-6, rtol=0)


def test_a_cube_is_the_mixture_that_the_net_sees_plus_the_residual_of_its_seed_and_index():
    learner = fitted()
    held, levels = learner.data, learner.condition(torch.arange(5))
    expected = mixtures(held, levels)
    assert float(expected.std(0).mean()) > 1e-3
    noise = torch.stack([held.space.residual.draw(SEED, index, 16) for index in range(5)])
    assert float(noise.std()) > 1e-3
    close(learner.sample(SEED, range(5), levels), expected + noise)


def test_without_the_residual_a_cube_is_exactly_a_mixture():
    learner = fitted(residual=False)
    levels = learner.condition(torch.arange(5))
    made = learner.sample(SEED, range(5), levels)
    close(made, mixtures(learner.data, levels))
    assert torch.equal(made, learner.sample(SEED + 1, range(5), levels))
    assert torch.equal(restored(learner).sample(SEED, range(5), levels), made)


def test_its_colours_are_those_of_train_as_the_net_was_shown_them():
    learner = fitted()
    matrix = torch.from_numpy(pseudo_rgb_matrix(learner.data.wavelengths_nm))
    expected = torch.einsum("cb,nbhw->nchw", matrix, learner.data.train.reflectance[[4, 2]].double())
    torch.testing.assert_close(learner.condition(torch.tensor([4, 2])), expected)
    sources = restored(learner).sources(learner.data.train.chosen([4, 2]))
    torch.testing.assert_close(torch.from_numpy(sources), expected)


def test_a_checkpoint_holds_all_that_makes_its_cubes_and_any_batch_makes_the_same():
    learner = fitted()
    sampler = restored(learner)
    assert sampler.run.learner == learner.config
    rows = torch.arange(40) % len(learner.data.train)
    levels = learner.condition(rows)
    whole = learner.sample(SEED, range(40), levels)
    assert torch.equal(sampler.sample(SEED, range(40), levels), whole)
    for part in ([39], [7, 3, 21], list(range(39, 10, -1))):
        assert torch.equal(sampler.sample(SEED, part, levels[part]), whole[part])
    assert not torch.equal(whole[0], whole[len(learner.data.train)]), "the same source has another residual"


def test_a_net_that_sees_each_pixel_alone_makes_the_same_cube_in_all_orientations():
    learner = fitted(stages=0, residual=False)
    sources = Sources(("one",), learner.condition(torch.arange(1)).float().numpy())
    indices = list(range(ORIENTATIONS))
    made = learner.sample(SEED, indices, sources.draw(SEED, indices))
    assert len(torch.unique(made.flatten(1), dim=0)) == ORIENTATIONS
    for cube, index in zip(made, indices, strict=True):
        close(restore(cube, sources.place(SEED, index)[1]), mixtures(learner.data, torch.from_numpy(sources.levels))[0])


def test_its_scores_are_those_of_cubes_of_train_s_colours():
    learner = fitted()
    scores = learner.validate().scores
    assert {"floor_real_vs_real", "score_of_mean_cube", "held_out_unmixing_rmse"} < scores.keys()
    held = learner.data.validation.reflectance
    matrix = torch.from_numpy(pseudo_rgb_matrix(learner.data.wavelengths_nm))
    rebuilt = mixtures(learner.data, torch.einsum("cb,nbhw->nchw", matrix, held.double()))
    expected = float((rebuilt - held).square().mean().sqrt())
    assert scores["held_out_rmse_from_colours"] == pytest.approx(expected, rel=1e-5)
    changed = replace(learner.data, validation=replace(learner.data.validation, reflectance=held * 0.5))
    other = built(learner.run, changed, Compute(CPU)).validate()
    assert torch.equal(other.cubes, learner.validate().cubes), "validation makes no cube"


def test_a_checkpoint_of_other_cubes_is_refused():
    learner = fitted()
    state = saved(pack(learner, learner.run, learner.data, context()))
    space = state[SPACE] | {"endmembers": state[SPACE]["endmembers"][:3]}
    with pytest.raises(Exception, match=r"its cubes have the shape \[4, 16, 16\]"):
        load_sampler(state | {SPACE: space})


# --- what is refused

LISTED = Manifest.model_construct(wavelengths_nm=(450.0, 500.0, 550.0, 600.0, 650.0), diagnoses={"melanoma": 1})


def test_a_run_without_a_net_is_refused_before_anything_is_read():
    with pytest.raises(
        ConfigError,
        match=r"learner.unmixing = null with learner.kind = colour_unmixing is refused.*train unmixer .*learner.bands=rgb.*"
        r"unmixers=\{\"colour_unmixing\":\"unmixer\"\}",
    ):
        ColourUnmixingConfig().check_store(LISTED)
    ColourUnmixingConfig(unmixing="net").check_store(LISTED)


def test_bands_that_give_no_colours_are_refused():
    infrared = Manifest.model_construct(wavelengths_nm=(800.0, 850.0, 900.0), diagnoses={"melanoma": 1})
    with pytest.raises(CubeError, match="800"):
        ColourUnmixingConfig(unmixing="net").check_store(infrared)


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (VaeConfig(), r"it is of learner.kind = vae, which has no endmembers.*train unmixer"),
        (UnmixerConfig(bands="rgb", unit_length=True), r"it unmixed pixels of unit length.*unit_length=false"),
        (UnmixerConfig(), r"it sees all bands, and photographs have three colours.*learner.bands=rgb"),
    ],
)
def test_a_run_that_sees_no_colours_is_refused(other, told):
    made = experiment()
    with pytest.raises(ConfigError, match=told):
        made.learner.check_input(UNMIXING, other, made, made)
    made.learner.check_input(UNMIXING, UnmixerConfig(bands="rgb"), made, made)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"data.photographs": "some/store"}, r"data.photographs = some/store .* is refused: it learns nothing.*rgb=URI"),
        ({"learner.space": "cube"}, r"learner.space = \"?cube\"? is refused: it should be .abundance."),
        ({"learner.endmembers": 4}, r"learner.endmembers = 4 beside learner.unmixing = net is refused"),
        ({"sweep.workers_per_trial": 2, "training.batch_size": 4}, r"2 workers is refused: it is fitted at once"),
    ],
)
def test_settings_without_effect_are_refused(changes, told):
    with pytest.raises(ConfigError, match=told):
        experiment().override(changes)


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        (Request({"melanoma": 17}, ["melanoma"], {"melanoma": 2}), "17 different cubes of melanoma .* 2 train cubes"),
        (Request({"nevus": 1}, ["melanoma"], {"nevus": 2}), "diagnosis 'nevus' was not learnt"),
        (Request({"melanoma": 9}, ["melanoma"], {"melanoma": 1}, photographs=True), "from 1 photographs in 8 orientations"),
        (Request({"melanoma": 1}, ["melanoma"], {"melanoma": 1}, drawing=Drawing(truncation=1.0)), "no noise is drawn"),
    ],
)
def test_requests_that_no_source_serves_are_refused(request_, told):
    with pytest.raises(ConfigError, match=told):
        experiment().learner.check_request(request_)


def test_every_diagnosis_that_has_sources_can_be_asked_for():
    experiment().learner.check_request(
        Request({"melanoma": 16, "nevus": 8}, ["melanoma", "nevus"], {"melanoma": 2, "nevus": 1})
    )
