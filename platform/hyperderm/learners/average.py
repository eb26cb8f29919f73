"""The moving average of a generator's weights, which is what is scored, saved as the best, and sampled from."""

import copy

import torch
from torch import Tensor, nn

RAMP = 0.05
"""The half-life is at most this share of the images shown so far (Karras et al. 2020, ADA)."""


class MovingAverage:
    """An exponential moving average of a network's parameters; its buffers (batch norm's statistics) are the network's own.

    Attributes:
        module: the average, in evaluation mode, without gradients.

    Args:
        network: that is averaged.
        half_life: in real images shown; shorter while few were shown, see `RAMP`.
        goes_on: of a network that was trained before: nothing of its average is to be forgotten sooner.
    """

    def __init__(self, network: nn.Module, half_life: float, goes_on: bool = False) -> None:
        self.network, self.half_life, self.goes_on = network, half_life, goes_on
        self.module = copy.deepcopy(network).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, shown: int, since: int) -> None:
        """Move towards the network.

        Args:
            shown: real images until now.
            since: real images since the last update.
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
