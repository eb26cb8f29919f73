"""Learners of roles that no learner of the house has yet, small enough to know what they must come to."""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from hyperderm.config import Experiment, Run
from hyperderm.learners import randomness
from hyperderm.learners.base import Batch, Compute, Validation
from hyperderm.learners.data import TrainData
from hyperderm.learners.spec import LearnerConfig, Role


class LinearUnmixer(LearnerConfig):
    """Two endmembers by a linear autoencoder of pixels, trained on those that are not held out."""

    role: Role = "unmixer"  # type: ignore[misc]
    objective: str = "held_out_error"  # type: ignore[misc]
    kind: Literal["linear_unmixer"] = "linear_unmixer"

    def build(self, run: Run, data: TrainData, compute: Compute) -> "Unmixing":
        """See `LearnerConfig.build`."""
        return Unmixing(run, data)


class Unmixing:
    """Knows which pixels it was trained on: `seen`."""

    def __init__(self, run: Run, data: TrainData) -> None:
        bands = len(data.wavelengths_nm)
        with randomness.initialised(run.seed):
            self.net = nn.Sequential(nn.Linear(bands, 2, bias=False), nn.Linear(2, bands))
        self.optimizer = torch.optim.Adam(self.net.parameters(), 1e-2)
        self.data = data
        shape = (len(data.train), *data.train.masks.shape[1:])
        self.held_out = data.held_out if data.held_out is not None else torch.zeros(shape, dtype=torch.bool)
        self.seen = torch.zeros_like(self.held_out)

    def step(self, batch: Batch) -> Mapping[str, Tensor]:
        """Fit the pixels of the batch's cubes that are not held out."""
        free = ~self.held_out[batch.rows]
        self.seen[batch.rows] |= free
        x = batch.real.movedim(1, 3)[free]  # (pixels, B)
        loss = (self.net(x) - x).square().mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return {"loss": loss.detach()}

    def validate(self) -> Validation:
        """Score the held-out pixels; where there are folds, all pixels of the validation role."""
        x = self.data.scaling.forward(self.data.validation.reflectance).movedim(1, 3)
        x = x[self.held_out] if self.data.held_out is not None else x.flatten(0, 2)
        with torch.no_grad():
            return Validation({"held_out_error": float((self.net(x) - x).square().mean())})

    def state_dict(self) -> dict[str, Any]:
        """Return everything."""
        return {"net": self.net.state_dict(), "optimizer": self.optimizer.state_dict(), "seen": self.seen}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore it."""
        self.net.load_state_dict(state["net"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.seen = state["seen"]


class ToyExperiment(Experiment):
    """An experiment of a learner that is not in `LEARNERS`."""

    learner: LinearUnmixer  # type: ignore[assignment]
