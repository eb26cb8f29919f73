"""The networks of the R3GAN baseline for any number of bands B. Cubes are (N, B, H, W).

Source: Huang et al., "The GAN is dead; long live the GAN! A Modern Baseline GAN", NeurIPS 2024 (arXiv 2501.05441). The
paper was not at hand when this was written; taken from what is known of it are: residual blocks 1x1 - grouped 3x3 - 1x1
with LeakyReLU(0.2) between the convolutions, twice as many channels inside, 16 channels a group and two blocks a stage; no
normalisation; the initialisation of Fixup (Zhang et al., ICLR 2019); bilinear resampling between the stages; a learned
first map that a linear layer of z modulates; a depthwise convolution over the last map and a linear layer as the head.

Choices of this project:
- The number of channels doubles from the full size towards the first map, up to `WIDEST`.
- The paper's generator has no last activation; this one ends in tanh, because scaled cubes lie in [-1, 1].
- The embedding of the class is added to z, as in the other generators of the house.
- A 1x1 convolution changes the number of channels between stages and is applied to the smaller of the two maps. It has no
  bias, so it commutes with the resampling, and the larger map would only cost more.
- Convolutions outside the blocks have weights N(0, 1/fan-in): they keep the variance, because no activation follows them.

No layer looks at other cubes of the batch and no layer has buffers, so several workers compute what one computes.
"""

import math
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor, nn

from hyperderm.learners.critics import Projection
from hyperderm.learners.noise_settings import stages

WIDEST = 512
"""Largest number of channels of a map outside the blocks."""

EXPANSION = 2
"""How many times more channels a block has inside."""

GROUP_WIDTH = 16
"""Number of channels in a group of a block's 3x3 convolution, where it divides the channels; see `groups`."""

SLOPE = 0.2
"""Slope of LeakyReLU below zero."""

Layer = TypeVar("Layer", nn.Conv2d, nn.Linear)


