"""The classifier's step against torch's own losses, shares against the whole batch, resuming, and which class is 1."""

import copy
from itertools import islice

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from hyperderm.errors import ConfigError, StudyError
from hyperderm.learners.base import Compute
from hyperderm.learners.classifier.learner import Classifier
from hyperderm.learners.data import CubeSet, TrainData, truth
from hyperderm.learners.decision_rule import fit_decision_rule
from hyperderm.training.checkpoint import BEST, LATEST, CheckpointFolder
from hyperderm.training.context import local
from hyperderm.training.feed import MemoryFeed
from hyperderm.training.loop import train
from hyperderm.training.resume import pack
from hyperderm.training.run import load_classifier
from tests.learners.tissue import MELANOMA, NEVUS, auroc, classifier, lesions
from tests.learning import built, shown
from tests.training.tiny import CPU, same, state_of, steady

DOUBLE = Compute(CPU, torch.float64)


def feed(data: TrainData, experiment, rank=0, workers=1) -> MemoryFeed:
    cubes = data.scaling.forward(data.drawn.double())
    batch, seed = experiment.training.batch_size, experiment.seed
    return MemoryFeed(cubes, batch, seed, rank=rank, world_size=workers, phases=shown(experiment, data))


def gradients(learner: Classifier) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in learner.network.named_parameters() if p.grad is not None}


