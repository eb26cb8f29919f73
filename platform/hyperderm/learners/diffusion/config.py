"""The settings of the diffusion generator. This module does not import torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from hyperderm.errors import ConfigError
from hyperderm.learners.noise_settings import DiagnosisConfig
from hyperderm.learners.spec import MOST_GUIDANCE
from hyperderm.strict import Strict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hyperderm.learners.base import Compute, Learner, Sampler
    from hyperderm.learners.data import TrainData
    from hyperderm.learners.spec import Request
    from hyperderm.settings import Run

LEAST_SIDE = 2
"""Smallest side of the U-Net's deepest map in pixels."""
PROCESSES = ("edm", "flow", "ddpm")


class EdmConfig(Strict):
    """The levels of noise σ of EDM (Karras et al. 2022, table 1), for data of standard deviation 0.5.

    The defaults are those of the paper.
    """

    p_mean: float = Field(-1.2, ge=-10, le=10)
    """Mean of ln σ in training."""
    p_std: float = Field(1.2, gt=0, le=10)
    """Standard deviation of ln σ in training."""
    sigma_min: float = Field(0.002, gt=0)
    """Smallest σ of sampling; the last step goes from there to 0."""
    sigma_max: float = Field(80.0, gt=0)
    """Largest σ of sampling, with which it begins."""
    rho: float = Field(7.0, ge=1, le=100)
    """How closely the steps of sampling stand at small σ, equation 5; 1 gives steps of equal length."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.sigma_min >= self.sigma_max:
            raise ValueError(
                f"learner.edm.sigma_min = {self.sigma_min:g} with learner.edm.sigma_max = {self.sigma_max:g} is refused: "
                "sampling goes from the larger one to the smaller one. Use 0.002 and 80"
            )
        return self


class FlowConfig(Strict):
    """The times of rectified flow."""

    times: Literal["uniform", "logit_normal"] = "logit_normal"
    """How t is drawn in training: uniform, or mostly in the middle, where the velocity is hardest (Esser et al. 2024)."""


class DdpmConfig(Strict):
    """The steps of DDPM (Ho et al. 2020). The defaults are those of seed 004."""

    timesteps: int = Field(2000, ge=1, le=100_000)
    """T, the number of steps from data to noise."""
    beta_start: float = Field(1e-6, gt=0, lt=1)
    beta_end: float = Field(1e-2, gt=0, lt=1)
    """β of the first and of the last step; those between lie on a line."""
    eta: float = Field(1.0, ge=0, le=1)
    """Fresh noise in each step of sampling, in units of that of Ho et al.; 0 is DDIM (Song et al. 2021), where a sample
    depends on its first noise alone and errors of early steps stay: after 80 s of training most samples were noise, and
    their distance was 1.91 with 0 and 0.48 with 1."""
    clip: float | None = Field(None, gt=0)
    """Largest absolute clean value that sampling believes, on the scale of `standardise`: 1 for values in [-1, 1], as Ho et
    al. (2020) do. At the first steps nearly all is noise, and small errors in it are large ones in what is left."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.beta_start > self.beta_end:
            raise ValueError(
                f"learner.ddpm.beta_start = {self.beta_start:g} with learner.ddpm.beta_end = {self.beta_end:g} is refused: "
                "noise must not become weaker from step to step. Use 1e-6 and 1e-2"
            )
        return self


