"""The networks of the hierarchical VAE for any number of channels B. Cubes are (N, B, H, W) in [-1, 1].

They follow the idea of Child, "Very Deep VAEs generalize autoregressive models and can outperform them on images" (ICLR
2021, arXiv 2011.10650). From the paper: bottleneck residual blocks (1x1, 3x3, 3x3, 1x1, GELU before each; 1x1 alone at 1 px)
of a quarter of the width inside; a top-down path with a prior and a posterior in each block; nearest-neighbour enlarging;
means as halving; last layers of residual branches scaled by 1/√depth; a prior that begins as N(0, I); a learned start map of
each resolution. Choices of this project:

- Sizes are 4 or 7 times a power of two; resolutions are 1, 4 (or 7), 8, 16 … to the size, with as many blocks each.
- The width is the same at all resolutions, and the same in encoder and decoder.
- Start maps exist up to 64 px, at larger sizes the enlarged map begins alone (as in the paper's code base for 256 px).
- Classes: each block adds an embedding of the class to its input, the first one therefore to the start. The encoder is not
  told; the posterior is, because it sees that input.
- The output is tanh of a 1x1 convolution, the median of Laplace noise; samples do not contain that noise.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate

from hyperderm.learners.hvae.losses import gaussian_kl
from hyperderm.learners.noise_settings import stages

LARGEST_START = 64
"""Largest side of a learned start map in pixels."""
SQUEEZE = 4
"""How many times narrower a block is inside."""


def sides(size: int) -> tuple[int, ...]:
    """Return the sides of all resolutions in pixels, from coarse to fine: 1, 4 (or 7), 8 … `size`.

    Raises:
        ValueError: the size is neither 4 nor 7 times a power of two of at least 4.
    """
    start, doublings = stages(size)
    return (1, *(start * 2**k for k in range(doublings + 1)))


def noise_length(size: int, blocks: int, latent_channels: int) -> int:
    """Return how many standard normal numbers the latent maps of one cube of `size` pixels are made of."""
    return latent_channels * blocks * sum(side * side for side in sides(size))


class Passed(NamedTuple):
    """What the decoder made of cubes by their posterior.

    Attributes:
        cubes: (N, B, H, W) in [-1, 1].
        kl: (N, R) divergence of posterior and prior at each of the R resolutions of `sides`, summed, in nats.
    """

    cubes: Tensor
    kl: Tensor


class Bottleneck(nn.Sequential):
    """GELU and convolution, four times: 1x1, 3x3, 3x3, 1x1; maps of 1 px have 1x1 alone.

    Args:
        given: number of channels it gets.
        inner: number of channels inside.
        made: number of channels it returns.
        side: H = W of its maps in pixels.
        last: factor of the initial weights of the last convolution.
    """

    def __init__(self, given: int, inner: int, made: int, side: int, last: float = 1.0) -> None:
        kernel = 3 if side > 1 else 1
        ways = [(given, inner, 1), (inner, inner, kernel), (inner, inner, kernel), (inner, made, 1)]
        convolutions = [nn.Conv2d(a, b, k, padding=k // 2) for a, b, k in ways]
        for convolution in convolutions:
            nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
        with torch.no_grad():
            convolutions[-1].weight.mul_(last)
        super().__init__(*(layer for each in convolutions for layer in (nn.GELU(), each)))


class BottomUp(nn.Module):
    """The encoder: from a cube to activations at every resolution.

    Args:
        bands: B.
        width: number of channels.
        size: H = W, see `sides`.
        blocks: number of residual blocks at each resolution.

    Shape: cubes (N, B, H, W) -> one (N, width, s, s) for each side s of `sides`, from coarse to fine.

    Raises:
        ValueError: the size cannot be built.
    """

    def __init__(self, bands: int, width: int, size: int, blocks: int) -> None:
        super().__init__()
        self.sides = sides(size)
        self.first = nn.Conv2d(bands, width, 3, padding=1)
        last = (blocks * len(self.sides)) ** -0.5
        self.blocks = nn.ModuleList(
            nn.ModuleList(Bottleneck(width, _inner(width), width, side, last) for _ in range(blocks))
            for side in reversed(self.sides)
        )

    def forward(self, cubes: Tensor) -> list[Tensor]:
        """Return the activations of all resolutions, from coarse to fine."""
        x = self.first(cubes)
        seen: list[Tensor] = []
        for side, blocks in zip(reversed(self.sides), self.blocks, strict=True):
            x = avg_pool2d(x, x.shape[2] // side) if x.shape[2] > side else x
            for block in blocks:  # type: ignore[attr-defined]
                x = x + block(x)
            seen.append(x)
        return seen[::-1]


class TopDownBlock(nn.Module):
    """One step of the decoder: it draws a latent map given the path above, from the prior or from the posterior.

    With x the map, e the embedding of the class, a the encoder's activations and ε standard normal noise:
    x ← x + e; (μp, log σp, h) = prior(x); z = μp + σp ε, or with a: (μq, log σq) = posterior(x, a), z = μq + σq ε;
    x ← x + h + W z; x ← x + residual(x).

    Args:
        width: C, number of channels.
        latent: Z, number of channels of the latent map.
        side: s, H = W of the maps in pixels.
        last: factor of the initial weights of W and of the last layer of `residual`.
        classes: number of classes, 0 for none.
    """

    def __init__(self, width: int, latent: int, side: int, last: float, classes: int = 0) -> None:
        super().__init__()
        inner = _inner(width)
        self.latent, self.side = latent, side
        self.prior = Bottleneck(width, inner, 2 * latent + width, side, 0.0)
        self.posterior = Bottleneck(2 * width, inner, 2 * latent, side)
        self.project = nn.Conv2d(latent, width, 1)
        nn.init.zeros_(self.project.bias)  # type: ignore[arg-type]
        with torch.no_grad():
            self.project.weight.mul_(last)
        self.residual = Bottleneck(width, inner, width, side, last)
        self.embedding = nn.Embedding(classes, width) if classes else None
        if self.embedding is not None:
            nn.init.normal_(self.embedding.weight, 0.0, last)

    def forward(
        self, x: Tensor, noise: Tensor, y: Tensor | None, seen: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Return the next map, and KL(posterior ‖ prior) in nats.

        Args:
            x: (N, C, s, s).
            noise: ε (N, Z, s, s), in the precision of the distributions.
            y: (N,) int64 classes, None without classes.
            seen: the encoder's activations (N, C, s, s); None draws from the prior.

        Returns:
            (N, C, s, s); and (N,), or None without `seen`.
        """
        if self.embedding is not None:
            x = x + self.embedding(y)[:, :, None, None]
        mu_p, log_p, more = self.prior(x).split([self.latent, self.latent, x.shape[1]], 1)
        mu_p, log_p = mu_p.to(noise.dtype), log_p.to(noise.dtype)
        kl = None
        if seen is None:
            z = mu_p + log_p.exp() * noise
        else:
            mu_q, log_q = (each.to(noise.dtype) for each in self.posterior(torch.cat([x, seen], 1)).chunk(2, 1))
            z = mu_q + log_q.exp() * noise
            kl = gaussian_kl(mu_q, log_q, mu_p, log_p).sum((1, 2, 3))
        x = x + more + self.project(z)
        return x + self.residual(x), kl


