"""Batches by key: which cubes a step sees depends on (seed, images shown) alone, never on the number of workers."""

from functools import partial

import torch
from torch import Tensor

from hyperderm.errors import ConfigError
from hyperderm.learners.base import Batch
from hyperderm.learners.keyed import generator, rows


class Feed:
    """Draws batches from scaled cubes held in memory.

    Real cubes come in epochs: every cube once, in an order keyed on (seed, epoch). The sources of conditional generators
    are an independent stream of the same kind.

    Args:
        cubes: (N, B, H, W) scaled, on the device that trains.
        batch_size: global; divisible by `world_size`, at most N.
        seed: key of all draws.
        rank: which share of a batch this worker takes.
        world_size: number of workers.
        flips: random horizontal and vertical flips.

    Raises:
        ConfigError: a batch larger than the train role or not divisible by the workers.
    """

    def __init__(
        self, cubes: Tensor, batch_size: int, seed: int, *, rank: int = 0, world_size: int = 1, flips: bool = False
    ) -> None:
        check_batch(batch_size, len(cubes), world_size)
        self.cubes, self.batch_size, self.seed, self.flips = cubes, batch_size, seed, flips
        each = batch_size // world_size
        self.share = slice(rank * each, (rank + 1) * each)
        self._orders: dict[str, tuple[int, Tensor]] = {}

    def batch(self, images: int) -> Batch:
        """Return this worker's share of the batch that begins after `images` real images."""
        return Batch(
            real=self._draw("real", images),
            draw_source=partial(self._draw, "source", images),
            share=self.share,
            count=self.batch_size,
            images=images,
        )

    def _draw(self, stream: str, images: int) -> Tensor:
        positions = range(images, images + self.batch_size)[self.share]
        chosen = torch.tensor([self._index(stream, p) for p in positions], device=self.cubes.device)
        x = self.cubes[chosen]
        return self._flip(x, stream, images) if self.flips else x

    def _index(self, stream: str, position: int) -> int:
        epoch, place = divmod(position, len(self.cubes))
        held, order = self._orders.get(stream, (-1, torch.empty(0)))
        if held != epoch:
            order = torch.randperm(len(self.cubes), generator=generator(self.seed, f"order/{stream}", epoch))
            self._orders[stream] = (epoch, order)
        return int(order[place])

    def _flip(self, x: Tensor, stream: str, images: int) -> Tensor:
        coins = rows(self.seed, f"flip/{stream}", images, self.batch_size, (2,), self.share).to(x.device) < 0.5
        x = torch.where(coins[:, 0, None, None, None], x.flip(-1), x)
        return torch.where(coins[:, 1, None, None, None], x.flip(-2), x)


def check_batch(batch_size: int, cubes: int, world_size: int) -> None:
    """Refuse a batch the train role or the workers cannot serve.

    Raises:
        ConfigError: naming the field, the value and the remedy.
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