def logits_before(learner: Classifier, x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return copy.deepcopy(learner.network).train()(x)


# --- one step


@pytest.mark.parametrize("workers", [2, 4])
@pytest.mark.parametrize("loss", ["cross_entropy", "focal"])
def test_the_mean_over_shares_is_the_whole_batch(workers, loss):
    experiment = classifier(learner__loss=loss, learner__class_weights="balanced", learner__augmentation="classic")
    data = lesions()
    whole = built(experiment, data, DOUBLE)
    metrics = whole.step(feed(data, experiment).batch(8))
    parts = [built(experiment, data, DOUBLE) for _ in range(workers)]
    told = [one.step(feed(data, experiment, rank, workers).batch(8)) for rank, one in enumerate(parts)]
    found = [gradients(one) for one in parts]
    for name, gradient in gradients(whole).items():
        mean = torch.stack([each[name] for each in found]).mean(0)
        torch.testing.assert_close(mean, gradient, rtol=1e-9, atol=1e-12)
    for name in ("loss", "accuracy", "positive_share"):
        torch.testing.assert_close(torch.stack([each[name] for each in told]).mean(), metrics[name])


@pytest.mark.parametrize("weights", ["none", "balanced"])
def test_cross_entropy_is_torch_s_with_weights_of_the_classes_shown(weights):
    experiment, data = classifier(learner__class_weights=weights, learner__oversample=0.5), lesions(8, 16)
    learner = built(experiment, data, DOUBLE)
    batch = feed(data, experiment).batch(0)
    y = truth(data.train.diagnoses)[batch.rows].double()
    each = torch.where(y == 1, 28 / (2 * 12), 28 / (2 * 16)) if weights == "balanced" else torch.ones(8)
    expected = binary_cross_entropy_with_logits(logits_before(learner, batch.real), y, each.double())
    metrics = learner.step(batch)
    torch.testing.assert_close(metrics["loss"], expected, rtol=1e-6, atol=0)
    assert float(metrics["positive_share"]) == float(y.mean())


def test_weights_are_those_of_the_last_phase():
    """A pre-training does not decide what the classes weigh."""
    settings = {"synthetic__store": "set", "synthetic__use": "pretrain", "training__pretrain_images": 32}
    data = lesions(8, 16, extra=(NEVUS, MELANOMA) * 24)
    learner = built(classifier(learner__class_weights="balanced", learner__oversample=0.5, **settings), data, DOUBLE)
    torch.testing.assert_close(learner.weights, torch.tensor([28 / (2 * 16), 28 / (2 * 12)]))


def test_focal_loss_with_its_gamma():
    experiment, data = classifier(learner__loss="focal", learner__focal_gamma=3.0), lesions()
    learner = built(experiment, data, DOUBLE)
    batch = feed(data, experiment).batch(0)
    y = truth(data.train.diagnoses)[batch.rows]
    p = torch.sigmoid(logits_before(learner, batch.real))
    right = torch.where(y == 1, p, 1 - p)
    torch.testing.assert_close(learner.step(batch)["loss"], (-((1 - right) ** 3) * right.log()).mean())


def test_synthetic_cubes_carry_their_own_labels():
    data = lesions(4, 8, extra=(NEVUS, MELANOMA) * 4)
    experiment = classifier(synthetic__store="set", training__batch_size=16)
    learner = built(experiment, data, DOUBLE)
    batch = feed(data, experiment).batch(0)
    assert int((batch.rows >= 12).sum()) == 4  # the epoch of 16 holds 4 synthetic ones
    assert float(learner.step(batch)["positive_share"]) == 8 / 16


def test_classic_augmentation_is_keyed_and_stays_in_training():
    experiment, data = classifier(learner__augmentation="classic"), lesions()
    batch = feed(data, experiment).batch(0)
    one, two = (built(experiment, data, DOUBLE) for _ in range(2))
    assert torch.equal(one.step(batch)["loss"], two.step(batch)["loss"])
    plain = built(classifier(), data, DOUBLE)
    untouched = plain.logits_of(data.validation.reflectance, data.validation.masks)
    fresh = built(experiment, data, DOUBLE)
    assert torch.equal(fresh.logits_of(data.validation.reflectance, data.validation.masks), untouched)
    assert not torch.equal(fresh.step(batch)["loss"], plain.step(batch)["loss"])


# --- draws


@pytest.mark.parametrize("global_seed", [0, 7])
def test_weights_are_keyed_and_the_global_generator_is_left_alone(global_seed):
    torch.manual_seed(global_seed)
    before = torch.get_rng_state()
    data = lesions()
    experiment = classifier(learner__dropout=0.4)
    learner = built(experiment, data, DOUBLE)
    learner.step(feed(data, experiment).batch(0))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    again = built(experiment, data, DOUBLE)
    again.step(feed(data, experiment).batch(0))
    assert same(state_of(learner.network), state_of(again.network))
    assert not same(state_of(built(classifier(seed=1), data, DOUBLE).network), state_of(again.network))


def test_dropout_changes_from_step_to_step():
    data, experiment = lesions(), classifier(learner__dropout=0.5, learner__lr=1e-12, learner__weight_decay=0.0)
    learner = built(experiment, data, DOUBLE)
    batch = feed(data, experiment).batch(0)
    other = copy.copy(batch)
    object.__setattr__(other, "images", 8)
    losses = [float(learner.step(one)["loss"]) for one in (batch, other, batch)]
    assert losses[0] == pytest.approx(losses[2], rel=1e-6)
    assert losses[0] != pytest.approx(losses[1], rel=1e-3)


# --- validation


def test_a_cube_s_logit_does_not_depend_on_its_company_or_its_mask():
    data = lesions(validation=70)  # more than are judged at once
    held = data.validation
    learner = built(classifier(learner__dropout=0.5), data, DOUBLE)
    together = learner.logits_of(held.reflectance, held.masks)
    alone = torch.cat([learner.logits_of(x[None], ~m[None]) for x, m in zip(held.reflectance, held.masks, strict=True)])
    assert (together.dtype, together.shape) == (torch.float64, (140,))
    torch.testing.assert_close(together, alone)
    expected = fit_decision_rule(together, truth(held.diagnoses)).metrics
    assert learner.validate().scores == pytest.approx(expected)
    assert learner.validate().cubes is None


# --- learning


def settings(**changes):
    values = {"training__images": 2400, "training__batch_size": 16, "training__validate_every": 800}
    return classifier(**{**values, **changes})


@pytest.mark.parametrize("case", ["melanomas first", "melanomas last", "several negatives"])
def test_it_learns_melanoma_whatever_the_order_of_diagnoses(tmp_path, case):
    data = lesions(16, 32, depth=0.5, validation=24)
    names = list(data.train.diagnoses)
    order = sorted(range(48), key=lambda i: names[i] == MELANOMA, reverse=case == "melanomas first")
    data = TrainData(picked(data.train, order), data.validation, data.wavelengths_nm, data.scaling)
    if case == "several negatives":  # before and after melanoma in the alphabet
        kinds = ("dysplastic_nevus", "solar_lentigo", "intraepidermal_carcinoma")
        data = TrainData(renamed(data.train, kinds), renamed(data.validation, kinds), data.wavelengths_nm, data.scaling)
    experiment = settings()
    list(train(experiment, data, local(tmp_path)))
    learner = built(experiment, data, Compute(CPU))
    learner.load_state_dict(CheckpointFolder(tmp_path).load(BEST)["learner"])
    z = learner.logits_of(data.validation.reflectance, data.validation.masks)
    melanoma = torch.tensor([name == MELANOMA for name in data.validation.diagnoses])
    assert auroc(z, melanoma) > 0.95
    assert float(z[melanoma].mean()) > float(z[~melanoma].mean())


def picked(cubes: CubeSet, rows: list[int]) -> CubeSet:
    return CubeSet(
        tuple(cubes.lesion_ids[i] for i in rows),
        tuple(cubes.diagnoses[i] for i in rows),
        cubes.reflectance[rows],
        cubes.masks[rows],
    )


def renamed(cubes: CubeSet, kinds: tuple[str, ...]) -> CubeSet:
    names = tuple(n if n == MELANOMA else kinds[i % len(kinds)] for i, n in enumerate(cubes.diagnoses))
    return CubeSet(cubes.lesion_ids, names, cubes.reflectance, cubes.masks)


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_a_run_that_was_killed_goes_on_bit_for_bit(tmp_path, stop):
    data = lesions(8, 16, extra=(NEVUS, MELANOMA) * 24)
    experiment = classifier(
        learner__dropout=0.3, learner__augmentation="classic", learner__class_weights="balanced",
        synthetic__store="set", synthetic__use="pretrain", training__pretrain_images=44,
        training__images=96,
    )  # fmt: skip
    whole = [dict(report.metrics) for report in train(experiment, data, local(tmp_path / "whole"))]
    torch.manual_seed(5)
    first = [dict(r.metrics) for r in islice(train(experiment, data, local(tmp_path / "parts")), stop)]
    torch.rand(17)  # another process would have another global state
    second = [dict(r.metrics) for r in train(experiment, data, local(tmp_path / "parts"))]
    ends = [CheckpointFolder(tmp_path / name).load(LATEST) for name in ("whole", "parts")]
    assert same(*(end["learner"]["network"] for end in ends))
    for a, b in zip(*(end["learner"]["optimizer"]["state"].values() for end in ends), strict=True):
        assert same(a, b)
    untimed = [[steady(metrics) for metrics in reports] for reports in (whole, first + second[1:])]
    assert untimed[0] == untimed[1]


# --- batch norm


def test_batch_norm_with_several_cpu_workers_is_refused():
    many = classifier(sweep__workers_per_trial=2, learner__architecture="resnet18", data__size=32)
    with pytest.raises(ConfigError, match=r"learner.architecture = resnet18 with 2 workers on CPUs is refused") as caught:
        built(many, lesions(), DOUBLE)
    assert caught.value.remedy == "Use one worker, GPUs, or learner.architecture=small_cnn."
    built(many.override({"sweep.workers_per_trial": 1}), lesions(), DOUBLE)


def test_the_small_network_serves_several_cpu_workers():
    built(classifier(sweep__workers_per_trial=2), lesions(), DOUBLE)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"learner__architecture": "resnet19"}, "learner.architecture = 'resnet19' is unknown. Did you mean 'resnet18'"),
        (
            {"learner__architecture": "densenet121", "data__size": 24},
            "data.size = 24 with learner.architecture = densenet121",
        ),
        (
            {"learner__architecture": "resnet18", "data__size": 32, "training__batch_size": 1},
            "training.batch_size = 1 with learner.architecture = resnet18 is refused",
        ),
    ],
)
def test_networks_that_cannot_be_trained_are_refused_by_the_configuration(overrides, said):
    with pytest.raises(ConfigError) as caught:
        classifier(**overrides)
    assert str(caught.value).startswith(said)


# --- loaded without its data


@pytest.mark.parametrize(("architecture", "packages"), [("small_cnn", ()), ("resnet18", ("timm", "torchvision"))])
def test_a_classifier_is_loaded_from_its_checkpoint_alone(tmp_path, architecture, packages):
    experiment = classifier(learner__architecture=architecture, learner__dropout=0.5, data__size=32)
    assert experiment.learner.packages == packages
    data = lesions()
    context = local(tmp_path)
    learner = built(experiment, data, context.compute("auto"))
    learner.step(feed(data, experiment).batch(0))
    held, state = data.validation, pack(learner, experiment, data, context)
    found = load_classifier(state).logits_of(held.reflectance, held.masks)
    assert torch.equal(found, learner.logits_of(held.reflectance, held.masks))
    weights = state["learner"]["network"]
    state["learner"]["network"] = {name: x * float("nan") if x.is_floating_point() else x for name, x in weights.items()}
    with pytest.raises(StudyError, match=r"not a classifier of this version of hyperderm .*NaN or infinite"):
        load_classifier(state)
