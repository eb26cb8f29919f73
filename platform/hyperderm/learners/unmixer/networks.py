"""The unmixing net for any number of bands B and of endmembers R. Cubes are (N, B, H, W)."""

from collections.abc import Mapping
from typing import Self

import torch
from torch import Tensor, nn

SMALLEST = 1e-6
"""Least standard deviation of an input, for bands that do not vary."""


class Stage(nn.Module):
    """A residual stage: a spectral convolution (1 x 1), a spatial one (3 x 3, each channel alone), and a spectral one.

    The paper gives the order spectral, spatial; the depth-wise form and LeakyReLU(0.1) are this project's choice. The
    border repeats the edge, so that it looks like more of the scene.

    Shape: (N, C, H, W) -> (N, C, H, W).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.spectral = nn.Conv2d(channels, channels, 1)
        self.spatial = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, padding_mode="replicate")
        self.mix = nn.Conv2d(channels, channels, 1)
        self.activation = nn.LeakyReLU(0.1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the input plus what the stage makes of it."""
        return x + self.mix(self.activation(self.spatial(self.activation(self.spectral(x)))))


class UnmixingNet(nn.Module):
    """Abundances of a cube, and the cube that they are mixed into.

    Args:
        inputs: number of channels of the input: B, or 3.
        endmembers: (R, B) the first endmembers, not negative.
        width: channels of the stages.
        stages: number of stages.
        seen: (n, inputs) what the network sees of pixels of train, to which the standardisation of its inputs is fitted.

    Attributes:
        centre, scale: (inputs, 1, 1) mean and standard deviation of the inputs in train, buffers.
        endmembers: (R, B) the decoder's weights; `keep_positive` is called after every update.

    Shape: (N, inputs, H, W) -> abundances (N, R, H, W), mixtures (N, B, H, W).
    """

    centre: Tensor
    scale: Tensor

    def __init__(self, inputs: int, endmembers: Tensor, width: int, stages: int, seen: Tensor) -> None:
        super().__init__()
        self.register_buffer("centre", seen.mean(0)[:, None, None])
        self.register_buffer("scale", seen.std(0).clamp_min(SMALLEST)[:, None, None])
        self.encode = nn.Sequential(
            nn.Conv2d(inputs, width, 1),
            *(Stage(width) for _ in range(stages)),
            nn.LeakyReLU(0.1),
            nn.Conv2d(width, len(endmembers), 1),
        )
        self.endmembers = nn.Parameter(endmembers.clone())

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> Self:
        """Return the trained network whose `state_dict` is given; widths and stages follow from its shapes."""
        stages = {name.split(".")[1] for name in state if name.startswith("encode.") and ".spectral" in name}
        inputs, first = len(state["centre"]), state["encode.0.weight"]
        made = cls(inputs, state["endmembers"].float(), len(first), len(stages), torch.zeros(2, inputs))
        made.load_state_dict(dict(state))
        return made.eval().requires_grad_(False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return abundances (softmax over endmembers) and mixtures."""
        abundances = self.encode((x - self.centre) / self.scale).softmax(1)
        return abundances, torch.einsum("nrhw,rb->nbhw", abundances, self.endmembers)

    @torch.no_grad()
    def keep_positive(self) -> None:
        """Set negative values of endmembers to zero."""
        self.endmembers.clamp_(min=0)
