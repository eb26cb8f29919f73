"""What one training step means: a folder a learner, and what several of them share beside `spec.py`."""

from typing import TYPE_CHECKING, Annotated, Union

from pydantic import Field

from hyperderm.learners.classifier import ClassifierConfig
from hyperderm.learners.dcgan import DcganConfig
from hyperderm.learners.shsgan import ShsGanConfig
from hyperderm.learners.spec import LearnerConfig, Role
from hyperderm.learners.spectral_baseline import SpectralConfig

LEARNERS: tuple[type[LearnerConfig], ...] = (
    ShsGanConfig,
    DcganConfig,
    ClassifierConfig,
    SpectralConfig,
)
"""All learners; a new one joins here, and nowhere else."""

if TYPE_CHECKING:
    AnyLearner = LearnerConfig
else:
    AnyLearner = Annotated[Union[LEARNERS], Field(discriminator="kind")]  # noqa: UP007 - of a tuple
"""The configuration of one of `LEARNERS`, told by its `kind`."""


def learner_of(kind: str) -> type[LearnerConfig] | None:
    """Return the configuration class of the learner called `kind`, None where no learner is called so."""
    return next((each for each in LEARNERS if each.model_fields["kind"].default == kind), None)


def kinds(role: Role) -> list[str]:
    """Return what the learners of a role are called."""
    return [each.model_fields["kind"].default for each in LEARNERS if each.role == role]


def role_of(kind: str) -> Role | None:
    """Return the role of the learner called `kind`, None where no learner is called so."""
    found = learner_of(kind)
    return found.role if found else None
