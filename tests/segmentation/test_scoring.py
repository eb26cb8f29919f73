"""Scores of label maps and masks against definitions: all assignments, pairs of pixels, entropies."""

from itertools import permutations

import numpy as np
import pytest

from hyperderm.errors import ConfigError
from hyperderm.segmentation.scoring import agreement, dice, rand_index


def labellings(clusters, classes, count=60, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, count)
    found = np.where(rng.random(count) < 0.6, truth % clusters, rng.integers(0, clusters, count))
    return found, truth


@pytest.mark.parametrize(("clusters", "classes"), [(3, 3), (4, 3), (2, 4)])
def test_accuracy_is_that_of_the_best_of_all_assignments(clusters, classes):
    found, truth = labellings(clusters, classes)
    most = max(clusters, classes)
    best = max((np.array(order)[found] == truth).mean() for order in permutations(range(most)))
    got = agreement(found, truth)
    assert got.accuracy == pytest.approx(best)
    assert np.mean([got.matches.get(c, -1) == t for c, t in zip(found, truth, strict=True)]) == pytest.approx(best)


def test_adjusted_rand_index_from_pairs_of_pixels():
    """(RI - E) / (max - E) with counts of pairs that are together (Hubert & Arabie 1985)."""
    found, truth = labellings(3, 3)
    upper = np.triu_indices(len(found), 1)
    a, b = (x[:, None] == x[None] for x in (found, truth))
    together_a, together_b = int(a[upper].sum()), int(b[upper].sum())
    expected = together_a * together_b / len(upper[0])
    ari = (int((a & b)[upper].sum()) - expected) / ((together_a + together_b) / 2 - expected)
    assert agreement(found, truth).ari == pytest.approx(ari)


def test_normalised_mutual_information_from_entropies():
    found, truth = labellings(4, 3)
    joint = np.histogram2d(found, truth, bins=(4, 3))[0] / len(found)

    def entropy(p):
        return -(p[p > 0] * np.log(p[p > 0])).sum()

    a, b = entropy(joint.sum(1)), entropy(joint.sum(0))
    assert agreement(found, truth).nmi == pytest.approx((a + b - entropy(joint.ravel())) / ((a + b) / 2))


def test_numbers_of_labels_mean_nothing():
    truth = np.array([[0, 0, 1], [1, 2, 2]])
    got = agreement(np.array([[7, 7, 0], [0, 4, 4]]), truth)
    assert (got.accuracy, got.nmi, got.ari) == (1, pytest.approx(1), 1)
    assert got.matches == {7: 0, 0: 1, 4: 2}


def test_masked_pixels_do_not_count():
    got = agreement(np.array([0, 0, 1, 1, -1, 0]), np.array([1, 1, 0, 0, 1, -1]))
    assert (got.accuracy, got.counted) == (1, 4)


def test_dice():
    a, b = np.zeros((4, 5), bool), np.zeros((4, 5), bool)
    assert dice(a, b) == 1
    a[0, :4], b[0, 1:3] = True, True
    assert dice(a, b) == pytest.approx(2 * 2 / (4 + 2))
    assert dice(a, ~a) == 0


def test_what_cannot_be_compared():
    with pytest.raises(ConfigError, match=r"labels of shape \(2,\)"):
        agreement(np.zeros(2, int), np.zeros(3, int))
    with pytest.raises(ConfigError, match="no pixel"):
        agreement(np.array([-1, 0]), np.array([0, -1]))
    with pytest.raises(ConfigError, match="a mask of shape"):
        dice(np.zeros((2, 2)), np.zeros((2, 3)))


def test_rand_index_of_a_table_is_that_of_the_labels():
    for clusters, classes, seed in ((3, 3, 0), (2, 5, 1), (4, 2, 2)):
        found, truth = labellings(clusters, classes, seed=seed)
        table = np.zeros((clusters, classes), int)
        np.add.at(table, (found, truth), 1)
        assert rand_index(table) == pytest.approx(agreement(found, truth).ari)
    assert rand_index([[5, 0], [0, 4]]) == 1
    assert rand_index([[7]]) == 1
    with pytest.raises(ConfigError, match="1 pixels"):
        rand_index([[1, 0], [0, 0]])
