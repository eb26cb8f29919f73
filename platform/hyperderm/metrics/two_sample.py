"""The classifier two-sample test: how well does a penalised logistic regression tell two sets of features apart?

The answer is its AUROC within fold, averaged over folds: .5 means that the sets cannot be told apart, 1 that they always can
(Friedman 2003; Lopez-Paz & Oquab, ICLR 2017, there with accuracy). Groups are never split between folds.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hyperderm.errors import StudyError
from hyperderm.statistics.clustered import components
from hyperderm.statistics.delong import placements
from hyperderm.statistics.intervals import Auroc

Rows = NDArray[np.float64]
NO_FOLD = "no fold of whole groups holds both sets"
FOLDS = 5
LEAST = 10
"""Smallest number of groups of each set; with fewer groups nothing is measured."""
PENALTY = 0.1
"""Inverse strength of the squared penalty, on standardised features."""


def cross_validated(features: Rows, made: NDArray[np.bool_], groups: NDArray[np.intp], seed: int) -> Auroc:
    """Return the AUROC of `made` over folds of whole groups; folds that lack one of both kinds are left out.

    Args:
        features: (N, d) features of both sets, with at least `LEAST` groups of each.
        made: (N,) whether a row belongs to the set that counts as positive.
        groups: (N,) number of the group of each row.
        seed: seed of the folds.

    Raises:
        StudyError: hardly any group can be left out, because one of them holds nearly all rows of a set.
    """
    scored = []
    for test, score in _by_fold(features, made, groups, seed):
        if len(set(made[test])) == 2:
            scored.append((made[test], np.round(score, 9), groups[test]))
    if not scored:
        raise StudyError(NO_FOLD, "Use sets with more, or smaller, groups.")
    return _auroc(scored)


def held_out_scores(features: Rows, made: NDArray[np.bool_], groups: NDArray[np.intp], seed: int) -> NDArray[np.float64]:
    """Return how surely each row is told to belong to `made`, by a regression that has not seen its group.

    Args:
        features: (N, d), as for `cross_validated`.
        made: (N,) whether a row belongs to the set that counts as positive.
        groups: (N,) number of the group of each row.
        seed: seed of the folds.

    Returns:
        (N,) logits, larger for rows that look more like `made`.

    Raises:
        StudyError: without the fold of some row, one of both sets is empty.
    """
    found = np.full(len(features), np.nan)
    for test, score in _by_fold(features, made, groups, seed):
        found[test] = score
    if np.isnan(found).any():
        raise StudyError(NO_FOLD, "Use sets with more, or smaller, groups.")
    return np.round(found, 9)


def _by_fold(
    features: Rows, made: NDArray[np.bool_], groups: NDArray[np.intp], seed: int
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.float64]]]:
    """Yield the rows of each fold with their logits; a fold is left out if the others lack one of both sets."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold

    split = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    for train, test in split.split(features, made, groups):
        if not len(test) or len(set(made[train])) < 2:
            continue
        x, z = _standardised(features[train], features[test])
        # Newton's method converges to the last digits, so that ranks do not depend on the order of sums.
        model = LogisticRegression(C=PENALTY, solver="newton-cholesky", tol=1e-8)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a last step below the last digit is called a failure
            yield test, model.fit(x, made[train]).decision_function(z)


def _standardised(train: NDArray[np.float64], test: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return both parts in units of the train part's deviations, in at most as many dimensions as there are train rows.

    A squared penalty does not see rotations, and the best weights lie in the span of the train rows. So the regression in
    the coordinates of this span is the same one, and Newton's steps do not cost the cube of 2048 dimensions.
    """
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(train)
    x, z = scaler.transform(train), scaler.transform(test)
    if x.shape[1] <= len(x):
        return x, z
    span = np.linalg.qr(x.T)[0]
    return x @ span, z @ span


def _auroc(scored: Sequence[tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[np.intp]]]) -> Auroc:
    """Return the AUROC averaged over folds; a source and the cubes made from it count as one group (Obuchowski 1997).

    The training parts of the folds overlap, so the mean varies more than it would for independent folds. Therefore the
    variance is widened by 1 + K · (test / train), 2.25 for five folds (Nadeau & Bengio, Machine Learning 52, 2003).
    """
    values: list[NDArray[np.float64]] = []
    influences: list[NDArray[np.float64]] = []
    strata: list[NDArray[np.intp]] = []
    sizes: list[list[int]] = []
    for made, score, group in scored:
        up, down = placements(made, score)
        value = float(up.mean())
        lesion = np.empty(len(made))
        lesion[made], lesion[~made] = (up - value) / len(up), (down - value) / len(down)
        names = np.unique(group, return_inverse=True)[1].astype(np.intp)
        influence = np.bincount(names, weights=lesion).astype(np.float64)
        values.append(np.array([value]))
        influences.append(influence[None])
        strata.append(np.zeros(len(influence), np.intp))
        sizes.append([len(set(names[made])), len(set(names[~made]))])
    folds = len(values)
    found = components(values, influences, strata, np.full(folds, 1 / folds))
    widened = replace(found, lesions=found.lesions * (1 + folds / (FOLDS - 1)))
    return Auroc(float(np.mean(values)), widened, np.array(sizes))
