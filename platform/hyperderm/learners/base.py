"""What the loop asks of a learner, and what a batch is."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

if TYPE_CHECKING:
    from hyperderm.learners.data import CubeSet
    from hyperderm.learners.scaling import Scaling
    from hyperderm.learners.spec import LearnerConfig
    from hyperderm.settings import Run

Parallel = Callable[[nn.Module], nn.Module]
"""Wraps a module for data-parallel training; the identity with one worker."""


@dataclass(frozen=True)
class Batch:
    """One worker's share of a global batch.

    Attributes:
        draw_real: see `real`; called once, and only by learners that use it.
        views: n scaled cubes (B, H, W), the same as `real`: as they are held where that is possible, so not to be changed.
        draw_source: see `source`; as `draw_real`.
        share: which rows of the global batch these are.
        count: size of the global batch.
        images: images shown before this batch.
        rows: (n,) which of `TrainData.drawn` the cubes of `real` are.
        labels: (n,) int64 of which of `TrainData.classes` they are.
        draw_masks: see `masks`; as `draw_real`.
    """

    draw_real: Callable[[], Tensor]
    views: Callable[[], Sequence[Tensor]]
    draw_source: Callable[[], Tensor]
    share: slice
    count: int
    images: int
    rows: Tensor
    labels: Tensor
    draw_masks: Callable[[], Tensor]

    @cached_property
    def real(self) -> Tensor:
        """(n, B, H, W) scaled cubes."""
        return self.draw_real()

    @cached_property
    def masks(self) -> Tensor:
        """(n, H, W) bool, turned as `real` is; all False where a lesion has none."""
        return self.draw_masks()

    @cached_property
    def source(self) -> Tensor:
        """(n, B, H, W) scaled cubes drawn independently of `real`, for conditional generators."""
        return self.draw_source()


@dataclass(frozen=True)
class Validation:
    """What a learner says of itself on the validation role.

    Attributes:
        scores: metrics by name.
        cubes: for generators the cubes that were scored, (n, B, H, W) float32 reflectance on the CPU; else None.
    """

    scores: Mapping[str, float]
    cubes: Tensor | None = None


class Learner(Protocol):
    """Owns its models and optimizers; knows no Ray, no MLflow, no files."""

    def step(self, batch: Batch) -> Mapping[str, Tensor]:
        """Update once; return means of per-sample terms over this worker's share, detached."""

    def validate(self) -> "Validation":
        """Score the present state on the validation role."""

    def state_dict(self) -> dict[str, Any]:
        """Return everything a checkpoint needs to go on."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""


class MelanomaClassifier(Protocol):
    """What a learner of a classifier offers beside `Learner`."""

    def logits_of(self, reflectance: Tensor, masks: Tensor) -> Tensor:
        """Return the logits of melanoma, (N,) float64 on the CPU, for (N, B, H, W) reflectance and (N, H, W) masks."""


class Sampler(Protocol):
    """A trained generator: what a checkpoint holds, without what only training needs.

    Attributes:
        run: that trained it.
        wavelengths_nm: (B,) of its cubes.
        scaling: fitted on the train role.
        classes: diagnoses it can be asked for, in the order of their numbers; empty where its condition is no class.
    """

    run: "Run"
    wavelengths_nm: tuple[float, ...]
    scaling: "Scaling"
    classes: tuple[str, ...]

    @property
    def config(self) -> "LearnerConfig":
        """Of the learner; its `condition` says what `sample` is given."""

    def sources(self, cubes: "CubeSet") -> NDArray[np.float64] | None:
        """Return what cubes with the geometry of these are made from, row by row (n, C, H, W); None: they need no source."""

    def sample(self, seed: int, indices: Sequence[int], condition: Tensor | None) -> Tensor:
        """Return reflectance (n, B, H, W) float32 on the CPU, by the exact inverse of train's scaling.

        Args:
            seed: of the set.
            indices: n of them; which cubes of the set.
            condition: row by row what a cube is made from. rgb: (n, 3, H, W) linear RGB in units of H · reflectance; mask:
                (n, 1, H, W) of 0 and 1; run: (n, C, H, W), what the other run says; class: (n,) int64, numbers of
                `classes`; none: None.
        """


@dataclass(frozen=True)
class Compute:
    """Where and how precisely a learner computes."""

    device: torch.device
    dtype: torch.dtype = torch.float32
    bf16: bool = False
    parallel: Parallel = lambda module: module

    def autocast(self) -> torch.autocast:
        """Compute in bf16 where that is wanted."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)
