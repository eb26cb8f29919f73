"""The interface between the training loop and a learner, and the definition of a batch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

if TYPE_CHECKING:
    from hyperderm.learners.data import CubeSet
    from hyperderm.learners.scaling import Scaling
    from hyperderm.learners.spec import Drawing, LearnerConfig
    from hyperderm.settings import Run

Parallel = Callable[[nn.Module], nn.Module]
"""A function that wraps a module for data-parallel training; with one worker it returns the module unchanged."""
Mean = Callable[[Tensor], Tensor]
"""A function that returns the mean of a detached tensor over the workers; with one worker it returns the tensor itself."""


@dataclass(frozen=True)
class Batch:
    """One worker's share of a global batch.

    Attributes:
        draw_real: draws the cubes of `real`; called at most once, when a learner first uses `real`.
        views: returns n scaled cubes (B, H, W), the same as `real`. Where possible they share memory with the stored cubes,
            so they must not be changed.
        draw_source: draws the cubes of `source`; called at most once, when a learner first uses `source`.
        share: the rows of the global batch that are this worker's.
        count: number of cubes in the global batch.
        images: number of images shown before this batch.
        rows: (n,) rows of `TrainData.drawn` that the cubes of `real` come from.
        labels: (n,) int64 indices into `TrainData.classes`, one for each cube of `real`.
        draw_masks: draws the masks of `masks`; called at most once, when a learner first uses `masks`.
        parts: number of parts in which a step computes this batch one after the other, so that less memory is needed; at
            least 1.
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
    parts: int = 1

    @cached_property
    def real(self) -> Tensor:
        """The scaled cubes of this batch, (n, B, H, W)."""
        return self.draw_real()

    @cached_property
    def masks(self) -> Tensor:
        """The masks (n, H, W) bool of the cubes in `real`, turned in the same way; all False for a lesion without a mask."""
        return self.draw_masks()

    @cached_property
    def source(self) -> Tensor:
        """Scaled cubes (n, B, H, W) drawn independently of `real`, for conditional generators."""
        return self.draw_source()

    @cached_property
    def _viewed(self) -> Sequence[Tensor]:
        """The cubes of `views`, made once for all parts."""
        return self.views()

    def split(self) -> tuple["Batch", ...]:
        """Return this batch in `parts` parts of consecutive cubes, or in one of each cube if there are fewer cubes.

        The numbers of cubes of the parts differ by one at most. Each part is a share of the same global batch, so what is
        keyed by a row of that batch is the same in a part as in the whole. With one part, it is this batch itself.
        """
        if self.parts == 1:
            return (self,)
        cubes = len(self.rows)
        count = min(self.parts, cubes)
        return tuple(self._part(slice(k * cubes // count, (k + 1) * cubes // count)) for k in range(count))

    def _part(self, own: slice) -> "Batch":
        first, _, _ = self.share.indices(self.count)
        return replace(
            self,
            draw_real=lambda: self.real[own],
            views=lambda: self._viewed[own],
            draw_source=lambda: self.source[own],
            share=slice(first + own.start, first + own.stop),
            rows=self.rows[own],
            labels=self.labels[own],
            draw_masks=lambda: self.masks[own],
            parts=1,
        )


@dataclass(frozen=True)
class Validation:
    """The scores of a learner on the validation role.

    Attributes:
        scores: metrics by name.
        cubes: the cubes of a generator that were scored, (n, B, H, W) float32 reflectance on the CPU; None for other
            learners.
        rebuilt: for a learner that rebuilds cubes, held-out cubes and how it rebuilds them, each (k, B, H, W) float32
            reflectance on the CPU; otherwise None.
    """

    scores: Mapping[str, float]
    cubes: Tensor | None = None
    rebuilt: tuple[Tensor, Tensor] | None = None


class Learner(Protocol):
    """An object that owns its models and optimizers. It uses no Ray, no MLflow and no files."""

    def step(self, batch: Batch) -> Mapping[str, Tensor]:
        """Update once; return, by name, means of per-sample terms over this worker's share, detached.

        A batch of several parts is computed part by part if the configuration says so (`LearnerConfig.splits`).
        """

    def validate(self) -> "Validation":
        """Score the present state on the validation role."""

    def state_dict(self) -> dict[str, Any]:
        """Return everything that is needed to continue training from a checkpoint."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state that `state_dict` returned."""


class MelanomaClassifier(Protocol):
    """The method that a classifier's learner has in addition to those of `Learner`."""

    def logits_of(self, reflectance: Tensor, masks: Tensor) -> Tensor:
        """Return the logits of melanoma, (N,) float64 on the CPU, for (N, B, H, W) reflectance and (N, H, W) masks."""


class Sampler(Protocol):
    """A trained generator from a checkpoint, without the parts that only training needs.

    Attributes:
        run: the run that trained the generator.
        wavelengths_nm: (B,) wavelengths of its cubes.
        scaling: the scaling fitted on the train role.
        matrix: H (3, B) of its RGB condition; None if its condition is another one.
        classes: diagnoses that can be asked for, in the order of their numbers; empty if its condition is not `class`.
        drawing: how noise is drawn; it may be set anew.
    """

    run: "Run"
    wavelengths_nm: tuple[float, ...]
    scaling: "Scaling"
    matrix: NDArray[np.float64] | None
    classes: tuple[str, ...]
    drawing: "Drawing"

    @property
    def config(self) -> "LearnerConfig":
        """The configuration of the learner; its `condition` names the kind of condition that `sample` takes."""

    def sources(self, cubes: "CubeSet") -> NDArray[np.float64] | None:
        """Return the sources (n, C, H, W) from which cubes with the geometry of `cubes` are made, row by row.

        Return None if the generator needs no source.
        """

    def sample(self, seed: int, indices: Sequence[int], condition: Tensor | None) -> Tensor:
        """Return reflectance (n, B, H, W) float32 on the CPU, by the exact inverse of train's scaling.

        Args:
            seed: seed of the set.
            indices: n positions of cubes in the set.
            condition: the condition of each cube, row by row. rgb: (n, 3, H, W) linear RGB in units of H · reflectance;
                mask: (n, 1, H, W) of 0 and 1; run: (n, C, H, W), the output of the other run; class: (n,) int64 indices into
                `classes`; none: None.
        """


class PixelCoder(Protocol):
    """A trained segmenter from a checkpoint: a pixel's spectrum as a few numbers, and back; on the CPU."""

    @property
    def latent(self) -> int:
        """Z, the number of values of a latent vector."""

    @property
    def by_shape(self) -> bool:
        """Whether brightness does not count: then `decode` gives spectra of about unit length."""

    def encode(self, spectra: Tensor) -> Tensor:
        """Return latent vectors (N, Z) float32 of spectra (N, B) in reflectance."""

    def decode(self, latent: Tensor) -> Tensor:
        """Return spectra (N, B) float32 of latent vectors (N, Z)."""

    def rebuild(self, spectra: Tensor) -> Tensor:
        """Return reconstructions (N, B) float32 in reflectance; where `by_shape`, each has the length of its pixel."""

    def finite(self) -> bool:
        """Return whether all weights are finite numbers."""


@dataclass(frozen=True)
class Compute:
    """The device and the precision with which a learner computes, and what connects it with the other workers.

    Attributes:
        device: the device of networks and cubes.
        dtype: the type of weights, cubes and losses.
        bf16: whether networks compute in bf16, see `autocast`.
        parallel: wraps each network that is trained.
        mean: averages, for example, a score that decides how training goes on; all workers must call it alike.
    """

    device: torch.device
    dtype: torch.dtype = torch.float32
    bf16: bool = False
    parallel: Parallel = lambda module: module
    mean: Mean = lambda x: x

    def autocast(self) -> torch.autocast:
        """Return a context that computes in bf16 if `bf16` is set."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)
