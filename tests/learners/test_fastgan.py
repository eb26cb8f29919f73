"""FastGAN as a learner: what its discriminator rebuilds, styles, samples, workers, refusals."""

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from hyperderm.config import DataConfig, Experiment, TrainingConfig
from hyperderm.errors import ConfigError
from hyperderm.learners.base import Compute
from hyperderm.learners.fastgan import FastGanConfig
from hyperderm.learners.fastgan.learner import FastGan
from hyperderm.learners.fastgan.losses import absolute_difference, spectral_angle
from hyperderm.learners.fastgan.networks import halved, targets
from hyperderm.learners.lpips import Lpips
from hyperderm.learners.spec import Drawing, Request
from hyperderm.metrics import weights
from hyperderm.training.checkpoint import CheckpointFolder
from hyperderm.training.context import Context
from hyperderm.training.feed import MemoryFeed
from hyperderm.training.resume import pack
from hyperderm.training.run import load_sampler
from tests.learning import built
from tests.training.tiny import CPU, batch, tiny_data


def experiment(size: int = 32, **values: object) -> Experiment:
    made = Experiment(
        name="tiny",
        profile="small",
        data=DataConfig(size=size),
        learner=FastGanConfig(generator_width=8, critic_width=8, noise_dim=10),
        training=TrainingConfig(batch_size=4, images=48, validate_every=16, validation_samples=8),
    )
    return made.override({path.replace("__", "."): value for path, value in values.items()})


def gan(size: int = 32, **values: object) -> FastGan:
    return built(experiment(size, **values), tiny_data(size=size), Compute(CPU))


def test_the_spectral_angle_is_that_of_the_textbook():
    a, b = torch.zeros(1, 2, 1, 3, dtype=torch.float64), torch.zeros(1, 2, 1, 3, dtype=torch.float64)
    a[0, 0] = 2.0
    for place, angle in enumerate((0.3, 1.0, math.pi / 2)):
        b[0, :, 0, place] = 5 * torch.tensor([math.cos(angle), math.sin(angle)])
    assert float(spectral_angle(a, b)) == pytest.approx((0.3 + 1.0 + math.pi / 2) / 3, abs=1e-6)
    same = a.clone().requires_grad_(True)
    spectral_angle(same, a).backward()
    assert torch.isfinite(same.grad).all()
    black = torch.zeros_like(a).requires_grad_(True)
    spectral_angle(black, a).backward()
    assert torch.isfinite(black.grad).all()
    turned = b.clone().requires_grad_(True)
    assert torch.autograd.gradcheck(lambda x: spectral_angle(x, a), turned)


@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.0, 2.0), (3.0, 0.0)])
def test_the_discriminator_is_led_by_real_cubes_that_it_rebuilds(weights):
    """Its loss is hinge + w_r Σ |…| + w_s Σ angle of the three rebuilt cubes, in the quadrant of this step."""
    one = gan(learner__reconstruction_weight=weights[0], learner__spectral_weight=weights[1])
    shown = batch(tiny_data(size=32))
    real = one.real(shown)
    seen = one.views(real)
    said = one.judged_real(seen, (), shown)
    terms = one.critic_terms(seen, said, (), shown)
    wanted = targets(real, one._part(shown))
    inverse = one.data.scaling.inverse
    expected = {
        "reconstruction": sum(absolute_difference(a, b) for a, b in zip(said.more, wanted, strict=True)),
        "spectral_angle": sum(spectral_angle(inverse(a), inverse(b)) for a, b in zip(said.more, wanted, strict=True)),
    }
    for (name, value), weight in zip(expected.items(), weights, strict=True):
        assert (name in terms) == (weight > 0)
        if weight > 0:
            assert terms[name][0] == weight
            assert float(terms[name][1].detach()) == pytest.approx(float(value.detach()))
    assert torch.equal(seen[1], halved(real))


def test_all_quadrants_are_rebuilt_in_turn():
    one, data = gan(), tiny_data(size=32)
    assert {one._part(batch(data, images)) for images in range(0, 160, 4)} == {0, 1, 2, 3}


def test_margins_lie_between_08_and_1_and_are_new_in_each_step():
    one, data = gan(), tiny_data(size=32)
    scores = torch.zeros(4, 50)
    first, second = (one.margins(scores, batch(data, images)) for images in (0, 4))
    assert first.shape == (2, 4, 50)
    assert 0.8 <= float(first.min()) < 0.82 < 0.98 < float(first.max()) < 1
    assert not torch.equal(first, second)


