"""DCGAN as a learner: every switch, classes, samples, checkpoints, the ladder's experiments, refusals."""

import itertools
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from hyperderm import registry
from hyperderm.config import DataConfig, Experiment, TrainingConfig
from hyperderm.errors import ConfigError, StudyError
from hyperderm.identity import read
from hyperderm.learners.base import Compute
from hyperderm.learners.data import TrainData
from hyperderm.learners.dcgan import DcganConfig
from hyperderm.learners.dcgan.learner import Dcgan
from hyperderm.learners.shsgan import ShsGanConfig
from hyperderm.learners.spec import Drawing, Request
from hyperderm.training.checkpoint import CheckpointFolder
from hyperderm.training.context import Context
from hyperderm.training.resume import pack
from hyperderm.training.run import load_sampler
from hyperderm.training.stream import feed_of
from tests.learning import built
from tests.training.tiny import CPU, batch, same, state_of, tiny_data

LADDER = ("ladder_1_dcgan", "ladder_2_conv3d", "ladder_3_spectral_norm", "ladder_4_fft_arm")


def experiment(**values: object) -> Experiment:
    base = Experiment(
        name="tiny",
        profile="small",
        data=DataConfig(size=16, diagnoses="all"),
        learner=DcganConfig(generator_width=4, critic_width=4, noise_dim=10),
        training=TrainingConfig(batch_size=4, images=48, validate_every=16, validation_samples=8),
    )
    return base.override({path.replace("__", "."): value for path, value in values.items()})


def of_two_classes() -> TrainData:
    """Two nevi, darker by half, for every melanoma."""
    data = tiny_data()
    names = tuple("melanoma" if row % 3 == 0 else "nevus" for row in range(len(data.train)))
    dark = torch.tensor([0.5 if name == "nevus" else 1.0 for name in names])[:, None, None, None]
    return replace(data, train=replace(data.train, diagnoses=names, reflectance=data.train.reflectance * dark))


def gan(data: TrainData | None = None, **values: object) -> Dcgan:
    return built(experiment(**values), data or tiny_data(), Compute(CPU))


@pytest.mark.parametrize(
    ("critic", "norm", "loss"),
    list(
        itertools.product(
            ("dcgan", "conv2d", "conv3d"),
            ("none", "spectral", "layer", "batch"),
            ("wgan_gp", "wgan_clip", "hinge", "bce"),
        )
    ),
)
@pytest.mark.parametrize("classes", [False, True])
def test_every_switch_takes_two_steps(critic, norm, loss, classes):
    if norm == "batch" and loss == "wgan_gp":
        return  # refused, see test_shsgan_switches
    data = of_two_classes()
    arm = {"learner__fft_arm": True} if critic != "dcgan" else {}
    one = gan(
        data,
        learner__critic=critic,
        learner__norm=norm,
        learner__loss=loss,
        learner__conditioning="class" if classes else "none",
        **arm,
    )
    before = state_of(one.generator), state_of(one.critic)
    for images in (0, 4):
        assert all(torch.isfinite(value) for value in one.step(batch(data, images)).values())
    assert not same(before[0], state_of(one.generator))
    assert not same(before[1], state_of(one.critic))
    report = one.validate()
    assert report.cubes is not None
    assert report.cubes.shape == (8, 16, 16, 16)


def test_a_wgan_clips_its_critic_alone_and_has_no_momentum():
    one = gan(learner__loss="wgan_clip", learner__norm="none", learner__clip=0.003, learner__lr_critic=1e-2)
    assert all(type(each) is torch.optim.RMSprop for each in one.optimizers.values())
    assert max(float(p.detach().abs().max()) for p in one.critic.parameters()) > 0.01
    one.step(batch(tiny_data()))
    assert max(float(p.detach().abs().max()) for p in one.critic.parameters()) == pytest.approx(0.003)
    assert max(float(p.detach().abs().max()) for p in one.generator.parameters()) > 0.01
    assert type(gan().d_optimizer) is torch.optim.Adam


def test_batch_norm_statistics_travel_with_the_average():
    one = gan()
    one.step(batch(tiny_data()))
    buffers = dict(one.generator.named_buffers())
    assert buffers
    assert all(torch.equal(value, buffers[name]) for name, value in one.ema.named_buffers())
    assert not one.ema.training


def checkpoint(one: Dcgan, data: TrainData, **values: object) -> dict[str, object]:
    return pack(one, experiment(**values), data, Context(CheckpointFolder(Path()), device=CPU, provenance={"run": "r"}))


def test_a_cube_depends_on_seed_and_index_alone():
    data = tiny_data()
    sampler = load_sampler(checkpoint(gan(data), data))
    whole = sampler.sample(5, list(range(9)), None)
    assert torch.equal(torch.cat([sampler.sample(5, [index], None) for index in range(9)]), whole)
    assert torch.equal(sampler.sample(5, [7, 2], None), whole[[7, 2]])
    assert not torch.equal(sampler.sample(6, [0], None), whole[:1])
    assert len(torch.unique(whole.flatten(1), dim=0)) == 9


