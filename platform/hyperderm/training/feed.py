"""The feed of a run: it draws the batch of every step.

The cubes of a batch depend only on the seed and on the number of images shown before, not on the number of workers. So a
resumed run needs no saved state of the feed.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from hyperderm.errors import ConfigError
from hyperderm.learners.base import Batch
from hyperderm.learners.randomness import generator, rows
from hyperderm.learners.sampling import Phase

Part = tuple[int, bool]
"""Identifies a stream of entries: the number of its phase, and whether it is the second stream of mixed sampling."""


class Feed(ABC):
    """The part of a feed that does not depend on where the cubes are held.

    An epoch shows every entry of a phase once, in an order that depends only on the seed and the number of the epoch. The
    sources of conditional generators are drawn from an independent stream of the same kind.

    Args:
        count: number of cubes, at least 1.
        batch_size: number of cubes in the batch of all workers together; divisible by `world_size`, at most `count`.
        seed: the seed on which all draws depend.
        rank: number of this worker, 0 … world_size − 1; it decides which share of a batch the worker gets.
        world_size: number of workers, at least 1.
        flips: whether cubes are flipped at random, horizontally and vertically.
        phases: the phases of training, which say which cubes are shown when; None: all cubes are shown from the start.
        labels: (count,) int64, see `TrainData.labels`; None: every label is 0.
        masks: (count, H, W) bool; None: no learner may use `Batch.masks`.
        parts: number of parts in which a step computes a batch, see `Batch.parts`.

    Raises:
        ConfigError: the batch is larger than the train role, or not divisible by the number of workers.
    """

    def __init__(
        self,
        count: int,
        batch_size: int,
        seed: int,
        *,
        rank: int = 0,
        world_size: int = 1,
        flips: bool = False,
        phases: Sequence[Phase] | None = None,
        labels: Tensor | None = None,
        masks: Tensor | None = None,
        parts: int = 1,
    ) -> None:
        everything = torch.arange(count)
        self.phases = phases or (Phase(0, everything, everything[:0]),)
        for phase in self.phases:
            check_batch(batch_size, len(phase.entries) + len(phase.mixed), world_size)
        self.batch_size, self.seed, self.flips = batch_size, seed, flips
        self.labels = torch.zeros(count, dtype=torch.int64) if labels is None else labels
        self.masks, self.parts = masks, parts
        each = batch_size // world_size
        self.share = slice(rank * each, (rank + 1) * each)
        self._orders: dict[str, tuple[tuple[int, int], Tensor]] = {}

    def batch(self, images: int) -> Batch:
        """Return this worker's share of the batch that follows after `images` real images; cubes are read when used."""
        chosen = self._rows("real", images)
        return Batch(
            draw_real=partial(self._cubes, chosen, "real", images),
            views=partial(self._views, chosen, images),
            draw_source=partial(self._draw, "source", images),
            share=self.share,
            count=self.batch_size,
            images=images,
            rows=chosen,
            labels=self.labels[chosen],
            draw_masks=partial(self._masks, chosen, images),
            parts=self.parts,
        )

    @abstractmethod
    def gather(self, chosen: Tensor) -> Tensor:
        """Return the scaled cubes of the rows `chosen`, (n,) int64, as (n, B, H, W) on the device that trains."""

    @abstractmethod
    def order(self, key: str, part: Part, epoch: int) -> Tensor:
        """Return the entries of `part`, (E,) int64, in the order of `epoch`; `key` names the stream of random numbers."""

    def entries_of(self, part: Part) -> Tensor:
        """Return the rows of `part`, (E,) int64; each row is shown once in every epoch."""
        number, mixed = part
        return self.phases[number].mixed if mixed else self.phases[number].entries

    def _draw(self, stream: str, images: int) -> Tensor:
        return self._cubes(self._rows(stream, images), stream, images)

    def _rows(self, stream: str, images: int) -> Tensor:
        positions = range(images, images + self.batch_size)[self.share]
        number, phase = self._phase(positions[0])
        if len(phase.mixed) or self._phase(positions[-1])[0] != number:
            return torch.cat([self._row(stream, position) for position in positions])
        return self._pick(stream, (number, False), positions[0] - phase.start, len(positions))

    def _phase(self, position: int) -> tuple[int, Phase]:
        return next((n, p) for n, p in reversed([*enumerate(self.phases)]) if p.start <= position)

    def held(self, chosen: Tensor) -> Sequence[Tensor]:
        """Return the cubes of `gather` one by one, each (B, H, W); a subclass may return views and so avoid a copy."""
        return self.gather(chosen).unbind()

    def _views(self, chosen: Tensor, images: int) -> Sequence[Tensor]:
        return self._cubes(chosen, "real", images).unbind() if self.flips else self.held(chosen)

    def _cubes(self, chosen: Tensor, stream: str, images: int) -> Tensor:
        x = self.gather(chosen)
        return self._flip(x, stream, images) if self.flips else x

    def _masks(self, chosen: Tensor, images: int) -> Tensor:
        if self.masks is None:
            raise ConfigError(
                "this learner wants masks, and cubes that are streamed come without theirs", "Use --set data.feed=memory."
            )
        x = self.masks[chosen]
        return self._flip(x[:, None], "real", images)[:, 0] if self.flips else x

    def _row(self, stream: str, position: int) -> Tensor:
        number, phase = self._phase(position)
        place = position - phase.start
        before = phase.mixed_in(place)
        if phase.mixed_in(place + 1) > before:
            return self._pick(f"{stream}/mixed", (number, True), before, 1)
        return self._pick(stream, (number, False), place - before, 1)

    def _pick(self, stream: str, part: Part, place: int, count: int) -> Tensor:
        """Return the rows of `count` neighbouring places of `part`, (count,) int64; they may cross into the next epoch."""
        entries, start = self.entries_of(part), self.phases[part[0]].start
        epoch, place = divmod(place, len(entries))
        held, order = self._orders.get(stream, ((-1, -1), entries))
        if held != (start, epoch):
            key = f"order/{stream}/{start}" if start else f"order/{stream}"
            order = self.order(key, part, epoch)
            self._orders[stream] = ((start, epoch), order)
        found = order[place : place + count]
        if len(found) == count:
            return found
        return torch.cat([found, self._pick(stream, part, (epoch + 1) * len(entries), count - len(found))])

    def _flip(self, x: Tensor, stream: str, images: int) -> Tensor:
        coins = rows(self.seed, f"flip/{stream}", images, self.batch_size, (2,), self.share).to(x.device) < 0.5
        x = torch.where(coins[:, 0, None, None, None], x.flip(-1), x)
        return torch.where(coins[:, 1, None, None, None], x.flip(-2), x)


