"""Cubes from a checkpoint alone: cube i depends on the seed, i and its source, and on nothing else.

Convolutions round differently for other batch sizes and other numbers of threads, so every cube is made by itself, on one
thread, without TF32 or a search for the fastest kernel. The same kind of processor then gives the same bits, whoever asks
for which cubes together, in which order, on however many workers; another kind may differ in the last digits.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from hyperderm.learners.scaling import Scaling

RANGE_MARGIN = 0.5
"""A cube may leave train's range of a band by this share of the range's width. The range spans the extremes of a few dozen
lesions whose exposures differ by 30-55 %; a new lesion may well lie beyond it, but hardly by half of it."""
BELOW_ZERO = 0.1
"""Reflectance below 0 is noise of the dark reference (about -0.07 in HSIDermoscopy, METHODS section 1): further down, or
than train itself goes, nothing real lies."""
RANGE_SHARE = 0.001
"""Share of a cube's pixels that may lie even further out: real frames have single hot and dead pixels."""


@contextmanager
def repeatable() -> Iterator[None]:
    """Compute without gradients, on one thread, with fixed kernels in full precision."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.no_grad(), torch.backends.cudnn.flags(True, benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.set_num_threads(threads)


def out_of_range(reflectance: Tensor, scaling: Scaling) -> bool:
    """Return whether a cube (B, H, W) is none that could be real.

    That is one with a value that is not finite, or with more than `RANGE_SHARE` of its pixels, in any band, more than
    `RANGE_MARGIN` of train's range outside that range, or below both -`BELOW_ZERO` and train's lowest.
    """
    if not torch.isfinite(reflectance).all():
        return True
    scaled = scaling.whole.forward(reflectance.double()[None])  # train's range is [-1, 1], two wide
    dark = (reflectance.double() < -BELOW_ZERO)[None] & (scaled < -1)
    outside = ((scaled.abs() > 1 + 2 * RANGE_MARGIN) | dark).any(1)
    return bool(outside.double().mean() > RANGE_SHARE)
