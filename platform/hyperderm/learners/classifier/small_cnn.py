"""The small classifier for small machines: our own choice of layers, no paper behind it."""

from itertools import pairwise

import torch
from torch import Tensor, nn

WIDTHS = (16, 32, 64, 96)
GROUPS = 8


class SmallCnn(nn.Module):
    """Four convolutions 16-32-64-96, group norm, halved between stages, global mean and maximum, one logit.

    Group norm keeps no statistics over the batch: a cube's logit is the same in any batch and with any number of workers.

    Args:
        bands: B.

    Shape: (N, B, H, W), H and W from 16 -> (N,) logits of melanoma. 81,249 parameters at 16 bands.
    """

    def __init__(self, bands: int) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        for a, b in pairwise((bands, *WIDTHS)):
            if stages:
                stages.append(nn.MaxPool2d(2))
            stages += [nn.Conv2d(a, b, 3, padding=1, bias=False), nn.GroupNorm(GROUPS, b), nn.ReLU(inplace=True)]
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(2 * WIDTHS[-1], 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, cubes: Tensor) -> Tensor:
        """Return one logit a cube."""
        x = self.stages(cubes).flatten(2)  # (N, 96, H/8 W/8)
        return self.head(torch.cat([x.mean(2), x.amax(2)], 1)).squeeze(1)
