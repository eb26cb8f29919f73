from time import perf_counter

import numpy as np
import pytest
from scipy.optimize import minimize

from hyperderm.errors import ConfigError
from hyperderm.unmixing.fcls import fcls
from tests.unmixing.scenes import mixtures


def duality_gaps(spectra, endmembers, abundances):
    """What a pixel could still gain at most (Frank-Wolfe): 0 exactly at the minimum over the simplex."""
    slope = (abundances @ endmembers - spectra) @ endmembers.T
    return (slope * abundances).sum(1) - slope.min(1)


def by_slsqp(spectrum, endmembers):
    count = len(endmembers)
    found = minimize(
        lambda a: np.square(spectrum - a @ endmembers).sum() / 2,
        np.full(count, 1 / count),
        jac=lambda a: (a @ endmembers - spectrum) @ endmembers.T,
        bounds=[(0, 1)] * count,
        constraints={"type": "eq", "fun": lambda a: a.sum() - 1, "jac": lambda a: np.ones(count)},
        method="SLSQP",
        options={"ftol": 1e-15, "maxiter": 500},
    )
    return found.x


@pytest.mark.parametrize("count", [2, 3, 5, 15])
def test_every_pixel_meets_the_conditions_of_optimality(count):
    endmembers, _, spectra = mixtures(count, snr_db=8)
    abundances = fcls(spectra, endmembers)
    assert (abundances >= 0).all()
    np.testing.assert_allclose(abundances.sum(1), 1, atol=1e-12)
    assert duality_gaps(spectra, endmembers, abundances).max() < 1e-8
    assert (abundances == 0).any()  # else the inequality was not tested


def test_alike_endmembers_and_far_pixels_are_solved_too():
    rng = np.random.default_rng(1)
    base = rng.uniform(0.2, 1, 60)
    endmembers = base + 1e-3 * rng.standard_normal((8, 60))
    spectra = base + rng.standard_normal((500, 60))
    abundances = fcls(spectra, endmembers)
    np.testing.assert_allclose(abundances.sum(1), 1, atol=1e-12)
    assert abundances.min() >= 0
    assert duality_gaps(spectra, endmembers, abundances).max() < 1e-8


def test_agrees_with_a_general_solver():
    endmembers, _, spectra = mixtures(4, pixels=12, snr_db=5)
    expected = [by_slsqp(spectrum, endmembers) for spectrum in spectra]
    np.testing.assert_allclose(fcls(spectra, endmembers), expected, atol=1e-6)


def test_orthogonal_endmembers_have_a_closed_form():
    """For unit endmembers the abundances are the projection of y on the simplex: y less a constant, cut at 0."""
    spectra = np.array([[0.2, 0.3, 0.5], [0.9, 0.5, -0.4], [5.0, 0.0, 0.0], [0.1, 0.1, 0.1]])
    expected = [[0.2, 0.3, 0.5], [0.7, 0.3, 0], [1, 0, 0], [1 / 3, 1 / 3, 1 / 3]]
    np.testing.assert_allclose(fcls(spectra, np.eye(3)), expected, atol=1e-12)


def test_two_endmembers_have_a_closed_form():
    endmembers, _, spectra = mixtures(2, snr_db=0, pixels=300)
    axis = endmembers[0] - endmembers[1]
    share = np.clip((spectra - endmembers[1]) @ axis / (axis @ axis), 0, 1)
    np.testing.assert_allclose(fcls(spectra, endmembers)[:, 0], share, atol=1e-10)


def test_mixtures_without_noise_come_back_whatever_their_unit():
    endmembers, abundances, spectra = mixtures(5)
    for unit in (1e-6, 1.0, 1e4):
        np.testing.assert_allclose(fcls(unit * spectra, unit * endmembers), abundances, atol=1e-9)
    assert fcls(spectra[:0], endmembers).shape == (0, 5)
    np.testing.assert_array_equal(fcls(spectra[:3], endmembers[:1]), np.ones((3, 1)))


def test_ten_thousand_pixels_take_seconds():
    endmembers, _, spectra = mixtures(5, bands=16, pixels=10_000, snr_db=15)
    begin = perf_counter()
    fcls(spectra, endmembers)
    assert perf_counter() - begin < 5


@pytest.mark.parametrize(
    ("endmembers", "told"),
    [
        (np.ones((2, 5)), "5"),
        (np.array([[1.0, 0, 0], [0, 1, 0], [0.5, 0.5, 0]]), "not independent"),
        (np.vstack([np.eye(3), np.zeros((2, 3))]), "not independent"),
        (np.array([[1.0, np.nan, 0], [0, 1, 0]]), "not finite"),
    ],
)
def test_endmembers_without_unique_abundances_are_refused(endmembers, told):
    with pytest.raises(ConfigError, match=told):
        fcls(np.ones((4, 3)), endmembers)
