"""The settings of DCGAN. This module does not import torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from hyperderm.learners.adversarial_settings import AdversarialConfig, Loss, Norm, check_bands
from hyperderm.learners.generative_settings import check_batch_norm
from hyperderm.learners.noise_settings import NoiseConfig, check_doubled

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hyperderm.learners.base import Compute, Learner, Sampler
    from hyperderm.learners.data import TrainData
    from hyperderm.settings import Run
    from hyperderm.store.manifest import Manifest


class DcganConfig(NoiseConfig, AdversarialConfig):
    """The settings of DCGAN (Radford et al. 2016; METHODS section 3) and of the seed project's variants, all from noise.

    SN-GAN (Miyato et al. 2018) is `norm=spectral`. AC-GAN (Odena et al. 2017) is `class_head=auxiliary`. W-GAN is
    `loss=wgan_clip` or `loss=wgan_gp`. The seed project's further steps towards SHS-GAN are `critic=conv3d` and `fft_arm`.
    `generator_width` is the number of channels at half the size (128 gives 1024-512-256-128 for 64 px).
    """

    network_fields: ClassVar[tuple[str, ...]] = (
        *NoiseConfig.network_fields, "norm", "critic_width", "critic", "fft_arm", "generator_norm", "class_head",
    )  # fmt: skip
    kind: Literal["dcgan"] = "dcgan"
    critic: Literal["dcgan", "conv2d", "conv3d"] = "dcgan"
    """The discriminator. dcgan: DCGAN's own, which halves the image down to 4 (or 7) pixels. conv2d and conv3d: a shared
    critic, whose features are pooled."""
    fft_arm: bool = False
    """Whether the critic conv2d or conv3d has a second arm, on the modulus of the FFT along the bands."""
    norm: Norm = "batch"
    loss: Loss = "bce"
    generator_width: int = Field(128, ge=4, le=512)
    generator_norm: Literal["batch", "layer"] = "batch"
    """Normalisation inside the generator. Several workers need layer, because batch statistics would depend on their
    number."""
    critic_width: int = Field(64, ge=4, le=256)
    class_head: Literal["projection", "auxiliary"] = "projection"
    """How, with `conditioning=class`, the critic uses the diagnosis. projection: it is told it (Miyato & Koyama 2018).
    auxiliary: it tells it by a second head, and the embedding of the diagnosis is multiplied with z (AC-GAN, Odena et al.
    2017). The head learns from real cubes alone, because a generated cube is not yet of the diagnosis that was asked for."""
    class_weight: float = Field(1.0, gt=0)
    """Weight of the cross-entropy of `class_head=auxiliary`, of real cubes for the critic, of its own for the generator."""
    lr_generator: float = Field(2e-4, gt=0, le=1)
    lr_critic: float = Field(2e-4, gt=0, le=1)
    beta2: float = Field(0.999, ge=0, lt=1)
    n_critic: int = Field(1, ge=1, le=100)

    @property
    def splits(self) -> bool:
        """See `AdversarialConfig.splits`: not with batch norm in the generator either."""
        return super().splits and self.generator_norm != "batch"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.fft_arm and self.critic == "dcgan":
            raise ValueError(
                "learner.fft_arm = true with learner.critic = dcgan is refused: DCGAN's own discriminator has one arm. "
                "Use learner.critic=conv2d or conv3d, or leave learner.fft_arm out"
            )
        if self.class_head == "auxiliary" and self.conditioning == "none":
            raise ValueError(
                "learner.class_head = auxiliary with learner.conditioning = none is refused: there is no class to tell. "
                "Use learner.conditioning=class, or learner.class_head=projection"
            )
        if self.class_head == "auxiliary" and self.critic != "dcgan":
            raise ValueError(
                f"learner.class_head = auxiliary with learner.critic = {self.critic} is refused: the second head stands on "
                "DCGAN's own discriminator. Use learner.critic=dcgan, or learner.class_head=projection"
            )
        return self

    def check(self, run: Run) -> None:
        """See `LearnerConfig.check`."""
        super().check(run)
        if self.generator_norm == "batch":
            check_batch_norm("generator_norm", run)
        check_doubled(run.data.size, "the DCGAN")

    def check_store(self, manifest: Manifest) -> None:
        """See `LearnerConfig.check_store`: the critic needs enough bands."""
        super().check_store(manifest)
        check_bands(self.critic, len(manifest.wavelengths_nm))

    def build(self, run: Run, data: TrainData, compute: Compute) -> Learner:
        """See `LearnerConfig.build`."""
        from hyperderm.learners.dcgan.learner import Dcgan

        return Dcgan(self, run, data, compute)

    def load_sampler(self, run: Run, checkpoint: Mapping[str, Any], device: str) -> Sampler:
        """See `LearnerConfig.load_sampler`."""
        from hyperderm.learners.dcgan.learner import load

        return load(self, run, checkpoint, device)
