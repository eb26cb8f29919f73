"""The settings of FastGAN. This module does not import torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from hyperderm.learners.adversarial_settings import AdversarialConfig
from hyperderm.learners.fastgan.sizes import check_size, generator_gates
from hyperderm.learners.noise_settings import NoiseConfig
from hyperderm.learners.space_settings import ENDMEMBERS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hyperderm.learners.base import Compute, Learner, Sampler
    from hyperderm.learners.data import TrainData
    from hyperderm.settings import Run
    from hyperderm.store.manifest import Manifest

COLOURS = 3
"""The fewest channels that are folded to three (`metrics.folding`), as LPIPS needs them."""
SMALLEST_LPIPS = 32
"""Smallest size in pixels for `reconstruction=lpips`."""


class FastGanConfig(NoiseConfig, AdversarialConfig):
    """The settings of FastGAN (Liu et al., ICLR 2021), a GAN for few images: skip-layer excitation in the generator, and a
    discriminator that must also rebuild real cubes from its maps.

    `generator_width` and `critic_width` are ngf, the number of channels at 128 px. The loss is the hinge with margins drawn
    from U(0.8, 1).
    """

    network_fields: ClassVar[tuple[str, ...]] = (*NoiseConfig.network_fields, "norm", "critic_width")
    kind: Literal["fastgan"] = "fastgan"
    norm: Literal["batch", "layer"] = "batch"
    """Normalisation inside both networks, beside spectral norm. Several workers need layer, because batch statistics would
    depend on their number."""
    loss: Literal["hinge"] = "hinge"
    critic_width: int = Field(64, ge=4, le=256)
    noise_dim: int = Field(256, ge=1, le=4096)
    lr_generator: float = Field(2e-4, gt=0, le=1)
    lr_critic: float = Field(2e-4, gt=0, le=1)
    beta2: float = Field(0.999, ge=0, lt=1)
    n_critic: int = Field(1, ge=1, le=100)
    r1_weight: float = Field(0.0, ge=0, le=0)
    """None: spectral norm bounds the gradient already, and it can be differentiated once only."""
    r2_weight: float = Field(0.0, ge=0, le=0)
    """None, as `r1_weight`."""
    ema_images: float = Field(5_545.0, gt=0)
    """Half-life of the generator's moving average, in real images shown: the paper's 0.999 a step of 8 images."""
    reconstruction: Literal["l1", "lpips"] = "l1"
    """What measures how the discriminator rebuilds real cubes. lpips: LPIPS of the cubes folded to three channels, as in the
    paper; its weights are in a package. l1: the mean absolute difference, which needs none."""
    reconstruction_weight: float = Field(1.0, ge=0)
    """Weight of that term, the sum over three decoders."""
    spectral_weight: float = Field(1.0, ge=0)
    """Weight of the mean spectral angle, in radians, between rebuilt and real cubes: folded channels do not show spectra."""

    @property
    def rebuilds(self) -> bool:
        """Whether the discriminator rebuilds real cubes: one of the two terms of rebuilt cubes has a weight."""
        return self.reconstruction_weight > 0 or self.spectral_weight > 0

    @property
    def splits(self) -> bool:
        """See `LearnerConfig.splits`: no, because spectral norm improves its estimate at every pass through a network."""
        return False

    @property
    def pixelwise(self) -> bool:
        """See `LearnerConfig.pixelwise`."""
        return True

    def mixes(self, size: int) -> bool:
        """See `LearnerConfig.mixes`: skip-layer excitation begins at 64 px."""
        return bool(generator_gates(size))

    def check(self, run: Run) -> None:
        """See `LearnerConfig.check`."""
        super().check(run)
        try:
            check_size(run.data.size)
        except ValueError as error:
            raise ValueError(f"data.size = {run.data.size} is refused: {error}") from None
        if self.reconstruction == "lpips" and run.data.size < SMALLEST_LPIPS:
            raise ValueError(
                f"learner.reconstruction = lpips with data.size = {run.data.size} is refused: rebuilt cubes have half the "
                f"size, and LPIPS needs {SMALLEST_LPIPS // 2} px. Use learner.reconstruction=l1, or data.size="
                f"{SMALLEST_LPIPS} or more"
            )
        count = self.endmembers or ENDMEMBERS
        if self.reconstruction == "lpips" and self.space == "abundance" and count < COLOURS and self.unmixing is None:
            raise ValueError(
                f"learner.reconstruction = lpips with learner.endmembers = {count} is refused: LPIPS needs {COLOURS} "
                f"channels. Use learner.reconstruction=l1, or {COLOURS} endmembers or more"
            )

    def check_store(self, manifest: Manifest) -> None:
        """See `LearnerConfig.check_store`: the weights of LPIPS must be there."""
        super().check_store(manifest)
        if self.reconstruction == "lpips":
            from hyperderm.metrics.weights import LPIPS_VGG16

            LPIPS_VGG16.proved("Or use --set learner.reconstruction=l1.")

    def build(self, run: Run, data: TrainData, compute: Compute) -> Learner:
        """See `LearnerConfig.build`."""
        from hyperderm.learners.fastgan.learner import FastGan

        return FastGan(self, run, data, compute)

    def load_sampler(self, run: Run, checkpoint: Mapping[str, Any], device: str) -> Sampler:
        """See `LearnerConfig.load_sampler`."""
        from hyperderm.learners.fastgan.learner import load

        return load(self, run, checkpoint, device)
