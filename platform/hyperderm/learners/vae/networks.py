"""The networks of the VAE (METHODS section 6) for any number of bands B. Cubes are (N, B, H, W) in [-1, 1].

METHODS gives: an encoder of conv k4 s2, norm and ReLU, doubling the channels down to 8x8; z of 64 numbers; a U-Net-style
decoder whose skip features are made from z. Choices of this project:

- Sizes are 4 or 7 times a power of two; halving ends at 8 px (or 7), so 16 px has one stage, 64 px three, 256 px five.
- The last map is flattened, and one linear layer gives μ and log σ².
- A decoder cannot see the encoder's maps when it samples. At each scale it gets a map that a linear layer makes from z
  instead, with as many channels as the scale has, 8x8 (or 7x7), enlarged bilinearly: a short way from z to each scale.
- Classes: the encoder adds an embedding of the class to (μ, log σ²), the decoder adds one to z.
- Enlarging convolutions are transposed, k4 s2, as DCGAN's; each other convolution of the decoder is 3x3.
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from hyperderm.learners.noise_settings import stages

Norm = Literal["batch", "layer"]

LAST = 8
"""Halving ends at a map of at most this many pixels a side."""


class VaeEncoder(nn.Module):
    """Encoder from a cube to the mean and the log-variance of its latent vector.

    Args:
        bands: B.
        width: channels of the first stage, at half the size; each further stage has twice as many.
        size: H = W, see `halvings`.
        latent_dim: Z.
        norm: `batch`, or `layer`, which is layer norm over (C, H, W) and sees one cube at a time.
        classes: number of classes, 0 for none; an embedding of the class is added to the outputs.

    Shape: cubes (N, B, H, W), with classes also y (N,) int64 -> (μ, log σ²), each (N, Z).

    Raises:
        ValueError: the size cannot be built.
    """

    def __init__(self, bands: int, width: int, size: int, latent_dim: int, norm: Norm = "batch", classes: int = 0) -> None:
        super().__init__()
        times = halvings(size)
        layers: list[nn.Module] = []
        previous = bands
        for channels in stage_channels(width, times):
            layers += [nn.Conv2d(previous, channels, 4, 2, 1, bias=False), *_norm_relu(channels, norm)]
            previous = channels
        self.net = nn.Sequential(*layers, nn.Flatten())
        self.heads = nn.Linear(previous * (size >> times) ** 2, 2 * latent_dim)
        self.embedding = nn.Embedding(classes, 2 * latent_dim) if classes else None
        if self.embedding is not None:
            nn.init.zeros_(self.embedding.weight)  # so that no class begins with a penalty of its own

    def forward(self, cube: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return μ and log σ² of cubes, with classes of the classes y."""
        heads = self.heads(self.net(cube))
        if self.embedding is not None:
            heads = heads + self.embedding(y)
        mu, log_variance = heads.chunk(2, 1)
        return mu, log_variance


class VaeDecoder(nn.Module):
    """Decoder from a latent vector to a cube: the generator of the VAE.

    Args:
        bands: B.
        width: channels at the full size and at half of it; each further halving has twice as many.
        size: H = W, see `halvings`.
        latent_dim: Z.
        norm: see `VaeEncoder`.
        classes: number of classes, 0 for none; the embedding of the class is added to z.

    Shape: z (N, Z), with classes also y (N,) int64 -> (N, B, H, W) in [-1, 1].

    Raises:
        ValueError: the size cannot be built.
    """

    def __init__(self, bands: int, width: int, size: int, latent_dim: int, norm: Norm = "batch", classes: int = 0) -> None:
        super().__init__()
        times = halvings(size)
        side = size >> times
        encoder = stage_channels(width, times)
        previous = encoder[-1]
        self.first = nn.Sequential(
            nn.Linear(latent_dim, previous * side**2),
            nn.Unflatten(1, (previous, side, side)),
            *_norm_relu(previous, norm),
        )
        self.scales = nn.ModuleList()
        for channels in [*encoder[-2::-1], width]:
            self.scales.append(_Scale(previous, channels, latent_dim, side, norm))
            previous = channels
        self.last = nn.Conv2d(previous, bands, 3, padding=1)
        self.embedding = nn.Embedding(classes, latent_dim) if classes else None

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Map latent vectors z, and with classes the class y, to cubes."""
        if self.embedding is not None:
            z = z + self.embedding(y)
        x = self.first(z)
        for scale in self.scales:
            x = scale(x, z)
        return torch.tanh(self.last(x))


class _Scale(nn.Module):
    """One scale of the decoder: the map is doubled, and merged with a map that is made from z.

    Shape: x (N, a, h, h), z (N, Z) -> (N, b, 2h, 2h).
    """

    def __init__(self, a: int, b: int, latent_dim: int, side: int, norm: Norm) -> None:
        super().__init__()
        self.up = nn.Sequential(nn.ConvTranspose2d(a, b, 4, 2, 1, bias=False), *_norm_relu(b, norm))
        self.skip = nn.Sequential(nn.Linear(latent_dim, b * side**2), nn.Unflatten(1, (b, side, side)))
        self.merge = nn.Sequential(nn.Conv2d(2 * b, b, 3, padding=1, bias=False), *_norm_relu(b, norm))

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        up = self.up(x)
        skip = interpolate(self.skip(z), up.shape[2:], mode="bilinear")
        return self.merge(torch.cat([up, skip], 1))


def latent(mu: Tensor, log_variance: Tensor, noise: Tensor) -> Tensor:
    """Return z = μ + σ ε: a draw from N(μ, σ²) through which gradients pass (Kingma & Welling 2014).

    Args:
        mu: μ (N, Z).
        log_variance: log σ² (N, Z).
        noise: ε (N, Z), standard normal.
    """
    return mu + torch.exp(0.5 * log_variance) * noise


def halvings(size: int) -> int:
    """Return how often a side of `size` pixels is halved until 8 px (or 7) are left.

    Raises:
        ValueError: the size is neither 4 nor 7 times a power of two of at least 4.
    """
    start, doublings = stages(size)
    return doublings - (1 if 2 * start <= LAST else 0)


def stage_channels(width: int, times: int) -> list[int]:
    """Return the numbers of channels of the encoder's stages: `width`, doubled from stage to stage."""
    return [width * 2**k for k in range(times)]


def _norm_relu(channels: int, norm: Norm) -> list[nn.Module]:
    return [nn.BatchNorm2d(channels) if norm == "batch" else nn.GroupNorm(1, channels), nn.ReLU()]
