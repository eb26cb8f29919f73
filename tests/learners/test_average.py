"""The moving average of a generator with batch norm: what is saved samples what the live one samples, bit for bit."""

import copy
import io

import pytest
import torch
from torch import nn

from hyperderm.learners.average import MovingAverage
from hyperderm.learners.base import Compute
from hyperderm.learners.dcgan.learner import Dcgan
from hyperderm.training.run import load_sampler
from tests.learners.test_dcgan import checkpoint, experiment, of_two_classes
from tests.learning import built
from tests.training.tiny import CPU, batch, same, state_of

VALUES = {"learner__conditioning": "class", "learner__lr_generator": 5e-3, "learner__ema_images": 8.0}


def stepped(one: Dcgan, steps: range) -> Dcgan:
    for step in steps:
        one.step(batch(one.data, 4 * step))
    return one


def fresh(seed: int = 0) -> Dcgan:
    return built(experiment(seed=seed, **VALUES), of_two_classes(), Compute(CPU))


@pytest.fixture(name="live")
def trained() -> Dcgan:
    return stepped(fresh(), range(5))


def saved(one: Dcgan) -> dict[str, object]:
    file = io.BytesIO()
    torch.save(one.state_dict(), file)
    file.seek(0)
    return torch.load(file)


def norms(module: nn.Module) -> list[nn.BatchNorm2d]:
    return [each for each in module.modules() if isinstance(each, nn.BatchNorm2d)]


def test_the_restored_average_samples_the_bits_of_the_live_one_and_goes_on_alike(live):
    restored = fresh(seed=1)
    restored.load_state_dict(saved(live))
    restored.seed = live.seed
    assert len(norms(live.ema)) == 2
    assert all(each.num_batches_tracked == 10 for each in norms(restored.ema))  # two batches a step: one for the critic
    asked = torch.tensor([0, 1, 1, 0, 1, 0])
    for _ in range(2):
        assert same(state_of(restored.ema), state_of(live.ema))
        cubes = live.sample(3, range(6), asked)
        assert torch.equal(restored.sample(3, range(6), asked), cubes)
        assert cubes.std(0).max() > 1e-4
        stepped(live, range(5, 8))
        stepped(restored, range(5, 8))
        assert not torch.equal(live.sample(3, range(6), asked), cubes)


def test_the_sampler_of_a_checkpoint_gives_the_same_bits_after_training(live):
    asked = torch.tensor([1, 0, 1])
    sampler = load_sampler(checkpoint(live, live.data, **VALUES))
    assert torch.equal(sampler.sample(7, range(3), asked), live.sample(7, range(3), asked))


def test_sampling_and_validation_leave_the_statistics_alone(live):
    before = state_of(live.ema), state_of(live.generator)
    live.validate()
    live.sample(0, range(3), torch.zeros(3, dtype=torch.int64))
    assert same(state_of(live.ema), before[0])
    assert same(state_of(live.generator), before[1])


def test_statistics_decide_what_is_sampled(live):
    """Weights alone are not enough: with the statistics of an untrained network, the same weights make other cubes."""
    asked = torch.zeros(3, dtype=torch.int64)
    spread = live.sample(0, range(3), asked).std((0, 2, 3)).mean()
    for each in norms(live.ema):
        each.reset_running_stats()
    other = live.sample(0, range(3), asked).std((0, 2, 3)).mean()
    assert abs(other / spread - 1) > 0.2


def test_without_learning_the_statistics_are_those_of_the_data():
    """The average of a network whose weights stand still holds the moments of its inputs; its count stays whole."""
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, momentum=0.2))
    average = MovingAverage(network, 100.0)
    assert not average.module.training
    start = copy.deepcopy(network[0])
    x = torch.randn(64, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 + 1
    for step in range(60):
        network(x)
        average.update(64 * (step + 1), 64)
    seen = start(x).detach()
    norm = average.module[1]
    torch.testing.assert_close(norm.running_mean, seen.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(norm.running_var, seen.var((0, 2, 3)), rtol=1e-4, atol=1e-5)
    assert norm.num_batches_tracked.item() == 60
    made = average.module(x)
    torch.testing.assert_close(made.mean((0, 2, 3)), torch.zeros(4), rtol=0, atol=1e-4)
    torch.testing.assert_close(made.var((0, 2, 3)), torch.ones(4), rtol=1e-3, atol=0)
