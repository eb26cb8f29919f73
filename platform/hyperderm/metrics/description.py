"""What a metric says of itself: formula, unit, range, direction and source, printed beside every number of a report."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["pair", "level", "set"]
"""`pair`: a value for each pair of cubes; `level`: a value for each cube; `set`: one value for two sets of cubes."""
Better = Literal["lower", "higher", "as real"]
"""Which values are good; `as real`: neither high nor low is good in itself, only a value that real cubes have too."""


@dataclass(frozen=True)
class Metric:
    """The description of one metric.

    Attributes:
        key: the name in `metrics.json` and MLflow, such as `sam_nearest`.
        title: the name in a report, such as "spectral angle to the nearest real cube".
        function: the function that computes it; its docstring gives the shapes.
        kind: see `Kind`.
        better: see `Better`.
        unit: the unit, such as "rad", "dB" or "reflectance"; "" for pure numbers.
        span: the smallest and largest possible value; None where there is no bound.
        perfect: the value of a cube compared with itself, or of two equal sets; None for levels.
        formula: the formula in plain text.
        source: paper and equation, or standard.
        cannot: what the metric cannot see, in one sentence.
    """

    key: str
    title: str
    function: Callable[..., Any]
    kind: Kind
    better: Better
    unit: str
    span: tuple[float | None, float | None]
    perfect: float | None
    formula: str
    source: str
    cannot: str
