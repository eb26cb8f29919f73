"""The learners, which define a training step: one folder for each learner, and modules that several learners share."""

from typing import TYPE_CHECKING, Annotated, Union

from pydantic import Field

from hyperderm.learners.classifier import ClassifierConfig
from hyperderm.learners.colour_unmixing import ColourUnmixingConfig
from hyperderm.learners.dcgan import DcganConfig
from hyperderm.learners.diffusion import DiffusionConfig
from hyperderm.learners.fastgan import FastGanConfig
from hyperderm.learners.hvae import HvaeConfig
from hyperderm.learners.imle import ImleConfig
from hyperderm.learners.interpolation import InterpolationConfig
from hyperderm.learners.mixture import MixtureConfig
from hyperderm.learners.r3gan import R3ganConfig
from hyperderm.learners.shsgan import ShsGanConfig
from hyperderm.learners.spec import LearnerConfig, Role
from hyperderm.learners.spectral_autoencoder import AutoencoderConfig
from hyperderm.learners.spectral_baseline import SpectralConfig
from hyperderm.learners.unmixer import UnmixerConfig
from hyperderm.learners.vae import VaeConfig

LEARNERS: tuple[type[LearnerConfig], ...] = (
    ShsGanConfig,
    DcganConfig,
    FastGanConfig,
    R3ganConfig,
    VaeConfig,
    HvaeConfig,
    ImleConfig,
    MixtureConfig,
    InterpolationConfig,
    ColourUnmixingConfig,
    DiffusionConfig,
    ClassifierConfig,
    SpectralConfig,
    UnmixerConfig,
    AutoencoderConfig,
)
"""The configurations of all learners; a new learner is registered here and nowhere else."""

# AnyLearner is the configuration of one of `LEARNERS`, recognised by its `kind`.
if TYPE_CHECKING:
    AnyLearner = LearnerConfig
else:
    AnyLearner = Annotated[Union[LEARNERS], Field(discriminator="kind")]  # noqa: UP007 - of a tuple


def learner_of(kind: str) -> type[LearnerConfig] | None:
    """Return the configuration class of the learner called `kind`, or None if there is no such learner."""
    return next((each for each in LEARNERS if each.model_fields["kind"].default == kind), None)


def kinds(role: Role) -> list[str]:
    """Return the names (`kind`) of the learners of a role."""
    return [each.model_fields["kind"].default for each in LEARNERS if each.role == role]


def role_of(kind: str) -> Role | None:
    """Return the role of the learner called `kind`, or None if there is no such learner."""
    found = learner_of(kind)
    return found.role if found else None
