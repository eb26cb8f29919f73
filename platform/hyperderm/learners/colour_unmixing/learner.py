"""An unmixing net as a generator of cubes from colours, and its sampler."""

from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor

from hyperderm.cubes.pseudo_rgb import pseudo_rgb_matrix
from hyperderm.learners.colour_unmixing.config import ColourUnmixingConfig
from hyperderm.learners.fitted import FittedGenerator, FittedNetwork, load_fitted
from hyperderm.learners.sources import rgb_levels
from hyperderm.learners.spaces import net_of
from hyperderm.learners.synthesis import NetworkSampler
from hyperderm.learners.unmixer.networks import UnmixingNet
from hyperderm.settings import Run

NET = "net."
"""The beginning of the names of the net's tensors in a checkpoint."""


class ColourUnmixing(FittedNetwork):
    """The trained unmixing net, whose abundances are scaled as generators make them.

    Args:
        net: an unmixing net that sees colours.
        size: S, height and width of the cubes in pixels.

    Shape: (N, 3, S, S) linear RGB in units of H · reflectance -> 2a − 1 of the abundances a, (N, R, S, S).
    """

    def __init__(self, net: UnmixingNet, size: int) -> None:
        super().__init__()
        self.net, self.shape = net, (len(net.endmembers), size, size)

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor], size: int) -> Self:
        """Return the network whose `state_dict` is given."""
        return cls(UnmixingNet.from_state({name.removeprefix(NET): values for name, values in state.items()}), size)

    def forward(self, levels: Tensor) -> Tensor:
        """Return the scaled abundances that the net sees in colours."""
        abundances: Tensor = self.net(levels)[0]
        return 2 * abundances - 1


class ColourUnmixingSampler(NetworkSampler):
    """A sampler that mixes what the net sees in RGB images, and adds the residual of each cube by seed and index."""

    def inputs(self, seed: int, index: int, condition: Tensor | None) -> tuple[Tensor, ...]:
        """Return the linear RGB (1, 3, H, W)."""
        assert condition is not None
        return (condition.to(self.dtype),)


class ColourUnmixingLearner(FittedGenerator):
    """The net of another run as a generator; only the model of the residual is fitted to train (`in_space`)."""

    config: ColourUnmixingConfig

    def fitted(self) -> ColourUnmixing:
        """Return the net, as its run left it."""
        net = net_of(self.data)
        assert net is not None
        return ColourUnmixing(net, self.run.data.size)

    def sampler(self) -> ColourUnmixingSampler:
        """See `FittedGenerator.sampler`."""
        data = self.data
        how = self.config, self.run, self.network, data.wavelengths_nm, data.scaling
        return ColourUnmixingSampler(*how, space=data.space, matrix=pseudo_rgb_matrix(data.wavelengths_nm))

    def condition(self, rows: Tensor) -> Tensor:
        """Return the levels H · reflectance (n, 3, S, S) of the train cubes in `rows`."""
        matrix = pseudo_rgb_matrix(self.data.wavelengths_nm)
        return torch.from_numpy(rgb_levels(self.data.train.reflectance[rows], matrix))


def load(config: ColourUnmixingConfig, run: Run, checkpoint: Mapping[str, Any], device: str) -> ColourUnmixingSampler:
    """Return the sampler of a checkpoint: see `LearnerConfig.load_sampler`."""
    return load_fitted(
        config,
        run,
        checkpoint,
        device,
        lambda state: ColourUnmixing.from_state(state["ema"], run.data.size),
        ColourUnmixingSampler,
        matrix=pseudo_rgb_matrix(checkpoint["wavelengths_nm"]),
    )
