"""The settings that all adversarial learners share, and the rules for them. This module does not import torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, model_validator

from hyperderm.errors import ConfigError
from hyperderm.learners.cube_diffaug_settings import DiffAugmentConfig, check_strength
from hyperderm.learners.generative_settings import GenerativeConfig, check_batch_norm

if TYPE_CHECKING:
    from hyperderm.settings import Run

Norm = Literal["none", "spectral", "layer", "batch"]
Loss = Literal["wgan_gp", "wgan_clip", "hinge", "bce", "relativistic"]


FEWEST_BANDS = 7
"""Smallest number of bands for the 3-D critic, whose spatial arm halves the bands three times."""


def check_bands(critic: str, bands: int) -> None:
    """Refuse fewer bands than the 3-D critic needs.

    Raises:
        ConfigError: the critic is `conv3d` and there are too few bands; the message names the remedy.
    """
    if critic == "conv3d" and bands < FEWEST_BANDS:
        raise ConfigError(
            f"learner.critic = conv3d needs at least {FEWEST_BANDS} bands, the store has {bands}",
            "Use --set learner.critic=conv2d",
        )


class AdversarialConfig(GenerativeConfig):
    """The settings of a generator and a critic (in DCGAN: the discriminator) that train each other.

    The losses are (METHODS section 3): wgan_gp and wgan_clip, the Wasserstein critic with a gradient penalty (Gulrajani et
    al. 2017) or clipped weights (Arjovsky et al. 2017); hinge (Miyato et al. 2018); bce, the cross-entropy of real and fake
    (Goodfellow et al. 2014), with the non-saturating form for the generator; relativistic, which compares each real cube
    with the generated one of the same row (Jolicoeur-Martineau 2019; R3GAN, Huang et al. 2024).
    """

    network_fields: ClassVar[tuple[str, ...]] = (*GenerativeConfig.network_fields, "norm", "critic_width")
    norm: Norm = "none"
    """Normalisation inside the critic."""
    loss: Loss = "wgan_gp"
    critic_width: int = Field(32, ge=4, le=256)
    """Number of channels of the critic's first stage."""
    lr_generator: float = Field(1e-4, gt=0, le=1)
    lr_critic: float = Field(1e-4, gt=0, le=1)
    beta1: float = Field(0.5, ge=0, lt=1)
    beta2: float = Field(0.9, ge=0, lt=1)
    n_critic: int = Field(2, ge=1, le=100)
    """Number of critic updates for each generator update."""
    gp_weight: float = Field(10.0, ge=0)
    """Weight of the gradient penalty of `loss=wgan_gp`."""
    r1_weight: float = Field(0.0, ge=0)
    """γ of the penalty γ/2 E ‖∇D(x)‖² at real cubes as the critic sees them (Mescheder et al. 2018), for any loss; 0:
    none."""
    r2_weight: float = Field(0.0, ge=0)
    """γ of the same penalty at generated cubes."""
    lecam_weight: float = Field(0.0, ge=0)
    """λ of the LeCam regularisation, which draws scores to the moving averages of the other side (Tseng et al. 2021: 1e-4 …
    3e-4); 0: none."""
    diffaug: DiffAugmentConfig = DiffAugmentConfig()
    """How real and generated cubes are changed before the critic sees them."""
    clip: float = Field(0.01, gt=0, le=100)
    """Bound of the absolute value of the critic's weights with `loss=wgan_clip`."""
    real_label: float = Field(1.0, gt=0.5, le=1)
    """Target of the critic for real cubes with `loss=bce`; below 1 it is one-sided smoothing (Salimans et al. 2016)."""

    @property
    def splits(self) -> bool:
        """See `LearnerConfig.splits`: yes, because all losses and penalties are means over cubes, or over pairs of them.

        Not with batch norm; not with spectral norm, whose estimate improves at every pass through the critic; not with
        LeCam or an adaptive strength of augmentation, which follow the mean scores of batches.
        """
        return self.norm in ("none", "layer") and self.lecam_weight == 0 and not self.diffaug.adapts

    @model_validator(mode="after")
    def _fit_the_loss(self) -> Self:
        if self.norm == "batch" and self.loss == "wgan_gp":
            raise ValueError(
                "learner.norm = batch with learner.loss = wgan_gp is refused: the gradient penalty is defined per sample "
                "and batch statistics couple the samples. Use learner.norm=layer, or learner.loss=wgan_clip"
            )
        for field, value in (("r1_weight", self.r1_weight), ("r2_weight", self.r2_weight)):
            if value > 0 and self.norm == "batch":
                raise ValueError(
                    f"learner.{field} = {value} with learner.norm = batch is refused: the penalty is defined per sample and "
                    f"batch statistics couple the samples. Use learner.norm=layer or spectral, or learner.{field}=0"
                )
        check_strength(self.diffaug, self.loss)
        if self.lecam_weight > 0 and self.loss == "relativistic":
            raise ValueError(
                f"learner.lecam_weight = {self.lecam_weight} with learner.loss = relativistic is refused: that loss knows "
                "only differences of scores, LeCam draws to scores. Use another learner.loss, or learner.lecam_weight=0"
            )
        if self.real_label < 1 and self.loss != "bce":
            raise ValueError(
                f"learner.real_label = {self.real_label} with learner.loss = {self.loss} is refused: only the cross-entropy "
                "has labels. Use learner.loss=bce, or learner.real_label=1"
            )
        return self

    def check(self, run: Run) -> None:
        """See `LearnerConfig.check`."""
        super().check(run)
        if self.norm == "batch":
            check_batch_norm("norm", run)