class TopDown(nn.Module):
    """The decoder, which is the generator: from noise, and in training the encoder's activations, to cubes.

    Args:
        bands: B.
        width: number of channels.
        size: H = W, see `sides`.
        blocks: number of top-down blocks at each resolution.
        latent_channels: number of channels of each latent map.
        classes: number of classes, 0 for none.

    Raises:
        ValueError: the size cannot be built.
    """

    def __init__(self, bands: int, width: int, size: int, blocks: int, latent_channels: int, classes: int = 0) -> None:
        super().__init__()
        self.sides = sides(size)
        last = (blocks * len(self.sides)) ** -0.5
        self.starts = nn.ParameterList(torch.zeros(1, width, s, s) for s in self.sides if s <= LARGEST_START)
        self.blocks = nn.ModuleList(
            nn.ModuleList(TopDownBlock(width, latent_channels, side, last, classes) for _ in range(blocks))
            for side in self.sides
        )
        self.gain = nn.Parameter(torch.ones(1, width, 1, 1))
        self.offset = nn.Parameter(torch.zeros(1, width, 1, 1))
        self.last = nn.Conv2d(width, bands, 1)
        self._cuts = [latent_channels * side * side for side in self.sides for _ in range(blocks)]

    def forward(self, noise: Tensor, seen: Sequence[Tensor], y: Tensor | None = None) -> Passed:
        """Rebuild cubes from latent maps of the posterior.

        Args:
            noise: (N, `noise_length`) standard normal; zeros take the means of the posteriors.
            seen: what `BottomUp` returned.
            y: (N,) int64 classes, with classes.
        """
        cubes, kl = self._passed(noise, y, seen)
        return Passed(cubes, torch.stack(kl, 1))

    def sampled(self, noise: Tensor, y: Tensor | None = None) -> Tensor:
        """Return new cubes (N, B, H, W) from latent maps of the prior alone; arguments as those of `forward`."""
        return self._passed(noise, y, None)[0]

    def _passed(self, noise: Tensor, y: Tensor | None, seen: Sequence[Tensor] | None) -> tuple[Tensor, list[Tensor]]:
        parts = iter(noise.split(self._cuts, 1))
        x = self.starts[0].expand(len(noise), -1, -1, -1)
        divergences: list[Tensor] = []
        for level, (side, blocks) in enumerate(zip(self.sides, self.blocks, strict=True)):
            if level:
                x = interpolate(x, scale_factor=side // self.sides[level - 1])
                x = x + self.starts[level] if level < len(self.starts) else x
            of_level = noise.new_zeros(len(noise))
            for block in blocks:  # type: ignore[attr-defined]
                drawn = next(parts).unflatten(1, (-1, side, side))
                x, kl = block(x, drawn, y, None if seen is None else seen[level])
                of_level = of_level if kl is None else of_level + kl
            divergences.append(of_level)
        return torch.tanh(self.last(self.gain * x + self.offset)), divergences


def _inner(width: int) -> int:
    return max(width // SQUEEZE, 1)
