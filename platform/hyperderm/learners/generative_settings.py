"""The settings that all generators share which are trained step by step. This module does not import torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from hyperderm.errors import ConfigError
from hyperderm.learners.space_settings import SpaceConfig
from hyperderm.learners.spec import START, UNMIXING, LearnerConfig

if TYPE_CHECKING:
    from hyperderm.settings import Run


class GenerativeConfig(SpaceConfig):
    """The settings of a generator that is trained step by step and samples by its moving average.

    Attributes:
        network_fields: the fields that, beside `kind`, decide which weights the networks have.
    """

    inputs: ClassVar[tuple[str, ...]] = (START, UNMIXING)
    network_fields: ClassVar[tuple[str, ...]] = ("generator_width", "space", "endmembers", "endmembers_by")
    start: str | None = Field(None, min_length=1)
    """Another run of the same store, fold and networks: this run begins with its networks, moving average and scaling. It is
    a run or sweep (a folder below runs/, or its path), or a checkpoint. The optimizers begin anew."""
    generator_width: int = Field(64, ge=4, le=512)
    ema_images: float = Field(10_000.0, gt=0)
    """Half-life of the generator's moving average, in real images shown; it is shorter at the beginning of training."""

    @property
    def scaled_as(self) -> str | None:
        """See `LearnerConfig.scaled_as`."""
        return START if self.start is not None else None

    def check_input(self, name: str, other: LearnerConfig, trained: Run, run: Run) -> None:
        """See `LearnerConfig.check_input`: an unmixing net, or a run with the same networks, with which training goes on."""
        super().check_input(name, other, trained, run)
        if name != START:
            return
        if other.kind != self.kind:
            raise ConfigError(f"it is of learner.kind = {other.kind}, not {self.kind}", f"Name a run of {self.kind}.")
        for field in self.network_fields:
            was, asked = getattr(other, field), getattr(self, field)
            if was != asked:
                raise ConfigError(
                    f"its learner.{field} is {was}, here it is {asked}: the networks differ",
                    f"Use --set learner.{field}={was}, or name another run.",
                )


def check_batch_norm(field: str, run: Run) -> None:
    """Refuse batch norm, in the networks that `field` describes, with several workers or with a single cube in a batch.

    Raises:
        ValueError: that is so; the message names the remedy.
    """
    workers, size = run.sweep.workers_per_trial, run.training.batch_size
    if workers > 1:
        raise ValueError(
            f"learner.{field} = batch with {workers} workers is refused: batch statistics would depend on the number of "
            f"workers. Use learner.{field}=layer, or one worker"
        )
    if size == 1:
        raise ValueError(
            f"learner.{field} = batch with training.batch_size = 1 is refused: one cube has no "
            f"statistics of a batch. Use learner.{field}=layer, or a batch of 2 or more"
        )
