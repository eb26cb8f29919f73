"""The layers of FastGAN's two networks (METHODS section 5). Maps are (N, C, H, W); convolutions have spectral norm, no bias.

Initial weights are drawn as FastGAN does: N(0, .02) for convolutions, N(1, .02) for the factors of batch norm, 0 for its
offsets. (With spectral norm the scale of a convolution changes only how fast an optimizer turns it.)
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv_transpose2d, interpolate, pad

from hyperderm.learners.spectral_norm import Convolution, spectral_norm

Norm = Literal["batch", "layer"]

FOLDED_FROM = 16
"""Side of the map from which `UpsampledConv` does both of its steps in one; below, the sums of weights cost more (CPU)."""


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int = 0) -> nn.Conv2d:
    """Return a convolution without bias, with FastGAN's initial weights and spectral norm."""
    return drawn(nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False))


def drawn(convolution: Convolution) -> Convolution:
    """Draw the weights of a convolution from N(0, .02) and give it spectral norm."""
    nn.init.normal_(convolution.weight, 0.0, 0.02)
    return spectral_norm(convolution)


def normalised(channels: int, norm: Norm) -> nn.Module:
    """Return batch norm, or layer norm: a group norm of one group, which does not depend on the batch."""
    if norm == "layer":
        return nn.GroupNorm(1, channels)
    layer = nn.BatchNorm2d(channels)
    nn.init.normal_(layer.weight, 1.0, 0.02)
    return layer


def glu(x: Tensor) -> Tensor:
    """Return the first half of the channels times the sigmoid of the second half.

    torch's own `glu` does the same, three times slower on CPU where maps lie in `channels_last` memory.
    """
    a, b = x.chunk(2, 1)
    return a * b.sigmoid()


class UpsampledConv(nn.Conv2d):
    """A convolution of 3 pixels on a map that was doubled by repeating each pixel: (N, I, H, W) -> (N, O, 2H, 2W).

    On larger maps both steps are one transposed convolution of kernel 4 and stride 2, whose weights are sums of the nine
    weights. The result is the same up to rounding, and needs 4 instead of 9 products for each weight and pixel.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Double the map and convolve it."""
        if x.shape[2] < FOLDED_FROM:
            return super().forward(interpolate(x, scale_factor=2.0))
        w = self.weight.flip(2, 3)
        w = pad(w, (0, 0, 0, 1)) + pad(w, (0, 0, 1, 0))
        w = pad(w, (0, 1, 0, 0)) + pad(w, (1, 0, 0, 0))  # (O, I, 4, 4): the nine weights, correlated with 2 x 2 ones
        return conv_transpose2d(x, w.transpose(0, 1), stride=2, padding=1)


class Noise(nn.Module):
    """Adds a map of noise, times one learned number that is 0 at first."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, noise: Tensor | None) -> Tensor:
        """Return x, (N, C, H, W), plus scaled `noise` (N, 1, H, W), or x alone."""
        return x if noise is None else x + self.scale * noise


class Up(nn.Module):
    """FastGAN's UpBlock: doubles the map, convolution of 3 px to 2C channels, norm, GLU: (N, I, H, W) -> (N, C, 2H, 2W)."""

    def __init__(self, inputs: int, channels: int, norm: Norm) -> None:
        super().__init__()
        self.conv = drawn(UpsampledConv(inputs, 2 * channels))
        self.norm = normalised(2 * channels, norm)

    def forward(self, x: Tensor, noise: tuple[Tensor, ...] = ()) -> Tensor:
        """Return the doubled map; the block takes no noise."""
        return glu(self.norm(self.conv(x)))


class UpComp(nn.Module):
    """FastGAN's UpBlockComp: like `Up`, with noise before the norm, and a second such stage that does not double the map."""

    def __init__(self, inputs: int, channels: int, norm: Norm) -> None:
        super().__init__()
        self.conv1 = drawn(UpsampledConv(inputs, 2 * channels))
        self.noise1, self.norm1 = Noise(), normalised(2 * channels, norm)
        self.conv2 = conv(channels, 2 * channels, 3, padding=1)
        self.noise2, self.norm2 = Noise(), normalised(2 * channels, norm)

    def forward(self, x: Tensor, noise: tuple[Tensor, ...] = ()) -> Tensor:
        """Return the doubled map; `noise` is empty, or two maps (N, 1, 2H, 2W)."""
        first, second = noise or (None, None)
        x = glu(self.norm1(self.noise1(self.conv1(x), first)))
        return glu(self.norm2(self.noise2(self.conv2(x), second)))


class Excitation(nn.Module):
    """Skip-layer excitation (SLE): a map of few pixels gives a factor in (0, 1) for each channel of another map.

    Mean over 4 x 4 fields, convolution of 4 pixels, Swish, convolution of 1 pixel, sigmoid.

    Shape: low (N, I, h, h) with h a multiple of 4 -> (N, O, 1, 1).
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.net = nn.Sequential(conv(inputs, outputs, 4), nn.SiLU(), conv(outputs, outputs, 1), nn.Sigmoid())

    def forward(self, low: Tensor) -> Tensor:
        """Return the factors."""
        # Not an adaptive pooling: its gradient on a GPU is not the same from run to run.
        gate: Tensor = self.net(avg_pool2d(low, low.shape[2] // 4) if low.shape[2] > 4 else low)
        return gate


class Down(nn.Sequential):
    """Convolution of 4 pixels and stride 2, norm, LeakyReLU(0.2): (N, I, H, W) -> (N, C, H/2, W/2)."""

    def __init__(self, inputs: int, channels: int, norm: Norm) -> None:
        super().__init__(conv(inputs, channels, 4, 2, 1), normalised(channels, norm), nn.LeakyReLU(0.2, inplace=True))


class DownResidual(nn.Module):
    """The mean of two ways to halve a map: (N, I, H, W) -> (N, C, H/2, W/2).

    One is `Down` followed by a convolution of 3 pixels, norm and LeakyReLU(0.2). The other is a 2 x 2 mean followed by a
    convolution of 1 pixel, norm and LeakyReLU(0.2).
    """

    def __init__(self, inputs: int, channels: int, norm: Norm) -> None:
        super().__init__()
        self.main = nn.Sequential(
            *Down(inputs, channels, norm), conv(channels, channels, 3, padding=1), normalised(channels, norm),
            nn.LeakyReLU(0.2, inplace=True),
        )  # fmt: skip
        self.direct = nn.Sequential(
            nn.AvgPool2d(2), conv(inputs, channels, 1), normalised(channels, norm), nn.LeakyReLU(0.2, inplace=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the halved map."""
        halved: Tensor = (self.main(x) + self.direct(x)) / 2
        return halved


class FirstMap(nn.Module):
    """The generator's first map: transposed convolution of 4 pixels to 2C channels, norm, GLU: (N, Z) -> (N, C, 4, 4)."""

    def __init__(self, noise_dim: int, channels: int, norm: Norm) -> None:
        super().__init__()
        self.conv = drawn(nn.ConvTranspose2d(noise_dim, 2 * channels, 4, bias=False))
        self.norm = normalised(2 * channels, norm)

    def forward(self, z: Tensor) -> Tensor:
        """Return the first map of noise."""
        weight = self.conv.weight.movedim(1, -1)  # (Z, 4, 4, 2C): a product of matrices is faster here than a convolution
        x = (z @ weight.flatten(1)).view(-1, *weight.shape[1:]).movedim(-1, 1)
        return glu(self.norm(x))
