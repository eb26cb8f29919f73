"""The cubes a learner is given."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

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

    def chosen(self, rows: Sequence[int]) -> Self:
        """Return these rows of it."""
        names, kinds = (tuple(each[row] for row in rows) for each in (self.lesion_ids, self.diagnoses))
        return replace(self, lesion_ids=names, diagnoses=kinds, reflectance=self.reflectance[rows], masks=self.masks[rows])


@dataclass(frozen=True)
class Streamed:
    """A train role that is read while it is trained on.

    Attributes:
        lesion_ids: (N,) of the whole role; a cube's row is its place here.
        diagnoses: (N,).
        shards: the rows of each shard, in the order in which its cubes come; together every row once, those of `extra` too.
            A shard lies in one store.
        window: shards whose cubes are shuffled together.
        begin: begins to read a shard (by its number) and returns what waits for its cubes, (n, B, size, size) float32
            reflectance. They may lie in memory that cannot be written; dropping them frees it.
        extra: (M,) diagnoses of synthetic cubes that are read likewise; their rows follow those of `lesion_ids`.
    """

    lesion_ids: tuple[str, ...]
    diagnoses: tuple[str, ...]
    shards: tuple[tuple[int, ...], ...]
    window: int
    begin: Callable[[int], Callable[[], Tensor]]
    extra: tuple[str, ...] = ()


@dataclass(frozen=True)
class TrainData:
    """What a run reads: two roles, the bands, and the scaling fitted on train alone.

    Attributes:
        train: the whole train role, or a sample of it if train is streamed.
        streamed: how train is read where it is not held in memory.
        extra: synthetic cubes that are trained on beside `train`; nothing is fitted or scored on them. None where there are
            none, and where they are streamed (`Streamed.extra`).
        inputs: name (`LearnerConfig.inputs`) to what the checkpoint of another run holds (`training.resume.pack`).
        held_out: of a store without folds, where `train` and `validation` are the same cubes: (N, size, size) bool of the
            pixels that only score; nothing is learnt from them. None where there are folds.
    """

    train: CubeSet
    validation: CubeSet
    wavelengths_nm: tuple[float, ...]
    scaling: Scaling
    extra: CubeSet | None = None
    streamed: Streamed | None = None
    inputs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    held_out: Tensor | None = None

    def given(self, inputs: Mapping[str, Mapping[str, Any]], scaled_as: str | None) -> Self:
        """Return this with the checkpoints of other runs, and with the scaling of one of them in place of train's.

        Args:
            inputs: see `TrainData`.
            scaled_as: see `LearnerConfig.scaled_as`.
        """
        kept = Scaling.from_state(inputs[scaled_as]["scaling"]) if scaled_as else self.scaling
        return replace(self, inputs=inputs, scaling=kept)

    @property
    def lesion_ids(self) -> tuple[str, ...]:
        """Of the whole train role."""
        return self.streamed.lesion_ids if self.streamed else self.train.lesion_ids

    @property
    def diagnoses(self) -> tuple[str, ...]:
        """Of the whole train role, like `lesion_ids`."""
        return self.streamed.diagnoses if self.streamed else self.train.diagnoses

    @property
    def rows(self) -> int:
        """Number of cubes that training may draw."""
        return len(self.lesion_ids) + len(self.extra_diagnoses)

    @property
    def extra_diagnoses(self) -> tuple[str, ...]:
        """Of the synthetic cubes, however they are fed."""
        if self.streamed:
            return self.streamed.extra
        return self.extra.diagnoses if self.extra else ()

    @property
    def drawn(self) -> Tensor:
        """(rows, B, H, W) reflectance: train, then extra; only of a train role in memory."""
        assert self.streamed is None
        return torch.cat([self.train.reflectance, self.extra.reflectance]) if self.extra else self.train.reflectance

    @property
    def drawn_masks(self) -> Tensor:
        """(rows, H, W) bool masks of `drawn`."""
        return torch.cat([self.train.masks, self.extra.masks]) if self.extra else self.train.masks

    @property
    def drawn_diagnoses(self) -> tuple[str, ...]:
        """(rows,) diagnoses of `drawn`."""
        return self.diagnoses + self.extra_diagnoses

    @property
    def classes(self) -> tuple[str, ...]:
        """The diagnoses that training shows, in the order of the alphabet."""
        return tuple(sorted(set(self.drawn_diagnoses)))

    @property
    def labels(self) -> Tensor:
        """(rows,) int64: of which of `classes` each cube is."""
        numbers = {name: number for number, name in enumerate(self.classes)}
        return torch.tensor([numbers[name] for name in self.drawn_diagnoses])


def truth(diagnoses: Sequence[str]) -> Tensor:
    """Return 1 for melanoma and 0 for everything else, (N,) int64."""
    return torch.tensor([int(diagnosis == "melanoma") for diagnosis in diagnoses])
