"""What a camera may change between two pictures of one lesion, drawn at random; by this the memorisation audit is tried."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample
from torchvision.transforms.functional import gaussian_blur


@dataclass(frozen=True)
class CameraChange:
    """One change of a cube.

    Attributes:
        exposure: gain of all bands.
        band_gain: largest deviation from 1 of a separate gain for each band.
        noise: standard deviation of noise, in reflectance.
        turn: degrees.
        mirrored: whether the cube is mirrored.
        shift: shift in x and y, as a share of the side.
        zoom: 1.25 shows the central 80 % of the side.
        blur: standard deviation of a Gaussian in pixels.
    """

    exposure: float = 1.0
    band_gain: float = 0.0
    noise: float = 0.0
    turn: float = 0.0
    mirrored: bool = False
    shift: tuple[float, float] = (0.0, 0.0)
    zoom: float = 1.0
    blur: float = 0.0

    def __call__(self, cubes: Tensor, rng: np.random.Generator) -> Tensor:
        """Return changed cubes (n, B, H, W); what is shifted in from outside is reflected, as skin goes on."""
        x = cubes.float()
        if self.turn or self.mirrored or self.zoom != 1 or any(self.shift):
            a = math.radians(self.turn)
            c, s = math.cos(a) / self.zoom, math.sin(a) / self.zoom
            dx, dy = (2 * each for each in self.shift)
            grid = affine_grid(
                torch.tensor([[-c if self.mirrored else c, -s, dx], [-s if self.mirrored else s, c, dy]]).expand(
                    len(x), 2, 3
                ),
                list(x.shape),
                align_corners=False,
            )
            x = grid_sample(x, grid, mode="bicubic", padding_mode="reflection", align_corners=False)
        if self.blur:
            x = gaussian_blur(x, [2 * math.ceil(2 * self.blur) + 1] * 2, [self.blur, self.blur])
        bands = torch.from_numpy(1 + self.band_gain * rng.uniform(-1, 1, (len(x), x.shape[1], 1, 1))).float()
        noise = torch.from_numpy(rng.standard_normal(x.shape, dtype=np.float32)) if self.noise else 0.0
        return x * bands * self.exposure + self.noise * noise


def camera_copy(cubes: Tensor, rng: np.random.Generator) -> Tensor:
    """Return cubes (n, B, H, W) with one change, drawn at random.

    Exposure .7 to 1.3, gains of bands ± 3 %, noise of .006 in reflectance (the sizes of the spectral augmentation), any
    angle, mirrored or not, and shifted by up to an eighth of the side in each direction.
    """
    low, high = -0.125, 0.125
    return CameraChange(
        exposure=float(rng.uniform(0.7, 1.3)),
        band_gain=0.03,
        noise=0.006,
        turn=float(rng.uniform(0, 360)),
        mirrored=bool(rng.random() < 0.5),
        shift=(float(rng.uniform(low, high)), float(rng.uniform(low, high))),
    )(cubes, rng)
