"""Per-band scaling between reflectance and [-1, 1], fitted on the train role and saved in the checkpoint."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from hyperderm.errors import ConfigError

NARROWEST = 1e-6
"""Width in reflectance that is used for a constant band."""


class Coordinates(Protocol):
    """The map between reflectance (N, B, H, W) and the values (N, C, H, W) in about [-1, 1] that networks see."""

    @property
    def channels(self) -> int:
        """C."""

    def forward(self, reflectance: Tensor) -> Tensor:
        """Return what networks see of reflectance."""

    def inverse(self, seen: Tensor) -> Tensor:
        """Return the reflectance that is seen so; differentiable almost everywhere."""

    def made(self, seen: Tensor, seed: int, indices: Sequence[int]) -> Tensor:
        """Return the reflectance of the synthetic cubes `indices` of the set of `seed`, which networks made as `seen`."""


@dataclass(frozen=True)
class Scaling:
    """An affine map for each band that takes `low` to -1 and `high` to +1.

    Attributes:
        low: (B,) float64 reflectance: the train role's minimum, or its lower percentile.
        high: (B,) float64 reflectance: the train role's maximum, or its upper percentile.
        robust: percentiles and extremes of a fit by percentiles; None if `low` and `high` are train's extremes.
    """

    low: Tensor
    high: Tensor
    robust: "Robust | None" = None

    @classmethod
    def fit(cls, train: Tensor, percentiles: tuple[float, float] | None = None) -> "Scaling":
        """Return the scaling fitted to reflectance (N, B, H, W) of the train role; a constant band gets a width of 1e-6.

        Args:
            train: the reflectance; the fit uses all of its values and nothing else.
            percentiles: lower and upper percentile, 0 … 100, of each band over all pixels, interpolated linearly between
                neighbours (exact; one band at a time is copied, in float64). None: the extremes.

        Raises:
            ConfigError: a band varies, but its lower and upper percentile have the same value.
        """
        least, most = _widened(train.amin((0, 2, 3)).double(), train.amax((0, 2, 3)).double())
        if percentiles is None:
            return cls(least, most)
        ends = torch.from_numpy(np.stack([_percentiles(band, percentiles) for band in train.unbind(1)]))  # (B, 2)
        low, high = ends.unbind(1)
        for band in torch.nonzero((high <= low) & (most - least > NARROWEST)).flatten().tolist():
            raise ConfigError(
                f"data.percentiles = {list(percentiles)} are both {float(low[band]):.6g} in band {band}, whose values reach "
                f"from {float(least[band]):.6g} to {float(most[band]):.6g}",
                "Use wider percentiles, or --set data.scaling=range",
            )
        return cls(*_widened(low, high), Robust(percentiles, least, most))

    @property
    def channels(self) -> int:
        """B, the number of bands."""
        return len(self.low)

    @property
    def whole(self) -> "Scaling":
        """The scaling by train's extremes, also if this scaling was fitted to percentiles."""
        return self if self.robust is None else Scaling(self.robust.least, self.robust.most)

    def forward(self, reflectance: Tensor) -> Tensor:
        """Return scaled cubes; reflectance between `low` and `high` comes to lie in [-1, 1], and nothing is clipped."""
        low, high = self._like(reflectance)
        return (reflectance - low).div_(high - low).mul_(2).sub_(1)  # in place: a train role may be most of the memory

    def inverse(self, scaled: Tensor) -> Tensor:
        """Return reflectance: the exact inverse of `forward`."""
        low, high = self._like(scaled)
        return (scaled + 1).div_(2).mul_(high - low).add_(low)

    def made(self, seen: Tensor, seed: int, indices: Sequence[int]) -> Tensor:
        """See `Coordinates.made`: the same as `inverse`."""
        return self.inverse(seen)

    def state_dict(self) -> dict[str, Any]:
        """Return the scaling as plain lists, for a checkpoint."""
        state: dict[str, Any] = {"low": self.low.tolist(), "high": self.high.tolist()}
        if self.robust is not None:
            state["percentiles"] = list(self.robust.percentiles)
            state |= {"least": self.robust.least.tolist(), "most": self.robust.most.tolist()}
        return state

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> "Scaling":
        """Return the scaling saved by `state_dict`; a state without percentiles is a scaling by train's extremes."""
        low, high = _vector(state["low"]), _vector(state["high"])
        if "percentiles" not in state:
            return cls(low, high)
        lower, upper = state["percentiles"]
        return cls(low, high, Robust((lower, upper), _vector(state["least"]), _vector(state["most"])))

    def _like(self, x: Tensor) -> tuple[Tensor, Tensor]:
        shape = (1, -1, 1, 1)
        return self.low.to(x).view(shape), self.high.to(x).view(shape)


@dataclass(frozen=True)
class Robust:
    """The percentiles that a scaling was fitted to, and train's extremes.

    Attributes:
        percentiles: lower and upper percentile, 0 … 100.
        least: (B,) float64 reflectance, the train role's minimum.
        most: (B,) float64 reflectance, the train role's maximum.
    """

    percentiles: tuple[float, float]
    least: Tensor
    most: Tensor


def _widened(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    return low, torch.maximum(high, low + NARROWEST)


def _percentiles(band: Tensor, percentiles: tuple[float, float]) -> np.ndarray:
    """Return both percentiles (2,) of a band in float64, by numpy: torch.quantile takes 16 million values at most."""
    values = band.cpu().numpy().astype(np.float64)  # a copy, which numpy may partition in place
    return np.percentile(values, percentiles, overwrite_input=True)


def _vector(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)
