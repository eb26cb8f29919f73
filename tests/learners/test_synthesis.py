"""Cubes from a checkpoint: the same bits whatever is asked for together, the learner's own numbers, units, refusals."""

import json
from pathlib import Path

import pytest
import torch
from scipy.stats import kstest, truncnorm
from torch import nn

from hyperderm.errors import ConfigError, StudyError
from hyperderm.learners.randomness import generator
from hyperderm.learners.scaling import Scaling
from hyperderm.learners.sources import rgb_levels
from hyperderm.learners.spec import Drawing
from hyperderm.learners.synthesis import NetworkSampler, noise, out_of_range
from hyperderm.training.checkpoint import CheckpointFolder
from hyperderm.training.context import Context
from hyperderm.training.resume import pack
from hyperderm.training.run import load_sampler
from tests.training.tiny import CPU, batch, learner, tiny, tiny_data

DATA = tiny_data()


def trained(**overrides):
    """A learner after two steps, and its checkpoint as training packs it."""
    gan = learner(DATA, **overrides)
    for images in (0, 4):
        gan.step(batch(DATA, images))
    with torch.no_grad():  # the average of two steps hardly differs from the last
        next(gan.ema.parameters()).mul_(1.5)
    context = Context(CheckpointFolder(Path()), device=CPU, provenance={"run": "r"})
    return gan, pack(gan, tiny(**overrides), DATA, context)


@pytest.fixture(scope="module")
def rgb():
    return trained()


def inputs(synthesiser):
    return torch.from_numpy(rgb_levels(DATA.train.reflectance, synthesiser.matrix)).float()


def test_a_cube_depends_on_seed_index_and_source_alone(rgb):
    synthesiser = load_sampler(rgb[1])
    images = inputs(synthesiser).repeat(3, 1, 1, 1)[:35]

    def make(indices, seed=5):
        return synthesiser.sample(seed, indices, images[indices])

    whole = make(list(range(35)))
    assert whole.dtype == torch.float32
    assert whole.shape == (35, 16, 16, 16)
    threads = torch.get_num_threads()
    try:
        for size, used in ((1, 1), (7, 1), (32, 2)):
            torch.set_num_threads(used)
            parts = [make(list(range(at, min(at + size, 35)))) for at in range(0, 35, size)]
            assert torch.equal(torch.cat(parts), whole)
            assert torch.get_num_threads() == used
    finally:
        torch.set_num_threads(threads)
    order = torch.randperm(35, generator=generator(0, "test", 0)).tolist()
    assert torch.equal(make(order), whole[order])


def test_it_is_the_moving_average_on_the_learners_own_input(rgb):
    gan, checkpoint = rgb
    synthesiser = load_sampler(checkpoint)
    made = synthesiser.sample(0, list(range(12)), inputs(synthesiser))
    with torch.no_grad():
        scaled = gan.ema(gan.rgb(DATA.scaling.forward(DATA.train.reflectance)))
    torch.testing.assert_close(made, DATA.scaling.inverse(scaled), rtol=1e-4, atol=1e-5)
    with torch.no_grad():  # and not the live generator
        live = gan.generator(gan.rgb(DATA.scaling.forward(DATA.train.reflectance)))
    assert (DATA.scaling.inverse(live) - made).abs().max() > 1e-3


def test_units_are_those_of_the_scaling_in_the_checkpoint(rgb):
    """Twice the range gives twice the reflectance above the lows: nothing else is applied."""
    _, checkpoint = rgb
    once = load_sampler(checkpoint)
    low, high = (torch.tensor(checkpoint["scaling"][end], dtype=torch.float64) for end in ("low", "high"))
    wide = load_sampler({**checkpoint, "scaling": Scaling(low, low + 2 * (high - low)).state_dict()})
    a, b = (s.sample(0, [0, 1], inputs(once)[:2]).double() for s in (once, wide))
    torch.testing.assert_close(b - low[:, None, None], 2 * (a - low[:, None, None]), rtol=1e-5, atol=1e-6)
    assert (once.scaling.forward(a).abs() <= 1 + 1e-5).all()


def test_float64_training_and_nobodys_random_numbers(rgb):
    _, checkpoint = trained(training__precision="fp64")
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    load_sampler(checkpoint)
    assert torch.equal(torch.rand(1), expected)


