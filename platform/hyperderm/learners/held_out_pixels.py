"""Blocks of pixels that are held out where there are no folds: of every cube a tenth, the same for every run."""

from collections.abc import Sequence

import torch
from torch import Tensor

from hyperderm.learners.randomness import generator

BLOCKS = 10
"""Of these along each side; single pixels would be too like their neighbours to be held out by themselves."""
SHARE = 0.1


def held_out_blocks(names: Sequence[str], size: int) -> Tensor:
    """Return which pixels of each cube are held out: (n, size, size) bool, equally many in each.

    Which blocks these are depends on a lesion's name and on the size alone, so that runs with other seeds and settings are
    scored on the same pixels. Blocks are squares in a grid of at most `BLOCKS` a side; what remains at the right and lower
    edge of that grid is trained on.

    Args:
        names: of the n lesions.
        size: pixels of a cube.
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
