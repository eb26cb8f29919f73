"""Matching: moments to the last digit, the power of fine detail of white noise, and nothing else."""

import numpy as np
import pytest

from hyperderm.curation.matching import FINE, _power, _rings, with_moments, with_noise

BANDS, SIZE = 3, 16
AXES = (0, 2, 3)


def cubes(count: int, seed: int, spread: float = 0.05, smooth: bool = False) -> np.ndarray:
    rng = np.random.default_rng(seed)
    levels = rng.uniform(0.3, 0.5, (count, BANDS, 1, 1))
    noise = rng.standard_normal((count, BANDS, SIZE, SIZE)) * spread
    if smooth:
        low = _rings(SIZE) < FINE * SIZE
        noise = np.fft.irfft2(np.fft.rfft2(noise) * low, s=(SIZE, SIZE))
    return (levels + noise).astype(np.float32)


def test_moments_are_those_of_train_in_every_band():
    made, real = cubes(8, 0, 0.02) * np.array([1, 2, 0.5], np.float32)[:, None, None], cubes(30, 1, 0.1)
    found = with_moments(made, real)
    np.testing.assert_allclose(found.mean(AXES), real.mean(AXES), atol=1e-6)
    np.testing.assert_allclose(found.std(AXES), real.std(AXES), atol=1e-6)
    order = np.argsort(made[:, 1].mean((1, 2)))
    assert np.argsort(found[:, 1].mean((1, 2))).tolist() == order.tolist()  # cubes keep their differences


def test_a_constant_band_gets_the_mean_alone():
    made, real = np.full((2, BANDS, SIZE, SIZE), 0.2, np.float32), cubes(5, 1)
    found = with_moments(made, real)
    assert np.ptp(found, axis=AXES).tolist() == [0, 0, 0]
    np.testing.assert_allclose(found.mean(AXES), real.mean(AXES), atol=1e-6)


def test_power_is_parsevals():
    """The sum of squares over all pixels, by the coefficients of a set."""
    made = cubes(1, 3)[:1]
    rings = _rings(SIZE)
    weights = np.bincount(
        np.rint(np.hypot(*np.meshgrid(np.fft.fftfreq(SIZE), np.fft.fftfreq(SIZE))) * SIZE).astype(int).ravel()
    )
    total = (_power(made, rings) * weights).sum(1) / SIZE**2
    np.testing.assert_allclose(total, (made[0].astype(float) ** 2).sum((1, 2)), rtol=1e-6)


@pytest.mark.parametrize("smooth", [True, False])
def test_fine_detail_has_the_power_of_train(smooth):
    """What a smooth set lacks is added, what a noisy set has too much of is filtered; the rest is not touched."""
    made, real = cubes(150, 0, 0.05 if smooth else 0.2, smooth), cubes(60, 1, 0.1)
    found = with_noise(made, real, 0, range(150))
    rings = _rings(SIZE)
    fine = np.arange(rings.max() + 1) >= FINE * SIZE
    have, want, before = (_power(each, rings) for each in (found, real, made))
    np.testing.assert_allclose(have[:, fine] / want[:, fine], 1, atol=0.25)
    np.testing.assert_allclose(have[:, fine].sum() / want[:, fine].sum(), 1, atol=0.05)
    np.testing.assert_allclose(have[:, ~fine], before[:, ~fine], rtol=1e-5)


def test_noise_belongs_to_the_number_of_a_cube():
    made, real = cubes(6, 0, smooth=True), cubes(9, 1)
    whole = with_noise(made, real, 7, range(6))
    turned = with_noise(made[::-1].copy(), real, 7, range(5, -1, -1))
    np.testing.assert_array_equal(whole, turned[::-1])
    assert np.abs(with_noise(made, real, 8, range(6)) - whole).max() > 0.01


def test_a_set_like_train_stays_as_it_is():
    made = cubes(12, 0)
    np.testing.assert_allclose(with_noise(made, made, 0, range(12)), made, atol=1e-6)
    np.testing.assert_allclose(with_moments(made, made), made, atol=1e-6)
