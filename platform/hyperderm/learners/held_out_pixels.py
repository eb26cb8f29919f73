"""Blocks of pixels that are held out if there are no folds: a tenth of every cube, the same for every run."""

from collections.abc import Sequence

import torch
from torch import Tensor

from hyperderm.learners.randomness import generator

BLOCKS = 10
"""Intended number of blocks along each side. Single pixels would be too similar to their neighbours for a fair score."""
SHARE = 0.1


def held_out_blocks(names: Sequence[str], size: int | tuple[int, int]) -> Tensor:
    """Return a mask (n, height, width) bool of the pixels that are held out, equally many in each cube.

    The choice of blocks depends on a lesion's name and on the size alone, so that runs with other seeds and settings are
    scored on the same pixels. The blocks are squares in a regular grid. The pixels outside this grid, at the right and
    lower edge of the cube, are used for training.

    Args:
        names: names of the n lesions.
        size: side of a cube in pixels, or its height and width.
    """
    height, width = (size, size) if isinstance(size, int) else size
    side = max(1, min(height, width) // BLOCKS)
    down, across = height // side, width // side
    chosen = max(1, round(SHARE * down * across))
    held = torch.zeros(len(names), height, width, dtype=torch.bool)
    for row, name in enumerate(names):
        order = torch.randperm(down * across, generator=generator(0, f"blocks/{name}", 0))[:chosen]
        for block in order.tolist():
            y, x = divmod(block, across)
            held[row, y * side : (y + 1) * side, x * side : (x + 1) * side] = True
    return held
