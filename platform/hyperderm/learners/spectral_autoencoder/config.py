"""The settings of the spectral autoencoder. This module does not import torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from hyperderm.errors import ConfigError
from hyperderm.learners.spec import LearnerConfig, Role

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hyperderm.learners.base import Compute, Learner, PixelCoder
    from hyperderm.learners.data import TrainData
    from hyperderm.settings import Run
    from hyperderm.store.manifest import Manifest

FEWEST_BANDS = 2


class AutoencoderConfig(LearnerConfig):
    """The settings of the spectral autoencoder (deepHSI; METHODS section 8), which learns single pixels.

    The loss is mean squared error + spectral angle + difference of gradients along the bands. A batch is `pixels` spectra
    of each of its cubes.
    """

    role: ClassVar[Role] = "segmenter"
    objective: ClassVar[str] = "held_out_loss"
    yardsticks: ClassVar[tuple[str, ...]] = ("loss_of_mean_spectrum",)
    kind: Literal["autoencoder"] = "autoencoder"
    zdims: int = Field(8, ge=1, le=512)
    """Number of latent numbers of a pixel."""
    resample: int | None = Field(None, ge=2, le=4096)
    """Length to which spectra are interpolated for the networks; None: they see the bands as they are. The seeds: 512."""
    normalisation: Literal["l2", "range"] = "l2"
    """l2: every spectrum has unit length first, so brightness does not count. range: the seeds' way, where it does."""
    mse_weight: float = Field(1.0, ge=0)
    angle_weight: float = Field(1.0, ge=0)
    gradient_weight: float = Field(1.0, ge=0)
    pixels: int = Field(256, ge=1, le=65_536)
    """Number of spectra of each cube of a batch."""
    lr: float = Field(3e-3, gt=0, le=1)
    schedule: Literal["constant", "cycle"] = "constant"
    """constant: `lr` throughout. cycle: the rate rises to `lr` and falls to almost 0 over the whole training."""

    @model_validator(mode="after")
    def _learns_something(self) -> Self:
        if self.mse_weight == self.angle_weight == self.gradient_weight == 0:
            raise ValueError(
                "learner.mse_weight, angle_weight and gradient_weight are all 0: nothing is learnt. Give one of them a "
                "weight"
            )
        return self

    @property
    def weights(self) -> dict[str, float]:
        """The weight of every term of the loss, by the names of `losses.loss_terms`."""
        return {"mse": self.mse_weight, "angle": self.angle_weight, "gradient": self.gradient_weight}

    @property
    def splits(self) -> bool:
        """See `LearnerConfig.splits`: no, because of its batch norm."""
        return False

    def check(self, run: Run) -> None:
        """See `LearnerConfig.check`: batch norm refuses several workers, and a single spectrum."""
        super().check(run)
        workers = run.sweep.workers_per_trial
        if workers > 1:
            raise ValueError(
                f"learner.kind = autoencoder with {workers} workers is refused: its batch norm would depend on the number "
                "of workers. Use one worker"
            )
        if run.training.batch_size * self.pixels == 1:
            raise ValueError(
                "learner.pixels = 1 with training.batch_size = 1 is refused: one spectrum has no statistics of a batch. Use "
                "learner.pixels=256"
            )

    def check_store(self, manifest: Manifest) -> None:
        """See `LearnerConfig.check_store`: a spectrum has at least two bands."""
        super().check_store(manifest)
        if len(manifest.wavelengths_nm) < FEWEST_BANDS:
            raise ConfigError("a spectral autoencoder of 1 band", "Give a store of 2 bands or more.")

    @classmethod
    def for_pixels(cls, latent: int, resample: int | None, pixels: int) -> Self:
        """See `LearnerConfig.for_pixels`; the rate falls to almost 0, as a command's training is short."""
        return cls(zdims=latent, resample=resample, pixels=pixels, schedule="cycle")

    def load_coder(self, checkpoint: Mapping[str, Any]) -> PixelCoder:
        """See `LearnerConfig.load_coder`."""
        from hyperderm.learners.spectral_autoencoder.coder import SpectralCoder

        return SpectralCoder.of(self, len(checkpoint["wavelengths_nm"]), checkpoint["learner"])

    def build(self, run: Run, data: TrainData, compute: Compute) -> Learner:
        """See `LearnerConfig.build`."""
        from hyperderm.learners.spectral_autoencoder.learner import Autoencoder

        return Autoencoder(self, run, data, compute)
