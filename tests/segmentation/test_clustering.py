"""Clusters of scenes whose answer is known, what place does, and scenes that cannot be divided."""

import tracemalloc

import numpy as np
import pytest

from hyperderm.errors import ConfigError
from hyperderm.segmentation import clustering
from hyperderm.segmentation.clustering import baselines, cluster, divide, unit_length
from hyperderm.segmentation.scoring import agreement
from tests.segmentation.scenes import blobs

METHODS = ("tied", "full", "kmeans")


@pytest.mark.parametrize("method", METHODS)
def test_clouds_are_found_in_the_order_of_their_sizes(method):
    features, classes, centres = blobs()
    found = cluster(features, 3, 0, method)
    np.testing.assert_array_equal(found.labels, classes)
    assert found.sizes.tolist() == [300, 200, 100]
    np.testing.assert_allclose(found.centres, centres, atol=0.5)
    assert (found.masked, found.fitted, found.converged) == (0, 600, True)


@pytest.mark.parametrize("method", METHODS)
def test_the_same_seed_and_other_units_give_the_same_clusters(method):
    features, _, _ = blobs(distance=2.5)
    first = cluster(features, 3, 4, method, weight=0.5)
    np.testing.assert_array_equal(cluster(features, 3, 4, method, weight=0.5).labels, first.labels)
    np.testing.assert_array_equal(cluster(1000 * features - 70, 3, 4, method, weight=0.5).labels, first.labels)


def test_a_number_that_hardly_varies_stays_small():
    """Standardised one by one, five columns of noise would hide the one that tells the classes."""
    rng = np.random.default_rng(0)
    classes = np.arange(600).reshape(20, 30) % 2
    features = np.concatenate([classes[..., None] + 0.02 * rng.random((20, 30, 1)), 0.01 * rng.random((20, 30, 5))], 2)
    assert agreement(cluster(features, 2, 0, "kmeans").labels, classes).accuracy == 1


def test_centres_of_k_means_are_means_in_the_units_of_the_features():
    features, _, _ = blobs(distance=3)
    found = cluster(features, 3, 0, "kmeans", weight=1)
    for label in range(3):
        np.testing.assert_allclose(found.centres[label], features[found.labels == label].mean(0), atol=1e-9)


def test_missing_pixels_are_masked_and_counted():
    features, classes, _ = blobs()
    features[3, 4, 1], features[7, 7] = np.nan, np.inf
    found = cluster(features, 3, 0)
    assert (found.masked, found.labels[3, 4], found.labels[7, 7]) == (2, -1, -1)
    assert found.sizes.sum() == 598
    assert agreement(found.labels, classes).accuracy == 1


def halves(found):
    """How far two clusters are the left and the right half of the scene."""
    return agreement(found.labels, np.tile(np.arange(40) >= 20, (40, 1)).astype(int)).accuracy


@pytest.mark.parametrize("method", ["tied", "full"])
def test_weight_makes_place_count(method):
    """Two clouds in random places, of which the left half holds more of one: with λ the map follows the halves."""
    rng = np.random.default_rng(0)
    likely = np.where(np.arange(40) < 20, 0.25, 0.75)
    classes = rng.random((40, 40)) < likely
    features = np.where(classes, 0.8, -0.8)[..., None] + rng.standard_normal((40, 40, 2))
    without, little, much = (halves(cluster(features, 2, 0, method, weight)) for weight in (0, 0.1, 3))
    assert little == pytest.approx(without, abs=0.02)
    assert much > without + 0.05


