"""When a diffusion generator begins to learn its train cubes by heart: the denoising losses of train and held-out part.

Diffusion models on few images generalise first and copy later (Bonnaire et al. 2025, arXiv 2505.17638). Losses on fixed
noise at fixed levels show when: on train the loss goes on falling, on held-out cubes it rises from its minimum.
"""

from collections.abc import Sequence

MARGIN = 0.05
"""The loss on held-out cubes has left its minimum if it lies above it by this share of the minimum."""
PATIENCE = 2
"""Number of last points of the curve that must all lie above; one may be an accident."""


def parted(train: Sequence[float], held_out: Sequence[float], margin: float = MARGIN, patience: int = PATIENCE) -> bool:
    """Return whether the two curves have parted.

    They have if the last `patience` losses on held-out cubes all lie above the least one by more than `margin` of it, and
    the loss on train is lower now than it was where the held-out loss was least.

    Args:
        train: losses of denoising train cubes, in the order of training.
        held_out: losses of denoising held-out cubes at the same moments.
        margin: see above, at least 0.
        patience: see above, at least 1.

    Raises:
        ValueError: the curves differ in length.
    """
    if len(train) != len(held_out):
        raise ValueError(f"curves of {len(train)} and {len(held_out)} points")
    if len(held_out) <= patience:
        return False
    best = min(range(len(held_out)), key=lambda at: (held_out[at], at))
    left = all(loss > (1 + margin) * held_out[best] for loss in held_out[-patience:])
    return left and train[-1] < train[best]
