"""An objective of a search with the numbers that give it a scale, for tables and pictures. Free of optuna and matplotlib."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Measure:
    """One objective of a search.

    Attributes:
        name: its name for people.
        floor: its value for real cubes against real ones; None if it is not known.
        mean_cube: its value for the constant mean cube; None if it is not known.
    """

    name: str
    floor: float | None = None
    mean_cube: float | None = None

    @property
    def marks(self) -> list[float]:
        """The known values that give the objective a scale."""
        return [value for value in (self.floor, self.mean_cube) if value is not None and math.isfinite(value)]
