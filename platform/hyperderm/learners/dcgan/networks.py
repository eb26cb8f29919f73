"""The networks of DCGAN (Radford et al. 2016; METHODS section 3) for any number of bands B. Cubes are (N, B, H, W)."""

from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

from hyperderm.learners.adversarial_settings import Norm
from hyperderm.learners.critics import Projection, normed
from hyperderm.learners.noise_settings import stages


class DcganGenerator(nn.Module):
    """Generator from noise to a cube: a first map of 4 (or 7) pixels is doubled until the size is reached.

    Every layer but the last is followed by norm and ReLU; the last one by tanh.

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
        self.apply(_init)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Map noise z, and with classes the class y, to cubes."""
        if self.embedding is not None:
            z = z * self.embedding(y) if self.multiplied else z + self.embedding(y)
        return self.net(z[:, :, None, None])


class DcganCritic(nn.Module):
    """The discriminator: the cube is halved until 4 (or 7) pixels are left, and one convolution over these gives the score.

    The activation is LeakyReLU(0.2).

    Args:
        bands: B.
        width: channels at half the size; each further halving has twice as many (width 64 at 64 px: 64-128-256-512).
        size: H = W, see `noise_settings.stages`.
        norm: the normalisation; `batch` is not applied to the first layer.
        classes: number of classes, 0 for none; see `critics.Projection`.
        auxiliary: whether the critic is not told the class, but tells it by the logits of a second head (AC-GAN).

    Shape: cubes (N, B, H, W), with classes also y (N,) int64 -> scores (N,). With an auxiliary head: cubes -> scores (N,),
    logits (N, classes).
    """

    def __init__(self, bands: int, width: int, size: int, norm: Norm, classes: int = 0, auxiliary: bool = False) -> None:
        super().__init__()
        start, halvings = stages(size)
        channels = [bands, *(width * 2**k for k in range(halvings))]
        layers: list[nn.Module] = []
        for stage, (a, b) in enumerate(pairwise(channels)):
            biased = norm != "batch"
            layers += normed(nn.Conv2d(a, b, 4, 2, 1, bias=biased), b, norm, nn.BatchNorm2d, first=stage == 0)
        self.phi = nn.Sequential(*layers)
        last = nn.Conv2d(channels[-1], 1, start, bias=norm != "batch")
        self.apply(_init)
        _init(last)
        self.psi = nn.utils.parametrizations.spectral_norm(last) if norm == "spectral" else last
        self.projection = Projection(classes, channels[-1], norm) if classes and not auxiliary else None
        self.auxiliary = None
        if auxiliary:
            head = nn.Linear(channels[-1], classes)
            self.auxiliary = nn.utils.parametrizations.spectral_norm(head) if norm == "spectral" else head

    def forward(self, cube: Tensor, y: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor]:
        """Return scores (larger means more real), and with an auxiliary head also the logits of the classes."""
        phi = self.phi(cube)  # (N, C, start, start)
        score = self.psi(phi).flatten()
        if self.auxiliary is not None:
            return score, self.auxiliary(phi.mean((2, 3)))
        return score if self.projection is None else score + self.projection(phi.mean((2, 3)), y)


def _init(module: nn.Module) -> None:
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
