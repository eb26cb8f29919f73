"""The settings of the hierarchical variational autoencoder. This module does not import torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from hyperderm.learners.noise_settings import DiagnosisConfig, check_doubled

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hyperderm.learners.base import Compute, Learner, Sampler
    from hyperderm.learners.data import TrainData
    from hyperderm.settings import Run


class HvaeConfig(DiagnosisConfig):
    """The settings of a hierarchical variational autoencoder (Child, "Very Deep VAEs", ICLR 2021, arXiv 2011.10650).

    Latent maps of every resolution from 1 x 1 to the full size, each drawn given all coarser ones. `generator_width` is the
    number of channels of encoder and decoder at all resolutions. There is no normalisation, so that batches may be of any
    size and shared by several workers.
    """

    network_fields: ClassVar[tuple[str, ...]] = (*DiagnosisConfig.network_fields, "blocks", "latent_channels")
    kind: Literal["hvae"] = "hvae"
    blocks: int = Field(2, ge=1, le=16)
    """Number of blocks at each resolution, of encoder and decoder; each of the decoder's draws a latent map."""
    latent_channels: int = Field(8, ge=1, le=64)
    """Number of channels of each latent map; the paper's number is 16."""
    kl_weight: float = Field(0.05, ge=0, le=10)
    """Weight of the divergence of posterior and prior, in nats per number of a cube, beside the mean absolute error. Loss
    over `kl_weight` is minus the lower bound of the likelihood of Laplace noise with this scale b, in units of the scaled
    cubes, up to a constant. With 0 nothing draws the prior, from which cubes are made, to the posterior."""
    lr: float = Field(5e-4, gt=0, le=1)
    beta1: float = Field(0.9, ge=0, lt=1)
    beta2: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(0.01, ge=0)
    """Decoupled weight decay (AdamW); it and both betas are the paper's."""
    clip: float = Field(1.0, gt=0)
    """Gradients of all weights together are shortened to this norm."""
    skip: float = Field(20.0, gt=0)
    """An update whose gradients have a norm above this, before they are shortened, is left out (Child 2021, section 3)."""

    @property
    def rebuilds(self) -> bool:
        """See `LearnerConfig.rebuilds`: by its encoder."""
        return True

    @property
    def splits(self) -> bool:
        """See `LearnerConfig.splits`: yes; gradients are shortened, or left out, when those of all parts are added up."""
        return True

    def check(self, run: Run) -> None:
        """See `LearnerConfig.check`."""
        super().check(run)
        check_doubled(run.data.size, "the hierarchical VAE")

    def build(self, run: Run, data: TrainData, compute: Compute) -> Learner:
        """See `LearnerConfig.build`."""
        from hyperderm.learners.hvae.learner import Hvae

        return Hvae(self, run, data, compute)

    def load_sampler(self, run: Run, checkpoint: Mapping[str, Any], device: str) -> Sampler:
        """See `LearnerConfig.load_sampler`."""
        from hyperderm.learners.hvae.learner import load

        return load(self, run, checkpoint, device)
