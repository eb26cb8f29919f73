"""A Gaussian mixture of the principal components of whole cubes, fitted at once, and its sampler."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.mixture import GaussianMixture
from torch import Tensor, nn

from hyperderm.errors import ConfigError
from hyperderm.learners import randomness
from hyperderm.learners.fitted import FittedGenerator, FittedNetwork, load_fitted, principal
from hyperderm.learners.mixture.config import MixtureConfig
from hyperderm.learners.synthesis import NetworkSampler, noise
from hyperderm.settings import Run

FEWEST_A_COMPONENT = 8
"""Number of cubes that each Gaussian should have at least."""
RIDGE = 1e-3
"""Added to the variances of the scores, which are 1 in train: a few cubes do not fix a covariance."""


class Mixture(FittedNetwork):
    """The mixtures of Y diagnoses over D principal components of cubes with C channels; every tensor is fitted.

    Args:
        classes: Y, at least 1.
        components: K, the most Gaussians of a diagnosis.
        dimensions: D.
        shape: (C, H, W).

    Attributes:
        centre: (C H W) the mean cube.
        basis: (D, C H W) the principal components, times the standard deviation of their scores.
        bounds: (Y, K) cumulated weights of the Gaussians; those that a diagnosis has not are never chosen.
        means: (Y, K, D).
        roots: (Y, D, D) lower triangular root of the covariance that the Gaussians of a diagnosis share.

    Shape: z (N, D) standard normal, u (N, 1) uniform, y (N,) diagnoses or none -> (N, C, H, W).
    """

    def __init__(self, classes: int, components: int, dimensions: int, shape: Sequence[int]) -> None:
        super().__init__()
        self.shape = tuple(shape)
        values = int(np.prod(self.shape))

        def fitted(*size: int) -> nn.Parameter:
            return nn.Parameter(torch.zeros(size), requires_grad=False)

        self.centre, self.basis = fitted(values), fitted(dimensions, values)
        self.bounds, self.means = fitted(classes, components), fitted(classes, components, dimensions)
        self.roots = fitted(classes, dimensions, dimensions)

    def forward(self, z: Tensor, u: Tensor, y: Tensor | None = None) -> Tensor:
        """Return cubes as networks make them."""
        kind = torch.zeros(len(z), dtype=torch.int64, device=z.device) if y is None else y
        chosen = (u >= self.bounds[kind]).sum(1).clamp_max(self.bounds.shape[1] - 1)
        scores = self.means[kind, chosen] + torch.einsum("nij,nj->ni", self.roots[kind], z)
        return (self.centre + scores @ self.basis).view(-1, *self.shape)


class MixtureSampler(NetworkSampler):
    """A sampler that draws a Gaussian of the mixture and a point of it."""

    def inputs(self, seed: int, index: int, condition: Tensor | None) -> tuple[Tensor, ...]:
        """Return z (1, D), the draw u (1, 1) that chooses the Gaussian and, if there are classes, the diagnosis (1,)."""
        network = self.network
        assert isinstance(network, Mixture)
        z = noise(seed, index, len(network.basis), self.drawing.truncation)
        u = torch.rand(1, 1, generator=randomness.generator(seed, "synthesis/component", index))
        return (z, u) if condition is None else (z, u, condition)


class Fit(NamedTuple):
    """The mixture of one diagnosis: cumulated weights (K,), means (K, D) and the root of the covariance (D, D)."""

    bounds: NDArray[np.float64]
    means: NDArray[np.float64]
    root: NDArray[np.float64]


class MixtureLearner(FittedGenerator):
    """A mixture that is fitted by the constructor, to the cubes of train and, with `data.flips`, their mirror images."""

    config: MixtureConfig
    sampler_class = MixtureSampler

    def fitted(self) -> Mixture:
        """See `FittedGenerator.fitted`."""
        seen = self.data.coordinates.forward(self.data.drawn).float().cpu()
        labels = self.data.labels if self.classes else torch.zeros(len(seen), dtype=torch.int64)
        shape = tuple(seen.shape[1:])
        if self.run.data.flips:
            seen = torch.cat([seen, seen.flip(-1), seen.flip(-2), seen.flip(-1, -2)])
            labels = labels.repeat(4)
        rows = seen.flatten(1).double().numpy()
        centre = rows.mean(0)
        count = min(self.config.dimensions, len(self.data.drawn) - 1)
        scores, axes, spreads = principal(rows - centre, count)
        kinds = max(len(self.classes), 1)
        fits = [_fit(scores[labels.numpy() == kind], self.config.components, self.run.seed) for kind in range(kinds)]
        network = Mixture(kinds, self.config.components, len(axes), shape)
        network.centre.copy_(torch.from_numpy(centre))
        network.basis.copy_(torch.from_numpy(axes * spreads[:, None]))
        for kind, fit in enumerate(fits):
            have = len(fit.bounds)
            network.bounds[kind, :have] = torch.from_numpy(fit.bounds)
            network.bounds[kind, have - 1 :] = 2.0  # u is below 1: no later Gaussian is chosen
            network.means[kind, :have] = torch.from_numpy(fit.means)
            network.roots[kind] = torch.from_numpy(fit.root)
        return network

    def state_dict(self) -> dict[str, Any]:
        """Return the mixture, under the name of a moving average, the names of the classes, and the mixture's form."""
        return super().state_dict() | {"shape": list(self.network.shape), "components": self.config.components}


def load(config: MixtureConfig, run: Run, checkpoint: Mapping[str, Any], device: str) -> MixtureSampler:
    """Return the sampler of a checkpoint: see `LearnerConfig.load_sampler`."""

    def network(state: Mapping[str, Any]) -> Mixture:
        kinds, dimensions = max(len(state["classes"]), 1), len(state["ema"]["basis"])
        return Mixture(kinds, int(state["components"]), dimensions, state["shape"])

    return load_fitted(config, run, checkpoint, device, network, MixtureSampler)


def _fit(scores: NDArray[np.float64], components: int, seed: int) -> Fit:
    """Fit a mixture whose Gaussians share one covariance; a cube's mirror images count as cubes."""
    if len(scores) < 2:
        raise ConfigError(
            f"learner.kind = mixture: a diagnosis has {len(scores)} train cubes, too few for a covariance",
            "Use more data, or --set learner.conditioning=none.",
        )
    count = max(1, min(components, len(scores) // FEWEST_A_COMPONENT))
    model = GaussianMixture(count, covariance_type="tied", reg_covar=RIDGE, n_init=3, random_state=seed).fit(scores)
    return Fit(np.cumsum(model.weights_), model.means_, np.linalg.cholesky(model.covariances_))
