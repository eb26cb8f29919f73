import numpy as np
import pytest

from hyperderm.errors import ConfigError
from hyperderm.unmixing.dimension import hysime, knee, regression_noise
from hyperderm.unmixing.methods import reconstruction_errors
from tests.unmixing.scenes import mixtures


def expected_noise(endmembers, sigma):
    """What regression leaves of infinitely many pixels: more than sigma (B,), because the other bands are noisy too."""
    count = len(endmembers)
    of_abundances = (np.eye(count) + 1) / (count * (count + 1))  # Dirichlet's second moments
    correlation = endmembers.T @ of_abundances @ endmembers + np.diag(np.square(sigma))
    return 1 / np.sqrt(np.diag(np.linalg.inv(correlation)))


@pytest.mark.parametrize("count", [2, 4, 7])
@pytest.mark.parametrize("snr_db", [30, 50])
def test_hysime_counts_the_endmembers(count, snr_db):
    endmembers, _, spectra = mixtures(count, bands=60, pixels=4000, snr_db=snr_db, seed=count)
    found = hysime(spectra)
    assert found.count == count
    assert (np.diff(found.costs) >= 0).all()
    sigma = np.full(60, np.sqrt(np.square(spectra).mean() / 10 ** (snr_db / 10)))
    np.testing.assert_allclose(found.noise, expected_noise(endmembers, sigma), rtol=0.06)
    assert found.noise.mean() == pytest.approx(sigma[0], rel=0.07)


def test_hysime_sees_the_noise_of_each_band():
    endmembers, _, spectra = mixtures(3, bands=50, pixels=4000)
    sigma = np.linspace(0.001, 0.02, 50)
    found = hysime(spectra + sigma * np.random.default_rng(1).standard_normal(spectra.shape))
    assert found.count == 3
    np.testing.assert_allclose(found.noise, expected_noise(endmembers, sigma), rtol=0.06)


def test_hysime_counts_without_noise_and_leaves_nan_pixels_out():
    _, _, spectra = mixtures(4)
    spectra[7, 3] = np.nan
    assert hysime(spectra).count == 4
    assert hysime(spectra.astype(np.float32)).count == 4


def test_noise_is_what_the_regression_on_the_other_bands_leaves():
    _, _, spectra = mixtures(3, bands=6, snr_db=20)
    others = np.delete(spectra, 2, 1)
    left = spectra[:, 2] - others @ np.linalg.lstsq(others, spectra[:, 2])[0]
    np.testing.assert_allclose(regression_noise(spectra)[:, 2], left, atol=1e-9)


@pytest.mark.parametrize("shape", [(100, 1), (10, 10)])
def test_hysime_refuses_what_it_cannot_regress(shape):
    with pytest.raises(ConfigError, match=f"{shape[0]} usable pixels of {shape[1]} band"):
        hysime(np.random.default_rng(0).uniform(size=shape))


def test_the_knee_lies_farthest_from_the_chord():
    assert knee({2: 1.0, 3: 0.5, 4: 0.1, 5: 0.09, 6: 0.08}) == 4
    assert knee({count: 1 / count for count in (2, 4, 8, 32)}) == 8
    assert knee({2: 1.0, 3: 1.0, 4: 1.0}) == 2


def test_the_knee_of_a_scene_is_its_number_of_endmembers():
    _, _, spectra = mixtures(4, bands=30, pixels=800, pure=True, snr_db=40)
    assert knee(reconstruction_errors(spectra, "nfindr", range(2, 9), 0)) == 4


@pytest.mark.parametrize("errors", [{}, {2: 0.5, 3: 0.1}, {2: 0.5, 3: float("nan"), 4: 0.1}])
def test_a_curve_without_a_knee_is_refused(errors):
    with pytest.raises(ConfigError, match="no knee"):
        knee(errors)
