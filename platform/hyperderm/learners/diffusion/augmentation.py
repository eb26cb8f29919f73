"""Augmentation that a diffusion network is told, so that its samples are not augmented (Karras et al. 2022, appendix F.2).

Each cube is flipped, turned by quarter turns, scaled and shifted, each with the same probability; the labels say what was
done, and labels of zero say: nothing. Nothing that happens changes a spectrum, apart from means of neighbouring pixels.
Beyond the border the cube is mirrored.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from hyperderm.learners import randomness

LABELS = ("flip_across", "flip_down", "turn_cos", "turn_sin", "scale", "shift_down", "shift_across")
"""What the labels say: 0 or 1 for a flip, cos − 1 and sin of the turn, log2 of the factor, shifts as a share of the side."""
KINDS = ("flip_across", "flip_down", "turn", "scale", "shift")
"""What is done with the same probability each."""
LARGEST = 0.2
"""Standard deviation of log2 of the factor, as EDM's."""
FARTHEST = 0.125
"""Largest shift along each axis, as a share of the side, as EDM's."""


def draws(seed: int, images: int, count: int, share: slice) -> Tensor:
    """Return the random numbers of `augmented` for this worker's share of a batch: (n, 5, 3) in [0, 1), float64.

    Args:
        seed: seed of the run.
        images: number of images shown before the batch.
        count: number of cubes in the global batch.
        share: its rows that are this worker's.
    """
    return randomness.rows(seed, "told augmentation", images, count, (len(KINDS), 3), share)


def labels_of(drawn: Tensor, probability: float, size: int) -> Tensor:
    """Return what shall be done (n, 7): of each kind, the first draw decides whether, the others how.

    Args:
        drawn: (n, 5, 3) of `draws`.
        probability: of each kind.
        size: H = W; shifts are whole pixels.
    """
    applied, first, second = ((drawn[..., 0] < probability).double(), drawn[..., 1], drawn[..., 2])
    flips = applied[:, :2]
    turn = applied[:, 2] * (1 + (3 * first[:, 2]).floor()) * (math.pi / 2)
    normal = (-2 * torch.log1p(-first[:, 3])).sqrt() * torch.cos(2 * math.pi * second[:, 3])  # Box & Muller 1958
    scale = applied[:, 3] * LARGEST * normal.clamp(-2, 2)
    most = round(FARTHEST * size)
    shifts = [applied[:, 4] * ((2 * most + 1) * each[:, 4]).floor().sub(most) / size for each in (first, second)]
    return torch.cat([flips, torch.stack([turn.cos() - 1, turn.sin(), scale, *shifts], 1)], 1)


def augmented(cubes: Tensor, labels: Tensor) -> Tensor:
    """Return cubes (n, C, H, W) after what `labels` (n, 7) say, in this order: flips, turn, scale, shift.

    A pixel at p, counted from the middle, moves to 2^scale · R · F · p + shift. Cubes whose labels are zero keep their bits.
    """
    across, down, cosine, sine, scale, by_rows, by_columns = labels.double().unbind(1)
    cosine, factor = cosine + 1, torch.exp2(-scale)
    flip_x, flip_y = 1 - 2 * across, 1 - 2 * down
    # The grid asks where a pixel came from: p = F · R^-1 · (q − shift) / 2^scale, in units of half the side.
    matrix = (
        torch.stack(
            [
                torch.stack([flip_x * cosine, flip_x * sine], 1),
                torch.stack([-flip_y * sine, flip_y * cosine], 1),
            ],
            1,
        )
        * factor[:, None, None]
    )
    shift = 2 * torch.stack([by_columns, by_rows], 1)[:, :, None]
    theta = torch.cat([matrix, -matrix @ shift], 2).to(cubes)
    grid = affine_grid(theta, list(cubes.shape), align_corners=False)
    moved = grid_sample(cubes, grid, "bilinear", "reflection", align_corners=False)
    untouched = (labels == 0).all(1)[:, None, None, None]
    return torch.where(untouched, cubes, moved)