def test_what_is_no_generator(rgb):
    _, checkpoint = rgb
    with pytest.raises(StudyError, match=r"not a generator of this version.*best\.pt or latest\.pt"):
        load_sampler({"experiment": "{}"})
    with pytest.raises(StudyError, match="not a generator of this version"):
        load_sampler({**checkpoint, "learner": {**checkpoint["learner"], "ema": {}}})
    wider = json.loads(checkpoint["experiment"])
    wider["learner"]["generator_width"] = 8
    with pytest.raises(StudyError, match="size mismatch"):
        load_sampler({**checkpoint, "experiment": json.dumps(wider)})
    classifier = json.loads(checkpoint["experiment"])
    classifier |= {"learner": {"kind": "classifier"}, "task": {}, "data": {"size": 16}}
    with pytest.raises(StudyError, match=r"learner\.kind = classifier \(classifier\): it makes no cubes"):
        load_sampler({**checkpoint, "experiment": json.dumps(classifier)})


def test_out_of_range():
    scaling = Scaling(torch.tensor([0.0, 1.0]), torch.tensor([1.0, 3.0]))
    cube = torch.stack([torch.full((32, 32), 0.5), torch.full((32, 32), 2.0)])
    assert not out_of_range(cube, scaling)

    def changed(value, pixels, band=1):
        other = cube.clone()
        other[band].view(-1)[:pixels] = value
        return other

    assert not out_of_range(changed(3.99, 1024), scaling)  # half of the range of 2 above the highest
    assert out_of_range(changed(4.01, 1024), scaling)
    assert out_of_range(changed(-0.51, 1024, band=0), scaling)
    assert not out_of_range(changed(-0.09, 1024, band=0), scaling)  # noise of the dark reference
    assert out_of_range(changed(-0.11, 1024, band=0), scaling)
    deep = Scaling(torch.tensor([-0.3, 1.0]), torch.tensor([1.0, 3.0]))
    assert not out_of_range(changed(-0.25, 1024, band=0), deep)  # train itself goes further down
    assert not out_of_range(changed(50.0, 1), scaling)  # one hot pixel of 1024
    assert out_of_range(changed(50.0, 2), scaling)
    assert out_of_range(changed(float("nan"), 1), scaling)
    assert out_of_range(changed(float("-inf"), 1), scaling)


class Rounding(nn.Module):
    """Adds so little that only batches of up to `same` rows keep the bits of single ones."""

    def __init__(self, same: int) -> None:
        super().__init__()
        self.same, self.sizes = same, []
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """Return cubes (n, 2, 4, 4) made of z (n, 1)."""
        self.sizes.append(len(z))
        return (z + (1e-3 if len(z) > self.same else 0)).view(-1, 1, 1, 1).expand(-1, 2, 4, 4)


class Numbered(NetworkSampler):
    """Makes cube i from the number i."""

    def inputs(self, seed, index, condition):
        return (torch.full((1, 1), float(index)),)


@pytest.mark.parametrize(("same", "together"), [(64, 16), (8, 8), (3, 2), (1, 1)])
def test_cubes_are_made_together_only_where_the_bits_are_those_of_single_ones(same, together):
    network = Rounding(same)
    sampler = Numbered(tiny().learner, tiny(), network, (500.0, 600.0), Scaling(torch.zeros(2), torch.ones(2)))
    few, many = sampler.sample(0, range(3), None), sampler.sample(0, range(20), None)
    network.sizes.clear()
    again = sampler.sample(0, [19, *range(40)], None)
    expected = (torch.arange(40.0) + 1) / 2
    assert torch.equal(again[1:, 0, 0, 0], expected)
    assert torch.equal(again[0], again[20])
    assert torch.equal(many[:, 0, 0, 0], expected[:20])
    assert torch.equal(few, many[:3])
    if same < 64:  # then no further size is tried
        assert set(network.sizes) == {together}


def test_truncated_noise_is_that_of_the_truncated_normal_distribution():
    free = torch.cat([noise(3, index, 200) for index in range(50)]).flatten()
    cut = torch.cat([noise(3, index, 200, 1.5) for index in range(50)]).flatten()
    assert cut.abs().max() <= 1.5
    assert kstest(cut.numpy(), truncnorm(-1.5, 1.5).cdf).pvalue > 0.01
    assert torch.equal(free.argsort(), cut.argsort())  # the same draw, moved towards the middle
    assert torch.allclose(torch.cat([noise(3, index, 200, 40.0) for index in range(50)]).flatten(), free, atol=1e-4)


@pytest.mark.parametrize("value", [0.0, -1.0, 1e-9, 0.049, float("nan"), float("inf")])
def test_a_truncation_that_is_none(value):
    with pytest.raises(ConfigError, match="--truncation"):
        Drawing(truncation=value)
