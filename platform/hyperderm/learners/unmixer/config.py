"""The settings of the unmixing net. This module does not import torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from hyperderm.errors import ConfigError
from hyperderm.learners.spec import LearnerConfig, Role

if TYPE_CHECKING:
    from hyperderm.learners.base import Compute, Learner
    from hyperderm.learners.data import TrainData
    from hyperderm.settings import Run
    from hyperderm.store.manifest import Manifest

FEWEST_BANDS = 2


class UnmixerConfig(LearnerConfig):
    """The settings of the unmixing net (Yu, Pan et al., CVPR 2024; METHODS section 7).

    Residual spectral-spatial stages turn a cube into abundances, which a softmax makes non-negative with sum one. The
    decoder is a 1 x 1 convolution without bias: its weights are the endmembers, kept non-negative. The loss is Charbonnier +
    spectral angle + total variation of the endmembers along the bands, as in the paper, and two things of this project's
    choice: endmembers start from a classical method, and `sparsity_weight`.
    """

    role: ClassVar[Role] = "unmixer"
    objective: ClassVar[str] = "reconstruction_rmse"
    yardsticks: ClassVar[tuple[str, ...]] = ("rmse_of_mean_spectrum",)
    kind: Literal["unmixer"] = "unmixer"
    endmembers: int = Field(5, ge=2, le=64)
    bands: Literal["all", "rgb"] = "all"
    """What the network sees: all bands, or the linear pseudo-RGB of the cube, so that photographs could be seen too. It
    rebuilds all bands in both cases."""
    unit_length: bool = False
    """Whether every pixel is divided by its length, so that brightness does not count."""
    width: int = Field(32, ge=4, le=512)
    """Number of channels of the stages; the paper's 32."""
    stages: int = Field(5, ge=0, le=32)
    """Number of residual stages; the paper's five. Without any, each pixel is seen alone."""
    start_by: Literal["sisal", "nfindr", "vca"] = "vca"
    """The classical method that gives the first endmembers, from pixels of train; negative values become zero. (`start` is
    the name of another run in generators.)"""
    angle_weight: float = Field(0.1, ge=0)
    smoothness_weight: float = Field(0.015, ge=0)
    """Weight of the total variation of the endmembers along the bands."""
    sparsity_weight: float = Field(0.0, ge=0)
    """Weight of the mean over pixels of the sum of the square roots of abundances (L1/2, Qian et al. 2011). It pulls the
    endmembers outwards, where reconstruction alone lets them drift into the cloud of pixels."""
    lr: float = Field(2e-4, gt=0, le=1)
    lr_endmembers: float = Field(2e-4, ge=0, le=1)
    """0 keeps the endmembers of the classical method."""

    @property
    def splits(self) -> bool:
        """See `LearnerConfig.splits`: yes; each term is a mean over cubes, or of the endmembers alone."""
        return True

    def check_store(self, manifest: Manifest) -> None:
        """See `LearnerConfig.check_store`: not more endmembers than bands, and colours where they are asked for."""
        super().check_store(manifest)
        count = len(manifest.wavelengths_nm)
        if count < FEWEST_BANDS:
            raise ConfigError(f"an unmixing net of {count} band", f"Give a store of {FEWEST_BANDS} bands or more.")
        if self.endmembers > count:
            raise ConfigError(
                f"learner.endmembers = {self.endmembers}: the store has {count} bands", f"Use at most {count}."
            )
        if self.bands == "rgb":
            from hyperderm.cubes.pseudo_rgb import pseudo_rgb_matrix

            pseudo_rgb_matrix(manifest.wavelengths_nm)

    def build(self, run: Run, data: TrainData, compute: Compute) -> Learner:
        """See `LearnerConfig.build`."""
        from hyperderm.learners.unmixer.learner import Unmixer

        return Unmixer(self, run, data, compute)
