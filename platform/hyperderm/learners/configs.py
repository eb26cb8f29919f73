"""The knobs of every learner. Free of torch, so that a wrong value costs milliseconds, not an import."""

from typing import Literal, Self

from pydantic import Field, model_validator

from hyperderm.strict import Strict


class ShsGanConfig(Strict):
    """SHS-GAN (Hauser et al., IEEE TCI 7, 2021) and the rungs of the seed project's ladder below it."""

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


LearnerConfig = ShsGanConfig
"""The union of all learners' configurations; a new generator joins it here."""
