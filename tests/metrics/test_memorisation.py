"""Copies are found however they are turned, fresh lesions are not accused, and the threshold is the reference's."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from scipy.stats import binom

from hyperderm.errors import StoreError
from hyperderm.metrics.memorisation import CHUNK, Auditor, _space, describe
from hyperderm.metrics.orientation import orient
from hyperderm.metrics.spectra import cube_features
from hyperderm.phantom.rendering import phantom
from tests.training.tiny import blobs


def audit(synthetic, train, held_out):
    auditor = Auditor(train, held_out)
    for chunk in synthetic.split(CHUNK):
        auditor.add(chunk)
    return auditor.result()


@pytest.fixture(scope="module")
def lesions():
    """160 phantom lesions at 16 px: 60 train, 60 held out, 40 fresh."""
    cubes = [one.lesion.cube.reflectance for one in phantom(160, 16, 3)]
    return torch.from_numpy(np.moveaxis(np.stack(cubes), 3, 1)).split([60, 60, 40])


def test_copies_of_train_are_flagged_turned_or_with_a_little_noise(lesions):
    train, held, _ = lesions
    turned = torch.stack([orient(cube, k % 8) for k, cube in enumerate(train[:40])])
    noise = 0.002 * torch.randn(turned.shape, generator=torch.Generator().manual_seed(0))
    for made in (train[:40], turned, turned + noise):
        found = audit(made, train, held)
        assert found.memorised
        assert found.share == 1
        assert found.copied == tuple(range(40))
        assert found.pixel.p < 1e-6
    assert audit(turned, train, held).pixel.median_synthetic == 0
    assert audit(turned, train, held).spectral.median_synthetic < 1e-9  # features do not know orientations


def test_fresh_lesions_are_not_flagged(lesions):
    train, held, fresh = lesions
    found = audit(fresh, train, held)
    assert not found.memorised
    assert found.share <= 0.1
    assert found.pixel.median_synthetic == pytest.approx(found.pixel.median_held_out, rel=0.2)
    assert "no more than chance lets through" in describe(found.to_dict())


def test_a_few_copies_among_fresh_lesions_are_named(lesions):
    train, held, fresh = lesions
    made = torch.cat([fresh[:20], train[:12].flip(-1), fresh[20:]])
    found = audit(made, train, held)
    assert set(range(20, 32)) <= set(found.copied)
    assert found.memorised
    assert "MEMORISED" in describe(found.to_dict())


def test_notes_say_what_the_verdict_does_not(lesions):
    train, held, fresh = lesions
    auditor = Auditor(train, held)
    auditor.add(train[:20] + 0.03 * (-1.0) ** torch.arange(16))  # near in pixels, of another texture
    found = auditor.result(derived=True)
    assert found.memorised
    assert found.notes == [
        f"pixels: 20 copies, {20 / 61:.2g} expected by chance, p = {found.pixel.p:.2g}",
        f"spectral features: 0 copies, {20 / 61:.2g} expected by chance, p = 1",
        "with 60 held-out cubes the 1 % quantile is the smallest distance",
        "in pixels alone, as is to be expected of a derived set: it keeps the geometry of train cubes",
    ]
    assert found.to_dict()["notes"] == found.notes
    assert len(auditor.result().notes) == 3
    assert len(audit(fresh, train, held.repeat(2, 1, 1, 1)).notes) == 2  # 120 held-out cubes


def test_distances_are_those_of_all_pairs(lesions):
    train, held, fresh = lesions
    flat = train.double().flatten(1).numpy()
    expected = [
        min(cdist(orient(cube, k).double().flatten()[None].numpy(), flat).min() for k in range(8)) / np.sqrt(16**3)
        for cube in fresh[:5]
    ]
    pixel, spectral = Auditor(train, held)._distances(fresh[:5])
    np.testing.assert_allclose(pixel, expected, rtol=1e-5)
    features = cube_features(train)
    units = features.std(0)
    np.testing.assert_allclose(spectral, cdist(cube_features(fresh[:5]) / units, features / units).min(1))


def test_an_audit_leaves_the_cubes_as_they_are(lesions):
    before = [cubes.clone() for cubes in lesions]
    audit(lesions[2], lesions[0], lesions[1])
    assert all(torch.equal(a, b) for a, b in zip(before, lesions, strict=True))


def test_chunks_do_not_matter_and_pixels_are_compared_at_32():
    train, held, made = blobs(10, 64, seed=1), blobs(10, 64, seed=2), blobs(9, 64, seed=3)
    whole = audit(made, train, held)
    auditor = Auditor(train, held)
    for chunk in made.split(2):
        auditor.add(chunk)
    assert auditor.result().to_dict() == whole.to_dict()
    checkerboard = 0.3 * (-1.0) ** (torch.arange(64)[:, None] + torch.arange(64))
    assert audit(train + checkerboard, train, held).pixel.median_synthetic == pytest.approx(0, abs=1e-6)


def test_threshold_is_an_order_statistic_and_large_samples_give_the_binomial():
    held = np.arange(1.0, 10_001)
    found = np.concatenate([np.full(3, 50.0), np.full(97, 5000.0)])
    space = _space(found, held, float(np.quantile(held, 0.01, method="inverted_cdf")), order=100)
    assert (space.threshold, space.copies) == (100, 3)
    assert space.expected == pytest.approx(1, rel=1e-3)
    assert space.p == pytest.approx(binom(100, 0.01).sf(2), rel=0.03)


def test_threshold_of_few_held_out_cubes_is_their_minimum_and_may_be_passed_by_chance():
    rng = np.random.default_rng(0)
    rejected = 0
    for _ in range(2000):  # 40 fresh cubes against 10 held-out ones of the same distribution
        held, found = rng.random(10), rng.random(40)
        rejected += _space(found, held, float(held.min()), order=1).p < 0.01
    assert rejected <= 0.01 * 2000 + 3 * np.sqrt(0.0099 * 2000)


def test_what_cannot_be_audited():
    cubes = blobs(4)
    with pytest.raises(StoreError, match="no held-out cube"):
        Auditor(cubes, cubes[:0])
    with pytest.raises(StoreError, match="no synthetic cube"):
        Auditor(cubes, blobs(4, seed=5)).result()
    with pytest.raises(StoreError, match="cannot be audited"):
        Auditor(cubes, blobs(4, seed=5)).add(blobs(2, 32))
    with pytest.raises(StoreError, match="all 4 held-out cubes are train cubes over again"):
        Auditor(cubes, cubes)


def test_a_picture_that_lies_in_the_data_twice_does_not_hide_copies(lesions):
    train, held, fresh = lesions
    identical = torch.cat([held, train[:2], train[2:3].flip(-1)])  # the same pictures in two roles
    found = audit(train[:30], train, identical)
    assert found.memorised
    assert (found.held_out, found.identical) == (60, 3)
    assert found.pixel.threshold == audit(train[:30], train, held).pixel.threshold
    assert "3 more held-out cubes are train cubes over again and were left out" in found.notes
    assert not audit(fresh, train, identical).memorised
