"""The settings of the variational autoencoder. This module does not import torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from hyperderm.learners.generative_settings import check_batch_norm
from hyperderm.learners.noise_settings import NoiseConfig, check_doubled

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hyperderm.learners.base import Compute, Learner, Sampler
    from hyperderm.learners.data import TrainData
    from hyperderm.settings import Run


class VaeConfig(NoiseConfig):
    """The settings of a variational autoencoder (Kingma & Welling 2014; METHODS section 6).

    It is trained to rebuild train cubes from a latent vector of `noise_dim` numbers, and makes new cubes from noise in place
    of that vector. `generator_width` is the number of channels of the decoder at the full size, `encoder_width` that of the
    encoder at half the size; each halving has twice as many.
    """

    network_fields: ClassVar[tuple[str, ...]] = (*NoiseConfig.network_fields, "encoder_width", "norm")
    kind: Literal["vae"] = "vae"
    noise_dim: int = Field(64, ge=1, le=4096)
    encoder_width: int = Field(64, ge=4, le=512)
    norm: Literal["batch", "layer"] = "batch"
    """Normalisation inside both networks. Several workers need layer, because batch statistics would depend on their
    number."""
    kl_weight: float = Field(1e-2, ge=0)
    """Weight of KL(N(μ, σ²) ‖ N(0, I)), a mean over latent dimensions, beside the mean absolute error of the cubes. With 0
    nothing draws the latent vectors to the noise from which cubes are made."""
    lr: float = Field(2e-4, gt=0, le=1)
    beta1: float = Field(0.5, ge=0, lt=1)
    beta2: float = Field(0.999, ge=0, lt=1)
    weight_decay: float = Field(1e-5, ge=0)

    @property
    def rebuilds(self) -> bool:
        """See `LearnerConfig.rebuilds`: by its encoder."""
        return True

    @property
    def splits(self) -> bool:
        """See `LearnerConfig.splits`: yes, unless it has batch norm; both terms of the loss are means over cubes."""
        return self.norm != "batch"

    def check(self, run: Run) -> None:
        """See `LearnerConfig.check`."""
        super().check(run)
        check_doubled(run.data.size, "the VAE")
        if self.norm == "batch":
            check_batch_norm("norm", run)

    def build(self, run: Run, data: TrainData, compute: Compute) -> Learner:
        """See `LearnerConfig.build`."""
        from hyperderm.learners.vae.learner import Vae

        return Vae(self, run, data, compute)

    def load_sampler(self, run: Run, checkpoint: Mapping[str, Any], device: str) -> Sampler:
        """See `LearnerConfig.load_sampler`."""
        from hyperderm.learners.vae.learner import load

        return load(self, run, checkpoint, device)
