"""The settings of DCGAN. This module does not import torch."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from hyperderm.errors import ConfigError
from hyperderm.learners.adversarial_settings import AdversarialConfig, Loss, Norm, check_bands
from hyperderm.learners.spec import Condition, LearnerConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hyperderm.learners.base import Compute, Learner, Sampler
    from hyperderm.learners.data import TrainData
    from hyperderm.settings import Run
    from hyperderm.store.manifest import Manifest

STARTS = (4, 7)
"""Possible sides, in pixels, of the generator's first map."""


class DcganConfig(AdversarialConfig):
    """The settings of DCGAN (Radford et al. 2016; METHODS section 3) and of the seed project's variants, all from noise.

    SN-GAN (Miyato et al. 2018) is `norm=spectral`. The seed project's further steps towards SHS-GAN are `critic=conv3d` and
    `fft_arm`. `generator_width` is the number of channels at half the size (128 gives 1024-512-256-128 for 64 px).
    """

    network_fields: ClassVar[tuple[str, ...]] = (
        *AdversarialConfig.network_fields, "generator_norm", "noise_dim", "class_conditional",
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
    noise_dim: int = Field(100, ge=1, le=4096)
    class_conditional: bool = False
    """Whether both networks get the diagnosis, so that cubes of a given diagnosis can be made."""
    balance_classes: bool = False
    """Whether, with `class_conditional`, all diagnoses are shown equally often, instead of as often as in train."""
    lr_generator: float = Field(2e-4, gt=0, le=1)
    lr_critic: float = Field(2e-4, gt=0, le=1)
    beta2: float = Field(0.999, ge=0, lt=1)
    n_critic: int = Field(1, ge=1, le=100)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.fft_arm and self.critic == "dcgan":
            raise ValueError(
                "learner.fft_arm = true with learner.critic = dcgan is refused: DCGAN's own discriminator has one arm. "
                "Use learner.critic=conv2d or conv3d, or leave learner.fft_arm out"
            )
        if self.balance_classes and not self.class_conditional:
            raise ValueError(
                "learner.balance_classes = true without learner.class_conditional is refused: a generator that is not told "
                "the diagnosis would learn another mixture than train's. Set both or none"
            )
        return self

    @property
    def condition(self) -> Condition:
        """The condition of DCGAN: a diagnosis, or nothing."""
        return "class" if self.class_conditional else "none"

    @property
    def balances(self) -> bool:
        """See `LearnerConfig.balances`."""
        return self.balance_classes

    def check(self, run: Run) -> None:
        """See `LearnerConfig.check`."""
        super().check(run)
        workers, size = run.sweep.workers_per_trial, run.data.size
        if self.generator_norm == "batch" and workers > 1:
            raise ValueError(
                f"learner.generator_norm = batch with {workers} workers is refused: batch statistics would depend on the "
                "number of workers. Use learner.generator_norm=layer, or one worker"
            )
        if self.class_conditional and run.data.diagnoses != "all" and len(run.data.diagnoses) < 2:
            raise ValueError(
                f"learner.class_conditional = true with one diagnosis ({run.data.diagnoses[0]}) is refused: there is "
                "nothing to tell apart. Use data.diagnoses=all, or several"
            )
        try:
            stages(size)
        except ValueError:
            possible = [start * 2**k for start in STARTS for k in range(2, 9)]
            near = min(possible, key=lambda each: (abs(each - size), each))
            raise ValueError(
                f"data.size = {size} is refused: the DCGAN doubles a map of 4 or 7 pixels. Choose 16, 28, 32, 56, 64 … 256, "
                f"such as {near}"
            ) from None

    def check_store(self, manifest: Manifest) -> None:
        """See `LearnerConfig.check_store`: the critic needs enough bands, and classes need at least two diagnoses."""
        check_bands(self.critic, len(manifest.wavelengths_nm))
        if self.class_conditional and len(manifest.diagnoses) < 2:
            raise ConfigError(
                f"learner.class_conditional = true on a store of {', '.join(manifest.diagnoses)} alone is refused: there is "
                "nothing to tell apart",
                "Use another store, or --set learner.class_conditional=false.",
            )

    def check_input(self, name: str, other: LearnerConfig, trained: Run, run: Run) -> None:
        """See `LearnerConfig.check_input`: with classes, both runs must also have the same diagnoses."""
        super().check_input(name, other, trained, run)
        was, asked = trained.data.diagnoses, run.data.diagnoses
        if self.class_conditional and ("all" in (was, asked) or set(was) != set(asked)) and was != asked:
            told = was if was == "all" else json.dumps(list(was))
            raise ConfigError(
                f"it was told other diagnoses (data.diagnoses = {told})",
                f"Use --set 'data.diagnoses={told}', or name another.",
            )

    def build(self, run: Run, data: TrainData, compute: Compute) -> Learner:
        """See `LearnerConfig.build`."""
        from hyperderm.learners.dcgan.learner import Dcgan

        return Dcgan(self, run, data, compute)

    def load_sampler(self, run: Run, checkpoint: Mapping[str, Any], device: str) -> Sampler:
        """See `LearnerConfig.load_sampler`."""
        from hyperderm.learners.dcgan.learner import load

        return load(self, run, checkpoint, device)


def stages(size: int) -> tuple[int, int]:
    """Return the side of the first map in pixels, and how often it is doubled, for cubes of `size` pixels.

    Raises:
        ValueError: the size is neither 4 nor 7 times a power of two of at least 4.
    """
    for start in STARTS:
        times, rest = divmod(size, start)
        if not rest and times >= 4 and not times & (times - 1):
            return start, times.bit_length() - 1
    raise ValueError(f"{size} pixels")
