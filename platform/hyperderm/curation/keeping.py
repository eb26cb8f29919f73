"""Decide which cubes of a synthetic set are kept: plain orders of rows, from features of the spectral baseline.

The features (`metrics.lesion_features`) are those by which the audit of every set measures how well its cubes are told from
real ones, and by which the spectral baseline finds melanoma. Only train cubes of the set's own fold are compared.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hyperderm.errors import StudyError
from hyperderm.metrics.lesion_features import automatic_masks, lesion_features
from hyperderm.metrics.two_sample import LEAST, held_out_scores

Cubes = NDArray[np.float32]
Table = NDArray[np.float64]
STRENGTH = 0.1
"""Inverse strength of the squared penalty of the regression for `by_confidence`, on standardised features."""


@dataclass(frozen=True, eq=False)
class Described:
    """Cubes by the features of the spectral baseline.

    Attributes:
        features: (N, F).
        groups: (N,) name of each cube's group, which is never split.
    """

    features: Table
    groups: Sequence[str]

    @classmethod
    def of(cls, cubes: Cubes, groups: Sequence[str], wavelengths_nm: Sequence[float]) -> "Described":
        """Return the description of cubes (N, B, H, W) in reflectance; `wavelengths_nm` are those of the bands, (B,)."""
        return cls(lesion_features(cubes, automatic_masks(cubes, wavelengths_nm)), groups)

    def __len__(self) -> int:
        return len(self.features)


def by_judge(made: Described, real: Described, seed: int = 0) -> NDArray[np.intp]:
    """Return the rows of `made`, those first that a judge takes most for real train cubes of the same diagnosis.

    Args:
        made: the synthetic cubes.
        real: real train cubes of their diagnosis.
        seed: seed of the judge's folds.

    Raises:
        StudyError: there are fewer than `LEAST` groups of either kind, so that no judge can be held out.
    """
    for what, cubes in (("synthetic cubes", made), ("real train cubes", real)):
        if (count := len(set(cubes.groups))) < LEAST:
            raise StudyError(
                f"a judge of real against synthetic needs {LEAST} groups of each; there are {count} of {what}",
                "Use more data or a larger set, or leave the judge out (keep: random, confidence or copies).",
            )
    features = np.concatenate([made.features, real.features])
    groups = np.unique([*made.groups, *real.groups], return_inverse=True)[1]
    scores = held_out_scores(features, np.arange(len(features)) < len(made), groups, seed)
    return np.argsort(scores[: len(made)], kind="stable")


def by_confidence(made: Described, real: Described, melanoma: NDArray[np.bool_], wanted: bool) -> NDArray[np.intp]:
    """Return the rows of `made`, those first that a regression on real train cubes calls most surely what they should be.

    Args:
        made: the synthetic cubes.
        real: real train cubes of every diagnosis.
        melanoma: (M,) whether each real cube is a melanoma; both kinds occur.
        wanted: whether the synthetic cubes should be melanomas.

    Raises:
        StudyError: the real cubes are all of one kind.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if len(set(melanoma.tolist())) < 2:
        raise StudyError(
            "train holds melanomas alone or none, so no classifier can be sure of a synthetic one",
            "Use a store with both, or another keep.",
        )
    model = make_pipeline(StandardScaler(), LogisticRegression(C=STRENGTH, solver="newton-cholesky", tol=1e-8))
    scores = model.fit(real.features, melanoma).decision_function(made.features)
    return np.argsort(-scores if wanted else scores, kind="stable")
