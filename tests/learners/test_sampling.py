"""Which cubes an epoch shows: counts in closed form, nested sets, and arms of one epoch length."""

from collections import Counter

import pytest
import torch

from hyperderm.errors import ConfigError
from hyperderm.learners.data import truth
from hyperderm.learners.sampling import count_of, real_entries, synthetic_entries
from tests.learners.tissue import MELANOMA, NEVUS, classifier, lesions, mixed, spectral
from tests.learning import shown
from tests.training.tiny import tiny, tiny_data

RATIOS = (0.25, 0.5, 1.0, 2.0, 4.0, "balance")
SYNTHETIC = (NEVUS, MELANOMA) * 40
"""Rows 1, 3, 5 … are melanomas: what is chosen must follow the diagnosis, not the place."""


def showings(entries: torch.Tensor) -> Counter[int]:
    return Counter(entries.tolist())


def entries(experiment, data):
    (phase,) = shown(experiment, data)
    assert len(phase.mixed) == 0
    return phase.entries


# --- real cubes


@pytest.mark.parametrize(("ratio", "times"), [(0.0, (1,) * 5), (1.0, (2,) * 5), (2.0, (3,) * 5), (0.4, (2, 2, 1, 1, 1))])
def test_oversampling_shows_melanomas_again_in_turn(ratio, times):
    diagnoses = mixed(5, 15)
    counted = showings(real_entries(diagnoses, ratio))
    assert [counted[row] for row, name in enumerate(diagnoses) if name == MELANOMA] == list(times)
    assert all(counted[row] == 1 for row, name in enumerate(diagnoses) if name != MELANOMA)


def test_balance_makes_the_classes_equal():
    diagnoses = mixed(7, 24)
    found = truth(diagnoses)[real_entries(diagnoses, "balance")]
    assert (int(found.sum()), int((1 - found).sum())) == (24, 24)
    counted = showings(real_entries(diagnoses, "balance"))
    melanomas = [counted[row] for row, name in enumerate(diagnoses) if name == MELANOMA]
    assert max(melanomas) - min(melanomas) == 1  # as even as 24 showings of 7 can be


def test_balance_adds_nothing_where_melanomas_are_the_majority():
    assert count_of(9, 4, "balance") == 0
    assert real_entries(mixed(9, 4), "balance").tolist() == list(range(13))


@pytest.mark.parametrize(
    ("members", "others", "ratio", "count"),
    [(85, 175, "balance", 90), (51, 99, 0.25, 13), (51, 99, 4.0, 204), (3, 9, 1.0, 3)],
)
def test_count_of(members, others, ratio, count):
    assert count_of(members, others, ratio) == count


# --- synthetic cubes


def test_ratios_take_nested_sets_of_melanomas():
    real = mixed(8, 16)
    chosen = {ratio: synthetic_entries(real, SYNTHETIC, ratio, alone=False).tolist() for ratio in RATIOS}
    melanomas = [row for row, name in enumerate(SYNTHETIC) if name == MELANOMA]
    for ratio, count in zip(RATIOS, (2, 4, 8, 16, 32, 8), strict=True):
        assert chosen[ratio] == melanomas[:count]


@pytest.mark.parametrize("use", ["only", "pretrain"])
def test_alone_there_is_one_of_each_class_for_every_real_one(use):
    real = mixed(8, 16)
    found = truth(SYNTHETIC)[synthetic_entries(real, SYNTHETIC, 1.0, alone=True)]
    assert (int(found.sum()), int((1 - found).sum())) == (8, 16)
    balanced = truth(SYNTHETIC)[synthetic_entries(real, SYNTHETIC, "balance", alone=True)]
    assert (int(balanced.sum()), int((1 - balanced).sum())) == (16, 16)
    data = lesions(extra=SYNTHETIC)
    settings = {"synthetic__store": "set", "synthetic__use": use, "training__pretrain_images": 32 * (use == "pretrain")}
    first, *later = shown(classifier(**settings), data)
    assert first.start == 0
    assert first.entries.min() >= len(data.train)  # no real cube
    assert len(first.entries) == 24
    assert [(phase.start, phase.entries.tolist()) for phase in later] == [(32, list(range(24)))] * (use == "pretrain")


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("make", [classifier, spectral])
def test_an_arm_and_its_control_have_epochs_of_one_length_and_one_prevalence(ratio, make):
    data = lesions(extra=SYNTHETIC)
    control = entries(make(learner__oversample=ratio), data)
    arm = entries(make(synthetic__store="set", synthetic__ratio=ratio), data)
    assert len(arm) == len(control)
    labels = truth(data.drawn_diagnoses)
    assert int(labels[arm].sum()) == int(labels[control].sum())
    assert sorted(arm[arm < 24].tolist()) == list(range(24))  # every real cube once
    assert max(showings(arm).values()) == 1  # every synthetic one too
    assert int(control.max()) < 24  # nothing synthetic, though the data hold some


def test_a_set_that_is_too_small_is_refused_with_what_it_holds():
    real = mixed(8, 16)
    with pytest.raises(
        ConfigError, match=r"synthetic.ratio = 2.0 asks for 16 synthetic melanoma, the set holds 3"
    ) as caught:
        synthetic_entries(real, (MELANOMA,) * 3, 2.0, alone=False)
    assert caught.value.remedy == "Generate more, or lower the ratio."
    with pytest.raises(ConfigError, match="asks for 16 synthetic dysplastic_nevus, the set holds 0"):
        synthetic_entries(real, (MELANOMA,) * 40, 1.0, alone=True)
    with pytest.raises(ConfigError, match="the set holds 3"):
        shown(classifier(synthetic__store="set", synthetic__ratio=2.0), lesions(extra=(MELANOMA,) * 3))


# --- phases


def test_mixed_sampling_keeps_the_streams_apart():
    data = lesions(extra=SYNTHETIC)
    (phase,) = shown(classifier(synthetic__store="set", learner__mixed_share=0.3), data)
    assert phase.share == 0.3
    assert phase.entries.tolist() == list(range(24))
    assert phase.mixed.tolist() == [24 + row for row in range(1, 16, 2)]


def test_generators_see_their_train_role():
    (whole,) = shown(tiny(), tiny_data(12))
    assert (whole.start, whole.entries.tolist()) == (0, list(range(12)))


def test_a_ratio_that_comes_to_nothing_is_refused():
    data = lesions(8, 16, extra=(MELANOMA,) * 8)
    with pytest.raises(ConfigError, match=r"synthetic.ratio = 0.05 adds no cube to 24 real ones"):
        shown(classifier(synthetic={"store": "made", "use": "add", "ratio": 0.05}), data)
    with pytest.raises(ConfigError, match=r"adds no cube"):  # mixed sampling would divide by it
        shown(classifier(synthetic={"store": "made", "use": "add", "ratio": 0.05}, learner__mixed_share=0.5), data)
    with pytest.raises(ConfigError, match=r"learner.oversample = 0.05 shows none of 8 melanomas again. Use 0.12 or more"):
        shown(classifier(learner__oversample=0.05), lesions(8, 16))
