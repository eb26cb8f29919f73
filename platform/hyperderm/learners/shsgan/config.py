"""The knobs of SHS-GAN, and what it says of itself. Free of torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from hyperderm.learners.spec import Condition, LearnerConfig, Role

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hyperderm.learners.base import Learner, Placement, Sampler
    from hyperderm.learners.data import TrainData
    from hyperderm.settings import Run
    from hyperderm.store.manifest import Manifest


class ShsGanConfig(LearnerConfig):
    """SHS-GAN (Hauser et al., IEEE TCI 7, 2021) and the rungs of the seed project's ladder below it."""

    role: ClassVar[Role] = "generator"
    objective: ClassVar[str] = "spectral_energy_distance"
    kind: Literal["shsgan"] = "shsgan"
    input: Literal["rgb", "noise"] = "rgb"
    """What the generator sees: an RGB image (U-Net, the paper) or noise (DCGAN, the ladder's first rung)."""
    critic: Literal["conv3d", "conv2d"] = "conv3d"
    fft_arm: bool = True
    """Second critic arm on the modulus of the FFT along the bands."""
    norm: Literal["none", "spectral", "layer", "batch"] = "none"
    """Normalisation inside the critic."""
    loss: Literal["wgan_gp", "wgan_clip", "bce"] = "wgan_gp"
    generator_width: int = Field(64, ge=4, le=512)
    """Channels of the U-Net's first stage (64-128-256, bottleneck 512 at the paper's 64)."""
    critic_width: int = Field(32, ge=4, le=256)
    """Channels of the critic's first stage (32-64-128)."""
    noise_dim: int = Field(100, ge=1)
    lr_generator: float = Field(1e-4, gt=0, le=1)
    lr_critic: float = Field(1e-4, gt=0, le=1)
    beta1: float = Field(0.5, ge=0, lt=1)
    beta2: float = Field(0.9, ge=0, lt=1)
    n_critic: int = Field(2, ge=1, le=100)
    """Critic updates for each generator update."""
    gp_weight: float = Field(10.0, ge=0)
    clip: float = Field(0.01, gt=0)
    """Weight bound of `loss=wgan_clip`."""
    rgb_weight: float = Field(1.0, ge=0)
    """Weight of the RGB consistency ‖rgb − H·cube‖ (root mean square per sample, in units of the scaled RGB)."""
    ema_images: float = Field(10_000.0, gt=0)
    """Half-life of the generator's moving average, in real images shown; ramped up over the first images."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.norm == "batch" and self.loss == "wgan_gp":
            raise ValueError(
                "learner.norm = batch with learner.loss = wgan_gp is refused: the gradient penalty is defined per sample "
                "and batch statistics couple the samples. Use learner.norm=layer, or learner.loss=wgan_clip"
            )
        if self.input == "noise" and self.rgb_weight > 0:
            raise ValueError(
                f"learner.rgb_weight = {self.rgb_weight} with learner.input = noise is refused: there is no input image "
                "to be consistent with. Set learner.rgb_weight=0"
            )
        return self

    @property
    def condition(self) -> Condition:
        """An RGB image, or nothing."""
        return "rgb" if self.input == "rgb" else "none"

    def check(self, run: Run) -> None:
        """See `LearnerConfig.check`."""
        workers, size = run.sweep.workers_per_trial, run.data.size
        if self.norm == "batch" and workers > 1:
            raise ValueError(
                f"learner.norm = batch with {workers} workers is refused: batch statistics would depend on the number of "
                "workers. Use learner.norm=layer, or one worker"
            )
        if self.input == "noise" and workers > 1:
            raise ValueError(
                f"learner.input = noise with {workers} workers is refused: the batch norm of the DCGAN would depend on "
                "the number of workers. Use one worker, or learner.input=rgb"
            )
        if self.input == "rgb" and size % 8:
            raise ValueError(
                f"data.size = {size} is refused: the U-Net halves the image three times. Choose a multiple of 8, "
                f"such as {size // 8 * 8}"
            )
        if self.input == "noise" and size & (size - 1):
            raise ValueError(
                f"data.size = {size} is refused: the DCGAN generator doubles from 4 pixels. Choose a power of two, "
                f"such as {2 ** (size.bit_length() - 1)}"
            )

    def check_store(self, manifest: Manifest) -> None:
        """See `LearnerConfig.check_store`: its bands must make a pseudo-RGB."""
        if self.input == "rgb":
            from hyperderm.cubes.pseudo_rgb import pseudo_rgb_matrix

            pseudo_rgb_matrix(manifest.wavelengths_nm)

    def build(self, run: Run, data: TrainData, placement: Placement) -> Learner:
        """See `LearnerConfig.build`."""
        from hyperderm.learners.shsgan.learner import ShsGan

        return ShsGan(self, run, data, placement)

    def load_sampler(self, run: Run, checkpoint: Mapping[str, Any], device: str) -> Sampler:
        """See `LearnerConfig.load_sampler`."""
        from hyperderm.learners.shsgan.sampler import ShsGanSampler

        return ShsGanSampler(self, run, checkpoint, device)
