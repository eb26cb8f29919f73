"""Synthetic cubes of both classes in train's proportion, and the negative control with their diagnoses dealt out anew."""

from collections import Counter
from dataclasses import replace

import pytest
import torch

from hyperderm.config import SyntheticConfig
from hyperderm.errors import ConfigError
from hyperderm.learners.data import truth
from hyperderm.learners.sampling import phases, relabelled
from hyperderm.store.folds import POSITIVE
from hyperderm.studies.ablation.jobs import SPARE
from tests.cluster.sweeps import classifier
from tests.studies.grids import generator, plan
from tests.training.tiny import cube_set, tiny_data

BOTH = {"shsgan": generator(data__diagnoses="all")}


def planned(real, **changes):
    return plan(real, BOTH, arms=["proportional", "shuffled"], **changes)


def test_a_set_holds_every_diagnosis_as_often_as_train(real):
    made = planned(real, ratios=[0.5], folds=[0])
    (job,) = made.stage("synthetic")
    held = Counter(
        row["diagnosis"] for row in real.index().to_pylist() if row["lesion_id"] in made.selections[0].train
    )  # fmt: skip
    assert job.counts == {name: -(-count // 2) + SPARE for name, count in held.items()}
    assert {cell.arm for cell in made.stage("cell")} == {
        "real", "classic", "shsgan_proportional_x0.5", "shsgan_shuffled_x0.5",
    }  # fmt: skip


def test_their_control_is_the_same_training_without_them(real):
    made = planned(real, models=["small_cnn"])
    assert made.contrasts == [
        (arm, reference, "small_cnn")
        for arm in ("shsgan_proportional_x1", "shsgan_shuffled_x1")
        for reference in ("real", "classic")
    ]
    assert [arm.name for arm in made.arms if arm.negative] == ["shsgan_shuffled_x1"]
    cells = {cell.arm: cell.experiment for cell in made.stage("cell")}
    assert cells["shsgan_shuffled_x1"].synthetic.labels == "redrawn"
    assert cells["classic"].learner == cells["shsgan_proportional_x1"].learner
    assert cells["classic"].training == cells["shsgan_shuffled_x1"].training


def test_a_balance_of_both_classes_has_no_meaning(real):
    with pytest.raises(ConfigError, match=r"they keep train's proportion\. Add a number"):
        planned(real, ratios=["balance"])
    assert {arm.word for arm in planned(real, ratios=["balance", 1.0]).arms if arm.generator} == {"proportional", "shuffled"}


def test_a_model_without_augmentation_has_real_cubes_alone_as_their_control(real):
    made = planned(real)
    assert {(arm, model) for arm, model, _ in made.left_out} == {("classic", "spectral")}
    assert [(arm, reference) for arm, reference, model in made.contrasts if model == "spectral"] == [
        ("shsgan_proportional_x1", "real"), ("shsgan_shuffled_x1", "real"),
    ]  # fmt: skip


def test_a_ratio_that_adds_nevi_alone_is_refused(real):
    with pytest.raises(ConfigError, match="in fold 0 it adds no melanoma to 9 of 24 train cubes"):
        planned(real, ratios=[0.05])


def classifier_run(**synthetic):
    return classifier().model_copy(update={"synthetic": SyntheticConfig(store="x", **synthetic)})


@pytest.fixture
def data():
    """Train of 4 melanomas and 8 nevi, and a set of as many synthetic ones."""
    diagnoses = (POSITIVE,) * 4 + ("dysplastic_nevus",) * 8
    train, extra = (replace(cube_set(torch.rand(12, 16, 16, 16)), diagnoses=diagnoses) for _ in range(2))
    return replace(tiny_data(), train=train, validation=train, extra=extra)


@pytest.mark.parametrize(("ratio", "melanomas", "nevi"), [(1.0, 4, 8), (0.5, 2, 4)])
def test_both_classes_are_shown_beside_the_real_ones(data, ratio, melanomas, nevi):
    run = classifier_run(use="add_both", ratio=ratio)
    (phase,) = phases(run.learner, run, data)
    shown = phase.entries.tolist()
    assert shown[:12] == list(range(12))
    labels = truth(data.drawn_diagnoses)[torch.tensor(shown[12:])]
    assert (int(labels.sum()), int((1 - labels).sum())) == (melanomas, nevi)


def test_labels_are_dealt_out_anew_by_the_seed_and_nothing_else_changes(data):
    run = classifier_run(use="add_both", labels="redrawn")
    dealt = relabelled(run, data)
    assert dealt.train is data.train
    assert torch.equal(dealt.extra.reflectance, data.extra.reflectance)
    assert Counter(dealt.extra_diagnoses) == Counter(data.extra_diagnoses)
    assert dealt.extra_diagnoses != data.extra_diagnoses
    assert relabelled(run, data).extra_diagnoses == dealt.extra_diagnoses
    other = relabelled(run.model_copy(update={"seed": 1}), data).extra_diagnoses
    assert other != dealt.extra_diagnoses
    assert relabelled(classifier_run(use="add_both"), data) is data


def test_shuffled_labels_say_nothing_of_the_cubes(data):
    """Over many seeds a melanoma keeps its diagnosis as often as the share of melanomas says."""
    run = classifier_run(use="add_both", labels="redrawn")
    kept = [
        int(truth(relabelled(run.model_copy(update={"seed": seed}), data).extra_diagnoses)[:4].sum()) for seed in range(300)
    ]
    assert sum(kept) / 1200 == pytest.approx(4 / 12, abs=0.05)


def test_a_ratio_below_nothing_is_refused(real):
    with pytest.raises(ConfigError, match="ratios"):
        plan(real, BOTH, arms=["proportional"], ratios=[-1.0])


@pytest.mark.parametrize("more", [0, 8, 30])
@pytest.mark.parametrize(("labels", "ratio"), [("own", 1.0), ("own", 0.5), ("redrawn", 1.0), ("redrawn", 0.25)])
def test_what_is_shown_does_not_depend_on_how_many_more_the_set_holds(more, labels, ratio):
    """Three negative diagnoses, and spare cubes or those of larger ratios behind them: still train's proportion."""
    real = {POSITIVE: 8, "dysplastic_nevus": 16, "nevus": 8, "solar_lentigo": 4}
    held = {name: count + more for name, count in sorted(real.items())}
    kinds, own = (tuple(name for name, count in each.items() for _ in range(count)) for each in (real, held))
    train, extra = (replace(cube_set(torch.rand(len(each), 16, 16, 16)), diagnoses=each) for each in (kinds, own))
    data = replace(tiny_data(), train=train, validation=train, extra=extra)
    run = classifier_run(use="add_both", ratio=ratio, labels=labels)
    (phase,) = phases(run.learner, run, relabelled(run, data))
    shown = [row - len(kinds) for row in phase.entries.tolist() if row >= len(kinds)]
    expected = {name: round(ratio * count) for name, count in real.items()}
    assert Counter(own[row] for row in shown) == expected  # the cubes
    dealt = relabelled(run, data).extra_diagnoses
    assert Counter(dealt[row] for row in shown) == expected  # their labels
    first = [row - sum(n for name, n in held.items() if name < own[row]) for row in shown]
    assert max(first) < 16  # the first ones of each diagnosis
