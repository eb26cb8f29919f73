"""Blocks of pixels that are held out if there are no folds: a tenth of every cube, the same for every run."""

from collections.abc import Sequence

import torch
from torch import Tensor

from hyperderm.learners.randomness import generator

BLOCKS = 10
"""Intended number of blocks along each side. Single pixels would be too similar to their neighbours for a fair score."""
SHARE = 0.1


def held_out_blocks(names: Sequence[str], size: int) -> Tensor:
    """Return a mask (n, size, size) bool of the pixels that are held out, equally many in each cube.

    The choice of blocks depends on a lesion's name and on the size alone, so that runs with other seeds and settings are
    scored on the same pixels. The blocks are squares in a regular grid. The pixels outside this grid, at the right and
    lower edge of the cube, are used for training.

    Args:
        names: names of the n lesions.
        size: side of a cube in pixels.
    """
    side = max(1, size // BLOCKS)
    across = size // side
    chosen = max(1, round(SHARE * across**2))
    held = torch.zeros(len(names), size, size, dtype=torch.bool)
    for row, name in enumerate(names):
        order = torch.randperm(across**2, generator=generator(0, f"blocks/{name}", 0))[:chosen]
        for block in order.tolist():
            y, x = divmod(block, across)
            held[row, y * side : (y + 1) * side, x * side : (x + 1) * side] = True
    return held
