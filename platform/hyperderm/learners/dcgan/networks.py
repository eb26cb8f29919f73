"""The critic of DCGAN (Radford et al. 2016; METHODS section 3) for any number of bands B. Cubes are (N, B, H, W)."""

from itertools import pairwise

from torch import Tensor, nn

from hyperderm.learners.adversarial_settings import Norm
from hyperderm.learners.critics import Projection, normed
from hyperderm.learners.noise_networks import initialise
from hyperderm.learners.noise_settings import stages


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
        self.apply(initialise)
        initialise(last)
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
