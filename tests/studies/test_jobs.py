"""The arms: what each fixes in a model's configuration, their controls, and the declared family."""

from dataclasses import fields

import pytest

from hyperderm.learners.classifier import ClassifierConfig
from hyperderm.studies.ablation.arms import Arm, arms, contrasts, named
from tests.studies.grids import grid

EVERY = ["real", "classic", "oversampled", "focal", "synthetic", "only", "pretrain", "both"]
RATIOS = [0.25, 0.5, 1, 2, 4, "balance"]


def named_arms(**overrides) -> dict[str, Arm]:
    return {arm.name: arm for arm in arms(grid(**overrides))}


def cell(arm: Arm, model: str = "small_cnn", **overrides):
    asked = grid(**overrides)
    return arm.experiment(asked, asked.classifiers[model], fold=2, seed=7, store="somewhere")


def test_every_arm_of_every_ratio_and_generator_stands_once_in_the_order_of_reports():
    found = list(named_arms(arms=EVERY, ratios=RATIOS, generators=["shsgan", "fastgan"]))
    names = ["x0.25", "x0.5", "x1", "x2", "x4", "balance"]
    expected = ["real", "classic", *(f"oversampled_{name}" for name in names), "focal"]
    for maker in ("shsgan", "fastgan"):
        expected += [f"{maker}{kind}_{name}" for name in names for kind in ("", "_both")]
        expected += [f"{maker}_only", f"{maker}_pretrain"]
    assert found == expected


def test_a_synthetic_arm_brings_its_references_unasked():
    found = named_arms(arms=["synthetic"], ratios=[2])
    assert list(found) == ["real", "oversampled_x2", "shsgan_x2"]
    assert list(named_arms(arms=["only"])) == ["real", "shsgan_only"]  # nothing is decided about it
    assert contrasts(list(found.values())) == [("shsgan_x2", "real"), ("shsgan_x2", "oversampled_x2")]


def test_the_declared_family_pairs_each_ratio_with_its_own_control():
    found = named_arms(arms=EVERY, ratios=[0.5, "balance"])
    assert contrasts(list(found.values())) == [
        (arm, reference)
        for arm, ratio in (
            ("shsgan_x0.5", "x0.5"), ("shsgan_both_x0.5", "x0.5"), ("shsgan_balance", "balance"),
            ("shsgan_both_balance", "balance"),
        )
        for reference in ("real", f"oversampled_{ratio}")
    ] + [("shsgan_pretrain", "real"), ("shsgan_pretrain", "classic")]  # fmt: skip


def test_only_the_real_arm_is_not_augmented():
    for name, arm in named_arms(arms=EVERY, ratios=RATIOS).items():
        assert cell(arm).learner.augmentation == ("none" if name == "real" else "classic"), name


@pytest.mark.parametrize("model", ["spectral", "small_cnn"])
@pytest.mark.parametrize("ratio", RATIOS)
def test_an_arm_and_its_control_differ_in_their_synthetic_cubes_alone(model, ratio):
    found = named_arms(ratios=[ratio])
    arm = found[f"shsgan_{named(ratio)}"]
    control = cell(found[arm.control], model)
    made = cell(arm, model)
    assert (made.synthetic.use, made.synthetic.ratio, made.synthetic.store) == ("add", ratio, "somewhere")
    assert control.learner.oversample == ratio
    same = {"synthetic": None, "learner": control.learner}
    assert made.model_copy(update=same) == control
    assert made.learner == control.learner.model_copy(update={"oversample": 0.0})


def test_what_an_arm_sets_it_sets_and_nothing_else():
    found = named_arms(arms=EVERY)
    asked = grid(classifiers__small_cnn__learner__lr=0.003, task__negatives="all_others", arms=EVERY)
    model = asked.classifiers["small_cnn"]
    focal = found["focal"].experiment(asked, model, 2, 7, "")
    assert focal.learner == ClassifierConfig(lr=0.003, loss="focal")
    assert (focal.seed, focal.data.fold, focal.data.size, focal.data.flips) == (7, 2, 16, False)
    assert (focal.task, focal.training, focal.synthetic) == (asked.task, model.training, None)
    only = found["shsgan_only"].experiment(asked, model, 2, 7, "s")
    assert (only.synthetic.use, only.synthetic.ratio, only.training.pretrain_images) == ("only", 1.0, 0)


def test_pre_training_takes_half_of_the_same_number_of_images():
    found = named_arms(arms=EVERY)
    pretrained, plain = cell(found["shsgan_pretrain"]), cell(found["classic"])
    assert pretrained.training.images == plain.training.images == 64
    assert (pretrained.training.pretrain_images, pretrained.synthetic.use) == (32, "pretrain")


def test_every_arm_shows_the_same_number_of_images():
    shown = {cell(arm).training.images for arm in named_arms(arms=EVERY, ratios=RATIOS).values()}
    assert shown == {64}


def test_what_means_nothing_to_the_spectral_baseline():
    asked = grid(arms=EVERY)
    refused = {arm.name: arm.suits(asked.classifiers["spectral"]) for arm in arms(asked)}
    assert {name for name, reason in refused.items() if reason} == {"classic", "focal", "shsgan_pretrain"}
    assert not any(arm.suits(asked.classifiers["small_cnn"]) for arm in arms(asked))


@pytest.mark.parametrize(("ratio", "name"), [(0.25, "x0.25"), (1.0, "x1"), (4, "x4"), (1.5, "x1.5"), ("balance", "balance")])
def test_names_of_ratios(ratio, name):
    assert named(ratio) == name


def test_arms_are_described():
    for arm in named_arms(arms=EVERY, ratios=RATIOS).values():
        assert len(arm.description) > 20
    texts = [arm.description for arm in named_arms(arms=EVERY, ratios=RATIOS).values()]
    assert len(set(texts)) == len(texts)
    assert "learner" in {f.name for f in fields(Arm)}
