"""Mean ROC and precision-recall curves over cells, with pointwise bootstrap bands."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperderm.statistics.panel import Panel
from hyperderm.statistics.ranked import cumulated
from hyperderm.statistics.resampling import BootstrapWeights

Array = NDArray[np.float64]
GRID = np.linspace(0.0, 1.0, 51)
DRAWS = 400
"""A band is for the eye: 400 resamples place its ends within a line's width."""


class Band(NamedTuple):
    """A curve over `GRID` and its 95 % percentile band, all (51,)."""

    y: Array
    low: Array
    high: Array


def curves(panel: Panel, weights: BootstrapWeights) -> tuple[Band, Band]:
    """Return ROC (sensitivity over 1 − specificity) and precision over recall, averaged over cells at equal x.

    ROC: the highest sensitivity at no more false positives. Precision-recall: the precision where recall first reaches x.
    """
    drawn = weights.first(DRAWS)
    roc, precision = np.zeros((len(drawn) + 1, len(GRID))), np.zeros((len(drawn) + 1, len(GRID)))
    for fold, groups in zip(panel.folds, drawn.folds, strict=True):
        lesions = np.concatenate([np.ones((1, len(fold.truth))), groups[:, fold.group]])
        share = 1 / len(panel.folds) / len(fold.seeds)
        for score in fold.probability:
            true, called = cumulated(fold.truth, score, lesions)
            false = called - true
            roc += share * _highest_up_to(false / false[:, -1:], true / true[:, -1:])
            precision += share * _first_reaching(true / true[:, -1:], true / np.maximum(called, 1e-12))
    return _band(roc), _band(precision)


def _band(drawn: Array) -> Band:
    low, high = np.quantile(drawn[1:], (0.025, 0.975), axis=0)
    return Band(drawn[0], np.minimum(low, drawn[0]), np.maximum(high, drawn[0]))


def _highest_up_to(x: Array, y: Array) -> Array:
    """y at the last point with x <= each grid value, 0 before the first: both (R, n) and ascending."""
    count = np.stack([(x <= at + 1e-12).sum(1) for at in GRID], 1)
    return np.where(count > 0, np.take_along_axis(y, np.maximum(count - 1, 0), 1), 0.0)


def _first_reaching(x: Array, y: Array) -> Array:
    """y at the first point with x >= each grid value, where anything is called (x > 0) at 0: both (R, n), x ascending."""
    count = np.stack([(x < max(at - 1e-12, 1e-12)).sum(1) for at in GRID], 1)
    return np.take_along_axis(y, np.minimum(count, x.shape[1] - 1), 1)
