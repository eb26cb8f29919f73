"""The settings of the Gaussian mixture. This module does not import torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from hyperderm.learners.fitted_settings import FittedConfig
from hyperderm.learners.spec import DOUBLE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from hyperderm.learners.base import Compute, Learner, Sampler
    from hyperderm.learners.data import TrainData
    from hyperderm.settings import Run


class MixtureConfig(FittedConfig):
    """The settings of a Gaussian mixture of the principal components of whole cubes or abundance maps.

    It is fitted in seconds, without a network. Told the diagnosis, it has a mixture of each. Seed 004 compares with such a
    mixture and finds that it does not imitate the distribution of objects in an image: principal components of lesions that
    are not aligned are blurred.
    """

    kind: Literal["mixture"] = "mixture"
    components: int = Field(4, ge=1, le=256)
    """Number of Gaussians of each diagnosis; fewer where it has fewer than `FEWEST_A_COMPONENT` cubes for each."""
    dimensions: int = Field(32, ge=1, le=1024)
    """Number of principal components; at most one less than train has cubes."""

    @property
    def packages(self) -> tuple[str, ...]:
        """See `LearnerConfig.packages`."""
        return ("scikit-learn",)

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
