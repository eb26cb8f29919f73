"""The U-Net of diffusers, told the level of noise, the class and the augmentation, and the scale on which it sees channels.

METHODS gives the seed's U-Net: inner width 64, multipliers 1-2-4-8-8. With 16 channels, two blocks a level and attention at
the deepest level it has 99.5 million parameters; the small one of `experiments/diffusion.py` has 0.29 million.
"""

from collections.abc import Sequence
from typing import Literal, cast

import torch
from diffusers import UNet2DModel
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn

from hyperderm.learners.diffusion.augmentation import LABELS
from hyperderm.learners.diffusion.processes import SIGMA_DATA

UNTOLD = -1
"""The class of a cube whose class is not told."""
MOST_GROUPS = 32
LEAST_OF_GROUP = 4
"""Group norm has as many groups as divide the width, but no more than 32, and none of fewer than 4 channels."""
NARROWEST = 1e-3
"""What varies less than this in [-1, 1] is treated as if it varied so much: abundances do not vary in their sum at all."""


class Denoiser(nn.Module):
    """A U-Net (`UNet2DModel`) with group norm, one head of attention, and an embedding of class and augmentation.

    The embedding of the class has one row more than there are classes, for `UNTOLD`; a linear map of the augmentation's
    labels is added to it, and both are added to the embedding of the time. Both begin at zero.

    The values that other learners see, x, are `into` (x − centre) for the processes; the matrix is part of the state.

    Args:
        channels: C.
        width: number of channels at the full size.
        size: H = W.
        multipliers: channels of each level in units of `width`.
        layers: number of residual blocks of each level.
        attention_levels: number of deepest levels with attention.
        dropout: share of the channels inside residual blocks that are left out, if `forward` gets draws.
        classes: number of classes, 0 for none.

    Shape: given (N, C, H, W), time (N,) and, if there are classes, y (N,) int64; labels (N, 7) or None -> (N, C, H, W).
    """

    centre: Tensor
    into: Tensor
    out_of: Tensor

    def __init__(
        self,
        channels: int,
        width: int,
        size: int,
        multipliers: Sequence[int],
        layers: int = 2,
        attention_levels: int = 1,
        dropout: float = 0.0,
        classes: int = 0,
    ) -> None:
        super().__init__()
        levels = len(multipliers)
        attends = [level >= levels - attention_levels for level in range(levels)]
        self.unet = UNet2DModel(
            sample_size=size,
            in_channels=channels,
            out_channels=channels,
            down_block_types=tuple("AttnDownBlock2D" if each else "DownBlock2D" for each in attends),
            up_block_types=tuple("AttnUpBlock2D" if each else "UpBlock2D" for each in reversed(attends)),
            block_out_channels=tuple(width * each for each in multipliers),
            layers_per_block=layers,
            attention_head_dim=None,
            norm_num_groups=groups(width),
            add_attention=attention_levels > 0,
            class_embed_type="identity",
        )
        self.dropout = dropout
        self.left_out = _replaced_dropouts(self.unet) if dropout else []
        embedded = 4 * width
        self.classes = nn.Embedding(classes + 1, embedded) if classes else None
        self.augmented = nn.Linear(len(LABELS), embedded, bias=False)
        nn.init.zeros_(self.augmented.weight)
        if self.classes is not None:
            nn.init.zeros_(self.classes.weight)
        self.register_buffer("centre", torch.zeros(channels))
        self.register_buffer("into", torch.eye(channels))
        self.register_buffer("out_of", torch.eye(channels))

    @property
    def dropped(self) -> int:
        """Number of channels that may be left out of one cube: as many draws does `forward` take."""
        return sum(each.channels for each in self.left_out)

    def forward(
        self, given: Tensor, time: Tensor, y: Tensor | None = None, labels: Tensor | None = None, draws: Tensor | None = None
    ) -> Tensor:
        """Return the output for a noisy input.

        Args:
            given: (N, C, H, W).
            time: (N,) time input of the process.
            y: (N,) classes, or `UNTOLD`; None without classes.
            labels: (N, 7) what was done to the cubes (`augmentation.LABELS`); None: nothing.
            draws: (N, `dropped`) numbers in [0, 1) that decide what is left out; None: nothing is.
        """
        weight = self.augmented.weight
        told = self.augmented(given.new_zeros(len(given), len(LABELS), dtype=weight.dtype) if labels is None else labels)
        if self.classes is not None:
            assert y is not None
            told = told + self.classes(torch.where(y == UNTOLD, self.classes.num_embeddings - 1, y))
        self._leave_out(draws)
        try:
            return cast(Tensor, self.unet(given, time, told, return_dict=False)[0])
        finally:
            self._leave_out(None)

    def _leave_out(self, draws: Tensor | None) -> None:
        if not self.left_out:
            return
        masks = [None] * len(self.left_out)
        if draws is not None:
            kept = (draws >= self.dropout) / (1 - self.dropout)
            masks = kept.split([each.channels for each in self.left_out], 1)
        for module, mask in zip(self.left_out, masks, strict=True):
            module.mask = mask

    @torch.no_grad()
    def standardise(self, seen: Tensor, by: Literal["channels", "components"]) -> None:
        """Fit the scale on which the processes see (N, C, H, W): mean 0 and standard deviation `SIGMA_DATA` everywhere.

        Args:
            seen: train, as other learners see it.
            by: channels are scaled one by one; or they are turned to their principal components, and those are scaled, so
                that noise is added in the proportions in which the channels vary together.
        """
        pixels = seen.double().movedim(1, 3).reshape(-1, seen.shape[1])
        centre = pixels.mean(0)
        covariance = (pixels - centre).T @ (pixels - centre) / len(pixels)
        if by == "components":
            variances, vectors = torch.linalg.eigh(covariance)
        else:
            variances, vectors = covariance.diagonal(), torch.eye(len(centre), dtype=torch.float64)
        scale = variances.clamp_min(NARROWEST**2).sqrt() / SIGMA_DATA
        self.centre.copy_(centre)
        self.into.copy_(vectors.T / scale[:, None])
        self.out_of.copy_(vectors * scale)

    def forth(self, seen: Tensor) -> Tensor:
        """Return the values of the processes (N, C, H, W) for those that learners see."""
        return torch.einsum("dc,nchw->ndhw", self.into, seen - self.centre[:, None, None])

    def back(self, values: Tensor) -> Tensor:
        """Return the inverse of `forth`."""
        return torch.einsum("cd,ndhw->nchw", self.out_of, values) + self.centre[:, None, None]


class LeftOut(nn.Module):
    """Dropout of whole channels by a mask that is given from outside, so that a run can be repeated bit for bit.

    Attributes:
        channels: C of its input.
        mask: (N, C), 0 for a channel that is left out, otherwise 1 / (1 − p); None: the input is returned.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.mask: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Return x (N, C, H, W), masked."""
        return x if self.mask is None else x * self.mask[:, :, None, None].to(x)


def groups(width: int) -> int:
    """Return the number of groups of group norm for a number of channels."""
    most = min(MOST_GROUPS, max(width // LEAST_OF_GROUP, 1))
    return next(count for count in range(most, 0, -1) if width % count == 0)


def _replaced_dropouts(unet: nn.Module) -> list[LeftOut]:
    """Replace the dropouts of a network, which draw from torch's generator, and return what stands in their place."""
    found = []
    for block in unet.modules():
        if isinstance(block, ResnetBlock2D):
            left_out = LeftOut(block.conv2.in_channels)
            block.dropout = left_out
            found.append(left_out)
    return found
