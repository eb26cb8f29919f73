"""The generator of SHS-GAN (Hauser et al., IEEE TCI 7, 2021). Symbols: B bands, cubes (N, B, H, W).

Channel counts follow METHODS section 4. Where the paper gives none, the counts here are this project's choice.
"""

import torch
from torch import Tensor, nn


class UNetGenerator(nn.Module):
    """U-Net from an RGB image to a cube, with skip connections and instance norm.

    The stages have w-2w-4w channels and the bottleneck 8w (64-128-256-512 at w = 64). The first encoder stage and the last
    decoder stage have no norm: instance norm removes the level of each image, but the cube must keep the exposure of the
    input.

    Args:
        bands: B.
        width: w, the channels of the first stage.

    Shape: (N, 3, H, W) in [-1, 1] -> (N, B, H, W) in [-1, 1]; H and W are divisible by 8.
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
        """Return the cubes that belong to RGB images."""
        e1 = self.enc1(rgb)  # (N, w, H, W)
        e2 = self.enc2(self.down(e1))  # (N, 2w, H/2, W/2)
        e3 = self.enc3(self.down(e2))  # (N, 4w, H/4, W/4)
        m = self.mid(self.down(e3))  # (N, 8w, H/8, W/8)
        d3 = self.dec3(torch.cat([self.up(m), e3], 1))
        d2 = self.dec2(torch.cat([self.up(d3), e2], 1))
        d1 = self.dec1(torch.cat([self.up(d2), e1], 1))  # (N, w, H, W)
        return torch.tanh(self.out(d1))


def _double_conv(a: int, b: int, norm: bool = True) -> nn.Sequential:
    layers: list[nn.Module] = []
    for cin in (a, b):
        layers.append(nn.Conv2d(cin, b, 3, padding=1, padding_mode="reflect"))  # zeros would draw a frame
        if norm:
            layers.append(nn.InstanceNorm2d(b, affine=True))
        layers.append(nn.LeakyReLU(0.2))
    return nn.Sequential(*layers)
