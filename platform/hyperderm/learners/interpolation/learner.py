"""Interpolation between train cubes: the cubes, what is drawn for a new one, and the sampler."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import betaincinv
from torch import Tensor, nn

from hyperderm.errors import ConfigError
from hyperderm.learners import randomness
from hyperderm.learners.fitted import FittedGenerator, FittedNetwork, load_fitted, principal
from hyperderm.learners.interpolation import methods
from hyperderm.learners.interpolation.config import InterpolationConfig
from hyperderm.learners.synthesis import NetworkSampler, noise
from hyperderm.settings import Run


class Interpolation(FittedNetwork):
    """The train cubes, and the method that makes a cube from some of them.

    Args:
        config: the settings.
        cubes: (N, C, H, W) the train cubes, as learners see them.
        kinds: (N,) int64 number of the diagnosis of each.
        axes: (D, C H W) orthonormal axes of the feature space; only for `smote`.
        near: (N, K) int64 rows of the nearest neighbours of each cube in its diagnosis, -1 where there are fewer; only for
            `smote`.

    Shape: rows (n, P) int64, sides (n, 2) bool (`methods.flipped`), drawn (n, 1, 1, 1) or, for `copies`, (n, C, H, W)
    -> (n, C, H, W). `drawn` is the noise of `copies`, the λ of `mixup` and `spectral_mixup`, and the u of `smote`.
    """

    def __init__(
        self,
        config: InterpolationConfig,
        cubes: Tensor,
        kinds: Tensor,
        axes: Tensor | None = None,
        near: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.config, self.shape = config, tuple(cubes.shape[1:])
        self.cubes = nn.Parameter(cubes, requires_grad=False)
        self.axes = None if axes is None else nn.Parameter(axes, requires_grad=False)
        self.kinds: Tensor
        self.register_buffer("kinds", kinds)
        self.near: Tensor | None
        self.register_buffer("near", near)
        self.blur: Tensor
        self.register_buffer("blur", methods.blur_matrix(self.shape[-1], config.blur), persistent=False)

    def others(self, row: int) -> Tensor:
        """Return the rows (k,) of the cubes that may be partners of the cube in row `row`; it is not one of them."""
        if self.near is not None:
            return self.near[row][self.near[row] >= 0]
        alike = torch.nonzero(self.kinds == self.kinds[row]).flatten()
        return alike[alike != row]

    def forward(self, rows: Tensor, sides: Tensor, drawn: Tensor) -> Tensor:
        """Return cubes in the values that learners see; values outside train's range of a channel are set to its end."""
        low, high = (end((0, 2, 3), keepdim=True) for end in (self.cubes.amin, self.cubes.amax))
        return methods.flipped(self._made(self.cubes[rows], drawn).clamp(low, high), sides)

    def _made(self, each: Tensor, drawn: Tensor) -> Tensor:
        first, second = each[:, 0], each[:, -1]
        match self.config.method:
            case "copies":
                return first + self.config.noise * drawn
            case "average":
                return methods.blurred(each.mean(1), self.blur)
            case "mixup":
                return methods.mixed(first, second, drawn)
            case "spectral_mixup":
                return methods.restyled(first, second, drawn)
            case "smote":
                assert self.axes is not None
                return methods.towards(first, second, drawn, self.axes)


