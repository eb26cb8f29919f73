"""Copies are found whatever a camera changed, fresh lesions are not accused, and the law of chance is Gumbel's."""

import json

import numpy as np
import pytest
import torch
from scipy.stats import binom, genextreme, gumbel_r

from hyperderm.errors import StoreError
from hyperderm.metrics.camera_changes import CameraChange, camera_copy
from hyperderm.metrics.copy_search import CopySearch
from hyperderm.metrics.memorisation import (
    ALLOWANCE,
    CHUNK,
    FALLBACK,
    FEWEST,
    LEVEL,
    RATE,
    Auditor,
    Law,
    Reference,
    describe,
    is_current,
)
from hyperderm.phantom.rendering import phantom
from tests.training.tiny import blobs


def audit(reference, synthetic, sources=None, derived=False, chunk=CHUNK):
    auditor = Auditor(reference)
    for at in range(0, len(synthetic), chunk):
        auditor.add(synthetic[at : at + chunk], sources and sources[at : at + chunk])
    return auditor.result(derived)


@pytest.fixture(scope="module")
def lesions():
    """120 phantom lesions at 32 px: 60 train, 20 held out, 40 fresh."""
    cubes = [one.lesion.cube.reflectance for one in phantom(120, 32, 3)]
    return torch.from_numpy(np.moveaxis(np.stack(cubes), 3, 1).copy()).split([60, 20, 40])


@pytest.fixture(scope="module")
def reference(lesions):
    return Reference(lesions[0], lesions[1], [f"l{row}" for row in range(60)])


@pytest.mark.parametrize(
    "change",
    [
        CameraChange(exposure=1.15), CameraChange(exposure=1.3, noise=0.006), CameraChange(exposure=0.7, noise=0.006),
        CameraChange(turn=15), CameraChange(turn=200, mirrored=True), CameraChange(shift=(3 / 32, 0)), CameraChange(blur=1),
        camera_copy,
    ],
)  # fmt: skip
def test_copies_are_found_whatever_a_camera_changed(lesions, reference, change):
    rng = np.random.default_rng(0)
    made = torch.cat([change(lesions[0][row : row + 1], rng) for row in range(20)])
    found = audit(reference, made)
    named = {copy.position: copy.lesion for copy in found.copies}
    assert sum(named.get(row) == f"l{row}" for row in range(20)) >= 18
    assert found.memorised
    assert "MEMORISED" in describe(found.to_dict())


def test_fresh_lesions_blurred_or_averaged_are_not_accused(lesions, reference):
    fresh = lesions[2]
    blurred = CameraChange(blur=4)(fresh, np.random.default_rng(0))
    means = fresh.reshape(20, 2, *fresh.shape[1:]).mean(1)
    for made in (fresh, blurred, means):
        found = audit(reference, made)
        assert not found.memorised
        assert len(found.copies) <= 1
        assert "no more than chance lets through" in describe(found.to_dict())
    assert audit(reference, blurred).median_synthetic == pytest.approx(audit(reference, fresh).median_synthetic, abs=0.15)


def test_a_few_copies_among_fresh_lesions_are_named(lesions, reference):
    copies = CameraChange(exposure=1.2, noise=0.006)(lesions[0][:4], np.random.default_rng(0))
    found = audit(reference, torch.cat([lesions[2][:20], copies, lesions[2][20:]]))
    assert {(copy.position, copy.lesion) for copy in found.copies} >= {(20 + k, f"l{k}") for k in range(4)}
    assert found.memorised
    assert "cube 20 of l0" in describe(found.to_dict())


def test_cubes_of_a_derived_set_are_compared_with_other_lesions_only(lesions, reference):
    own = [f"l{row}" for row in range(20)]
    found = audit(reference, lesions[0][:20], own, derived=True)
    assert not found.copies
    assert found.memorised is None  # never called free of copies
    assert found.notes[-1] == "derived: whether a cube copies its own lesion beyond the pseudo-RGB is not judged"
    assert describe(found.to_dict()).startswith(
        "0 of 20 cubes are copies of other train lesions than their own, no more than"
    )
    others = audit(reference, lesions[0][:20], own[1:] + own[:1], derived=True)
    assert others.memorised


def test_notes_tell_what_the_audit_would_miss(lesions, reference):
    found = audit(reference, lesions[2])
    assert (found.synthetic, found.train, found.held_out, found.changed) == (40, 60, 20, 20)
    assert found.notes[0].startswith(f"of 20 train cubes changed as a camera may change them it finds {found.found} (")
    least = next(k for k in range(40) if binom(40, ALLOWANCE * RATE).sf(k - 1) < LEVEL)
    assert found.notes[1] == f"fewer than {least} copies among 40 may be chance, unless one is beyond doubt"
    assert found.notes[2].startswith(f"{found.false_alarms} of 20 held-out cubes would be called copies")
    assert found.to_dict()["notes"] == found.notes


def test_pictures_that_train_holds_twice_hide_nothing(lesions):
    train, held, fresh = lesions
    twice = torch.cat([train, train[:2]])
    known = Reference(twice, held)
    assert audit(known, train[10:30]).memorised
    assert not audit(known, fresh).memorised
    grouped = Reference(twice, held, groups=[*map(str, range(60)), "0", "1"])
    assert grouped.law.threshold == pytest.approx(known.law.threshold, abs=0.05)


