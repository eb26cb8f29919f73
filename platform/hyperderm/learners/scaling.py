"""Per-band scaling between reflectance and [-1, 1]: fitted on the train role, carried in the checkpoint."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Scaling:
    """Affine per band: low -> -1, high -> +1.

    Attributes:
        low: (B,) float64 reflectance, the train role's minimum.
        high: (B,) float64 reflectance, the train role's maximum.
    """

    low: Tensor
    high: Tensor

    @classmethod
    def fit(cls, train: Tensor) -> "Scaling":
        """Fit to reflectance (N, B, H, W) of the train role; a band that is constant gets a width of 1e-6."""
        low = train.amin((0, 2, 3)).double()
        return cls(low, torch.maximum(train.amax((0, 2, 3)).double(), low + 1e-6))

    def forward(self, reflectance: Tensor) -> Tensor:
        """Return cubes in [-1, 1] where they lie in train's range; nothing is clipped."""
        low, high = self._like(reflectance)
        return (reflectance - low) / (high - low) * 2 - 1

    def inverse(self, scaled: Tensor) -> Tensor:
        """Return reflectance: the exact inverse of `forward`."""
        low, high = self._like(scaled)
        return (scaled + 1) / 2 * (high - low) + low

    def state_dict(self) -> dict[str, Any]:
        """Return plain lists, for a checkpoint."""
        return {"low": self.low.tolist(), "high": self.high.tolist()}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> "Scaling":
        """Return the scaling saved by `state_dict`."""
        return cls(torch.tensor(state["low"], dtype=torch.float64), torch.tensor(state["high"], dtype=torch.float64))

    def _like(self, x: Tensor) -> tuple[Tensor, Tensor]:
        shape = (1, -1, 1, 1)
        return self.low.to(x).view(shape), self.high.to(x).view(shape)
