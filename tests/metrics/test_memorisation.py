"""Copies are found whatever a camera changed, fresh lesions are not accused, and the law of chance is Gumbel's."""

import numpy as np
import pytest
import torch
from scipy.stats import binom, gumbel_r

from hyperderm.errors import StoreError
from hyperderm.metrics.camera_changes import CameraChange, camera_copy
from hyperderm.metrics.memorisation import (
    ALLOWANCE,
    CHUNK,
    FALLBACK,
    FEWEST,
    LEVEL,
    RATE,
    Auditor,
    Law,
    describe,
    is_current,
)  # fmt: skip
from hyperderm.phantom.rendering import phantom
from tests.training.tiny import blobs


def audit(auditor, synthetic, sources=None, derived=False):
    auditor._similarity.clear()
    auditor._row.clear()
    for at in range(0, len(synthetic), CHUNK):
        auditor.add(synthetic[at : at + CHUNK], sources and sources[at : at + CHUNK])
    return auditor.result(derived)


@pytest.fixture(scope="module")
def lesions():
    """120 phantom lesions at 32 px: 60 train, 20 held out, 40 fresh."""
    cubes = [one.lesion.cube.reflectance for one in phantom(120, 32, 3)]
    return torch.from_numpy(np.moveaxis(np.stack(cubes), 3, 1).copy()).split([60, 20, 40])


@pytest.fixture(scope="module")
def auditor(lesions):
    return Auditor(lesions[0], lesions[1], [f"l{row}" for row in range(60)])


@pytest.mark.parametrize(
    "change",
    [
        CameraChange(exposure=1.15), CameraChange(exposure=1.3, noise=0.006), CameraChange(exposure=0.7, noise=0.006),
        CameraChange(turn=15), CameraChange(turn=200, mirrored=True), CameraChange(shift=(3 / 32, 0)), CameraChange(blur=1),
        camera_copy,
    ],
)  # fmt: skip
def test_copies_are_found_whatever_a_camera_changed(lesions, auditor, change):
    rng = np.random.default_rng(0)
    made = torch.cat([change(lesions[0][row : row + 1], rng) for row in range(20)])
    found = audit(auditor, made)
    named = {copy.position: copy.lesion for copy in found.copies}
    assert sum(named.get(row) == f"l{row}" for row in range(20)) >= 17
    assert found.memorised
    assert "MEMORISED" in describe(found.to_dict())


def test_fresh_lesions_blurred_or_averaged_are_not_accused(lesions, auditor):
    fresh = lesions[2]
    blurred = CameraChange(blur=4)(fresh, np.random.default_rng(0))
    means = fresh.reshape(20, 2, *fresh.shape[1:]).mean(1)
    for made in (fresh, blurred, means):
        found = audit(auditor, made)
        assert not found.memorised
        assert len(found.copies) <= 1
        assert "no more than chance lets through" in describe(found.to_dict())
    assert audit(auditor, blurred).median_synthetic == pytest.approx(audit(auditor, fresh).median_synthetic, abs=0.15)


def test_a_few_copies_among_fresh_lesions_are_named(lesions, auditor):
    copies = CameraChange(exposure=1.2, noise=0.006)(lesions[0][:4], np.random.default_rng(0))
    found = audit(auditor, torch.cat([lesions[2][:20], copies, lesions[2][20:]]))
    assert {(copy.position, copy.lesion) for copy in found.copies} >= {(20 + k, f"l{k}") for k in range(4)}
    assert found.memorised
    assert "cube 20 of l0" in describe(found.to_dict())


def test_cubes_of_a_derived_set_are_compared_with_other_lesions_only(lesions, auditor):
    own = [f"l{row}" for row in range(20)]
    found = audit(auditor, lesions[0][:20], own, derived=True)
    assert not found.copies
    assert not found.memorised
    assert found.notes[-1] == "derived: whether a cube copies its own lesion beyond the pseudo-RGB is not judged"
    others = audit(auditor, lesions[0][:20], own[1:] + own[:1], derived=True)
    assert others.memorised


