"""The settings of the Gaussian mixture. This module does not import torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from hyperderm.learners.spec import DOUBLE
from hyperderm.learners.told_settings import ToldConfig

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from hyperderm.learners.base import Compute, Learner, Sampler
    from hyperderm.learners.data import TrainData
    from hyperderm.settings import Run


class MixtureConfig(ToldConfig):
    """The settings of a Gaussian mixture of the principal components of whole cubes or abundance maps.

    It is fitted in seconds, without a network. Told the diagnosis, it has a mixture of each. Seed 004 compares with such a
    mixture and finds that it does not imitate the distribution of objects in an image: principal components of lesions that
    are not aligned are blurred.
    """

    fit_once: ClassVar[bool] = True
    kind: Literal["mixture"] = "mixture"
    components: int = Field(4, ge=1, le=256)
    """Number of Gaussians of each diagnosis; fewer where it has fewer than `FEWEST_A_COMPONENT` cubes for each."""
    dimensions: int = Field(32, ge=1, le=1024)
    """Number of principal components; at most one less than train has cubes."""

    @property
    def packages(self) -> tuple[str, ...]:
        """See `LearnerConfig.packages`."""
        return ("scikit-learn",)

    def check(self, run: Run) -> None:
        """See `LearnerConfig.check`."""
        super().check(run)
        if run.data.photographs is not None:
            raise ValueError(
                f"data.photographs = {run.data.photographs} with learner.kind = mixture is refused: a mixture is fitted to "
                "the lesions of train at once. Leave it out, or use a generator that is trained in steps"
            )

    def scoring_bytes(self, pixels: int, bands: int, train: int, validation: int) -> int:
        """See `LearnerConfig.scoring_bytes`: the decomposition holds four mirror images of each cube, three times."""
        return max(super().scoring_bytes(pixels, bands, train, validation), 12 * train * pixels * bands * DOUBLE)

    def build(self, run: Run, data: TrainData, compute: Compute) -> Learner:
        """See `LearnerConfig.build`."""
        from hyperderm.learners.mixture.learner import MixtureLearner

        return MixtureLearner(self, run, data, compute)

    def load_sampler(self, run: Run, checkpoint: Mapping[str, Any], device: str) -> Sampler:
        """See `LearnerConfig.load_sampler`."""
        from hyperderm.learners.mixture.learner import load

        return load(self, run, checkpoint, device)