def test_validation_makes_the_cubes_that_a_checkpoint_makes():
    data = of_two_classes()
    one = gan(data, learner__conditioning="class")
    one.step(batch(data))
    sampler = load_sampler(checkpoint(one, data, learner__conditioning="class"))
    assert sampler.classes == ("melanoma", "nevus")
    made = sampler.sample(0, range(8), one.condition(one._drawn(8, 0)))
    assert torch.equal(made, one.validate().cubes)


def test_a_class_is_learnt_and_can_be_asked_for():
    """Nevi are half as bright here: after training, those that are asked for are darker."""
    data = of_two_classes()
    values = {"learner__conditioning": "class", "training__batch_size": 6, "learner__ema_images": 50.0}
    values |= {"learner__lr_generator": 2e-3, "learner__lr_critic": 2e-3, "learner__generator_width": 8}
    values |= {"learner__norm": "spectral"}
    one, made = gan(data, **values), experiment(**values)
    feed = feed_of(made, data, Context(CheckpointFolder(Path()), device=CPU))
    for images in range(0, 600, 6):
        one.step(feed.batch(images))
    melanomas, nevi = (one.sample(1, range(12), torch.full((12,), number)).mean() for number in (0, 1))
    assert nevi < 0.75 * melanomas


def test_classes_are_shown_as_train_holds_them_or_equally_often():
    data = of_two_classes()
    for balanced, share in ((False, 1 / 3), (True, 1 / 2)):
        made = experiment(learner__conditioning="class", learner__balance_classes=balanced)
        feed = feed_of(made, data, Context(CheckpointFolder(Path()), device=CPU))
        shown = torch.cat([feed.batch(images).labels for images in range(0, 48, 4)])
        assert float((shown == 0).double().mean()) == pytest.approx(share)


def test_the_class_head_learns_from_real_cubes_alone():
    """Its gradient in the critic's step is that of the cross-entropy of real cubes on logits: no fake, no second softmax."""
    data = of_two_classes()
    one = gan(data, learner__conditioning="class", learner__class_head="auxiliary", learner__norm="none")
    shown, before = batch(data), {name: p.detach().clone() for name, p in one.critic.named_parameters()}
    metrics = one.critic_step(shown)
    got = one.critic.auxiliary.weight.grad.clone()
    phi = one.critic.phi.requires_grad_(False)
    one.critic.load_state_dict(before)
    logits = one.critic.auxiliary(phi(shown.real).mean((2, 3)))
    expected = -logits.log_softmax(1)[torch.arange(len(shown.labels)), shown.labels].mean()
    assert float(metrics["class_loss"].detach()) == pytest.approx(float(expected.detach()))
    (gradient,) = torch.autograd.grad(expected, one.critic.auxiliary.weight)
    torch.testing.assert_close(got, gradient)


def test_the_generator_of_an_acgan_is_led_by_the_class_that_was_asked_for():
    data = of_two_classes()
    values = {"learner__conditioning": "class", "learner__class_head": "auxiliary", "learner__class_weight": 3.0}
    one = gan(data, **values)
    metrics = one.step(batch(data))
    total = metrics["adversarial"] + 3 * metrics["generator_class_loss"]
    assert float(metrics["generator_loss"]) == pytest.approx(float(total))
    assert "generator_class_loss" not in gan(data, learner__conditioning="class").step(batch(data))


@pytest.mark.parametrize(("told", "now"), [(True, "class"), (False, "none")])
def test_a_checkpoint_that_said_class_conditional_is_read(told, now):
    saved = experiment().model_dump(mode="json")
    del saved["learner"]["conditioning"]
    again = read({**saved, "learner": {**saved["learner"], "class_conditional": told}})
    assert again == experiment(learner__conditioning=now)


def test_other_classes_do_not_resume():
    data = of_two_classes()
    state = gan(data, learner__conditioning="class").state_dict() | {"classes": ["melanoma", "solar_lentigo"]}
    with pytest.raises(ValueError, match="trained on melanoma, solar_lentigo, not on melanoma, nevus"):
        gan(data, learner__conditioning="class").load_state_dict(state)


