"""Critics and discriminators of cubes, shared by all adversarial learners. Symbols: B bands, cubes (N, B, H, W).

Channel counts follow METHODS section 4. Where the papers give none, the counts here are this project's choice.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from hyperderm.learners.adversarial_settings import Norm


class Critic(nn.Module):
    """Wasserstein critic with a spatial arm on the cube and a spectral arm on |FFT along the bands|.

    The features of both arms are pooled, and one linear head turns them into the score.

    Args:
        bands: B; the FFT arm sees B // 2 + 1 bins and strides along them once.
        width: channels of the first stage (the paper's 32 gives the stages 32-64-128).
        dimensions: 3 for `conv3d` (bands are an axis), 2 for `conv2d` (bands are channels).
        fft_arm: whether the critic has the spectral arm.
        norm: normalisation inside the arms; the configuration refuses `batch` together with the gradient penalty.
        classes: number of classes of a class-conditional critic, 0 for none: see `Projection`.

    Shape: cubes (N, B, H, W), with classes also labels (N,) -> (N,).
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
        """Return the scores (N,) of cubes; a larger score means more real."""
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
    """The term ⟨e(y), φ(x)⟩ that a class adds to a critic's score (Miyato & Koyama 2018, eq. 3).

    Args:
        classes: number of classes.
        features: F, the number of features of a cube.
        norm: `spectral` applies spectral norm to the embedding e too.

    Shape: φ (N, F), y (N,) int64 -> (N,).
    """

    def __init__(self, classes: int, features: int, norm: Norm) -> None:
        super().__init__()
        e = nn.Embedding(classes, features)
        nn.init.normal_(e.weight, 0.0, 0.02)
        self.e = nn.utils.parametrizations.spectral_norm(e) if norm == "spectral" else e

    def forward(self, phi: Tensor, y: Tensor) -> Tensor:
        """Return the product ⟨e(y), φ(x)⟩ of each cube: (N,)."""
        return (self.e(y) * phi).sum(1)


def fft_modulus(cube: Tensor) -> Tensor:
    """Return |rfft along the bands| / sqrt(B): (N, B, H, W) -> (N, B // 2 + 1, H, W).

    The gradient penalty needs a second derivative; a small constant under the root keeps that derivative finite at zero.
    """
    z = torch.fft.rfft(cube.float() if cube.dtype in (torch.bfloat16, torch.float16) else cube, dim=1, norm="ortho")
    return torch.sqrt(z.real**2 + z.imag**2 + 1e-8)


def _arm3d(width: int, kernels: list[int], band_strides: list[int], norm: Norm) -> nn.Sequential:
    """Return three 3-D stages of channels 1 -> w -> 2w -> 4w.

    Along the bands they have `kernels` and `band_strides`; in space the kernel is 4 px and the stride is 2.
    """
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
    """Return a stage of a critic: the convolution, its norm (the `first` stage has no batch norm), and LeakyReLU(0.2)."""
    if norm == "spectral":
        return [nn.utils.parametrizations.spectral_norm(conv), nn.LeakyReLU(0.2)]
    extra: list[nn.Module] = []
    if norm == "layer":
        extra = [nn.GroupNorm(1, channels)]  # one group over (C, …): layer norm for any size
    elif norm == "batch" and not first:
        extra = [batch_norm(channels)]
    return [conv, *extra, nn.LeakyReLU(0.2)]