class InterpolationSampler(NetworkSampler):
    """A sampler that draws train cubes, and how a cube is made from them."""

    network: Interpolation
    config: InterpolationConfig

    def inputs(self, seed: int, index: int, condition: Tensor | None) -> tuple[Tensor, ...]:
        """Return the inputs of `Interpolation` for cube `index`; all depend on the seed, the index and the class alone."""
        flips = torch.rand(1, 2, generator=randomness.generator(seed, "synthesis/flips", index)) < 0.5
        return self._rows(seed, index, condition)[None], flips & self.run.data.flips, self._drawn(seed, index)

    def _rows(self, seed: int, index: int, condition: Tensor | None) -> Tensor:
        """Return the rows (P,) of the train cubes: any one of the class, and partners of it that all differ."""
        kinds = self.network.kinds.cpu()
        among = torch.arange(len(kinds)) if condition is None else torch.nonzero(kinds == condition).flatten()
        draw = randomness.generator(seed, "synthesis/cubes", index)
        first = among[torch.randint(len(among), (1,), generator=draw)]
        others = self.network.others(int(first)).cpu()
        return torch.cat([first, others[torch.randperm(len(others), generator=draw)][: self.config.cubes_each - 1]])

    def _drawn(self, seed: int, index: int) -> Tensor:
        if self.config.method == "copies":
            return noise(seed, index, int(np.prod(self.network.shape))).view(1, *self.network.shape)
        u = torch.rand(1, 1, 1, 1, generator=randomness.generator(seed, "synthesis/share", index), dtype=torch.float64)
        if self.config.method == "smote":
            return u
        return torch.from_numpy(betaincinv(self.config.alpha, self.config.alpha, u.numpy()))


class InterpolationLearner(FittedGenerator):
    """Interpolation between the cubes of train, which the constructor keeps; only `smote` is fitted to them."""

    config: InterpolationConfig
    sampler_class = InterpolationSampler

    def fitted(self) -> Interpolation:
        """See `FittedGenerator.fitted`.

        Raises:
            ConfigError: train holds fewer cubes of a diagnosis than a cube is made from.
        """
        kinds = self.data.labels
        self._check_counts(torch.bincount(kinds).tolist())
        cubes = self.data.coordinates.forward(self.data.drawn).float().cpu()
        if self.config.method != "smote":
            return Interpolation(self.config, cubes, kinds)
        rows = cubes.flatten(1).double().numpy()
        rows -= rows.mean(0)
        scores, axes, spreads = principal(rows, min(self.config.dimensions, len(rows) - 1))
        near = nearest(scores * spreads, kinds.numpy(), self.config.neighbours)
        return Interpolation(self.config, cubes, kinds, torch.from_numpy(axes).float(), torch.from_numpy(near))

    def _check_counts(self, counts: Sequence[int]) -> None:
        needed, method = self.config.cubes_each, self.config.method
        for name, count in zip(self.data.classes, counts, strict=True):
            if count < needed:
                fewer = (
                    f"--set learner.partners={count}" if method == "average" and count > 1 else "--set learner.method=copies"
                )
                raise ConfigError(
                    f"learner.method = {method} makes a cube from {needed} train cubes of one diagnosis, and the train role "
                    f"of fold {self.run.data.fold} holds {count} of {name}",
                    f"Use more data or another data.fold, leave {name} out of data.diagnoses, or {fewer}.",
                )


def nearest(features: NDArray[np.float64], kinds: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return the rows of the `count` nearest neighbours of each row among those of its kind, the nearest first.

    Args:
        features: (N, D).
        kinds: (N,) number of the kind of each row.
        count: most neighbours of a row, at least 1.

    Returns:
        (N, K), -1 where a kind has fewer other rows than another; of equal distances the smaller row comes first.
    """
    found = np.full((len(features), min(count, int(np.bincount(kinds).max()) - 1)), -1)
    for row, own in enumerate(features):
        others = np.flatnonzero(kinds == kinds[row])
        others = others[others != row]
        order = np.argsort(((features[others] - own) ** 2).sum(1), kind="stable")[: found.shape[1]]
        found[row, : len(order)] = others[order]
    return found


def load(config: InterpolationConfig, run: Run, checkpoint: Mapping[str, Any], device: str) -> InterpolationSampler:
    """Return the sampler of a checkpoint: see `LearnerConfig.load_sampler`."""
    return load_fitted(
        config, run, checkpoint, device, lambda state: Interpolation(config, **state["ema"]), InterpolationSampler
    )
