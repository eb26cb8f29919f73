"""The moving average of a generator's weights. Scores, the best checkpoint and all samples use this average."""

import copy

import torch
from torch import Tensor, nn

RAMP = 0.05
"""Largest half-life, as a share of the images shown so far (Karras et al. 2020, ADA)."""


class MovingAverage:
    """An exponential moving average of a network's parameters; its buffers (batch norm's statistics) are copied as they are.

    Attributes:
        module: the average, in evaluation mode, without gradients.

    Args:
        network: the network that is averaged.
        half_life: half-life in real images shown; shorter at the beginning of training, see `RAMP`.
        goes_on: whether the network was trained before; then the half-life is not shortened at the beginning.
    """

    def __init__(self, network: nn.Module, half_life: float, goes_on: bool = False) -> None:
        self.network, self.half_life, self.goes_on = network, half_life, goes_on
        self.module = copy.deepcopy(network).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, shown: int, since: int) -> None:
        """Move the average towards the network.

        Args:
            shown: real images shown until now.
            since: real images shown since the last update.
        """
        half_life = self.half_life if self.goes_on else min(self.half_life, RAMP * shown)
        keep = 0.5 ** (since / max(half_life, 1e-8))
        for mean, p in zip(self.module.parameters(), self.network.parameters(), strict=True):
            mean.lerp_(p, 1 - keep)
        for kept, buffer in zip(self.module.buffers(), self.network.buffers(), strict=True):
            kept.copy_(buffer)


def gradient_norm(module: nn.Module) -> Tensor:
    """Return the norm of all gradients of `module` together."""
    return torch.nn.utils.get_total_norm([p.grad for p in module.parameters() if p.grad is not None])
