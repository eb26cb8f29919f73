"""The settings of R3GAN. This module does not import torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from hyperderm.learners.adversarial_settings import AdversarialConfig
from hyperderm.learners.noise_settings import NoiseConfig, check_doubled

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hyperderm.learners.base import Compute, Learner, Sampler
    from hyperderm.learners.data import TrainData
    from hyperderm.settings import Run


class R3ganConfig(NoiseConfig, AdversarialConfig):
    """The settings of a GAN in the style of R3GAN (Huang et al., NeurIPS 2024): relativistic pairing loss with R1 and R2.

    Its networks have no normalisation, so several workers train as one does. `generator_width` and `critic_width` are the
    numbers of channels at the full size; each halving has twice as many.
    """

    network_fields: ClassVar[tuple[str, ...]] = (*NoiseConfig.network_fields, "critic_width", "blocks")
    kind: Literal["r3gan"] = "r3gan"
    norm: Literal["none"] = "none"
    """The networks have no normalisation."""
    loss: Literal["relativistic"] = "relativistic"
    """The relativistic pairing loss."""
    generator_width: int = Field(32, ge=4, le=512)
    critic_width: int = Field(32, ge=4, le=256)
    blocks: int = Field(2, ge=1, le=8)
    """Number of residual blocks of a stage."""
    noise_dim: int = Field(64, ge=1, le=4096)
    lr_generator: float = Field(2e-4, gt=0, le=1)
    lr_critic: float = Field(2e-4, gt=0, le=1)
    beta1: float = Field(0.0, ge=0, lt=1)
    beta2: float = Field(0.99, ge=0, lt=1)
    n_critic: int = Field(1, ge=1, le=100)
    r1_weight: float = Field(1.0, ge=0)
    r2_weight: float = Field(1.0, ge=0)

    def check(self, run: Run) -> None:
        """See `LearnerConfig.check`."""
        super().check(run)
        check_doubled(run.data.size, "R3GAN")

    def build(self, run: Run, data: TrainData, compute: Compute) -> Learner:
        """See `LearnerConfig.build`."""
        from hyperderm.learners.r3gan.learner import R3gan

        return R3gan(self, run, data, compute)

    def load_sampler(self, run: Run, checkpoint: Mapping[str, Any], device: str) -> Sampler:
        """See `LearnerConfig.load_sampler`."""
        from hyperderm.learners.r3gan.learner import load

        return load(self, run, checkpoint, device)