def test_the_law_is_gumbel_s_and_outliers_do_not_count():
    drawn = gumbel_r(0.6, 0.07).rvs(150, random_state=0)
    law = Law.fitted(drawn, 150)
    assert law.location == pytest.approx(0.6, abs=0.02)
    assert law.scale == pytest.approx(0.07, rel=0.15)
    assert law.p(law.threshold) == pytest.approx(RATE)
    outliers = np.concatenate([drawn[:-8], [4.0] * 8])
    assert Law.fitted(outliers, 150).threshold == pytest.approx(law.threshold, abs=0.05)


@pytest.mark.parametrize(
    "similar", [gumbel_r(0.6, 0.07), genextreme(0.22, 0.627, 0.101)], ids=["Gumbel", "700 of the phantom"]
)
@pytest.mark.parametrize("train", [50, 150])
def test_false_alarms_of_sets_keep_to_the_level(similar, train):
    """Sets of 200 cubes that are no copies; the second law was fitted to the similarities of 700 lesions of the phantom."""
    rng, sets = np.random.default_rng(0), 300
    wrong = 0
    for known, made in zip(similar.rvs((sets, train), rng), similar.rvs((sets, 200), rng), strict=True):
        law = Law.fitted(known, train)
        copies = made[made >= law.threshold]
        by_number = binom(200, ALLOWANCE * RATE).sf(len(copies) - 1) < LEVEL
        wrong += by_number or any(law.is_certain(each, 200) for each in copies)
    assert wrong <= LEVEL * sets + 3 * np.sqrt(LEVEL * sets)


def test_few_groups_give_the_threshold_of_the_phantom(lesions):
    found = audit(Reference(lesions[0][: FEWEST - 1], lesions[1][:0]), lesions[2][:3])
    assert (found.threshold, found.learnt) == (FALLBACK, False)
    assert f"train has fewer than {FEWEST} groups, so the threshold is that of the phantom" in found.notes
    assert "no held-out cube checked the rate of false alarms" in found.notes


def test_an_audit_leaves_the_cubes_as_they_are_and_chunks_do_not_matter(lesions, reference):
    before = [cubes.clone() for cubes in lesions]
    whole = audit(reference, lesions[2][:6])
    assert all(torch.equal(a, b) for a, b in zip(before, lesions, strict=True))
    assert audit(reference, lesions[2][:6], chunk=1).to_dict() == whole.to_dict()


def test_held_out_cubes_that_train_holds_too_are_told_and_left_out(lesions):
    train, held, _ = lesions
    both = Reference(train, torch.cat([held, train[:3].flip(-1)]))
    assert (both.held_out, both.again, both.false_alarms) == (20, 3, Reference(train, held).false_alarms)
    assert "3 more held-out cubes are train lesions over again and were left out" in audit(both, train[:2]).notes


@pytest.mark.parametrize(("size", "bands"), [(16, 16), (48, 3), (32, 40)])
def test_other_sizes_and_numbers_of_bands(size, bands):
    cubes = torch.cat([blobs(24, size, seed=1)] * -(-bands // 16), 1)[:, :bands]
    found = audit(Reference(cubes, cubes[:0]), cubes[:4] * 1.2)
    assert [copy.lesion for copy in found.copies] == ["0", "1", "2", "3"]


def test_an_audit_of_an_earlier_version_says_so():
    old = {"memorised": False, "copied": [], "synthetic": 3, "notes": []}
    assert not is_current(old)
    assert describe(old).startswith("not memorised, by an earlier version of this audit")


def test_what_cannot_be_audited(lesions):
    with pytest.raises(StoreError, match="1 train cubes"):
        Reference(lesions[0][:1], lesions[1])
    few = Reference(lesions[0][:4], lesions[1][:1])
    with pytest.raises(StoreError, match="no synthetic cube"):
        Auditor(few).result()
    with pytest.raises(StoreError, match="cannot be audited"):
        Auditor(few).add(blobs(2, 16))
    with pytest.raises(StoreError, match="cannot be audited"):
        Reference(lesions[0][:4], blobs(2, 16))
    with pytest.raises(StoreError, match="square"):
        Reference(lesions[0][:4, :, :20], lesions[1][:1, :, :20])


def test_a_derived_set_whose_lesions_are_all_of_one_group_has_no_similarity(lesions):
    one_group = Reference(lesions[0][:4], lesions[1][:0], [*"abcd"], ["g"] * 4)
    found = audit(one_group, lesions[0][:2], ["a", "b"], derived=True)
    assert (found.copies, found.memorised, found.median_synthetic, found.median_train) == ((), None, None, None)
    json.dumps(found.to_dict(), allow_nan=False)


def test_noise_of_small_cubes_is_not_taken_for_signal():
    """Cubes under 32 px are enlarged to be compared, which makes their noise smooth; it is measured before."""
    cubes = np.moveaxis(np.stack([one.lesion.cube.reflectance for one in phantom(40, 16, 3)]), 3, 1)
    noise = 0.15 * np.random.default_rng(0).standard_normal(cubes.shape)
    search = CopySearch(torch.from_numpy((cubes + noise).astype(np.float32)))
    assert search._components.shape[1] <= 4, "of 16 bands in which noise is louder than most signal"
