"""Numbers about spectra: the energy distance and its features, angles, relative errors."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.functional.image import spectral_angle_mapper

from hyperderm.learners.generative import GenerativeReference
from hyperderm.learners.shsgan.networks import UNetGenerator
from hyperderm.metrics.spectra import Standardiser, cube_features, energy_distance, largest_relative_error, spectral_angle
from hyperderm.store.reader import open_store
from hyperderm.training.data import cube_set
from tests.training.tiny import blobs


def by_double_loop(x, y):
    """The definition, pair by pair."""
    between = np.mean([[np.linalg.norm(a - b) for b in y] for a in x])

    def within(z):
        pairs = [np.linalg.norm(z[i] - z[j]) for i in range(len(z)) for j in range(len(z)) if i != j]
        return np.mean(pairs)

    return (2 * between - within(x) - within(y)) / np.sqrt(x.shape[1])


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 7), st.integers(2, 9), st.integers(1, 5), st.integers(0, 10_000))
def test_is_what_a_double_loop_says(n, m, d, seed):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(n, d)), rng.normal(1.0, 2.0, size=(m, d))
    assert energy_distance(x, y) == pytest.approx(by_double_loop(x, y), abs=1e-12)
    assert energy_distance(x, y) == pytest.approx(energy_distance(y, x), abs=1e-12)


def test_two_gaussians_give_the_closed_form():
    """E|N(m, s²)| = s √(2/π) exp(−m²/2s²) + m erf(m/(s√2)); X−Y is N(1, 1+4), X−X' N(0, 2), Y−Y' N(0, 8)."""
    from math import erf, exp, pi, sqrt

    def folded(m, s):
        return s * sqrt(2 / pi) * exp(-(m**2) / (2 * s**2)) + m * erf(m / (s * sqrt(2)))

    expected = 2 * folded(1, sqrt(5)) - folded(0, sqrt(2)) - folded(0, sqrt(8))
    rng = np.random.default_rng(0)
    draws = [energy_distance(rng.normal(0, 1, (1000, 1)), rng.normal(1, 2, (1000, 1))) for _ in range(20)]
    assert np.mean(draws) == pytest.approx(expected, abs=4 * np.std(draws) / np.sqrt(20))
    assert np.std(draws) / np.sqrt(20) < 0.03 * expected


def test_one_distribution_scores_nothing_on_average_at_24_against_24():
    rng = np.random.default_rng(0)
    scores = [energy_distance(rng.normal(size=(24, 48)), rng.normal(size=(24, 48))) for _ in range(1000)]
    error = np.std(scores) / np.sqrt(len(scores))
    assert abs(np.mean(scores)) < 4 * error  # 4 standard errors
    biased = np.mean([s + 2 / 24 * np.sqrt(2) for s in scores])  # what leaving the diagonal in would add
    assert biased > 20 * error  # so the test would see it


def test_features_by_hand():
    cube = np.array([[[[0.1, 0.3], [0.2, 0.8]]]])
    dy = ((0.2 - 0.1) ** 2 + (0.8 - 0.3) ** 2) / 2
    dx = ((0.3 - 0.1) ** 2 + (0.8 - 0.2) ** 2) / 2
    expected = np.log([0.35, np.std([0.1, 0.3, 0.2, 0.8]), dx + dy])
    np.testing.assert_allclose(cube_features(torch.from_numpy(cube)), [expected], rtol=1e-12)


def test_features_are_ordered_by_kind_then_band():
    cubes = blobs(5, bands=3)
    x = cubes.numpy().astype(np.float64)
    features = cube_features(cubes)
    assert features.shape == (5, 9)
    np.testing.assert_allclose(features[:, :3], np.log(x.mean((2, 3))), rtol=1e-9)
    np.testing.assert_allclose(features[:, 3:6], np.log(x.std((2, 3))), rtol=1e-9)


def test_a_gain_moves_every_feature_by_its_logarithm():
    cubes = blobs(6)
    shift = cube_features(cubes * 2) - cube_features(cubes)
    np.testing.assert_allclose(shift[:, :32], np.log(2), rtol=1e-6)
    np.testing.assert_allclose(shift[:, 32:], np.log(4), rtol=1e-6)


def test_train_is_centred_with_unit_spread_and_the_score_ignores_units():
    cubes = blobs(20)
    features = cube_features(cubes)
    mine = Standardiser(features)(features)
    np.testing.assert_allclose(mine.mean(0), 0, atol=1e-9)
    np.testing.assert_allclose(mine.std(0), 1, rtol=1e-9)
    train, validation, other = cubes, blobs(8, seed=1), blobs(8, seed=2) * 0.8
    one = GenerativeReference(train, validation, 0).score(other)["spectral_energy_distance"]
    two = GenerativeReference(train * 3, validation * 3, 0).score(other * 3)["spectral_energy_distance"]
    assert two == pytest.approx(one, rel=1e-5)


@pytest.mark.parametrize("broken", ["zero", "negative", "constant", "huge"])
def test_broken_cubes_score_finitely_and_badly(broken):
    train, validation = blobs(20), blobs(8, seed=1)
    cubes = {
        "zero": torch.zeros_like(validation),
        "negative": -validation,
        "constant": torch.full_like(validation, 0.4),
        "huge": validation * 1e6,
    }[broken]
    reference = GenerativeReference(train, validation, 0)
    score = reference.score(cubes)["spectral_energy_distance"]
    assert np.isfinite(score)
    assert score > 20 * abs(reference.floor)


def test_a_dead_band_does_not_drown_the_others():
    train, validation, other = blobs(20), blobs(8, seed=1), blobs(8, seed=2)
    for cubes in (train, validation):
        cubes[:, 3] = 0
    before = GenerativeReference(train, validation, 0).score(other.clone().index_fill_(1, torch.tensor(3), 0))
    other[:, 3] *= 0.01
    after = GenerativeReference(train, validation, 0).score(other)
    assert after["spectral_energy_distance"] > before["spectral_energy_distance"]
    assert after["spectral_energy_distance"] < 1000


def test_scores_on_the_phantom_are_ordered_as_the_issue_says(phantom_store: Path):
    """Measured on 90 lesions at 32 px; `pytest -s` prints the numbers."""
    store = open_store(str(phantom_store))
    cubes = cube_set(store.read(store.index().column("lesion_id").to_pylist()), 32)
    x = cubes.reflectance
    features = cube_features(x)
    features = Standardiser(features)(features)
    rng = np.random.default_rng(0)
    floor = []
    for _ in range(200):
        order = rng.permutation(len(x))
        floor.append(energy_distance(features[order[:24]], features[order[24:48]]))
    melanoma = np.array(cubes.diagnoses) == "melanoma"
    classes = energy_distance(features[melanoma], features[~melanoma])
    reference = GenerativeReference(x[::2], x[1::2], 0)
    torch.random.default_generator.manual_seed(0)
    with torch.no_grad():
        high = x.amax((0, 2, 3))[:, None, None]
        untrained = (UNetGenerator(16, 16)(torch.rand(48, 3, 32, 32) * 2 - 1) + 1) / 2 * high
    score = reference.score(untrained)["spectral_energy_distance"]
    print(
        f"24 against 24: {np.mean(floor):.3f} ± {np.std(floor):.3f}; melanoma against the rest {classes:.2f}; "
        f"mean cube {reference.mean_cube_score:.2f}; untrained {score:.2f}"
    )
    assert abs(np.mean(floor)) < 0.01  # 330 lesions: 0.002 ± 0.067 at 24 against 24, 0.000 ± 0.023 at 64 against 64
    assert np.std(floor) < 0.1
    assert np.median(np.abs(floor)) < 0.05
    assert 0.05 < classes < reference.mean_cube_score < score


def test_known_angles():
    assert spectral_angle(np.array([1.0, 0.0]), np.array([1.0, 1.0])) == pytest.approx(np.pi / 4)
    assert spectral_angle(np.array([1.0, 2.0]), np.array([2.0, 4.0])) == pytest.approx(0, abs=1e-7)
    assert spectral_angle(np.array([1.0, 2.0]), np.array([-1.0, -2.0])) == pytest.approx(np.pi)
    assert spectral_angle(np.zeros(3), np.array([1.0, 2.0, 3.0])) == pytest.approx(np.pi / 2)


def test_is_the_angle_of_torchmetrics():
    a, b = np.random.default_rng(0).uniform(0.1, 1, (2, 16))
    theirs = spectral_angle_mapper(*(torch.from_numpy(v)[None, :, None, None] for v in (a, b)))
    assert spectral_angle(a, b) == pytest.approx(float(theirs), abs=1e-6)


def test_largest_relative_error_is_of_the_worst_band():
    assert largest_relative_error(np.array([1.0, 0.5, 2.0]), np.array([1.1, 0.4, 2.0])) == pytest.approx(0.2)