def test_notes_tell_what_the_audit_would_miss(lesions, auditor):
    found = audit(auditor, lesions[2])
    assert (found.synthetic, found.train, found.held_out, found.changed) == (40, 60, 20, 20)
    assert found.notes[0].startswith(f"of 20 train cubes changed as a camera may change them it finds {found.found} (")
    least = next(k for k in range(40) if binom(40, ALLOWANCE * RATE).sf(k - 1) < LEVEL)
    assert found.notes[1] == f"fewer than {least} copies among 40 may be chance"
    assert found.notes[2].startswith(f"{found.false_alarms} of 20 held-out cubes would be called copies")
    assert found.to_dict()["notes"] == found.notes


def test_pictures_that_train_holds_twice_hide_nothing(lesions):
    train, held, fresh = lesions
    twice = torch.cat([train, train[:2]])
    known = Auditor(twice, held)
    assert audit(known, train[10:30]).memorised
    assert not audit(known, fresh).memorised
    grouped = Auditor(twice, held, groups=[*map(str, range(60)), "0", "1"])
    assert grouped._law.threshold == pytest.approx(known._law.threshold, abs=0.2)


def test_the_law_is_gumbel_s_and_outliers_do_not_count():
    drawn = gumbel_r(0.6, 0.07).rvs(150, random_state=0)
    law = Law.fitted(drawn, 150)
    assert law.location == pytest.approx(0.6, abs=0.02)
    assert law.scale == pytest.approx(0.07, rel=0.15)
    assert law.p(law.threshold) == pytest.approx(RATE)
    outliers = np.concatenate([np.sort(drawn)[:-4], [4.0] * 4])
    assert Law.fitted(outliers, 150).threshold == pytest.approx(law.threshold, abs=0.05)


def test_false_alarms_of_sets_keep_to_the_level():
    """Sets of 200 cubes that are no copies, with the law learnt from 50 lesions or from 150."""
    rng, similar = np.random.default_rng(0), gumbel_r(0.6, 0.07)
    for train in (50, 150):
        wrong = 0
        for _ in range(300):
            law = Law.fitted(similar.rvs(train, rng), train)
            named = int((similar.rvs(200, rng) >= law.threshold).sum())
            wrong += binom(200, ALLOWANCE * RATE).sf(named - 1) < LEVEL
        assert wrong <= LEVEL * 300 + 3 * np.sqrt(LEVEL * 300)


def test_few_groups_give_the_threshold_of_the_phantom(lesions):
    found = audit(Auditor(lesions[0][: FEWEST - 1], lesions[1][:0]), lesions[2][:3])
    assert (found.threshold, found.learnt) == (FALLBACK, False)
    assert f"train has fewer than {FEWEST} groups, so the threshold is that of the phantom" in found.notes
    assert "no held-out cube checked the rate of false alarms" in found.notes


def test_an_audit_leaves_the_cubes_as_they_are_and_chunks_do_not_matter(lesions, auditor):
    before = [cubes.clone() for cubes in lesions]
    whole = audit(auditor, lesions[2][:6])
    assert all(torch.equal(a, b) for a, b in zip(before, lesions, strict=True))
    auditor._similarity.clear()
    auditor._row.clear()
    for cube in lesions[2][:6].split(1):
        auditor.add(cube)
    assert auditor.result().to_dict() == whole.to_dict()


@pytest.mark.parametrize(("size", "bands"), [(16, 16), (48, 3), (32, 40)])
def test_other_sizes_and_numbers_of_bands(size, bands):
    cubes = torch.cat([blobs(24, size, seed=1)] * -(-bands // 16), 1)[:, :bands]
    found = audit(Auditor(cubes, cubes[:0]), cubes[:4] * 1.2)
    assert [copy.lesion for copy in found.copies] == ["0", "1", "2", "3"]


def test_an_audit_of_an_earlier_version_says_so():
    old = {"memorised": False, "copied": [], "synthetic": 3, "notes": []}
    assert not is_current(old)
    assert describe(old).startswith("not memorised, by an earlier version of this audit")


def test_what_cannot_be_audited(lesions):
    with pytest.raises(StoreError, match="1 train cubes"):
        Auditor(lesions[0][:1], lesions[1])
    with pytest.raises(StoreError, match="no synthetic cube"):
        Auditor(lesions[0][:4], lesions[1][:1]).result()
    with pytest.raises(StoreError, match="cannot be audited"):
        Auditor(lesions[0][:4], lesions[1][:1]).add(blobs(2, 16))
    with pytest.raises(StoreError, match="square"):
        Auditor(lesions[0][:4, :, :20], lesions[1][:1, :, :20])
