"""The settings that all generators share which are fitted to train at once. This module does not import torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from hyperderm.learners.told_settings import ToldConfig

if TYPE_CHECKING:
    from hyperderm.settings import Run


class FittedConfig(ToldConfig):
    """The settings of a generator that is fitted to the lesions of train at once, without steps of training."""

    fit_once: ClassVar[bool] = True

    def check(self, run: Run) -> None:
        """See `LearnerConfig.check`."""
        super().check(run)
        if run.data.photographs is not None:
            raise ValueError(
                f"data.photographs = {run.data.photographs} with learner.kind = {self.kind} is refused: it is fitted to the "
                "lesions of train at once. Leave it out, or use a generator that is trained in steps"
            )
