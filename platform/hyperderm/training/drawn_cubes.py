"""The cubes of a synthetic set by their index, from a checkpoint alone, and which of them are left out.

Both `studies.synthesis`, which writes sets, and `training.served_models`, which answers requests, make cubes by this module.
So for the same checkpoint, seed and sources both give the same cubes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hyperderm.cubes.diagnosis import DIAGNOSES
from hyperderm.errors import StudyError
from hyperderm.learners.base import Sampler
from hyperderm.learners.scaling import Scaling
from hyperderm.learners.sources import Sources
from hyperderm.learners.spec import FREELY, Drawing
from hyperderm.learners.synthesis import out_of_range
from hyperderm.training.run import load_sampler

CHUNK = 32
"""Number of cubes that are sent and audited together."""
STRIDE = 1_000_000
"""Number of indices kept for each diagnosis, so that the melanomas of a set do not depend on its other diagnoses."""
MOST = STRIDE // 2
"""Largest number of cubes of a diagnosis: as many again may be left out."""


@dataclass
class CheckpointSampler:
    """Makes cubes by their index; can be pickled, so that it can be sent to actors.

    Attributes:
        checkpoint: the state that the training of the generator left.
        sources: diagnosis to its sources; None if the generator takes no sources.
        seed: the seed of the set.
        device: kind of processor, "cuda" or "cpu".
        drawing: how a generator from noise draws it.
        sampler: the generator in the process that makes the cubes; None before `load`.
    """

    checkpoint: Mapping[str, Any]
    sources: Mapping[str, Sources | None]
    seed: int
    device: str
    drawing: Drawing = FREELY
    sampler: Sampler | None = field(default=None, init=False)

    def load(self) -> None:
        """Build the networks in the process that makes the cubes."""
        self.sampler = load_sampler(self.checkpoint, self.device)
        self.sampler.drawing = self.drawing

    def make(self, indices: list[int]) -> NDArray[np.float32]:
        """Return the cubes of these indices, (n, B, H, W)."""
        assert self.sampler is not None
        return made(self.sampler, self.sources, self.seed, indices)


def made(sampler: Sampler, sources: Mapping[str, Sources | None], seed: int, indices: list[int]) -> NDArray[np.float32]:
    """Return the cubes of `indices`, (n, B, H, W).

    Args:
        sampler: the generator.
        sources: diagnosis to its sources; None if the generator takes no sources.
        seed: the seed of the set.
        indices: n positions, each `STRIDE` times the number of its diagnosis, plus the number of the cube.
    """
    return sampler.sample(seed, indices, _condition(sampler, sources, seed, indices)).numpy()


def _condition(
    sampler: Sampler, sources: Mapping[str, Sources | None], seed: int, indices: list[int]
) -> torch.Tensor | None:
    """Return the condition that the cubes are made from, as `Sampler.sample` takes it."""
    asked = [(DIAGNOSES[index // STRIDE], index % STRIDE) for index in indices]
    if sampler.config.condition == "class":
        return torch.tensor([sampler.classes.index(diagnosis) for diagnosis, _ in asked])
    drawn = []
    for diagnosis, index in asked:
        if found := sources[diagnosis]:
            drawn += [found.draw(seed, [index])[0]]
    return torch.stack(drawn) if drawn else None


def chunks(rounds: list[range]) -> Iterator[list[int]]:
    """Yield the indices of `rounds`, in their order, in lists of at most `CHUNK`."""
    indices = chain.from_iterable(rounds)
    while chunk := list(islice(indices, CHUNK)):
        yield chunk


@dataclass(frozen=True)
class Tally:
    """What became of the cubes of each diagnosis that were made: in the set, out of range, or rejected as copies.

    Attributes:
        wanted: diagnosis to the number of cubes that are asked for.
        done: diagnosis to the number of cubes in the set.
        out_of_range: diagnosis to the number of cubes that were left out because they cannot be real.
        copies: diagnosis to the number of cubes that were left out as copies.
    """

    wanted: Mapping[str, int]
    done: dict[str, int]
    out_of_range: dict[str, int]
    copies: dict[str, int]

    @classmethod
    def of(cls, wanted: Mapping[str, int]) -> "Tally":
        """Return the tally of a set of which no cube is made yet."""
        return cls(wanted, *(dict.fromkeys(wanted, 0) for _ in range(3)))

    def rounds(self, sources: Mapping[str, Sources | None]) -> list[range]:
        """Return the indices of the cubes that are still missing, one range for each diagnosis; [] if the set is whole.

        Raises:
            StudyError: there are too few sources for as many different cubes.
        """
        found = []
        for diagnosis, count in self.wanted.items():
            if not (missing := count - self.done[diagnosis]):
                continue
            tried = self._tried(diagnosis)
            _check_limit(sources[diagnosis], diagnosis, tried + missing, self._left_out(diagnosis))
            first = STRIDE * DIAGNOSES.index(diagnosis) + tried
            found.append(range(first, first + missing))
        return found

    def in_range(self, diagnosis: str, pixels: NDArray[np.float32], scaling: Scaling) -> bool:
        """Return whether a cube (B, H, W) may be real; count it as left out if not.

        Raises:
            StudyError: more cubes are left out than the set will hold.
        """
        if not out_of_range(torch.from_numpy(pixels), scaling):
            return True
        self.out_of_range[diagnosis] += 1
        self._check_left_out(diagnosis)
        return False

    def copy(self, diagnosis: str) -> None:
        """Count a cube as left out because it is a copy.

        Raises:
            StudyError: more cubes are left out than the set will hold.
        """
        self.copies[diagnosis] += 1
        self._check_left_out(diagnosis)

    def _left_out(self, diagnosis: str) -> int:
        return self.out_of_range[diagnosis] + self.copies[diagnosis]

    def _tried(self, diagnosis: str) -> int:
        return self.done[diagnosis] + self._left_out(diagnosis)

    def _check_left_out(self, diagnosis: str) -> None:
        if self._left_out(diagnosis) <= self.wanted[diagnosis]:
            return
        rejected, tried = self.out_of_range[diagnosis], self._tried(diagnosis)
        if copies := self.copies[diagnosis]:
            raise StudyError(
                f"more than half of the cubes of {diagnosis} are left out ({copies} copies of train lesions and {rejected} "
                f"out of range, of {tried}): this generator hardly makes new lesions",
                "Take an earlier checkpoint or another generator, or leave out --reject copies to look at the set.",
            )
        raise StudyError(
            f"more than half of the cubes are out of range ({rejected} of {tried}): this generator does not make "
            "what train holds",
            "Take another checkpoint, or train longer.",
        )


def _check_limit(sources: Sources | None, diagnosis: str, count: int, left_out: int) -> None:
    if sources and count > sources.limit:
        beside = f" ({left_out} of them left out)" if left_out else ""
        raise StudyError(
            f"{count} different cubes of {diagnosis}{beside} cannot be made from {len(sources.names)} sources in 8 "
            "orientations",
            f"Ask for {sources.limit - left_out} at most, or give more photographs by --rgb.",
        )
