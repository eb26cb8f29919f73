"""The settings of RS-IMLE. This module does not import torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from hyperderm.learners.noise_settings import NoiseConfig, check_doubled
from hyperderm.learners.spec import FLOAT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hyperderm.learners.base import Compute, Learner, Sampler
    from hyperderm.learners.data import TrainData
    from hyperderm.settings import Run


class ImleConfig(NoiseConfig):
    """The settings of RS-IMLE (Vashist et al., ECCV 2024; METHODS section 5), see `imle.matching`.

    A generator without a critic, for small sets: a pool of samples is drawn from time to time, samples nearer than ε to a
    real cube are rejected, and each real cube pulls the nearest remaining sample until the next pool. The network is DCGAN's
    generator with layer norm, so a sample does not depend on the others of its batch, and several workers train as one does.
    `generator_width` is the number of channels at half the size; each further halving has twice as many.
    """

    kind: Literal["imle"] = "imle"
    generator_width: int = Field(64, ge=4, le=512)
    noise_dim: int = Field(64, ge=1, le=4096)
    pool_factor: int = Field(20, ge=1, le=1000)
    """Number of samples in the pool for each real cube. With more, matches are nearer and later samples are less like them;
    the time of a matching grows in proportion."""
    refresh_epochs: float = Field(10.0, ge=1e-3)
    """Number of showings of each real cube between two matchings. A matching costs about as much as `pool_factor` / 3
    showings of all cubes."""
    epsilon_quantile: float = Field(0.5, ge=0, le=1)
    """ε is measured in the data, because a distance has no natural unit: this quantile of the distances of real train cubes
    to their nearest other train cube (of the class, where there are classes), times `epsilon_factor`."""
    epsilon_factor: float = Field(0.5, ge=0)
    """Factor of ε; 0 is IMLE without rejection. The larger it is, the more of the pool is rejected (metric `rejected`), and
    the more real cubes share one sample (metric `distinct`): on 72 stand-in lesions, 60 s, 1 gave a spectral energy distance
    of 1.00, and 0 one of 0.05 (`python -m tests.bench.generator_quality` with `--set learner.epsilon_factor=1`)."""
    texture_weight: float = Field(0.1, ge=0)
    """Weight of the texture in the distance of cubes, relative to the means of bands in grids; without it cubes are
    smooth. A large weight can be met by a grid of two pixels, which transposed convolutions make easily."""
    pixel_weight: float = Field(1.0, ge=0)
    """Weight of the single pixels in the loss, relative to the grids. Matching does not compare them."""
    lr: float = Field(1e-3, gt=0, le=1)
    beta1: float = Field(0.9, ge=0, lt=1)
    beta2: float = Field(0.99, ge=0, lt=1)

    @property
    def streams(self) -> bool:
        """See `LearnerConfig.streams`: no, because each pool is matched with all train cubes at once."""
        return False

    @property
    def splits(self) -> bool:
        """See `LearnerConfig.splits`: yes, because a matching is of all train cubes, whatever the batch, and the loss is a
        mean over pairs. The parts do not make the memory of a matching smaller."""
        return True

    def scoring_bytes(self, pixels: int, bands: int, train: int, validation: int) -> int:
        """See `LearnerConfig.scoring_bytes`: beside the usual, three tables of all train cubes by all samples of a pool."""
        return super().scoring_bytes(pixels, bands, train, validation) + 3 * train * train * self.pool_factor * FLOAT

    def check(self, run: Run) -> None:
        """See `LearnerConfig.check`."""
        super().check(run)
        check_doubled(run.data.size, "the generator of RS-IMLE")

    def build(self, run: Run, data: TrainData, compute: Compute) -> Learner:
        """See `LearnerConfig.build`."""
        from hyperderm.learners.imle.learner import Imle

        return Imle(self, run, data, compute)

    def load_sampler(self, run: Run, checkpoint: Mapping[str, Any], device: str) -> Sampler:
        """See `LearnerConfig.load_sampler`."""
        from hyperderm.learners.imle.learner import load

        return load(self, run, checkpoint, device)
