"""Folds: grouped, stratified, the same from the same seed, whatever the order of the lesions."""

import re
from collections import Counter

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hyperderm.errors import StoreError
from hyperderm.store.folds import assign_folds
from hyperderm.store.manifest import Folds

KINDS = ("melanoma", "dysplastic_nevus", "nevus", "solar_lentigo")
PLAIN = settings(max_examples=40, deadline=None)  # the first example imports scikit-learn


@st.composite
def singles(draw):
    """Lesions that are groups of their own: names, diagnoses, number of folds."""
    counts = draw(st.lists(st.integers(0, 30), min_size=len(KINDS), max_size=len(KINDS)))
    folds = draw(st.integers(3, 6))
    assume(sum(counts) >= folds)
    assume(not 0 < counts[0] < folds)  # melanoma in every fold, or nowhere
    assume(max(counts) >= folds)  # what scikit-learn asks for; the refusal has a test of its own
    diagnoses = [kind for kind, count in zip(KINDS, counts, strict=True) for _ in range(count)]
    names = [f"g{i:03d}" for i in draw(st.permutations(range(len(diagnoses))))]
    return names, diagnoses, folds


@PLAIN
@given(singles(), st.integers(0, 5))
def test_stratified_within_one_and_every_group_has_a_fold(case, seed):
    groups, diagnoses, count = case
    folds, warnings = assign_folds(groups, diagnoses, count, seed)
    assert sorted(folds.groups) == sorted(groups)
    assert set(folds.groups.values()) <= set(range(count))
    for kind in set(diagnoses):
        held = Counter(folds.groups[g] for g, d in zip(groups, diagnoses, strict=True) if d == kind)
        each = [held[fold] for fold in range(count)]
        assert max(each) - min(each) <= 1, (kind, each)
        assert (0 in each) == any(text.startswith(f"{kind}: {sum(each)} group") for text in warnings)


@PLAIN
@given(singles(), st.integers(0, 5), st.randoms(use_true_random=False))
def test_same_seed_same_folds_in_any_order(case, seed, shuffler):
    groups, diagnoses, count = case
    order = list(range(len(groups)))
    shuffler.shuffle(order)
    again, _ = assign_folds([groups[i] for i in order], [diagnoses[i] for i in order], count, seed)
    assert again == assign_folds(groups, diagnoses, count, seed)[0]


@PLAIN
@given(st.lists(st.tuples(st.integers(0, 12), st.sampled_from(KINDS[1:])), min_size=30, max_size=60), st.integers(0, 3))
def test_groups_with_several_lesions_in_any_order(lesions, seed):
    """A group may hold several lesions, even of different diagnoses; it is never divided, whatever the order."""
    groups, diagnoses = [f"g{g}" for g, _ in lesions], [d for _, d in lesions]
    assume(len(set(groups)) >= 4)
    folds, _ = assign_folds(groups, diagnoses, 3, seed)
    assert set(folds.groups) == set(groups)
    backwards, _ = assign_folds(groups[::-1], diagnoses[::-1], 3, seed)
    assert backwards == folds


def test_another_seed_is_another_draw():
    groups, diagnoses = [f"g{i}" for i in range(60)], [KINDS[i % 2] for i in range(60)]
    draws = {str(assign_folds(groups, diagnoses, 5, seed)[0].groups) for seed in range(5)}
    assert len(draws) == 5


def test_folds_of_different_sizes_of_groups_stay_even():
    """Images with three lesions beside images with one: folds hold about as many lesions each."""
    groups = [f"g{i}" for i in range(60) for _ in range(1 + 2 * (i % 4 == 0))]
    diagnoses = [KINDS[int(g[1:]) % 2] for g in groups]
    folds, _ = assign_folds(groups, diagnoses, 5, 0)
    sizes = Counter(folds.groups[g] for g in groups)
    assert max(sizes.values()) - min(sizes.values()) <= 4


@pytest.mark.parametrize(
    ("kinds", "count", "what", "remedy"),
    [
        (["melanoma"] * 4, 5, "4 groups of source images cannot fill 5 folds", "Use --folds 4 (ingest, phantom)"),
        (["melanoma"] * 2, 3, "2 groups of source images cannot fill 3 folds", "use --folds 0"),
        (["nevus"], 3, "1 group of source images cannot fill 3 folds", "use --folds 0"),
        (["melanoma"] * 9, 2, "--folds 2: train, validation and test need three", "Use --folds 3 or more, or 0"),
        (["melanoma"] * 3 + ["nevus"] * 20, 4, "melanoma has 3 groups for 4 folds", "Use --folds 3 (ingest, phantom)"),
        (["melanoma"] + ["nevus"] * 20, 4, "melanoma has 1 group for 4 folds", "Add melanomas, or use --folds 0"),
        (["nevus"] + ["solar_lentigo"] * 2, 3, "no diagnosis has 3 lesions for 3 folds", "Add lesions, or use --folds 0"),
        (["melanoma", None, "nevus"], 3, "folds need a diagnosis on every lesion, 1 of 3 have none: g1", "use --folds 0"),
    ],
)
def test_refusals_name_a_remedy_that_works(kinds, count, what, remedy):
    with pytest.raises(StoreError) as caught:
        assign_folds([f"g{i}" for i in range(len(kinds))], kinds, count, 0)
    assert what in caught.value.what
    assert remedy in caught.value.remedy


