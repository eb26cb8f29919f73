"""Random numbers that depend on (seed, stream, step) alone: no generator state is saved, a resumed run draws the same."""

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
    """Draw the initial weights that are made inside this context from `seed` alone.

    They are equal on every machine and worker. Random numbers that are drawn outside the context do not change.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(generator(seed, "init", 0).initial_seed())
        yield


def rows(
    seed: int, stream: str, step: int, count: int, shape: tuple[int, ...], share: slice, normal: bool = False
) -> Tensor:
    """Draw numbers for the global batch of `count` samples and return this worker's `share`: (len(share), *shape) float64.

    The numbers are uniform in [0, 1), or standard normal with `normal`. Row i depends only on the key (seed, stream, step)
    and on i, not on the number of workers.
    """
    g = generator(seed, stream, step)
    draw = torch.randn if normal else torch.rand
    return draw((count, *shape), generator=g, dtype=torch.float64)[share]
