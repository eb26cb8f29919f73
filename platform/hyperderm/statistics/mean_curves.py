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
"""Number of resamples for a band: in a plot, 400 resamples determine its ends to within the width of a line."""


class Band(NamedTuple):
    """A curve over `GRID` and its 95 % percentile band, all of shape (51,)."""

    y: Array
    low: Array
    high: Array


def curves(panel: Panel, weights: BootstrapWeights) -> tuple[Band, Band]:
    """Return the ROC curve and the precision-recall curve, averaged over cells at equal x.

    ROC is sensitivity over x = 1 − specificity: the highest sensitivity with at most the share x of false positives. The
    other curve is precision over x = recall: the precision at which recall first reaches x.
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
    """Return y (R, 51) at the last point with x <= each grid value, and 0 before the first point.

    Both arguments are (R, n) and ascending.
    """
    count = np.stack([(x <= at + 1e-12).sum(1) for at in GRID], 1)
    return np.where(count > 0, np.take_along_axis(y, np.maximum(count - 1, 0), 1), 0.0)


def _first_reaching(x: Array, y: Array) -> Array:
    """Return y (R, 51) at the first point with x >= each grid value; at grid value 0, at the first point with x > 0.

    Both arguments are (R, n), and x is ascending.
    """
    count = np.stack([(x < max(at - 1e-12, 1e-12)).sum(1) for at in GRID], 1)
    return np.take_along_axis(y, np.minimum(count, x.shape[1] - 1), 1)
