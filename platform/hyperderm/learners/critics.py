"""Critics and discriminators of cubes, shared by all adversarial learners. Symbols: B bands, (N, B, H, W).

Channel counts follow METHODS section 4; where the papers are silent they are this project's choice and declared here.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from hyperderm.learners.adversarial_settings import Norm


class Critic(nn.Module):
    """Wasserstein critic: a spatial arm on the cube and a spectral arm on |FFT along the bands|, pooled, one linear head.

    Args:
        bands: B; the FFT arm sees B // 2 + 1 bins and strides along them once.
        width: channels of the first stage (32-64-128 at the paper's 32).
        dimensions: 3 for `conv3d` (bands are an axis), 2 for `conv2d` (bands are channels).
        fft_arm: whether the spectral arm is there.
        norm: inside the arms; `batch` is refused with the gradient penalty by the configuration.
        classes: number of classes it is told, 0 for none: see `Projection`.

    Shape: (N, B, H, W), with classes also (N,) -> (N,).
    """

    def __init__(
        self, bands: int, width: int, dimensions: Literal[2, 3], fft_arm: bool, norm: Norm, classes: int = 0
    ) -> None:
        super().__init__()
        self.dimensions = dimensions
        bins = bands // 2 + 1
        if dimensions == 3:
            self.spatial = _arm3d(width, [5, 4, 4], [2, 2, 2], norm)
            self.spectral = _arm3d(width, [3, 3, 3], [2, 1, 1], norm) if fft_arm else None
        else:
            self.spatial = _arm2d(bands, width, norm)
            self.spectral = _arm2d(bins, width, norm) if fft_arm else None
        features = 4 * width * (2 if fft_arm else 1)
        head = nn.Linear(features, 1)
        self.head = nn.utils.parametrizations.spectral_norm(head) if norm == "spectral" else head
        self.projection = Projection(classes, features, norm) if classes else None

    def forward(self, cube: Tensor, labels: Tensor | None = None) -> Tensor:
        """Score cubes; larger means more real."""
        arms = [self._pooled(self.spatial, cube)]
        if self.spectral is not None:
            arms.append(self._pooled(self.spectral, fft_modulus(cube)))
        features = torch.cat(arms, 1)
        score = self.head(features).squeeze(1)
        return score if self.projection is None else score + self.projection(features, labels)

    def _pooled(self, arm: nn.Module, x: Tensor) -> Tensor:
        y = arm(x[:, None] if self.dimensions == 3 else x)  # (N, 4w, [D,] h, w)
        return y.flatten(2).mean(2)


class Projection(nn.Module):
    """What a class adds to a critic's score: ⟨e(y), φ(x)⟩ (Miyato & Koyama 2018, eq. 3).

    Args:
        classes: number of them.
        features: F.
        norm: `spectral` bounds e too.

    Shape: φ (N, F), y (N,) int64 -> (N,).
    """

    def __init__(self, classes: int, features: int, norm: Norm) -> None:
        super().__init__()
        e = nn.Embedding(classes, features)
        nn.init.normal_(e.weight, 0.0, 0.02)
        self.e = nn.utils.parametrizations.spectral_norm(e) if norm == "spectral" else e

    def forward(self, phi: Tensor, y: Tensor) -> Tensor:
        """Return the product for each cube."""
        return (self.e(y) * phi).sum(1)


def fft_modulus(cube: Tensor) -> Tensor:
    """Return |rfft along the bands| / sqrt(B): (N, B, H, W) -> (N, B // 2 + 1, H, W).

    A small constant under the root keeps the second derivative, which the gradient penalty needs, finite at zero.
    """
    z = torch.fft.rfft(cube.float() if cube.dtype in (torch.bfloat16, torch.float16) else cube, dim=1, norm="ortho")
    return torch.sqrt(z.real**2 + z.imag**2 + 1e-8)


def _arm3d(width: int, kernels: list[int], band_strides: list[int], norm: Norm) -> nn.Sequential:
    """1 -> w -> 2w -> 4w; `kernels` and `band_strides` along the bands, 4 px stride 2 in space."""
    layers: list[nn.Module] = []
    channels = [1, width, 2 * width, 4 * width]
    for a, b, k, s in zip(channels, channels[1:], kernels, band_strides, strict=False):
        conv = nn.Conv3d(a, b, (k, 4, 4), (s, 2, 2), (k // 2 if k % 2 else 1, 1, 1))
        layers += normed(conv, b, norm, nn.BatchNorm3d, first=a == 1)
    return nn.Sequential(*layers)


def _arm2d(bands: int, width: int, norm: Norm) -> nn.Sequential:
    layers: list[nn.Module] = []
    channels = [bands, width, 2 * width, 4 * width]
    for stage, (a, b) in enumerate(pairwise(channels)):
        layers += normed(nn.Conv2d(a, b, 4, 2, 1), b, norm, nn.BatchNorm2d, first=stage == 0)
    return nn.Sequential(*layers)


def normed(
    conv: nn.Module, channels: int, norm: Norm, batch_norm: Callable[[int], nn.Module], first: bool
) -> list[nn.Module]:
    """Return a stage of a critic: the convolution, its norm (no batch norm on the `first` one), LeakyReLU(0.2)."""
    if norm == "spectral":
        return [nn.utils.parametrizations.spectral_norm(conv), nn.LeakyReLU(0.2)]
    extra: list[nn.Module] = []
    if norm == "layer":
        extra = [nn.GroupNorm(1, channels)]  # one group over (C, …): layer norm for any size
    elif norm == "batch" and not first:
        extra = [batch_norm(channels)]
    return [conv, *extra, nn.LeakyReLU(0.2)]
