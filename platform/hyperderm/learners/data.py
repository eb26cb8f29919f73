"""The data that a learner receives: cubes with their diagnoses and masks, and the scaling."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import torch
from torch import Tensor

from hyperderm.learners.abundance_space import AbundanceSpace
from hyperderm.learners.scaling import Coordinates, Scaling


@dataclass(frozen=True)
class CubeSet:
    """The cubes of one role, in memory.

    Attributes:
        lesion_ids: (N,) ids of the lesions, in the order of the cubes.
        diagnoses: (N,) diagnoses of the lesions.
        reflectance: (N, B, size, size) float32.
        masks: (N, size, size) bool, True inside the lesion; all False if a lesion has no mask.
    """

    lesion_ids: tuple[str, ...]
    diagnoses: tuple[str, ...]
    reflectance: Tensor
    masks: Tensor

    def __len__(self) -> int:
        return len(self.lesion_ids)

    def chosen(self, rows: Sequence[int]) -> Self:
        """Return the cubes at the positions `rows`, each 0 … N − 1, in that order."""
        names, kinds = (tuple(each[row] for row in rows) for each in (self.lesion_ids, self.diagnoses))
        return replace(self, lesion_ids=names, diagnoses=kinds, reflectance=self.reflectance[rows], masks=self.masks[rows])


@dataclass(frozen=True)
class Streamed:
    """A train role that is read during training.

    The row of a real cube is its position in `lesion_ids`; the rows of the M synthetic cubes are N … N + M − 1.

    Attributes:
        lesion_ids: (N,) ids of the lesions of the whole role.
        diagnoses: (N,) diagnoses of the lesions.
        shards: the rows of the cubes of each shard, in the order of the shard. Every row of a real or synthetic cube occurs
            once. All cubes of a shard lie in the same store.
        window: number of shards whose cubes are shuffled together.
        begin: a function that begins to read the shard with the given number. It returns a function that waits for the
            cubes of the shard and returns them, (n, B, size, size) float32 reflectance. Their memory may be read-only; it is
            freed when the tensor is no longer used.
        extra: (M,) diagnoses of the synthetic cubes.
    """

    lesion_ids: tuple[str, ...]
    diagnoses: tuple[str, ...]
    shards: tuple[tuple[int, ...], ...]
    window: int
    begin: Callable[[int], Callable[[], Tensor]]
    extra: tuple[str, ...] = ()


@dataclass(frozen=True)
class TrainData:
    """The data of a run: two roles, the bands, and the scaling that is fitted to the train role alone.

    Attributes:
        train: the whole train role, or a sample of it if the role is streamed.
        validation: the whole validation role.
        wavelengths_nm: (B,) wavelengths of the bands in nm.
        scaling: the scaling between reflectance and the values that the learner sees, if it sees bands.
        extra: synthetic cubes that are used for training beside `train`; nothing is fitted to them or scored on them. None
            if there are none, or if they are streamed (`Streamed.extra`).
        streamed: the shards of the streamed train role; None if the role is held in memory.
        inputs: name of an input (`LearnerConfig.inputs`) to the content of its checkpoint (`training.resume.pack`).
        held_out: (N, size, size) bool, only for a store without folds, where `train` and `validation` are the same cubes:
            True for pixels that are used only for scores and never for training. None for a store with folds.
        space: the abundance space, if the learner sees abundances (`LearnerConfig.in_space`); None: it sees bands.
    """

    train: CubeSet
    validation: CubeSet
    wavelengths_nm: tuple[float, ...]
    scaling: Scaling
    extra: CubeSet | None = None
    streamed: Streamed | None = None
    inputs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    held_out: Tensor | None = None
    space: AbundanceSpace | None = None

    @property
    def coordinates(self) -> Coordinates:
        """The map between reflectance and the values that the learner sees."""
        return self.scaling if self.space is None else self.space

    def given(self, inputs: Mapping[str, Mapping[str, Any]], scaled_as: str | None) -> Self:
        """Return a copy with `inputs`, and with the scaling of one of the inputs if `scaled_as` names it.

        Args:
            inputs: see `TrainData.inputs`.
            scaled_as: see `LearnerConfig.scaled_as`; None: the scaling stays as it is.
        """
        kept = Scaling.from_state(inputs[scaled_as]["scaling"]) if scaled_as else self.scaling
        return replace(self, inputs=inputs, scaling=kept)

    @property
    def lesion_ids(self) -> tuple[str, ...]:
        """The ids of the lesions of the whole train role, (N,)."""
        return self.streamed.lesion_ids if self.streamed else self.train.lesion_ids

    @property
    def diagnoses(self) -> tuple[str, ...]:
        """The diagnoses of the lesions of the whole train role, (N,), in the order of `lesion_ids`."""
        return self.streamed.diagnoses if self.streamed else self.train.diagnoses

    @property
    def rows(self) -> int:
        """The number of cubes that training may draw, real and synthetic ones together."""
        return len(self.lesion_ids) + len(self.extra_diagnoses)

    @property
    def extra_diagnoses(self) -> tuple[str, ...]:
        """The diagnoses of the synthetic cubes, (M,), whether they are streamed or in memory."""
        if self.streamed:
            return self.streamed.extra
        return self.extra.diagnoses if self.extra else ()

    @property
    def drawn(self) -> Tensor:
        """The reflectance of all cubes that training may draw, (rows, B, H, W); the train role must be in memory."""
        assert self.streamed is None
        return torch.cat([self.train.reflectance, self.extra.reflectance]) if self.extra else self.train.reflectance

    @property
    def drawn_masks(self) -> Tensor:
        """The masks of the cubes of `drawn`, (rows, H, W) bool."""
        return torch.cat([self.train.masks, self.extra.masks]) if self.extra else self.train.masks

    @property
    def drawn_diagnoses(self) -> tuple[str, ...]:
        """The diagnoses of all cubes that training may draw, (rows,): the real ones, then the synthetic ones."""
        return self.diagnoses + self.extra_diagnoses

    @property
    def classes(self) -> tuple[str, ...]:
        """The diagnoses that training shows, in alphabetical order."""
        return tuple(sorted(set(self.drawn_diagnoses)))

    @property
    def labels(self) -> Tensor:
        """The index in `classes` of each cube's diagnosis, (rows,) int64."""
        numbers = {name: number for number, name in enumerate(self.classes)}
        return torch.tensor([numbers[name] for name in self.drawn_diagnoses])


def truth(diagnoses: Sequence[str]) -> Tensor:
    """Return the binary labels of `diagnoses`, (N,) int64: 1 for "melanoma", 0 for every other diagnosis."""
    return torch.tensor([int(diagnosis == "melanoma") for diagnosis in diagnoses])