def test_a_style_comes_from_a_second_noise():
    one, data = gan(64), tiny_data(size=64)
    one.step(batch(data))
    with torch.no_grad():  # gates that say something
        for gate in one.ema.gates.parameters():
            gate.mul_(30.0)
    context = Context(CheckpointFolder(Path()), device=CPU, provenance={"run": "r"})
    sampler = load_sampler(pack(one, experiment(64), data, context))
    own = sampler.sample(3, range(4), None)
    sampler.drawing = Drawing(mix=True)
    mixed = sampler.sample(3, range(4), None)
    assert not torch.equal(own, mixed)
    assert torch.equal(sampler.sample(3, [2, 0], None), mixed[[2, 0]])
    learner = one.config
    learner.check_request(Request({"melanoma": 1}, ("melanoma",), {}, drawing=Drawing(mix=True), size=64))
    with pytest.raises(ConfigError, match=r"learner.kind = fastgan has no styles to mix at 32 px"):
        learner.check_request(Request({"melanoma": 1}, ("melanoma",), {}, drawing=Drawing(mix=True), size=32))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"data__size": 48}, "data.size = 48 is refused.* nearest"),
        ({"sweep__workers_per_trial": 2}, "norm = batch with 2 workers is refused.*layer"),
        ({"learner__r1_weight": 1.0}, "learner.r1_weight = 1.0 is refused"),
        ({"learner__loss": "bce"}, "learner.loss"),
        ({"learner__reconstruction": "lpips", "data__size": 16}, "LPIPS needs 16 px"),
        ({"learner__reconstruction": "vgg"}, "learner.reconstruction"),
        (
            {"learner__reconstruction": "lpips", "learner__space": "abundance", "learner__endmembers": 2},
            "learner.endmembers = 2 is refused: LPIPS needs 3 channels",
        ),
        ({"training__batch_size": 1}, "norm = batch with training.batch_size = 1 is refused"),
        ({"learner__lecam_weight": -0.1}, "learner.lecam_weight"),
        ({"learner__reconstruction_weight": -0.1}, "learner.reconstruction_weight"),
        ({"learner__spectral_weight": -0.1}, "learner.spectral_weight"),
        ({"learner__diffaug__policy": "colour"}, "would invent spectra"),
    ],
)
def test_refusals(values, message):
    with pytest.raises(ConfigError, match=message):
        experiment(**values)


def test_lpips_leads_the_discriminator_where_it_is_asked_for():
    data = tiny_data(size=32)
    one = gan(learner__reconstruction="lpips")
    shown = batch(data)
    seen = one.views(one.real(shown))
    said = one.judged_real(seen, (), shown)
    _, term = one.critic_terms(seen, said, (), shown)["reconstruction"]
    lpips = Lpips()
    pairs = zip(said.more, targets(seen[0], one._part(shown)), strict=True)
    assert float(term.detach()) == pytest.approx(sum(float(lpips(a, b).mean().detach()) for a, b in pairs), rel=1e-5)
    assert all(torch.isfinite(value) for value in one.step(shown).values())
    assert not any("lpips" in key for key in one.state_dict())


def test_lpips_without_its_weights_is_refused_before_anything_is_read(monkeypatch):
    monkeypatch.setattr(weights, "LPIPS_VGG16", replace(weights.LPIPS_VGG16, package="no-such-package"))
    learner = experiment(learner__reconstruction="lpips").learner
    with pytest.raises(ConfigError, match="no-such-package are not installed") as caught:
        learner.check_store(SimpleNamespace(wavelengths_nm=(1.0,) * 6, diagnoses={"melanoma": 3}))
    assert "learner.reconstruction=l1" in caught.value.remedy


@pytest.mark.parametrize("reconstruction", ["l1", "lpips"])
def test_it_learns_abundances_and_makes_cubes_of_them(reconstruction):
    """The networks have a channel an endmember; cubes have bands, and lie within what mixtures and residuals make."""
    made = experiment(
        learner__space="abundance",
        learner__endmembers=3,
        learner__endmembers_by="vca",
        learner__reconstruction=reconstruction,
        data__diagnoses="all",
    )
    data = made.learner.in_space(made, tiny_data(size=32))
    one = built(made, data, Compute(CPU))
    held = data.coordinates.forward(data.drawn)
    assert held.shape[1] == 3
    feed = MemoryFeed(held, 4, 0, labels=data.labels)
    for images in range(0, 12, 4):
        assert all(torch.isfinite(value) for value in one.step(feed.batch(images)).values())
    cubes = one.sample(0, range(3), None)
    assert cubes.shape == (3, len(data.wavelengths_nm), 32, 32)
    train = data.train.reflectance
    assert train.min() - 0.5 < cubes.min()
    assert cubes.max() < train.max() + 0.5
