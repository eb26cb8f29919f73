"""Randomness keyed on (seed, stream, step): no generator state is ever saved, so resuming is running again."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


def generator(seed: int, stream: str, step: int) -> torch.Generator:
    """Return a CPU generator for one stream at one step; equal keys give equal draws on every machine and worker."""
    digest = hashlib.blake2b(f"{seed}/{stream}/{step}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)


@contextmanager
def initialised(seed: int) -> Iterator[None]:
    """Draw initial weights by `seed` alone: equal on every machine and worker, and nobody else's random numbers move."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(generator(seed, "init", 0).initial_seed())
        yield


def rows(
    seed: int, stream: str, step: int, count: int, shape: tuple[int, ...], share: slice, normal: bool = False
) -> Tensor:
    """Draw for the global batch of `count` samples and return this worker's `share`: (len(share), *shape) float64.

    Uniform in [0, 1), or standard normal. Row i depends on the key and i alone, not on how many workers there are.
    """
    g = generator(seed, stream, step)
    draw = torch.randn if normal else torch.rand
    return draw((count, *shape), generator=g, dtype=torch.float64)[share]
