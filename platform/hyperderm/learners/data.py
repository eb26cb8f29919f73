"""The cubes a learner is given."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hyperderm.learners.scaling import Scaling


@dataclass(frozen=True)
class CubeSet:
    """Cubes of one role, in memory.

    Attributes:
        lesion_ids: (N,) in the order of the cubes.
        diagnoses: (N,).
        reflectance: (N, B, size, size) float32.
        masks: (N, size, size) bool; all False where a lesion has none.
    """

    lesion_ids: tuple[str, ...]
    diagnoses: tuple[str, ...]
    reflectance: Tensor
    masks: Tensor

    def __len__(self) -> int:
        return len(self.lesion_ids)


@dataclass(frozen=True)
class TrainData:
    """What a run reads: two roles, the bands, and the scaling fitted on train alone.

    Attributes:
        extra: cubes that are trained on beside `train` and on which nothing is fitted or scored: synthetic ones, or those of
            a pre-training.
    """

    train: CubeSet
    validation: CubeSet
    wavelengths_nm: tuple[float, ...]
    scaling: Scaling
    extra: CubeSet | None = None

    @property
    def rows(self) -> int:
        """Number of cubes that training may draw."""
        return len(self.train) + (len(self.extra) if self.extra else 0)

    @property
    def drawn(self) -> Tensor:
        """(rows, B, H, W) reflectance: train, then extra."""
        return torch.cat([self.train.reflectance, self.extra.reflectance]) if self.extra else self.train.reflectance

    @property
    def drawn_diagnoses(self) -> tuple[str, ...]:
        """(rows,) diagnoses of `drawn`."""
        return self.train.diagnoses + (self.extra.diagnoses if self.extra else ())


def truth(diagnoses: Sequence[str]) -> Tensor:
    """Return 1 for melanoma and 0 for everything else, (N,) int64."""
    return torch.tensor([int(diagnosis == "melanoma") for diagnosis in diagnoses])
