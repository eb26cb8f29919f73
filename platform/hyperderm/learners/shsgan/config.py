"""The settings of SHS-GAN. This module does not import torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from hyperderm.errors import RemovedSetting
from hyperderm.learners.adversarial_settings import AdversarialConfig, check_bands
from hyperderm.learners.spec import DOUBLE, Condition

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hyperderm.learners.base import Compute, Learner, Sampler
    from hyperderm.learners.data import TrainData
    from hyperderm.settings import Run
    from hyperderm.store.manifest import Manifest


class ShsGanConfig(AdversarialConfig):
    """The settings of SHS-GAN (Hauser et al., IEEE TCI 7, 2021), which makes cubes from RGB images.

    `generator_width` is the number of channels of the U-Net's first stage (the paper's 64 gives 64-128-256 and a bottleneck
    of 512). `critic_width` is that of the critic's first stage (32 gives 32-64-128).
    """

    network_fields: ClassVar[tuple[str, ...]] = (*AdversarialConfig.network_fields, "critic", "fft_arm")
    kind: Literal["shsgan"] = "shsgan"
    critic: Literal["conv3d", "conv2d"] = "conv3d"
    fft_arm: bool = True
    """Whether the critic has a second arm, on the modulus of the FFT along the bands."""
    rgb_weight: float = Field(1.0, ge=0)
    """Weight of the RGB consistency ‖rgb − H·cube‖ (root mean square per sample, in units of the scaled RGB)."""

    @property
    def condition(self) -> Condition:
        """The condition of SHS-GAN, an RGB image."""
        return "rgb"

    @classmethod
    def migrated(cls, saved: Mapping[str, Any]) -> dict[str, Any]:
        """See `LearnerConfig.migrated`: before the DCGAN was added, SHS-GAN could also take noise as input."""
        if saved.get("input", "rgb") != "rgb":
            raise RemovedSetting(
                f"learner.input = {saved['input']} of learner.kind = shsgan is no more: SHS-GAN takes RGB images, and what "
                "began from noise is the DCGAN now, with other networks",
                "Train it anew: hyperderm train dcgan. Sets made from the old checkpoint can still be used.",
            )
        return {key: value for key, value in saved.items() if key not in ("input", "noise_dim")}

    def check(self, run: Run) -> None:
        """See `LearnerConfig.check`."""
        super().check(run)
        size = run.data.size
        if size % 8:
            raise ValueError(
                f"data.size = {size} is refused: the U-Net halves the image three times. Choose a multiple of 8, "
                f"such as {size // 8 * 8}"
            )

    def scoring_bytes(self, pixels: int, bands: int, train: int, validation: int) -> int:
        """See `LearnerConfig.scoring_bytes`: fitting the gain sorts the brightest channel of train, in three copies."""
        return max(super().scoring_bytes(pixels, bands, train, validation), 3 * train * pixels * DOUBLE)

    def check_store(self, manifest: Manifest) -> None:
        """See `LearnerConfig.check_store`: the bands must give a pseudo-RGB, and there must be enough for the critic."""
        super().check_store(manifest)
        check_bands(self.critic, len(manifest.wavelengths_nm))
        from hyperderm.cubes.pseudo_rgb import pseudo_rgb_matrix

        pseudo_rgb_matrix(manifest.wavelengths_nm)

    def build(self, run: Run, data: TrainData, compute: Compute) -> Learner:
        """See `LearnerConfig.build`."""
        from hyperderm.learners.shsgan.learner import ShsGan

        return ShsGan(self, run, data, compute)

    def load_sampler(self, run: Run, checkpoint: Mapping[str, Any], device: str) -> Sampler:
        """See `LearnerConfig.load_sampler`."""
        from hyperderm.learners.shsgan.sampler import load

        return load(self, run, checkpoint, device)
