"""Other lesions of the same phantom cannot be told apart, smoothed ones can, and sources stay with what was made of them."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.preprocessing import StandardScaler
from torch.nn.functional import avg_pool2d, pad

from hyperderm.metrics import recognisability as module
from hyperderm.metrics import two_sample
from hyperderm.metrics.lesion_features import automatic_masks, lesion_features
from hyperderm.metrics.recognisability import Recogniser, Sample, describe, told_from_real
from hyperderm.phantom.rendering import phantom

NM = np.linspace(465, 630, 16).tolist()


def recognisability(synthetic, train, wavelengths, seed=0):
    recogniser = Recogniser(train, wavelengths, len(synthetic.groups), seed)
    recogniser.add(synthetic)
    return recogniser.result()


@pytest.fixture(scope="module")
def cubes():
    """All of one diagnosis: whatever the phantom draws differently by diagnosis would be told apart."""
    every = [one.lesion for one in phantom(400, 16, 3)]
    chosen = [lesion.cube.reflectance for lesion in every if lesion.diagnosis == "dysplastic_nevus"][:160]
    return np.ascontiguousarray(np.moveaxis(np.stack(chosen), 3, 1))


def sample(cubes, prefix):
    return Sample(cubes, [f"{prefix}{i}" for i in range(len(cubes))])


def without_noise(cubes):
    return avg_pool2d(pad(torch.from_numpy(cubes), (1, 1, 1, 1), mode="reflect"), 3, 1).numpy()


def test_halves_of_the_phantom_cannot_be_told_apart(cubes):
    half = len(cubes) // 2
    covered, values = 0, []
    for seed in range(8):
        order = np.random.default_rng(seed).permutation(len(cubes))
        found = recognisability(sample(cubes[order[:half]], "a"), sample(cubes[order[half:]], "b"), NM, seed)
        values.append(found.auroc)
        covered += found.low <= 0.5 <= found.high
    assert np.mean(values) == pytest.approx(0.5, abs=0.06)
    assert covered >= 7
    assert (found.synthetic, found.real) == (half, len(cubes) - half)


def test_copies_without_noise_are_recognised_though_each_stays_with_its_source(cubes):
    train = sample(cubes[:80], "g")
    found = recognisability(Sample(without_noise(cubes[:80]), train.groups), train, NM)
    assert found.auroc > 0.9
    assert 0.8 < found.low < found.auroc <= found.high <= 1


def test_exact_copies_in_their_sources_groups_are_ties(cubes):
    """Split, a copy would be scored by a model that learnt its source as real: far below one half."""
    train = sample(cubes[:80], "g")
    together = recognisability(train, train, NM)
    assert together.auroc == 0.5
    assert together.low < 0.5 < together.high
    assert recognisability(sample(cubes[:80], "h"), train, NM).auroc < 0.4


def test_no_group_is_split_and_the_value_is_scikit_learns(cubes, monkeypatch):
    made, real = cubes[:60], cubes[60:120]
    groups = [f"g{i // 3}" for i in range(60)]
    scored = []
    auroc = two_sample._auroc
    monkeypatch.setattr(two_sample, "_auroc", lambda parts: scored.extend(parts) or auroc(parts))
    found = recognisability(Sample(made, groups), Sample(real, groups), NM, seed=4)
    held = [set(group) for _, _, group in scored]
    assert len(held) == 5
    assert sum(map(len, held)) == len(set().union(*held)) == 20
    x = np.concatenate([lesion_features(c, automatic_masks(c, NM)) for c in (made, real)])
    y, g = np.repeat([True, False], 60), np.unique(groups + groups, return_inverse=True)[1]
    expected = []
    for a, b in StratifiedGroupKFold(5, shuffle=True, random_state=4).split(x, y, g):
        scale = StandardScaler().fit(x[a])
        model = LogisticRegression(C=0.1, max_iter=10_000, tol=1e-9).fit(scale.transform(x[a]), y[a])
        expected.append(roc_auc_score(y[b], model.decision_function(scale.transform(x[b]))))
    assert found.auroc == pytest.approx(np.mean(expected), abs=1e-3)


def test_a_keyed_sample_of_equal_size_whatever_the_chunks(cubes):
    made, train = sample(without_noise(cubes[:120]), "a"), sample(cubes[120:], "b")
    whole = recognisability(made, train, NM)
    assert (whole.synthetic, whole.real) == (40, 40)
    recogniser = Recogniser(train, NM, 120)
    for at in range(0, 120, 32):
        recogniser.add(Sample(made.cubes[at : at + 32], made.groups[at : at + 32]))
    assert recogniser.result() == whole
    assert recogniser._groups != list(made.groups[:40])
    assert recognisability(made, train, NM, seed=1) != whole


def test_no_more_than_300_of_each(cubes, monkeypatch):
    monkeypatch.setattr(module, "MOST", 25)
    found = recognisability(sample(cubes[:60], "a"), sample(cubes[60:], "b"), NM)
    assert (found.synthetic, found.real) == (25, 25)


def test_too_few_groups_give_no_number(cubes):
    for made, train in (
        (sample(cubes[:9], "a"), sample(cubes[9:], "b")),
        (Sample(cubes[:50], ["p"] * 50), sample(cubes, "b")),
    ):
        found = recognisability(made, train, NM)
        assert (found.auroc, found.low, found.high) == (None, None, None)
        assert "fewer than 10 groups" in found.notes[0]
    assert recognisability(sample(cubes[:9], "a"), sample(cubes[:0], "b"), NM).auroc is None


def test_an_audit_stands_for_its_melanomas_and_old_ones_for_nothing(cubes):
    told = recognisability(sample(without_noise(cubes[:80]), "a"), sample(cubes[80:], "b"), NM).to_dict()
    assert told["auroc"] == round(told["auroc"], 6)
    assert told_from_real({"share": 0.0}) is None
    assert describe({"share": 0.0}) == []
    few = {**told, "auroc": None, "low": None, "high": None, "notes": ["not measured: few"]}
    assert told_from_real({"recognisable": {"melanoma": few}}) is None
    assert told_from_real({"recognisable": {"nevus": {**told, "auroc": 0.99}, "melanoma": {**told, "auroc": 0.6}}}) == 0.6
    assert told_from_real({"recognisable": {"nevus": {**told, "auroc": 0.7}, "melanoma": few}}) == 0.7
    said = describe({"recognisable": {"melanoma": told, "nevus": few}})
    assert said[0].startswith(f"melanoma: AUROC {told['auroc']:.3f} [")
    assert said[0].endswith(
        "on 80 synthetic and 80 train cubes, 0.5 is indistinguishable: a classifier may learn to recognise synthetic cubes"
    )
    assert said[1] == "nevus: not measured: few"