class R3ganGenerator(nn.Module):
    """Generator from noise to a cube: a learned map of 4 (or 7) pixels, modulated by z, is doubled up to the size.

    Args:
        bands: B.
        width: channels at the full size; each halving has twice as many, but at most `widest`.
        size: H = W, 4 or 7 times a power of two of at least 4.
        noise_dim: length of z.
        blocks: number of residual blocks of a stage, at least 1.
        classes: number of classes, 0 for none; the embedding of the class is added to z.
        widest: largest number of channels.

    Shape: z (N, noise_dim), with classes also y (N,) int64 -> (N, B, H, W) in [-1, 1].

    Raises:
        ValueError: the size cannot be built, see `noise_settings.stages`.
    """

    def __init__(
        self, bands: int, width: int, size: int, noise_dim: int, blocks: int = 2, classes: int = 0, widest: int = WIDEST
    ) -> None:
        super().__init__()
        start, _ = stages(size)
        channels = stage_channels(size, width, widest)
        depth = blocks * len(channels)
        self.modulation = _plain(nn.Linear(noise_dim, channels[0], bias=False))
        self.basis = nn.Parameter(torch.randn(channels[0], start, start))
        layers: list[nn.Module] = _blocks(channels[0], blocks, depth)
        for a, b in pairwise(channels):
            layers += [*_change(a, b), nn.Upsample(scale_factor=2, mode="bilinear"), *_blocks(b, blocks, depth)]
        self.net = nn.Sequential(*layers, _plain(nn.Conv2d(channels[-1], bands, 1)), nn.Tanh())
        self.embedding = nn.Embedding(classes, noise_dim) if classes else None

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Map noise z, and with classes the class y, to cubes."""
        if self.embedding is not None:
            z = z + self.embedding(y)
        return self.net(self.modulation(z)[:, :, None, None] * self.basis)


class R3ganCritic(nn.Module):
    """The discriminator, the generator's mirror: the cube is halved until 4 (or 7) pixels are left.

    A depthwise convolution over these gives one number per channel, the features φ, and a linear layer ψ the score. ψ has no
    bias: it would cancel in the relativistic loss, which sees only differences of scores.

    Args:
        bands: B.
        width: channels at the full size; each halving has twice as many, but at most `widest`.
        size: H = W, see `R3ganGenerator`.
        blocks: number of residual blocks of a stage, at least 1.
        classes: number of classes, 0 for none; see `critics.Projection`.
        widest: largest number of channels.

    Shape: cubes (N, B, H, W), with classes also y (N,) int64 -> (N,).

    Raises:
        ValueError: the size cannot be built, see `noise_settings.stages`.
    """

    def __init__(self, bands: int, width: int, size: int, blocks: int = 2, classes: int = 0, widest: int = WIDEST) -> None:
        super().__init__()
        start, _ = stages(size)
        channels = stage_channels(size, width, widest)[::-1]
        depth = blocks * len(channels)
        layers: list[nn.Module] = [_plain(nn.Conv2d(bands, channels[0], 1)), *_blocks(channels[0], blocks, depth)]
        for a, b in pairwise(channels):
            # the mean of 2x2 pixels is bilinear interpolation at half the size
            layers += [nn.AvgPool2d(2), *_change(a, b), *_blocks(b, blocks, depth)]
        last = channels[-1]
        self.phi = nn.Sequential(*layers, _plain(nn.Conv2d(last, last, start, groups=last, bias=False)), nn.Flatten())
        self.psi = _plain(nn.Linear(last, 1, bias=False))
        self.projection = Projection(classes, last, "none") if classes else None

    def forward(self, cube: Tensor, y: Tensor | None = None) -> Tensor:
        """Return the scores (N,) of cubes; a larger score means more real."""
        phi = self.phi(cube)  # (N, C)
        score = self.psi(phi).squeeze(1)
        return score if self.projection is None else score + self.projection(phi, y)


class ResidualBlock(nn.Module):
    """Residual block x + P(a(G(a(E(x))))) without normalisation, which is the identity at first.

    E is a 1x1 convolution to twice as many channels, G a grouped 3x3 convolution, P a 1x1 convolution back, and a is
    LeakyReLU(0.2). Initialisation (Fixup, m = 3 convolutions, L blocks): P is zero; E and G are those of He et al. 2015 for
    this activation times L^(-1/(2m - 2)) = L^(-1/4), so that the change after one update does not grow with L.

    Args:
        channels: C.
        depth: L, the number of residual blocks of the whole network.

    Shape: (N, C, H, W) -> (N, C, H, W).
    """

    def __init__(self, channels: int, depth: int) -> None:
        super().__init__()
        inner = EXPANSION * channels
        expand = nn.Conv2d(channels, inner, 1)
        grouped = nn.Conv2d(inner, inner, 3, padding=1, groups=groups(inner))
        project = nn.Conv2d(inner, channels, 1, bias=False)
        for conv in (expand, grouped):
            gain = nn.init.calculate_gain("leaky_relu", SLOPE) * depth**-0.25
            _plain(conv, gain)
        nn.init.zeros_(project.weight)
        self.branch = nn.Sequential(expand, nn.LeakyReLU(SLOPE), grouped, nn.LeakyReLU(SLOPE), project)

    def forward(self, x: Tensor) -> Tensor:
        """Return x plus what the three convolutions make of it."""
        return x + self.branch(x)


def stage_channels(size: int, width: int, widest: int = WIDEST) -> list[int]:
    """Return the numbers of channels of all stages, from the first map of 4 (or 7) pixels to the full size.

    Raises:
        ValueError: the size cannot be built, see `noise_settings.stages`.
    """
    _, doublings = stages(size)
    return [min(widest, width * 2**k) for k in range(doublings, -1, -1)]


def groups(channels: int) -> int:
    """Return the number of groups of a convolution of `channels` channels.

    A group has `GROUP_WIDTH` channels or, where that does not divide `channels`, the next larger divisor: any width works.
    """
    return next((channels // k for k in range(GROUP_WIDTH, channels + 1) if channels % k == 0), 1)


def _blocks(channels: int, count: int, depth: int) -> list[nn.Module]:
    return [ResidualBlock(channels, depth) for _ in range(count)]


def _change(a: int, b: int) -> list[nn.Module]:
    return [] if a == b else [_plain(nn.Conv2d(a, b, 1, bias=False))]


def _plain(layer: Layer, gain: float = 1.0) -> Layer:
    """Draw the weights from N(0, gain²/fan-in) and set the bias, if there is one, to zero; return the layer."""
    nn.init.normal_(layer.weight, 0.0, gain / math.sqrt(layer.weight[0].numel()))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
