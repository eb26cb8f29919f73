"""The cubes a learner is given."""

from dataclasses import dataclass

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
    """What a run reads: two roles, the bands, and the scaling fitted on train alone."""

    train: CubeSet
    validation: CubeSet
    wavelengths_nm: tuple[float, ...]
    scaling: Scaling
