"""Scores of a label map against a known one, and of a mask against a drawn one."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from sklearn.metrics.cluster import contingency_matrix

from hyperderm.errors import ConfigError


@dataclass(frozen=True)
class Agreement:
    """How far clusters agree with classes. The numbers of the labels mean nothing.

    Attributes:
        accuracy: share of pixels whose cluster is matched with their class, 0 to 1. Each cluster is matched with at most one
            class, and each class with at most one cluster, so that the share is largest; other clusters count as wrong.
        nmi: normalised mutual information, 0 to 1 (divided by the arithmetic mean of both entropies).
        ari: adjusted Rand index, 0 for chance, 1 for equal partitions; it may be slightly negative.
        matches: the class of each matched cluster.
        counted: number of pixels that have both a cluster and a class.
    """

    accuracy: float
    nmi: float
    ari: float
    matches: dict[int, int]
    counted: int


def agreement(labels: ArrayLike, classes: ArrayLike) -> Agreement:
    """Compare labels with classes of the same shape, integers of any shape; pixels with a negative one are left out.

    Raises:
        ConfigError: the shapes differ, or no pixel has both a label and a class.
    """
    found, truth = _same_shape(labels, classes, "labels", "classes")
    both = (found >= 0) & (truth >= 0)
    if not both.any():
        raise ConfigError("no pixel has both a label and a class", "Give a reference that covers labelled pixels.")
    found, truth = found[both], truth[both]
    table = contingency_matrix(truth, found)  # rows and columns in the order of np.unique
    rows, columns = linear_sum_assignment(table, maximize=True)
    clusters, kinds = np.unique(found), np.unique(truth)
    return Agreement(
        accuracy=float(table[rows, columns].sum() / len(found)),
        nmi=float(normalized_mutual_info_score(truth, found)),
        ari=float(adjusted_rand_score(truth, found)),
        matches={int(clusters[c]): int(kinds[r]) for r, c in zip(rows, columns, strict=True)},
        counted=len(found),
    )


def rand_index(table: ArrayLike) -> float:
    """Return the adjusted Rand index of two partitions from their contingency table.

    With it, partitions of more pixels than fit into memory can be compared part by part (Hubert, Arabie 1985). Two
    partitions into one part each are equal and give 1.

    Args:
        table: (K, L) numbers of pixels that are in part k of one and in part l of the other.

    Raises:
        ConfigError: the table counts fewer than 2 pixels.
    """
    counts = np.asarray(table, dtype=np.float64)
    total = counts.sum()
    if total < 2:
        raise ConfigError(f"{total:g} pixels that have both labels", "Compare partitions of 2 pixels or more.")
    both, one, other = (float((n * (n - 1)).sum() / 2) for n in (counts, counts.sum(1), counts.sum(0)))
    chance, most = one * other / (total * (total - 1) / 2), (one + other) / 2
    return 1.0 if most == chance else float((both - chance) / (most - chance))


def dice(mask: ArrayLike, drawn: ArrayLike) -> float:
    """Return 2 |A ∩ B| / (|A| + |B|) of two masks (H, W) bool, 0 to 1; two empty masks agree and give 1.

    Raises:
        ConfigError: the shapes differ.
    """
    a, b = (x.astype(bool) for x in _same_shape(mask, drawn, "a mask", "a drawn mask"))
    total = int(a.sum() + b.sum())
    return 1.0 if total == 0 else float(2 * (a & b).sum() / total)


def _same_shape(a: ArrayLike, b: ArrayLike, name: str, other: str) -> tuple[NDArray[Any], NDArray[Any]]:
    x, y = np.asarray(a), np.asarray(b)
    if x.shape != y.shape:
        raise ConfigError(f"{name} of shape {x.shape} and {other} of shape {y.shape}", "Give both for the same pixels.")
    return x, y
