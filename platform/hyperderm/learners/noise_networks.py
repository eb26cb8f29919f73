"""Networks from noise to a cube that several learners use, for any number of bands B. Cubes are (N, B, H, W)."""

from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

from hyperderm.learners.noise_settings import stages


class DcganGenerator(nn.Module):
    """DCGAN's generator (Radford et al. 2016; METHODS section 3), from noise to a cube.

    A first map of 4 (or 7) pixels is doubled until the size is reached. Every layer but the last is followed by norm and
    ReLU; the last one by tanh.

    Args:
        bands: B.
        width: channels at half the size, before the last layer; each halving of the size has twice as many (width 128 at
            64 px: 1024-512-256-128; width 64 at 256 px: 2048-1024-512-256-128-64).
        size: H = W, see `noise_settings.stages`.
        noise_dim: length of z.
        norm: the normalisation after every layer but the last.
        classes: number of classes, 0 for none; the embedding of the class is added to z.
        multiplied: whether the embedding is multiplied with z instead, as in AC-GAN (METHODS section 3).

    Shape: z (N, noise_dim), with classes also y (N,) int64 -> (N, B, H, W) in [-1, 1].
    """

    def __init__(
        self,
        bands: int,
        width: int,
        size: int,
        noise_dim: int,
        norm: Literal["batch", "layer"] = "batch",
        classes: int = 0,
        multiplied: bool = False,
    ) -> None:
        super().__init__()
        self.multiplied = multiplied
        start, doublings = stages(size)
        widths = [width * 2**k for k in range(doublings - 1, -1, -1)]
        layers: list[nn.Module] = [nn.ConvTranspose2d(noise_dim, widths[0], start, bias=False), *_norm_relu(widths[0], norm)]
        for a, b in pairwise(widths):
            layers += [nn.ConvTranspose2d(a, b, 4, 2, 1, bias=False), *_norm_relu(b, norm)]
        layers += [nn.ConvTranspose2d(widths[-1], bands, 4, 2, 1, bias=False), nn.Tanh()]
        self.net = nn.Sequential(*layers)
        self.embedding = nn.Embedding(classes, noise_dim) if classes else None
        self.apply(initialise)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Map noise z, and with classes the class y, to cubes."""
        if self.embedding is not None:
            z = z * self.embedding(y) if self.multiplied else z + self.embedding(y)
        return self.net(z[:, :, None, None])


def initialise(module: nn.Module) -> None:
    """Initialise convolutions by N(0, .02) and batch norm by N(1, .02), as in DCGAN; layers with spectral norm are left."""
    if nn.utils.parametrize.is_parametrized(module):
        return
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)


def _norm_relu(channels: int, norm: Literal["batch", "layer"]) -> list[nn.Module]:
    return [nn.BatchNorm2d(channels) if norm == "batch" else nn.GroupNorm(1, channels), nn.ReLU()]
