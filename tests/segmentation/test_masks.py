"""Lesion masks from clusters and by Otsu's threshold: drawn scenes, the definition, phantom lesions."""

import numpy as np
import pytest

from hyperderm.cubes.regions import otsu_threshold
from hyperderm.errors import CubeError
from hyperderm.phantom.rendering import phantom
from hyperderm.segmentation.clustering import cluster
from hyperderm.segmentation.masks import cluster_mask, otsu_mask
from hyperderm.segmentation.scoring import dice
from tests.segmentation.scenes import disc


@pytest.mark.parametrize(("skin", "lesion"), [(0, 1), (1, 0)])
def test_the_cluster_inside_the_frame_without_holes_and_specks(skin, lesion):
    truth = disc()
    labels = np.where(truth, lesion, skin)
    labels[20, 28] = skin  # a hole
    labels[5:7, 50:52] = lesion  # a speck
    labels[0, 0] = lesion  # dirt on the border
    labels[20, 30] = -1  # a pixel that is missing
    found = cluster_mask(labels)
    assert found.clusters == (lesion,)
    np.testing.assert_array_equal(found.mask, truth)


def test_shares_of_border_and_centre():
    """A frame of 20 x 20 has a border of one pixel; the pixels of its centre are counted here one by one."""
    labels = np.zeros((20, 20), int)
    labels[:, :10] = 1
    labels[8:12, 8:12] = 2
    found = cluster_mask(labels)
    at = (np.arange(20) + 0.5) / 20 - 0.5
    centre = sum(np.hypot(y, x) <= 0.25 for y in at for x in at)
    in_centre = np.array([centre / 2 - 8, centre / 2 - 8, 16]) / centre
    np.testing.assert_allclose(found.centre, in_centre)
    np.testing.assert_allclose(found.border, [0.5, 0.5, 0])
    assert found.clusters == (2,)


def test_a_lesion_of_two_clusters_is_found_whole():
    labels = np.where(disc(), 1, 0)
    labels[disc(radius=5)] = 2
    found = cluster_mask(labels)
    assert found.clusters == (1, 2)
    np.testing.assert_array_equal(found.mask, disc())


def test_a_speck_is_not_joined_to_the_lesion():
    labels = np.where(disc() | disc(y=8, x=52, radius=3), 1, 0)
    np.testing.assert_array_equal(cluster_mask(labels).mask, disc())


def test_phantom_lesions():
    """Mean Dice of eight lesions with k-means of their spectra, and by Otsu's threshold."""
    found = {"clusters": [], "otsu": []}
    for each in phantom(8, 32, 1):
        reflectance, drawn = each.lesion.cube.reflectance, each.lesion.mask
        labels = cluster(reflectance, 3, 0, "kmeans").labels
        found["clusters"].append(dice(cluster_mask(labels).mask, drawn))
        found["otsu"].append(dice(otsu_mask(reflectance), drawn))
    assert min(np.mean(values) for values in found.values()) > 0.75


@pytest.mark.parametrize(
    ("labels", "named"),
    [
        (np.zeros((9, 9), int), "no cluster lies inside"),
        (np.full((9, 9), -1), "no labelled pixel"),
        (np.zeros(9, int), "shape"),
    ],
)
def test_label_maps_without_a_lesion(labels, named):
    with pytest.raises(CubeError, match=named):
        cluster_mask(labels)


def test_otsu_threshold_by_definition():
    """The split of largest between-class variance (Otsu 1979), over all thresholds on the same 256 levels."""
    rng = np.random.default_rng(0)
    values = np.clip(np.concatenate([rng.normal(0.3, 0.05, 700), rng.normal(0.6, 0.08, 300)]), 0.2, 0.8)
    low, high = np.percentile(values, [0.5, 99.5])
    levels = np.round(np.clip((values - low) / (high - low), 0, 1) * 255)

    def between(split):
        dark = levels <= split
        return dark.mean() * (1 - dark.mean()) * (levels[dark].mean() - levels[~dark].mean()) ** 2

    best = max(range(int(levels.min()), int(levels.max())), key=between)
    assert otsu_threshold(values) == pytest.approx(low + (best + 0.5) / 255 * (high - low))


def test_otsu_mask_of_a_dark_disc():
    truth = disc()
    cube = np.where(truth, 0.2, 0.7)[..., None] * np.linspace(0.5, 1.5, 6) + 0.01 * np.random.default_rng(0).random(
        (40, 60, 6)
    )
    cube[20, 28] = np.nan  # a hole in the lesion
    cube[0, 0] = np.nan
    np.testing.assert_array_equal(otsu_mask(cube), truth)


def test_cubes_without_a_lesion():
    with pytest.raises(CubeError, match="the same everywhere"):
        otsu_mask(np.ones((8, 8, 3)))
    with pytest.raises(CubeError, match="missing"):
        otsu_mask(np.full((8, 8, 3), np.nan))
