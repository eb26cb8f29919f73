"""SHS-GAN networks (Hauser et al., IEEE TCI 7, 2021) and the rungs of the seed ladder. Symbols: B bands, (N, B, H, W).

Channel counts follow METHODS section 4; where the paper is silent they are this project's choice and declared here.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

Norm = Literal["none", "spectral", "layer", "batch"]
FEWEST_BANDS = 7
"""The spatial arm of the 3-D critic halves the bands three times."""


class UNetGenerator(nn.Module):
    """RGB image -> cube: U-Net w-2w-4w, bottleneck 8w (64-128-256-512), skips, instance norm.

    The first encoder stage and the last decoder stage carry no norm: instance norm removes each image's level, and the
    exposure of the input must survive into the cube.

    Args:
        bands: B.
        width: w.

    Shape: (N, 3, H, W) in [-1, 1] -> (N, B, H, W) in [-1, 1]; H and W divisible by 8.
    """

    def __init__(self, bands: int, width: int) -> None:
        super().__init__()
        w = width
        self.enc1 = _double_conv(3, w, norm=False)
        self.enc2 = _double_conv(w, 2 * w)
        self.enc3 = _double_conv(2 * w, 4 * w)
        self.mid = _double_conv(4 * w, 8 * w)
        self.dec3 = _double_conv(8 * w + 4 * w, 4 * w)
        self.dec2 = _double_conv(4 * w + 2 * w, 2 * w)
        self.dec1 = _double_conv(2 * w + w, w, norm=False)
        self.out = nn.Conv2d(w, bands, 1)
        self.down = nn.AvgPool2d(2)
        self.up = nn.Upsample(scale_factor=2, mode="nearest")

    def forward(self, rgb: Tensor) -> Tensor:
        """Map RGB images to cubes."""
        e1 = self.enc1(rgb)  # (N, w, H, W)
        e2 = self.enc2(self.down(e1))  # (N, 2w, H/2, W/2)
        e3 = self.enc3(self.down(e2))  # (N, 4w, H/4, W/4)
        m = self.mid(self.down(e3))  # (N, 8w, H/8, W/8)
        d3 = self.dec3(torch.cat([self.up(m), e3], 1))
        d2 = self.dec2(torch.cat([self.up(d3), e2], 1))
        d1 = self.dec1(torch.cat([self.up(d2), e1], 1))  # (N, w, H, W)
        return torch.tanh(self.out(d1))


class DcganGenerator(nn.Module):
    """Noise -> cube: DCGAN (METHODS section 3), widths halved at every doubling from 4 px, BN + ReLU, tanh.

    Args:
        bands: B.
        width: channels at the last stage before the output.
        size: H = W, a power of two from 16.
        noise_dim: length of z.

    Shape: (N, noise_dim) -> (N, B, H, W) in [-1, 1].
    """

    def __init__(self, bands: int, width: int, size: int, noise_dim: int) -> None:
        super().__init__()
        stages = (size // 4).bit_length() - 1
        widths = [width * 2**k for k in range(stages - 1, -1, -1)]
        layers: list[nn.Module] = [nn.ConvTranspose2d(noise_dim, widths[0], 4, bias=False), *_bn_relu(widths[0])]
        for a, b in pairwise(widths):
            layers += [nn.ConvTranspose2d(a, b, 4, 2, 1, bias=False), *_bn_relu(b)]
        layers += [nn.ConvTranspose2d(widths[-1], bands, 4, 2, 1), nn.Tanh()]
        self.net = nn.Sequential(*layers)

    def forward(self, z: Tensor) -> Tensor:
        """Map noise to cubes."""
        return self.net(z[:, :, None, None])


class Critic(nn.Module):
    """Wasserstein critic: a spatial arm on the cube and a spectral arm on |FFT along the bands|, pooled, one linear head.

    Args:
        bands: B; the FFT arm sees B // 2 + 1 bins and strides along them once.
        width: channels of the first stage (32-64-128 at the paper's 32).
        dimensions: 3 for `conv3d` (bands are an axis), 2 for `conv2d` (bands are channels).
        fft_arm: whether the spectral arm is there.
        norm: inside the arms; `batch` is refused with the gradient penalty by the configuration.

    Shape: (N, B, H, W) -> (N,).
    """

    def __init__(self, bands: int, width: int, dimensions: Literal[2, 3], fft_arm: bool, norm: Norm) -> None:
        super().__init__()
        self.dimensions = dimensions
        bins = bands // 2 + 1
        if dimensions == 3:
            self.spatial = _arm3d(width, [5, 4, 4], [2, 2, 2], norm)
            self.spectral = _arm3d(width, [3, 3, 3], [2, 1, 1], norm) if fft_arm else None
        else:
            self.spatial = _arm2d(bands, width, norm)
            self.spectral = _arm2d(bins, width, norm) if fft_arm else None
        head = nn.Linear(4 * width * (2 if fft_arm else 1), 1)
        self.head = nn.utils.parametrizations.spectral_norm(head) if norm == "spectral" else head

    def forward(self, cube: Tensor) -> Tensor:
        """Score cubes; larger means more real."""
        features = [self._pooled(self.spatial, cube)]
        if self.spectral is not None:
            features.append(self._pooled(self.spectral, fft_modulus(cube)))
        return self.head(torch.cat(features, 1)).squeeze(1)

    def _pooled(self, arm: nn.Module, x: Tensor) -> Tensor:
        y = arm(x[:, None] if self.dimensions == 3 else x)  # (N, 4w, [D,] h, w)
        return y.flatten(2).mean(2)


def fft_modulus(cube: Tensor) -> Tensor:
    """Return |rfft along the bands| / sqrt(B): (N, B, H, W) -> (N, B // 2 + 1, H, W).

    A small constant under the root keeps the second derivative, which the gradient penalty needs, finite at zero.
    """
    z = torch.fft.rfft(cube.float() if cube.dtype in (torch.bfloat16, torch.float16) else cube, dim=1, norm="ortho")
    return torch.sqrt(z.real**2 + z.imag**2 + 1e-8)


def dcgan_init(module: nn.Module) -> None:
    """Set convolutions to N(0, .02) and batch norm to N(1, .02), as DCGAN does."""
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)


def _double_conv(a: int, b: int, norm: bool = True) -> nn.Sequential:
    layers: list[nn.Module] = []
    for cin in (a, b):
        layers.append(nn.Conv2d(cin, b, 3, padding=1, padding_mode="reflect"))  # zeros would draw a frame
        if norm:
            layers.append(nn.InstanceNorm2d(b, affine=True))
        layers.append(nn.LeakyReLU(0.2))
    return nn.Sequential(*layers)


def _bn_relu(channels: int) -> list[nn.Module]:
    return [nn.BatchNorm2d(channels), nn.ReLU()]


def _arm3d(width: int, kernels: list[int], band_strides: list[int], norm: Norm) -> nn.Sequential:
    """1 -> w -> 2w -> 4w; `kernels` and `band_strides` along the bands, 4 px stride 2 in space."""
    layers: list[nn.Module] = []
    channels = [1, width, 2 * width, 4 * width]
    for a, b, k, s in zip(channels, channels[1:], kernels, band_strides, strict=False):
        conv = nn.Conv3d(a, b, (k, 4, 4), (s, 2, 2), (k // 2 if k % 2 else 1, 1, 1))
        layers += _normed(conv, b, norm, nn.BatchNorm3d, first=a == 1)
    return nn.Sequential(*layers)


def _arm2d(bands: int, width: int, norm: Norm) -> nn.Sequential:
    layers: list[nn.Module] = []
    channels = [bands, width, 2 * width, 4 * width]
    for stage, (a, b) in enumerate(pairwise(channels)):
        layers += _normed(nn.Conv2d(a, b, 4, 2, 1), b, norm, nn.BatchNorm2d, first=stage == 0)
    return nn.Sequential(*layers)


def _normed(
    conv: nn.Module, channels: int, norm: Norm, batch_norm: Callable[[int], nn.Module], first: bool
) -> list[nn.Module]:
    if norm == "spectral":
        return [nn.utils.parametrizations.spectral_norm(conv), nn.LeakyReLU(0.2)]
    extra: list[nn.Module] = []
    if norm == "layer":
        extra = [nn.GroupNorm(1, channels)]  # one group over (C, …): layer norm for any size
    elif norm == "batch" and not first:
        extra = [batch_norm(channels)]
    return [conv, *extra, nn.LeakyReLU(0.2)]