class MemoryFeed(Feed):
    """A feed (`data.feed = memory`) of scaled cubes that are held in memory, on the device that trains.

    Args:
        cubes: (N, B, H, W) scaled cubes.
        batch_size: see `Feed`.
        seed: see `Feed`.
        pixelwise: whether the bands of a pixel lie side by side in memory, which makes augmentations on a CPU faster; the
            values are the same.
        how: further arguments of `Feed`.

    Raises:
        ConfigError: see `Feed`.
    """

    def __init__(self, cubes: Tensor, batch_size: int, seed: int, *, pixelwise: bool = False, **how: Any) -> None:  # noqa: ANN401
        super().__init__(len(cubes), batch_size, seed, **how)
        self.cubes = cubes.contiguous(memory_format=torch.channels_last) if pixelwise else cubes

    def gather(self, chosen: Tensor) -> Tensor:
        """Return a copy of the chosen cubes, (n, B, H, W)."""
        return self.cubes.index_select(0, chosen.to(self.cubes.device)).contiguous()  # half the time of self.cubes[chosen]

    def held(self, chosen: Tensor) -> Sequence[Tensor]:
        """Return views of the chosen cubes, each (B, H, W)."""
        return [self.cubes[row] for row in chosen.tolist()]

    def order(self, key: str, part: Part, epoch: int) -> Tensor:
        """Return all entries of `part`, (E,) int64, shuffled together."""
        entries = self.entries_of(part)
        return entries[torch.randperm(len(entries), generator=generator(self.seed, key, epoch))]


def check_batch(batch_size: int, cubes: int, world_size: int) -> None:
    """Refuse a batch that is larger than the train role or that the workers cannot share evenly.

    Args:
        batch_size: number of cubes in a batch of all workers together.
        cubes: number of cubes of the train role.
        world_size: number of workers.

    Raises:
        ConfigError: the batch is refused; the message names the field, the value and the remedy.
    """
    if batch_size > cubes:
        raise ConfigError(
            f"training.batch_size = {batch_size} is larger than the train role ({cubes} cubes)",
            f"Use --set training.batch_size={cubes} or less, more data.diagnoses, or more data.",
        )
    if batch_size % world_size:
        raise ConfigError(
            f"training.batch_size = {batch_size} is not divisible by {world_size} workers",
            f"Use a multiple of {world_size}.",
        )
