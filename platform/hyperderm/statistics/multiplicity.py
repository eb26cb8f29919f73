"""Several declared contrasts at once: Holm's step-down procedure, and interval levels that agree with its decisions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

FAMILY_LEVEL = 0.05


@dataclass(frozen=True)
class Holm:
    """Holm's decision on one contrast of a family.

    Attributes:
        adjusted_p: smallest family level at which Holm rejects this contrast.
        alpha: the level with which the p value was compared. Holm rejects at `FAMILY_LEVEL` exactly if p <= alpha; so the
            interval with confidence 1 − alpha excludes 0 exactly if Holm rejects.
    """

    adjusted_p: float
    alpha: float


def holm(p: Sequence[float]) -> list[Holm]:
    """Return Holm's decisions on a family (Holm 1979), in the order of `p`.

    The p values are sorted in ascending order. The i-th p (i = 0, 1, …) of m is compared with α/(m − i) until one exceeds
    its level. A rejected contrast keeps the level that it passed. The first contrast that fails and all after it share the
    level at which the procedure stopped; none of them passes this level. Equal p share the smallest rank. The matching
    intervals agree with Holm's decisions. They are not simultaneous in the sense of Strassburger & Bretz (2008), whose
    intervals for rejected contrasts only give the sign.
    """
    values = np.asarray(p, float)
    m = len(values)
    ranks = np.array([(values < value).sum() for value in values], int)
    alphas = FAMILY_LEVEL / (m - ranks)
    failed = ranks[values > alphas]
    stop = failed.min() if len(failed) else m
    adjusted = [min(1.0, max(float(v * (m - r)) for v, r in zip(values, ranks, strict=True) if v <= own)) for own in values]
    return [Holm(adjusted[i], float(FAMILY_LEVEL / (m - min(ranks[i], stop)))) for i in range(m)]
