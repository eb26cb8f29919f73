from itertools import combinations

import numpy as np
import pytest

from hyperderm.errors import ConfigError
from hyperderm.unmixing.nfindr import nfindr, simplex_volume
from hyperderm.unmixing.pixels import principal
from hyperderm.unmixing.scoring import matched
from hyperderm.unmixing.sisal import objective, sisal
from hyperderm.unmixing.vca import signal_to_noise, vca
from tests.unmixing.scenes import mixtures

FINDERS = {"vca": vca, "nfindr": nfindr}


def angle(endmembers, reference):
    return matched(endmembers, reference)[1].max()


@pytest.mark.parametrize("find", FINDERS.values(), ids=FINDERS)
@pytest.mark.parametrize("count", [2, 3, 6])
def test_pure_pixels_are_found(find, count):
    endmembers, _, spectra = mixtures(count, pure=True)
    for seed in range(3):
        found, indices = find(spectra, count, np.random.default_rng(seed))
        assert sorted(indices) == list(range(len(spectra) - count, len(spectra)))
        assert angle(found, endmembers) < 1e-6
        np.testing.assert_allclose(found, spectra[indices], atol=1e-8)


@pytest.mark.parametrize("snr_db", [12, 35])
def test_vca_projects_noise_away(snr_db):
    """12 dB is below the threshold of 20 dB for three endmembers, 35 dB is above, so both projections are run."""
    endmembers, _, spectra = mixtures(3, bands=100, pure=True, snr_db=snr_db)
    found, indices = vca(spectra, 3, np.random.default_rng(0))
    assert angle(found, endmembers) < 0.5 * angle(spectra[indices], endmembers)


def test_strong_signals_are_unmixed_whatever_their_brightness():
    endmembers, _, spectra = mixtures(3, pure=True)
    brightness = np.random.default_rng(3).uniform(0.3, 1.5, (len(spectra), 1))
    assert angle(vca(brightness * spectra, 3, np.random.default_rng(0))[0], endmembers) < 1e-6
    assert angle(nfindr(brightness * spectra, 3, np.random.default_rng(0))[0], endmembers) > 0.01


@pytest.mark.parametrize("snr_db", [0, 10, 20, 30])
def test_signal_to_noise_is_that_of_the_scene(snr_db):
    _, _, spectra = mixtures(4, pixels=4000, bands=100, snr_db=snr_db)
    assert signal_to_noise(spectra, 4) == pytest.approx(snr_db, abs=0.3)


def test_signal_to_noise_has_no_limit():
    _, _, spectra = mixtures(4)
    assert signal_to_noise(spectra, 4) == np.inf


def test_nfindr_finds_the_largest_of_all_simplices():
    _, _, spectra = mixtures(3, bands=12, pixels=25, seed=4)
    mean, directions = principal(spectra, 2)
    points = (spectra - mean) @ directions.T
    largest = max(simplex_volume(points[list(chosen)]) for chosen in combinations(range(25), 3))
    volumes = [simplex_volume(points[nfindr(spectra, 3, np.random.default_rng(seed))[1]]) for seed in range(10)]
    assert max(volumes) == pytest.approx(largest)
    assert min(volumes) > 0.9 * largest  # a start may end in a local maximum


def test_nfindr_leaves_nothing_to_gain_and_obeys_its_limit():
    _, _, spectra = mixtures(5, snr_db=20)
    mean, directions = principal(spectra, 4)
    points = (spectra - mean) @ directions.T
    one, all_ = (nfindr(spectra, 5, np.random.default_rng(2), sweeps)[1] for sweeps in (1, 100))
    volume = simplex_volume(points[all_])
    assert simplex_volume(points[one]) < volume
    for vertex in range(5):
        for pixel in range(0, len(points), 10):
            changed = all_.copy()
            changed[vertex] = pixel
            assert simplex_volume(points[changed]) <= volume * (1 + 1e-8)


@pytest.mark.parametrize("count", [3, 5])
def test_sisal_needs_no_pure_pixels(count):
    """No abundance is above .8, so the best pixels are far from the endmembers."""
    endmembers, _, spectra = mixtures(count, pixels=3000, most=0.8)
    found = sisal(spectra, count, np.random.default_rng(0), outside=1e-3).endmembers
    pixels = vca(spectra, count, np.random.default_rng(0))[0]
    assert angle(found, endmembers) < 0.01
    assert angle(pixels, endmembers) > 0.08


def test_sisal_does_not_blow_up_with_noise():
    endmembers, _, spectra = mixtures(4, pixels=3000, most=0.8, snr_db=30)
    found = sisal(spectra, 4, np.random.default_rng(0)).endmembers
    assert angle(found, endmembers) < 0.03


@pytest.mark.parametrize("outside", [0.01, 0.05])
def test_sisal_is_at_its_minimum(outside):
    """In closed form, blowing the simplex up gains nothing; and no small change of Q that keeps the sums helps."""
    _, _, spectra = mixtures(3, pixels=2000, snr_db=20)
    found = sisal(spectra, 3, np.random.default_rng(0), outside)
    abundances = found.fit @ found.points
    np.testing.assert_allclose(abundances.sum(0), 1, atol=1e-9)
    assert (1 / 3 - abundances[abundances < 0]).sum() == pytest.approx(outside * 2000, rel=0.05)
    least = objective(found.fit, found.points, found.weight)
    rng = np.random.default_rng(1)
    for size in (1e-1, 1e-2, 1e-3):
        for _ in range(50):
            change = rng.standard_normal((3, 3))
            change *= size / np.linalg.norm(change)
            assert objective(found.fit + change - change.mean(0), found.points, found.weight) > least - 1e-5


def test_sisal_hardly_depends_on_its_start():
    _, _, spectra = mixtures(3, pixels=1000, most=0.8, snr_db=30)
    runs = [sisal(spectra, 3, np.random.default_rng(seed)).endmembers for seed in range(4)]
    assert max(angle(run, runs[0]) for run in runs) < 2e-3


@pytest.mark.parametrize("outside", [0.0, 0.34, float("nan")])
def test_a_share_outside_that_makes_no_sense_is_refused(outside):
    with pytest.raises(ConfigError, match="outside"):
        sisal(mixtures(3)[2], 3, np.random.default_rng(0), outside)
