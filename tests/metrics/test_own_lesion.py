"""Copies of a cube's own lesion are told from what the pseudo-RGB gives away, and chance keeps to its level."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import binom, gumbel_r, mannwhitneyu

from hyperderm.errors import StoreError
from hyperderm.metrics.camera_changes import CameraChange
from hyperderm.metrics.memorisation import ALLOWANCE, LEVEL, RATE, Auditor, Reference, describe
from hyperderm.metrics.own_lesion import LEAST, Detail, OwnLaw, OwnReference, similarity
from hyperderm.phantom.rendering import phantom
from tests.bench import derived
from tests.bench.derived import MATRIX, SET, lookup, pseudo_rgb, recorded_anew, ridge


@pytest.fixture(scope="module")
def lesions():
    cubes = [one.lesion.cube.reflectance for one in phantom(120, 32, 5)]
    return torch.from_numpy(np.moveaxis(np.stack(cubes), 3, 1).copy())


def audited(made, lesions, trial, held_out=12):
    return derived.audited(made, held_out, trial, lesions)


# --- generators that copy, and such that do not


def test_an_honest_generator_is_not_accused(lesions):
    for made in (ridge, derived.quadratic, recorded_anew(ridge)):
        found = [audited(made, lesions, trial) for trial in range(4)]
        assert not any(one.memorised for one in found)
        assert sum(len(one.copies) for one in found) <= 2


def test_a_generator_that_looks_lesions_up_is_found(lesions):
    found = audited(lookup, lesions, 0)
    assert (found.memorised, found.lesions, found.held_out, len(found.copies)) == (True, SET, 12, SET)
    assert all(copy.lesion == f"l{copy.position}" for copy in found.copies)
    assert found.p < LEVEL


@pytest.mark.parametrize("made", [recorded_anew(lookup), derived.half], ids=["exposure and noise", "half a copy"])
def test_copies_at_another_exposure_with_noise_or_blended_are_found(lesions, made):
    for trial in range(3):
        found = audited(made, lesions, trial)
        assert found.memorised
        assert found.mean > found.mean_held_out + 0.3


def test_the_table_of_the_bench(lesions, monkeypatch):
    monkeypatch.setattr(derived, "pool", lambda: lesions)
    lines = list(derived.table(2))
    assert len(lines) == 1 + 2 * len(derived.GENERATORS)
    assert all(well for _, well in lines)
    assert sum(line.endswith("ok") for line, _ in lines) == 14


# --- the statistic


def test_exposure_gains_noise_and_slight_blur_leave_the_detail(lesions):
    detail, rng = Detail(lesions[:80], MATRIX), np.random.default_rng(0)
    own, others = detail.of(lesions[:40]), detail.of(lesions[40:80])
    for change, least in (
        (CameraChange(exposure=0.7, band_gain=0.03), 2.0),
        (CameraChange(noise=0.006), 0.5),
        (CameraChange(blur=0.7, exposure=1.3), 0.7),
    ):
        assert np.median(similarity(detail.of(change(lesions[:40], rng)), own)) > least
    assert abs(np.median(similarity(others, own))) < 0.1


def test_what_is_linear_in_the_pseudo_rgb_is_no_detail(lesions):
    rgb = pseudo_rgb(lesions[:20])
    weights = torch.from_numpy(np.random.default_rng(0).random((16, 3))).float()
    flat = torch.einsum("bc,nchw->nbhw", weights, rgb)  # its own pseudo-RGB is linear in this one
    detail = Detail(lesions, MATRIX)
    assert np.abs(similarity(detail.of(flat), detail.of(lesions[:20]))).max() < 0.05


def test_large_cubes_are_compared_at_32_pixels(lesions):
    large = lesions[:40].repeat_interleave(3, 2).repeat_interleave(3, 3)
    small = Detail(lesions[:40], MATRIX).of(lesions[:5])
    np.testing.assert_allclose(Detail(large, MATRIX).of(large[:5]), small, rtol=1e-3, atol=1e-3)


def test_the_similarity_is_at_most_the_share_of_the_detail():
    rng = np.random.default_rng(0)
    lesion = rng.normal(size=(1, 50))
    assert np.tanh(similarity(0.3 * lesion, lesion)) == pytest.approx(0.3)
    other = rng.normal(size=(1, 50))
    larger = other * 2 * np.linalg.norm(lesion) / np.linalg.norm(other)
    assert np.tanh(similarity(larger, lesion)) == pytest.approx(np.corrcoef(other, lesion)[0, 1], abs=0.15)
    expected = (other @ lesion.T).item() / np.linalg.norm(other) / np.linalg.norm(lesion)
    assert np.tanh(similarity(larger, lesion)) == pytest.approx(expected)
    assert similarity(np.zeros((1, 50)), lesion) == 0


# --- chance


def test_many_held_out_lesions_give_gumbels_quantile():
    law = OwnLaw.fitted(gumbel_r(0.2, 0.1).rvs(200_000, random_state=0))
    assert law.threshold == pytest.approx(gumbel_r(0.2, 0.1).isf(RATE), rel=0.01)
    assert law.p(law.threshold) == pytest.approx(RATE)
    assert law.cautious.threshold == pytest.approx(law.threshold, rel=1e-3)


@pytest.mark.parametrize("count", [8, 12, 50])
def test_false_alarms_keep_to_their_rates(count):
    """Sets of 40 lesions whose similarities follow the law of the held-out ones."""
    rng, sets, similar = np.random.default_rng(1), 1000, gumbel_r(0.2, 0.1)
    named = by_number = by_rank = 0
    for held_out, made in zip(similar.rvs((sets, count), rng), similar.rvs((sets, 40), rng), strict=True):
        law = OwnLaw.fitted(held_out)
        named += (made >= law.threshold).sum() / 40
        by_number += binom(40, ALLOWANCE * RATE).sf((made >= law.cautious.threshold).sum() - 1) < LEVEL
        by_rank += mannwhitneyu(made, held_out, alternative="greater").pvalue < LEVEL
    spread = 3 * np.sqrt(LEVEL * sets)
    assert named / sets < ALLOWANCE * RATE
    assert by_number <= LEVEL * sets + spread
    assert by_rank <= LEVEL * sets + spread


def test_what_is_rare_but_small_is_no_copy():
    law = OwnLaw.fitted(np.linspace(-0.01, 0.01, 12))
    assert law.p(0.1) < RATE
    assert law.threshold == LEAST


def test_lesions_of_a_group_count_once(lesions):
    train, held, names = lesions[:40], lesions[40:60], [f"l{row}" for row in range(40)]
    pairs = [f"g{row // 2}" for row in range(40)]
    known = OwnReference(train, names, pairs, held, held, pairs[:20], MATRIX)
    assert known.law.count == 10
    found = known.result(known.similarity(train[:6], names[:6]), names[:6])
    assert (found.lesions, len(found.copies)) == (
        3,
        0,
    )  # a generator that copies what it never saw sees more than pseudo-RGB
    with pytest.raises(StoreError, match="derived from lesion other, which is not in train"):
        known.similarity(train[:1], ["other"])


# --- what a reader is told


def test_the_audit_of_a_set_tells_both_judgements(lesions):
    train, held = lesions[:60], lesions[60:72]
    names = [f"l{row}" for row in range(60)]
    auditor = Auditor(Reference(train, held, names))
    auditor.add(train[:6], names[:6])
    made = ridge(derived.Trial(train, held, np.random.default_rng(0)))
    unseen = [f"h{row}" for row in range(12)]
    known = OwnReference(train, names, names, held, made(pseudo_rgb(held)), unseen, MATRIX)
    own = known.result(known.similarity(train[:6], names[:6]), names[:6])
    found = auditor.result(derived=True, own=own)
    assert (found.memorised, found.copies, found.share) == (True, (), 1.0)
    said = describe(found.to_dict())
    assert said.startswith(
        "0 of 6 cubes are copies of other train lesions than their own, no more than chance lets through, and 6 of their "
        "own lesion (cube 0 of l0; cube 1 of l1; cube 2 of l2, …), MEMORISED: more alike than held-out lesions come out ("
    )
    assert f"cubes resemble their own 6 lesions by {own.mean:.2f}" in said
    assert f"of 20 own lesions at other exposure, with other gains of bands and noise, it would name {own.found} (" in said
    assert found.to_dict()["own"]["memorised"]
    honest = auditor.result(derived=True, own=replace(own, copies=(), memorised=False))
    assert (honest.memorised, honest.share) == (False, 0.0)
    assert "and 0 of their own lesion, no more alike than held-out lesions come out (" in describe(honest.to_dict())
    unjudged = auditor.result(derived=True, unjudged="it was dark")
    assert unjudged.memorised is None
    assert unjudged.notes[-1].endswith("its own lesion beyond the pseudo-RGB is not judged: it was dark")
    assert not {"own", "unjudged", "rejected"} & auditor.result().to_dict().keys()