def test_melanoma_missing_from_a_fold_is_refused_where_groups_prevent_it():
    """Enough melanoma groups by number, but seeds where a big group crowds them: never a fold without melanoma."""
    groups = ["big"] * 30 + [f"m{i}" for i in range(3)] + [f"n{i}" for i in range(6)]
    diagnoses = ["melanoma"] * 33 + ["nevus"] * 6
    refusals: list[str] = []
    for seed in range(10):
        try:
            folds, _ = assign_folds(groups, diagnoses, 4, seed)
        except StoreError as error:
            refusals.append(str(error))
        else:
            melanoma = {folds.groups[g] for g, d in zip(groups, diagnoses, strict=True) if d == "melanoma"}
            assert melanoma == set(range(4))
    assert all("would hold no melanoma (melanomas a fold: " in text for text in refusals)


def holding(sizes):
    """Groups of these sizes, each of nevi, and their diagnoses."""
    groups = [f"g{i}" for i, size in enumerate(sizes) for _ in range(size)]
    return groups, ["nevus"] * len(groups)


def test_a_fold_without_any_lesion_is_refused_with_a_remedy_that_works():
    """A rare diagnosis and two large patients: scikit-learn leaves a fold empty although there are as many groups."""
    groups, diagnoses = holding([1, 2, 1, 8, 8])
    diagnoses[1:] = ["dysplastic_nevus"] * 19
    with pytest.raises(StoreError) as caught:
        assign_folds(groups, diagnoses, 5, 0)
    assert re.fullmatch(r"fold \d would hold no lesion \(lesions a fold: [\d, ]+\)", caught.value.what)
    assert caught.value.remedy == "Use --folds 4 (ingest, phantom), or add images of other patients."
    folds, _ = assign_folds(groups, diagnoses, 4, 0)
    assert set(folds.groups.values()) == set(range(4))


def test_short_folds_are_told_with_their_sizes():
    groups = ["p0"] * 6 + [f"p{i}" for i in range(1, 5)] + [f"n{i}" for i in range(10) for _ in range(3)]
    diagnoses = ["melanoma"] * 10 + ["nevus"] * 30
    folds, [said] = assign_folds(groups, diagnoses, 5, 0)
    held = [sum(folds.groups[g] == fold for g in groups[:10]) for fold in range(5)]
    assert sorted(held) == [1, 1, 1, 1, 6]
    short = ", ".join(str(fold) for fold in range(5) if held[fold] == 1)
    listed = ", ".join(map(str, held))
    assert said == f"folds {short}: half of an even share of the melanomas or less (melanomas a fold: {listed})"


def test_a_fold_with_one_lesion_of_twenty_is_told():
    groups, diagnoses = holding([5, 5, 5, 4, 1])
    told = []
    for seed in range(8):
        try:
            told += assign_folds(groups, diagnoses, 5, seed)[1]
        except StoreError:
            continue
    assert told
    assert all(
        re.fullmatch(r"fold \d: half of an even share of the lesions or less \(lesions a fold: [\d, ]+\)", t) for t in told
    )


def test_folds_of_singles_are_never_called_short():
    for count in (5, 6, 7, 9, 11):
        assert assign_folds([f"g{i}" for i in range(count)], ["melanoma"] * count, 5, 0)[1] == []


def test_rare_class_is_only_warned_of():
    kinds = ["melanoma"] * 12 + ["nevus"] * 2 + ["solar_lentigo"]
    _, warnings = assign_folds([f"g{i}" for i in range(len(kinds))], kinds, 3, 0)
    assert len(warnings) == 2
    assert warnings[0].startswith("nevus: 2 groups, none in fold ")
    assert warnings[1].startswith("solar_lentigo: 1 group, none in fold ")
    assert warnings[1].count(",") == 2  # two of three folds


def test_no_melanoma_at_all_is_no_error():
    folds, _ = assign_folds([f"g{i}" for i in range(6)], ["nevus"] * 6, 3, 0)
    assert Counter(folds.groups.values()) == {0: 2, 1: 2, 2: 2}


@pytest.mark.parametrize("count", [3, 4, 5])
def test_role_of_a_group(count):
    folds = Folds(seed=0, count=count, groups={str(i): i for i in range(count)})
    for k in range(count):
        found = [folds.role(str(i), k) for i in range(count)]
        assert found[k] == "test"
        assert found[(k + 1) % count] == "validation"
        assert found.count("train") == count - 2


def test_groups_that_differ_in_a_nul_at_the_end_are_two():
    groups = ["", "\0", "a", "a\0", "b", "b\0"]
    folds, _ = assign_folds(groups, ["nevus"] * 6, 3, 0)
    assert set(folds.groups) == set(groups)
    folds, _ = assign_folds(["", "\0", "a"], ["nevus"] * 3, 3, 0)
    assert sorted(folds.groups.values()) == [0, 1, 2]
