"""Scores of metrics of sets: a value at a stated number of cubes, beside what two samples of so many real cubes give."""

from collections.abc import Sequence

from hyperderm.metrics.description import Metric
from hyperderm.metrics.evaluation.scores import Comparison, Score, loss_of
from hyperderm.metrics.subsampling import AtSize, OfRows, floored, largest_floor


def floor_at(of: OfRows, groups: Sequence[str], size: int, how: Comparison) -> AtSize | None:
    """Return what two samples of `size` real cubes give; None if there are too few real cubes for that.

    Args:
        of: the metric, of rows of the real cubes.
        groups: the group of every real cube.
        size: number of cubes of each sample.
        how: the comparison, for its draws.
    """
    return floored(of, groups, size, how.draws, how.seed) if largest_floor(groups) >= size else None


def set_score(key: str, metric: Metric, found: AtSize, floor: AtSize | None, note: str = "") -> Score:
    """Return the score of a metric of sets, from its value and its floor at one size.

    The interval of a metric that is bounded is cut at its bounds.
    """
    least, most = metric.span
    low = found.low if least is None else max(found.low, least)
    high = found.high if most is None else min(found.high, most)
    if floor is None:
        few = f"too few real cubes for two samples of {found.size}"
        note = f"{note}; {few}" if note else few
    middle, below, above = (floor.value, floor.low, floor.high) if floor else (None, None, None)
    loss = loss_of(metric, found.value, abs(found.value - (middle or 0.0)))
    return Score(key, metric, found.value, low, high, found.size, middle, below, above, loss, note)
