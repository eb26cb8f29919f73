"""Bootstrap weights: groups are drawn with replacement within (fold, with or without a melanoma), equally for all arms."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hyperderm.statistics.panel import Panel


@dataclass(frozen=True, eq=False)
class BootstrapWeights:
    """The weights of all groups, that is, how often each group counts in each resample.

    Attributes:
        folds: for each fold the weights (R, G_k) in R resamples.
        source: source of random numbers for the draw of seeds, spawned from the same key.
    """

    folds: tuple[NDArray[np.float64], ...]
    source: np.random.SeedSequence

    def __len__(self) -> int:
        return len(self.folds[0])

    def first(self, count: int) -> "BootstrapWeights":
        """Return the first `count` resamples."""
        return BootstrapWeights(tuple(w[:count] for w in self.folds), self.source)

    def rng(self) -> np.random.Generator:
        """Return a new random generator with the same state at every call, so that contrasts also share draws of seeds."""
        return np.random.default_rng(self.source)


def bootstrap(panel: Panel, resamples: int, seed: int) -> BootstrapWeights:
    """Draw `resamples` sets of weights; they are equal for all panels that test the same lesions."""
    groups, rest = np.random.SeedSequence(seed).spawn(2)
    rng = np.random.default_rng(groups)
    folds = []
    for fold in panel.folds:
        weights = np.empty((resamples, len(fold.strata)))
        for label in (0, 1):
            mine = np.flatnonzero(fold.strata == label)
            weights[:, mine] = _times_drawn(len(mine), resamples, rng)
        folds.append(weights)
    return BootstrapWeights(tuple(folds), rest)


def _times_drawn(count: int, resamples: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Draw `count` of `count` items with replacement and return how often each item was drawn, (R, count)."""
    picks = rng.integers(count, size=(resamples, count)) if count else np.empty((resamples, 0), np.int64)
    cells = picks + count * np.arange(resamples)[:, None]
    return np.bincount(cells.ravel(), minlength=resamples * count).reshape(resamples, count)


def leave_one_out(panel: Panel) -> BootstrapWeights:
    """Return one set of weights for each group, in which this group is missing and all others count once."""
    total = sum(len(fold.strata) for fold in panel.folds)
    folds, start = [], 0
    for fold in panel.folds:
        weights = np.ones((total, len(fold.strata)))
        here = np.arange(len(fold.strata))
        weights[start + here, here] = 0
        folds.append(weights)
        start += len(here)
    return BootstrapWeights(tuple(folds), np.random.SeedSequence(0))