def test_place_is_a_unit_square():
    """Constant features but for rounding: k-means with a large λ halves the scene at its centre, whatever its shape."""
    rng = np.random.default_rng(0)
    features = 1e-3 * rng.standard_normal((30, 60, 2)) + 1
    along = [cluster(features[:rows, :columns], 4, 0, "kmeans", 100.0) for rows, columns in ((30, 60), (30, 30))]
    for found, columns in zip(along, (60, 30), strict=True):
        y, x = np.mgrid[:30, :columns]
        assert agreement(found.labels, 2 * (y >= 15) + (x >= columns // 2)).accuracy > 0.98


def test_a_large_scene_is_fitted_on_some_of_its_pixels(monkeypatch):
    monkeypatch.setattr(clustering, "FIT_PIXELS", 200)
    monkeypatch.setattr(clustering, "AT_ONCE", 77)
    features, classes, _ = blobs()
    found = cluster(features, 3, 0)
    assert found.fitted == 200
    np.testing.assert_array_equal(found.labels, classes)
    monkeypatch.setattr(clustering, "FIT_VALUES", 100 * 5)
    assert cluster(features, 3, 0).fitted == 100


def test_memory_does_not_grow_with_the_scene():
    """8 million pixels' values of 64 MB: what is allocated beside them is less than twice that of an eighth of the scene."""

    def peak(rows):
        features = np.tile(blobs(width=8)[0].astype(np.float32), (rows // 20, 9, 1))
        tracemalloc.start()
        cluster(features, 2, 0, "kmeans")
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    assert peak(1600) < 2 * peak(200)


def test_baselines_are_k_means_and_mixtures_of_raw_and_of_unit_spectra():
    """Two materials in any brightness: raw k-means divides by brightness, that of unit length by material."""
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 2, (20, 30))
    shapes = np.array([np.linspace(0.2, 1, 12), np.linspace(1, 0.2, 12)])
    cube = shapes[classes] * rng.uniform(0.05, 1, (20, 30, 1)) + 0.001 * rng.standard_normal((20, 30, 12))
    cube[0, 0, 5] = np.nan
    found = baselines(cube, 2, 0)
    assert list(found) == ["k-means, raw", "mixture, raw", "k-means, L2", "mixture, L2"]
    assert {each.masked for each in found.values()} == {1}
    accuracy = {name: agreement(each.labels, classes).accuracy for name, each in found.items()}
    assert accuracy["k-means, L2"] == accuracy["mixture, L2"] == 1
    assert accuracy["k-means, raw"] < 0.9
    np.testing.assert_allclose(np.linalg.norm(found["k-means, L2"].centres, axis=1), 1, atol=0.01)


def test_unit_length_keeps_black_pixels():
    x = np.array([[3.0, 4.0], [0, 0]])
    np.testing.assert_array_equal(unit_length(x), [[0.6, 0.8], [0, 0]])


NOISE = np.random.default_rng(0).random((4, 5, 3))
TWO_COLOURS = np.where(np.arange(20).reshape(4, 5, 1) % 2, 0.2, 0.7) * np.ones(3)


@pytest.mark.parametrize(
    ("features", "count", "named", "remedy"),
    [
        (NOISE, 1, "--clusters 1: a scene is divided into at least 2", "2 or more"),
        (NOISE, 21, "--clusters 21: there are 20 usable pixels, 0 are masked", "fewer"),
        (np.ones((4, 5, 3)), 2, "all 20 pixels have one colour", "pixels differ"),
        (TWO_COLOURS, 3, "the pixels have 2 different colours", "2 or fewer"),
        (np.full((4, 5, 3), np.nan), 2, "none of the 20 pixels is finite", "finite"),
        (NOISE[0], 2, "features of shape", "height, width"),
        (NOISE[:, :0], 2, "features of shape", "none of them 0"),
    ],
)
def test_scenes_that_cannot_be_divided(features, count, named, remedy):
    with pytest.raises(ConfigError) as error:
        cluster(features, count, 0)
    assert named in str(error.value)
    assert remedy in error.value.remedy


def test_masked_pixels_do_not_count_as_pixels():
    features = NOISE.copy()
    features[0, :4] = np.nan
    with pytest.raises(ConfigError, match="17: there are 16 usable pixels, 4 are masked"):
        cluster(features, 17, 0)


def test_other_things_a_user_can_get_wrong():
    with pytest.raises(ConfigError, match=r"--weight -0.5"):
        cluster(NOISE, 2, 0, weight=-0.5)
    with pytest.raises(ConfigError, match="a cube of one band"):
        baselines(NOISE[..., :1], 2, 0)


@pytest.mark.parametrize("method", METHODS)
def test_as_many_clusters_as_colours(method):
    found = cluster(TWO_COLOURS, 2, 0, method)
    assert found.sizes.tolist() == [10, 10]
    assert found.labels[0, 0] == 0  # of two equal ones, the first pixel's is the first


def test_clusters_of_one_sample_label_every_scene():
    """Fitted to pixels of both scenes, a division labels each as it labels the sample, and masks what is not finite."""
    rng = np.random.default_rng(0)
    centres = np.array([[0.0, 0.0], [5.0, 0.0], [0.0, 5.0]])
    truth = rng.integers(0, 3, (2, 8, 9))
    scenes = centres[truth] + 0.1 * rng.standard_normal((2, 8, 9, 2))
    place = np.zeros((144, 2))
    division = divide(scenes.reshape(-1, 2), place, 3, 0)
    assert np.array_equal(division.sizes, np.sort(np.bincount(truth.reshape(-1)))[::-1])
    assert np.array_equal(np.concatenate([division.label(one).reshape(-1) for one in scenes]), division.labels)
    for k in range(3):
        inside = truth.reshape(-1)[division.labels == k]
        assert len(np.unique(inside)) == 1
        np.testing.assert_allclose(division.centres[k], centres[inside[0]], atol=0.1)
    broken = scenes[0].copy()
    broken[2, 3, 1] = np.nan
    assert division.label(broken)[2, 3] == -1
    assert (division.label(broken) >= 0).sum() == 71
    with pytest.raises(ConfigError, match="--weight nan"):
        divide(scenes.reshape(-1, 2), place, 3, 0, weight=float("nan"))
