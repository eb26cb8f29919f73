"""Sides timed in turn: what disturbs one disturbs the others alike."""

from collections.abc import Callable, Mapping
from statistics import median
from time import perf_counter


def timed(ways: Mapping[str, Callable[[], int]], rounds: int, wanted: int) -> dict[str, float]:
    """Return the median seconds of each way, which tells how much it did; the first round only warms up."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds + 1):
        for name, way in ways.items():
            begin = perf_counter()
            assert way() == wanted, name
            times[name].append(perf_counter() - begin)
    return {name: median(each[1:]) for name, each in times.items()}
