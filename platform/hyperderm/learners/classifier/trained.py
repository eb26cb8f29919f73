"""A trained classifier network, without its optimizer, its data and its augmentation."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hyperderm.learners import randomness
from hyperderm.learners.base import Compute
from hyperderm.learners.classifier.architectures import network
from hyperderm.learners.classifier.config import ClassifierConfig
from hyperderm.learners.scaling import Scaling

SCORED_AT_ONCE = 64
"""Number of cubes of one pass."""


@dataclass(frozen=True)
class TrainedClassifier:
    """A network and what its inputs need.

    Attributes:
        network: scaled cubes (N, B, H, W) -> (N,) logits of melanoma, on the device of `compute`.
        scaling: the scaling that was fitted to the train role.
        compute: the device and the precision.
    """

    network: nn.Module
    scaling: Scaling
    compute: Compute

    @torch.no_grad()
    def logits_of(self, reflectance: Tensor, masks: Tensor) -> Tensor:
        """Return the logits of melanoma, (N,) float64 on the CPU; the masks are ignored."""
        self.network.eval()
        scaled = self.scaling.forward(reflectance).split(SCORED_AT_ONCE)
        with self.compute.autocast():
            parts = [self.network(x.to(self.compute.device, self.compute.dtype)) for x in scaled]
        return torch.cat(parts).double().cpu()


def load(config: ClassifierConfig, checkpoint: Mapping[str, Any], compute: Compute) -> TrainedClassifier:
    """Return the classifier of a checkpoint: see `LearnerConfig.load_classifier`; files of weights are not read again."""
    with randomness.initialised(0):  # the weights are overwritten; nobody's random numbers move
        made = network(config.architecture, len(checkpoint["wavelengths_nm"]))
    made.load_state_dict(checkpoint["learner"]["network"])
    for field, values in made.state_dict().items():
        if not torch.isfinite(values).all():
            raise ValueError(f"{field} holds NaN or infinite values: its training diverged")
    return TrainedClassifier(
        made.to(compute.device, compute.dtype).requires_grad_(False), Scaling.from_state(checkpoint["scaling"]), compute
    )