@pytest.mark.parametrize(
    ("trained", "claimed", "told"), [("none", "class", "no diagnosis"), ("class", "none", "melanoma, nevus")]
)
def test_a_checkpoint_whose_configuration_claims_other_classes_is_refused(trained, claimed, told):
    data = of_two_classes()
    saved = checkpoint(gan(data, learner__conditioning=trained), data, learner__conditioning=claimed)
    with pytest.raises(StudyError, match=f"learner.conditioning = {claimed}, but its networks were told {told}"):
        load_sampler(saved)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"data__size": 48}, "data.size = 48 is refused.* such as 56"),
        ({"learner__fft_arm": True}, "fft_arm = true with learner.critic = dcgan is refused"),
        ({"learner__balance_classes": True}, "balance_classes = true with learner.conditioning = none"),
        ({"learner__class_head": "auxiliary"}, "class_head = auxiliary with learner.conditioning = none"),
        (
            {"learner__class_head": "auxiliary", "learner__conditioning": "class", "learner__critic": "conv2d"},
            "class_head = auxiliary with learner.critic = conv2d",
        ),
        ({"learner__class_weight": -1.0}, "learner.class_weight = -1.0 is refused"),
        ({"learner__n_critic": 0}, "learner.n_critic = 0 is refused"),
        ({"learner__gp_weight": -10.0}, "learner.gp_weight = -10.0 is refused"),
        ({"learner__clip": 1e300}, r"learner.clip = 1e\+300 is refused: it should be less than or equal to 100"),
        ({"sweep__workers_per_trial": 2}, "norm = batch with 2 workers"),
        ({"training__batch_size": 1}, "learner.norm = batch with training.batch_size = 1 is refused"),
        (
            {"training__batch_size": 1, "learner__norm": "none"},
            "learner.generator_norm = batch with training.batch_size = 1",
        ),
        ({"sweep__workers_per_trial": 2, "learner__norm": "layer"}, "generator_norm = batch with 2 workers"),
        ({"learner__conditioning": "class", "data__diagnoses": ["nevus"]}, "with one diagnosis"),
    ],
)
def test_refusals(values, message):
    with pytest.raises(ConfigError, match=message):
        experiment(**values)


@pytest.mark.parametrize("classes", [False, True])
def test_what_can_be_asked_for(classes):
    learner = experiment(learner__conditioning="class" if classes else "none").learner
    both = ("melanoma", "nevus")
    learner.check_request(Request({"melanoma": 10_000}, both if classes else both[:1], {}))
    with pytest.raises(ConfigError, match="'lentigo' was not learnt"):
        learner.check_request(Request({"lentigo": 1}, both, {}))
    with pytest.raises(ConfigError, match="not from photographs"):
        learner.check_request(Request({"melanoma": 1}, both[:1], {}, photographs=True))
    learner.check_request(Request({"melanoma": 1}, both if classes else both[:1], {}, drawing=Drawing(truncation=2.0)))
    with pytest.raises(ConfigError, match=r"--mix: a generator of learner.kind = dcgan has no styles to mix. Leave it out"):
        learner.check_request(Request({"melanoma": 1}, both[:1], {}, drawing=Drawing(mix=True), size=32))
    with pytest.raises(ConfigError, match=r"--truncation 2: this generator makes cubes from RGB images"):
        ShsGanConfig().check_request(Request({"melanoma": 1}, both, {"melanoma": 3}, drawing=Drawing(truncation=2.0)))
    if not classes:
        with pytest.raises(ConfigError, match="nobody knows which"):
            learner.check_request(Request({"melanoma": 1}, both, {}))


def test_the_ladder_changes_one_thing_at_a_rung():
    for profile in ("small", "full"):
        rungs = [registry.experiment(name, profile) for name in LADDER]
        assert {registry.space_of(name) for name in LADDER} == {"dcgan"}
        changed = []
        for below, above in itertools.pairwise(rungs):
            a, b = below.learner.model_dump(), above.learner.model_dump()
            changed.append({name for name in a if a[name] != b[name]})
            assert below.training == above.training
            assert below.data == above.data
        assert changed == [{"critic"}, {"norm"}, {"fft_arm"}]
        assert {each.learner.condition for each in rungs} == {"none"}


def test_the_space_fits_every_experiment_from_noise():
    for name in ("dcgan", "sngan", *LADDER):
        for profile in ("small", "full"):
            made = registry.experiment(name, profile)
            registry.check_space(registry.space(registry.space_of(name), made), made)


def test_a_checkpoint_of_other_networks_is_refused():
    data = tiny_data()
    saved = checkpoint(gan(data), data, learner__generator_width=8)
    with pytest.raises(StudyError, match="size mismatch"):
        load_sampler(saved)


@pytest.mark.parametrize("name", ["dcgan", "sngan"])
def test_the_readme_s_way_to_a_generator_that_is_told_the_diagnosis(name):
    values = registry.experiment(name, "small").override({"data.diagnoses": "all", "learner.conditioning": "class"})
    assert values.learner.condition == "class"


def test_a_store_that_cannot_serve_it_is_refused_before_anything_is_read():
    manifest = SimpleNamespace(wavelengths_nm=(1.0,) * 6, diagnoses={"melanoma": 3})
    with pytest.raises(ConfigError, match=r"learner.critic = conv3d needs at least 7 bands, the store has 6"):
        DcganConfig(critic="conv3d").check_store(manifest)
    with pytest.raises(ConfigError, match=r"conditioning = class on a store of melanoma alone is refused"):
        DcganConfig(conditioning="class").check_store(manifest)
    DcganConfig().check_store(manifest)
    with pytest.raises(ConfigError, match=r"learner.critic = conv3d needs at least 7 bands, the store has 6"):
        ShsGanConfig().check_store(manifest)
