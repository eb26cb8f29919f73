"""Variance of a metric averaged over folds and seeds, for lesions in groups and for seeds nested in folds.

The metric of a cell is linearised: each group contributes an influence. Groups are drawn within (fold, with or without a
melanoma), as in stratified cluster sampling (Obuchowski, Biometrics 53, 1997, for AUROC; Cochran 1977 for means). A new
training shifts a whole cell. The variance of this shift is the part of the seeds' spread that exceeds the noise of the
lesions (method of moments).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hyperderm.errors import StudyError


@dataclass(frozen=True)
class Variance:
    """The variance of a mean over folds and seeds, in two parts.

    Attributes:
        lesions: variance from drawing lesions (by group), including training noise that differs between lesions.
        seeds: variance from training again; 0 with a single seed, because it is then unknown.
        df: Satterthwaite's degrees of freedom of `total`.
        noise: the part of `lesions` that is training noise and falls with more seeds; 0 with a single seed, because it is
            then unknown.
    """

    lesions: float
    seeds: float
    df: float
    noise: float = 0.0

    @property
    def total(self) -> float:
        """The sum of both parts."""
        return self.lesions + self.seeds

    @property
    def fixed(self) -> float:
        """The part of `total` that only more lesions lower."""
        return self.lesions - self.noise

    @property
    def retrained(self) -> float:
        """The part of `total` that more seeds lower."""
        return self.seeds + self.noise

    @property
    def error(self) -> float:
        """The standard error, the square root of `total`."""
        return float(np.sqrt(self.total))


def components(
    values: Sequence[NDArray[np.float64]],
    influences: Sequence[NDArray[np.float64]],
    strata: Sequence[NDArray[np.intp]],
    weights: NDArray[np.float64],
) -> Variance:
    """Return the variance of sum_k weights[k] * mean(values[k]).

    Args:
        values: for each fold (S_k,), the metric of every cell.
        influences: for each fold (S_k, G_k), the influence of each group on the value of its cell.
        strata: for each fold (G_k,), 1 for groups that hold a melanoma, else 0.
        weights: (K,) weight of every fold.

    Raises:
        StudyError: no fold has two groups of some stratum, so that the spread of this stratum is unknown.
    """
    spread, counts = _by_stratum([u.mean(0, keepdims=True) for u in influences], strata)
    lesion_parts = weights[:, None] ** 2 * spread
    lesions = float(lesion_parts.sum())
    squares = float((lesion_parts**2 / np.maximum(counts - 1, 1)).sum())
    extra = noise = 0.0
    seeds = np.array([len(cells) for cells in values])
    df = int((seeds - 1).sum())
    if df:
        noise = float(_by_stratum([u - u.mean(0, keepdims=True) for u in influences], strata)[0].sum()) / df
        between = sum(float(((cells - cells.mean()) ** 2).sum()) for cells in values) / df
        share = float((weights**2 / seeds).sum())
        extra = max(0.0, between - noise) * share
        squares += (between * share) ** 2 / df if extra else 0.0
        noise = min(noise * share, lesions)
    total = lesions + extra
    return Variance(lesions, extra, total**2 / squares if squares else float("inf"), noise)


def _by_stratum(
    influences: Sequence[NDArray[np.float64]], strata: Sequence[NDArray[np.intp]]
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Return variances summed over the first axis and numbers of groups, both (K, 2).

    A stratum with a single group shows no spread; for it, the mean variance of one group in the other folds is used.
    """
    variance, counts = np.zeros((len(strata), 2)), np.zeros((len(strata), 2), np.intp)
    for k, (u, stratum) in enumerate(zip(influences, strata, strict=True)):
        for label in (0, 1):
            mine = u[:, stratum == label]
            count = counts[k, label] = mine.shape[1]
            if count > 1:
                deviation = mine - mine.mean(1, keepdims=True)
                variance[k, label] = count / (count - 1) * (deviation**2).sum()
    for label, name in ((0, "lesions other than melanoma"), (1, "melanoma")):
        several, single = counts[:, label] > 1, counts[:, label] == 1
        if counts[:, label].any() and not several.any():
            raise StudyError(
                f"no fold tests two groups of {name}: no interval can be made", "Add lesions, or ingest with fewer --folds."
            )
        if single.any():
            variance[single, label] = (variance[several, label] * counts[several, label]).mean()
    return variance, counts
