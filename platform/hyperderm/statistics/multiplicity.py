"""Several declared contrasts at once: Holm's step-down procedure and intervals that agree with it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

FAMILY_LEVEL = 0.05


@dataclass(frozen=True)
class Holm:
    """One contrast's place in its family.

    Attributes:
        adjusted_p: smallest family level at which Holm rejects this contrast.
        rejected: at `FAMILY_LEVEL`.
        alpha: the level this contrast was held against; an interval of confidence 1 − alpha that excludes 0 exactly when
            p <= alpha excludes 0 exactly when `rejected`.
    """

    adjusted_p: float
    rejected: bool
    alpha: float


def holm(p: Sequence[float]) -> list[Holm]:
    """Return Holm's decisions on a family (Holm 1979), in the order of `p`.

    Sorted ascending, the i-th p (i = 0, 1, …) of m is held against α/(m − i) until one fails. A rejected contrast keeps the
    level it passed; that one and all after it share the level at which the procedure stopped, which none of them passes.
    Equal p share the smallest rank. The matching intervals say what Holm says; they are not simultaneous in the sense of
    Strassburger & Bretz (2008), whose intervals for rejected contrasts only say the sign.
    """
    values = np.asarray(p, float)
    m = len(values)
    ranks = np.array([(values < value).sum() for value in values], int)
    alphas = FAMILY_LEVEL / (m - ranks)
    failed = ranks[values > alphas]
    stop = failed.min() if len(failed) else m
    adjusted = [min(1.0, max(float(v * (m - r)) for v, r in zip(values, ranks, strict=True) if v <= own)) for own in values]
    return [
        Holm(adjusted[i], bool(ranks[i] < stop), float(FAMILY_LEVEL / (m - min(ranks[i], stop)))) for i in range(m)
    ]  # fmt: skip