class DiffusionConfig(DiagnosisConfig):
    """The settings of a diffusion generator (METHODS section 7), see `diffusion.processes`.

    A U-Net learns to undo noise of every level; a sample is noise that is undone in `sampling_steps` steps.
    `generator_width` is the number of channels at the full size. With `conditioning=class` it is told the diagnosis.
    """

    network_fields: ClassVar[tuple[str, ...]] = (
        *DiagnosisConfig.network_fields,
        "multipliers",
        "layers",
        "attention_levels",
        "standardise",
        "process",
    )
    kind: Literal["diffusion"] = "diffusion"
    process: Literal["edm", "flow", "ddpm"] = "edm"
    """How noise is added and undone: EDM (Karras et al. 2022), rectified flow (Liu et al. 2023), DDPM (Ho et al. 2020)."""
    edm: EdmConfig = EdmConfig()
    flow: FlowConfig = FlowConfig()
    ddpm: DdpmConfig = DdpmConfig()
    loss: Literal["l1", "l2"] = "l2"
    """Distance between the network's output and the target of the process: mean absolute or mean squared difference."""
    standardise: Literal["none", "channels", "components"] = "components"
    """What is shifted and scaled to mean 0 and standard deviation 0.5 in train: nothing (about [-1, 1], as other learners
    see it), each channel, or each principal component of the channels. Neighbouring bands say nearly the same. With noise of
    their own in each of 16 bands a narrow U-Net spends its width on that noise; with noise in proportion to the components
    it does not."""
    multipliers: tuple[int, ...] = Field((1, 2, 4, 8, 8), min_length=1, max_length=8)
    """Channels of each level in units of `generator_width`; from level to level the side is halved."""
    layers: int = Field(2, ge=1, le=8)
    """Number of residual blocks of each level on the way down; on the way up there is one more."""
    attention_levels: int = Field(1, ge=0, le=8)
    """Number of levels with self-attention, counted from the deepest."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of the channels inside residual blocks that are left out in training, anew for each cube."""
    sampling_steps: int = Field(50, ge=1, le=100_000)
    """Number of steps in which a sample is made; each calls the network once, or twice with guidance. With process=ddpm it
    divides `ddpm.timesteps`."""
    class_dropout: float = Field(0.0, ge=0, lt=1)
    """Share of the cubes of a batch whose diagnosis is not told, so that the network also learns what all have in common."""
    guidance: float = Field(1.0, ge=0, le=MOST_GUIDANCE)
    """Classifier-free guidance of samples: 1 is none, above 1 a sample is more typical of its diagnosis. It needs
    `class_dropout`."""
    augment: float = Field(0.0, ge=0, le=1)
    """Probability of each augmentation (flips, quarter turns, scale, shift), which the network is told, so that samples are
    not augmented (Karras et al. 2022, appendix F.2)."""
    stop_when_parted: bool = True
    """Whether updates end once the denoising losses on train and on held-out cubes have parted (`curves.parted`)."""
    lr: float = Field(2e-4, gt=0, le=1)
    beta1: float = Field(0.9, ge=0, lt=1)
    beta2: float = Field(0.999, ge=0, lt=1)

    @field_validator("multipliers")
    @classmethod
    def _positive(cls, multipliers: tuple[int, ...]) -> tuple[int, ...]:
        if not all(1 <= each <= 16 for each in multipliers):
            raise ValueError("each must lie between 1 and 16. Use [1, 2, 2], for example")
        return multipliers

    @model_validator(mode="after")
    def _has_effect(self) -> Self:
        for name in PROCESSES:
            if name == self.process:
                continue
            for field, value in getattr(self, name):
                if value != type(getattr(self, name)).model_fields[field].default:
                    raise ValueError(
                        f"learner.{name}.{field} = {value} with learner.process = {self.process} is refused: it has no "
                        f"effect. Use learner.process={name}, or leave it out"
                    )
        if self.attention_levels > len(self.multipliers):
            raise ValueError(
                f"learner.attention_levels = {self.attention_levels} is refused: learner.multipliers has "
                f"{len(self.multipliers)} levels. Use {len(self.multipliers)} or less"
            )
        self._check_steps()
        return self

    def _check_steps(self) -> None:
        """Refuse steps that do not divide T: diffusers' DDIM goes back T // steps each time, and misses its next level."""
        steps, total = self.sampling_steps, self.ddpm.timesteps
        if self.process != "ddpm" or total % steps == 0:
            return
        if steps > total:
            raise ValueError(
                f"learner.sampling_steps = {steps} is refused: there are no more than learner.ddpm.timesteps = {total}. "
                f"Use {total} or less"
            )
        near = min((each for each in range(1, total + 1) if total % each == 0), key=lambda each: abs(each - steps))
        raise ValueError(
            f"learner.sampling_steps = {steps} is refused: it does not divide learner.ddpm.timesteps = {total} into equal "
            f"steps. Use {near}, for example"
        )

    @model_validator(mode="after")
    def _guidance_fits(self) -> Self:
        if self.conditioning == "none":
            for field, value in (("guidance", self.guidance != 1), ("class_dropout", self.class_dropout > 0)):
                if value:
                    raise ValueError(
                        f"learner.{field} = {getattr(self, field):g} with learner.conditioning = none is refused: a "
                        "generator that is not told the diagnosis has none to leave out or to be guided to. Use "
                        "learner.conditioning=class, or leave it out"
                    )
        if self.guidance != 1 and not self.class_dropout:
            raise ValueError(
                f"learner.guidance = {self.guidance:g} with learner.class_dropout = 0 is refused: guidance compares with "
                "what the network makes without a diagnosis, and it would never have learnt that. Use "
                "learner.class_dropout=0.1, or leave guidance out"
            )
        return self

    @property
    def splits(self) -> bool:
        """See `LearnerConfig.splits`: yes; the U-Net has group norm, and noise, levels and dropout are keyed by row."""
        return True

    @property
    def packages(self) -> tuple[str, ...]:
        """See `LearnerConfig.packages`."""
        return ("diffusers",)

    def check(self, run: Run) -> None:
        """See `LearnerConfig.check`."""
        super().check(run)
        unit = 2 ** (len(self.multipliers) - 1)
        if run.data.size % unit or run.data.size < LEAST_SIDE * unit:
            near = max(round(run.data.size / unit), LEAST_SIDE) * unit
            raise ValueError(
                f"data.size = {run.data.size} is refused: the U-Net of learner.multipliers = {list(self.multipliers)} "
                f"halves it {len(self.multipliers) - 1} times. Use {near}, another multiple of {unit}, or fewer multipliers"
            )

    @property
    def guidable(self) -> bool:
        """See `LearnerConfig.guidable`."""
        return self.conditioning == "class" and self.class_dropout > 0

    def check_request(self, request: Request) -> None:
        """See `LearnerConfig.check_request`: every pixel has its noise, which must keep the size that was learnt."""
        super().check_request(request)
        if request.drawing.truncation is not None:
            raise ConfigError(
                f"--truncation {request.drawing.truncation:g}: a diffusion generator undoes the noise of every pixel, and "
                "has learnt noise of full size only",
                "Leave it out; for more typical cubes train with --set learner.guidance=2.",
            )

    def build(self, run: Run, data: TrainData, compute: Compute) -> Learner:
        """See `LearnerConfig.build`."""
        from hyperderm.learners.diffusion.learner import Diffusion

        return Diffusion(self, run, data, compute)

    def load_sampler(self, run: Run, checkpoint: Mapping[str, Any], device: str) -> Sampler:
        """See `LearnerConfig.load_sampler`."""
        from hyperderm.learners.diffusion.learner import load

        return load(self, run, checkpoint, device)
