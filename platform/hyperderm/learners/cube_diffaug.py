"""Differentiable augmentation of the cubes that a critic sees: flips, shifts, holes (DiffAugment, Zhao et al. 2020).

Whole pixels are moved or replaced, never mixed: each spectrum of the result is one of the cube's, or the fill, which is zero
in scaled units: the middle of the range of each band. DiffAugment fills with zero too. Reflection would be another choice,
but it repeats pieces of lesions that the critic could then learn to expect. Every random number comes in from outside.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from hyperderm.learners import randomness
from hyperderm.learners.base import Mean
from hyperderm.learners.cube_diffaug_settings import KINDS, DiffAugmentConfig

EVERY = 4
"""Number of critic updates between two changes of the adaptive probability (Karras et al. 2020, section 3.1)."""
APPLIED, DOWN, ACROSS = range(3)
"""What the three draws of each kind decide: whether it is applied, and its place along both axes."""


def draws(seed: int, stream: str, images: int, count: int, share: slice) -> Tensor:
    """Return the random numbers of `DiffAugment` for this worker's share of a batch; any number of workers draws alike.

    DiffAugment draws anew for real cubes, for generated ones, and in the generator's update: give each its own `stream`.

    Args:
        seed: seed of the run.
        stream: for what cubes; equal names give equal draws.
        images: number of images shown before the batch.
        count: number of cubes in the global batch.
        share: its rows that are this worker's.

    Returns:
        (n, 3, 3) float64 in [0, 1): cubes, `KINDS`, and for each kind APPLIED, DOWN, ACROSS. Kinds that are switched off
        have draws too, so that they do not change those of the others.
    """
    return randomness.rows(seed, f"diffaug/{stream}", images, count, (len(KINDS), 3), share)


class _Draws(NamedTuple):
    """Whether a kind is applied (n,), and its place along one axis (n,) in [0, 1)."""

    applied: Tensor
    place: Tensor


class _Axis(NamedTuple):
    """What happens along one axis of S pixels, for n cubes.

    Attributes:
        source: (n, S) int64 pixel that each pixel is taken from.
        inside: (n, S) whether there is such a pixel.
        hole: (n, S) whether the pixel lies in the rows (or columns) of the hole.
    """

    source: Tensor
    inside: Tensor
    hole: Tensor


class DiffAugment:
    """Flips, shifts and holes by given draws; the map is linear in the cubes, and autograd gives its adjoint.

    With draws that are on the cubes' device already, nothing waits for that device.

    Args:
        config: the settings; without a kind, cubes are returned as they are.
    """

    def __init__(self, config: DiffAugmentConfig) -> None:
        self.config = config

    def __call__(self, x: Tensor, drawn: Tensor, probability: float | Tensor | None = None) -> Tensor:
        """Return the cubes as the critic shall see them, in the same precision and memory layout.

        Args:
            x: (n, B, H, W) scaled cubes.
            drawn: (n, 3, 3) numbers in [0, 1), see `draws`. They must be float64: 1 − 1e-9 must stay below 1.
            probability: probability of each kind for each cube, in [0, 1]; None: that of the settings. At 0 the bits of x
                are returned.

        Raises:
            ValueError: the draws have another shape or precision.
        """
        if drawn.shape != (len(x), len(KINDS), 3) or drawn.dtype != torch.float64:
            raise ValueError(f"draws {tuple(drawn.shape)} of {drawn.dtype} for {len(x)} cubes: see cube_diffaug.draws")
        if not self.config.kinds:
            return x
        drawn = drawn.to(x.device)
        applied = drawn[:, :, APPLIED] < (self.config.probability if probability is None else probability)  # (n, 3)
        n, bands, height, width = x.shape
        down = self._along(height, drawn[:, :, DOWN], applied)
        across = self._along(width, drawn[:, :, ACROSS], applied)
        source = (down.source[:, :, None] * width + across.source[:, None]).view(n, 1, height * width)
        moved = x.flatten(2).gather(2, source.expand(n, bands, -1)).view_as(x)
        inside = down.inside[:, :, None] & across.inside[:, None]
        hole = down.hole[:, :, None] & across.hole[:, None]
        last = x.is_contiguous(memory_format=torch.channels_last)
        layout = torch.channels_last if last else torch.contiguous_format
        return moved.masked_fill((hole | ~inside)[:, None], 0).contiguous(memory_format=layout)

    def _along(self, size: int, drawn: Tensor, applied: Tensor) -> _Axis:
        """Return what happens along an axis of `size` pixels, from its draws (n, 3) and whether each kind is applied."""
        flip, shift, cut = (_Draws(applied[:, k], drawn[:, k]) for k in range(len(KINDS)))
        pixels = torch.arange(size, device=drawn.device)
        at, hole = pixels.expand(len(drawn), size), torch.zeros_like(pixels, dtype=torch.bool).expand(len(drawn), size)
        if "translation" in self.config.kinds:
            most = _pixels(size, self.config.shift)
            at = at - torch.where(shift.applied, _whole(shift.place, 2 * most + 1) - most, 0)[:, None]
        source = at.clamp(0, size - 1)
        if "flips" in self.config.kinds:
            source = torch.where((flip.applied & (flip.place < 0.5))[:, None], size - 1 - source, source)
        if "cutout" in self.config.kinds:
            side = _pixels(size, self.config.cutout)
            begin = (_whole(cut.place, size + 1 - side % 2) - side // 2)[:, None]
            hole = (pixels >= begin) & (pixels < begin + side) & cut.applied[:, None]
        return _Axis(source, (at >= 0) & (at < size), hole)


class AdaptiveStrength(nn.Module):
    """The probability of augmentation, which follows how surely the critic tells real cubes (ADA, Karras et al. 2020).

    After every `EVERY` critic updates, r = E sign(D(x)) over their real cubes, as augmented, is compared with the target:
    above it the critic overfits and the probability rises, below it falls, by EVERY · batch / `adapts_over`, within [0, 1].

    The loss must be one of `SIGNED_LOSSES`. All of its state is in the state dict; it is moved by `.to(device)` alone, as
    its precision does not follow that of the networks.

    Args:
        config: the settings, with `strength=adaptive`.
        mean: the mean over the workers (`Compute.mean`), so that all of them have the same probability.

    Attributes:
        probability: () float64 buffer.
        signs: () float64 buffer, the sum of E sign(D(x)) over the updates since the last change.
        updates: () int64 buffer, the number of critic updates.
    """

    probability: Tensor
    signs: Tensor
    updates: Tensor

    def __init__(self, config: DiffAugmentConfig, mean: Mean = lambda x: x) -> None:
        super().__init__()
        self.config, self.mean = config, mean
        self.register_buffer("probability", torch.zeros((), dtype=torch.float64))
        self.register_buffer("signs", torch.zeros((), dtype=torch.float64))
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def update(self, on_real: Tensor, count: int) -> None:
        """Take in a critic update; the probability is changed in place at every `EVERY`-th.

        Args:
            on_real: (N,) or (N, L) scores of this worker's augmented real cubes.
            count: number of real cubes in the global batch.
        """
        self.signs += self.mean(on_real.detach().sign().mean(dtype=torch.float64))
        self.updates += 1
        due = self.updates % EVERY == 0
        step = torch.sign(self.signs / EVERY - self.config.target) * (EVERY * count / self.config.adapts_over)
        self.probability.copy_(torch.where(due, (self.probability + step).clamp(0, 1), self.probability))
        self.signs.masked_fill_(due, 0)


def _pixels(size: int, share: float) -> int:
    """Return a share of a side in whole pixels, rounded half up as DiffAugment does."""
    return int(size * share + 0.5)


def _whole(drawn: Tensor, count: int) -> Tensor:
    """Return uniform whole numbers 0 … count − 1, int64, from draws in [0, 1)."""
    return (drawn * count).long().clamp(max=count - 1)
