"""RS-IMLE as a learner: it matches real cubes with samples from time to time, and pulls the samples to them.

Choices of this project:
- All rows of the train role are matched at once, when `refresh_epochs` showings of each cube have passed. So the role must
  be in memory; a pool for each batch could be streamed, but would be matched with a few cubes only.
- A cube that may be flipped is flipped at random, but in the same way until the next matching, because a flipped cube needs
  a sample of its own. So the learner takes the train cubes by their rows and does not use the flips of `Batch.real`.
- A sample of a class is matched only with real cubes of that class; the pool holds as many classes as train does.
- Every worker computes the whole matching, from the same weights and noise. Only the gradients are shared.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from hyperderm.learners import randomness
from hyperderm.learners.accumulation import Computed, accumulated
from hyperderm.learners.average import gradient_norm
from hyperderm.learners.base import Batch, Compute
from hyperderm.learners.data import TrainData
from hyperderm.learners.from_noise import FromNoise, NoiseSampler, load_noise_sampler
from hyperderm.learners.generative_learner import GENERATOR
from hyperderm.learners.imle.config import ImleConfig
from hyperderm.learners.imle.matching import CubeDistance, assign, pool_distances, threshold
from hyperderm.learners.noise_networks import DcganGenerator
from hyperderm.settings import Run

AT_ONCE = 32
"""Number of cubes whose features are computed together."""
UNMATCHED = -1
"""The period of a learner that has matched nothing yet."""


class Imle(FromNoise):
    """A generator that is pulled to the real cubes, each at the noise with which the cube is matched.

    Attributes:
        latents: (rows, noise_dim) the noise with which each row of `TrainData.drawn` is matched, float64 on the CPU.
        period: number of the matching that `latents` come from.
        rejected: share of the pool that was rejected.
        distinct: number of different samples that are matched, as a share of the rows.
        epsilon: ε, in units of the distance.
    """

    config: ImleConfig

    def __init__(self, config: ImleConfig, run: Run, data: TrainData, compute: Compute) -> None:
        super().__init__(config, run, data, compute)
        self.make = self.wrapped[GENERATOR]
        self.optimizer = self.optimizers["optimizer"]
        self.cubes = data.drawn
        self.kinds = data.labels if self.classes else torch.zeros(data.rows, dtype=torch.int64)
        scaled = data.coordinates.forward(self.cubes)
        self.unmixed = None if data.space is None else scaled  # to unmix them again for every batch takes as long as a step
        self.distance = CubeDistance(scaled, config.texture_weight, config.pixel_weight)
        features = torch.cat([self.distance.features(part) for part in scaled.split(AT_ONCE)])
        self.epsilon = threshold(features, self.kinds, config.epsilon_quantile, config.epsilon_factor)
        self.latents = torch.zeros(data.rows, config.noise_dim, dtype=torch.float64)
        self.period, self.rejected, self.distinct = UNMATCHED, 0.0, 0.0

    def networks(self, bands: int) -> Mapping[str, nn.Module]:
        """See `GenerativeLearner.networks`."""
        return {GENERATOR: _generator(self.config, bands, self.run.data.size, len(self.classes))}

    def made_optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        """See `GenerativeLearner.made_optimizers`."""
        c, weights = self.config, self.generator.parameters()
        return {"optimizer": torch.optim.Adam(weights, c.lr, betas=(c.beta1, c.beta2), fused=True)}

    def step(self, batch: Batch) -> Mapping[str, Tensor]:
        """Pull the samples of the batch's rows once to their cubes; match all rows before, if it is time.

        Return `squared_distance` (the loss), `generator_gradient`, and of the present matching `rejected` and `distinct`.
        """
        period = int(batch.images / (self.config.refresh_epochs * self.data.rows))
        if period != self.period:
            self.match(period)
        self.optimizer.zero_grad(set_to_none=True)
        metrics = accumulated(batch, self._loss)
        metrics["generator_gradient"] = gradient_norm(self.generator)
        self.optimizer.step()
        self.updated(batch, batch.count)
        loss = metrics["squared_distance"]
        return metrics | {"rejected": loss.new_tensor(self.rejected), "distinct": loss.new_tensor(self.distinct)}

    def _loss(self, batch: Batch) -> Computed:
        real = self.real_cubes(batch.rows)
        z = self.latents[batch.rows].to(real)
        with self.compute.autocast():
            made = self.make(z, *self.labels(batch))
        loss = self.distance.loss(made.to(real.dtype), real).mean()
        return loss, {"squared_distance": loss}

    def match(self, period: int) -> None:
        """Match every row of the train role with a sample of a new pool; all draws depend on the seed and `period` alone."""
        c, rows = self.config, self.data.rows
        self.period = period
        count = c.pool_factor * rows
        kinds = self.kinds.repeat(c.pool_factor)
        z = randomness.rows(self.seed, "pool", period, count, (c.noise_dim,), slice(0, count), normal=True)

        def make(part: slice) -> Tensor:
            labels = (kinds[part].to(self.compute.device),) if self.classes else ()
            with self.compute.autocast():
                made = self.generator(z[part].to(self.compute.device, self.compute.dtype), *labels)
            return self.distance.features(made.to(self.compute.dtype))

        with torch.no_grad():
            pieces = torch.arange(rows).split(AT_ONCE)
            real = torch.cat([self.distance.features(self.real_cubes(piece)) for piece in pieces])
            distances = pool_distances(real, make, count, AT_ONCE).cpu()
        found, remain = assign(distances, self.kinds, kinds, self.epsilon)
        self.latents = z[found]
        self.rejected = 1.0 - float(remain.double().mean())
        self.distinct = len(found.unique()) / rows

    def real_cubes(self, rows: Tensor) -> Tensor:
        """Return scaled train cubes (n, B, H, W), flipped as they are in the present period."""
        x = self.data.coordinates.forward(self.cubes[rows]) if self.unmixed is None else self.unmixed[rows]
        x = x.to(self.compute.device, self.compute.dtype)
        if self.run.data.flips:
            everything = slice(0, self.data.rows)
            draws = randomness.rows(self.seed, "orientation", self.period, self.data.rows, (2,), everything)
            coins = (draws[rows] < 0.5).to(x.device)
            x = torch.where(coins[:, 0, None, None, None], x.flip(-1), x)
            x = torch.where(coins[:, 1, None, None, None], x.flip(-2), x)
        return x.contiguous(memory_format=torch.channels_last) if self.config.pixelwise else x

    def state_dict(self) -> dict[str, Any]:
        """Return networks, moving average, optimizer, classes and the matching."""
        matching = {"latents": self.latents, "period": self.period, "rejected": self.rejected, "distinct": self.distinct}
        return super().state_dict() | {"matching": matching}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state that `state_dict` returned."""
        super().load_state_dict(state)
        matching = state["matching"]
        self.latents, self.period = matching["latents"], matching["period"]
        self.rejected, self.distinct = matching["rejected"], matching["distinct"]


def load(config: ImleConfig, run: Run, checkpoint: Mapping[str, Any], device: str) -> NoiseSampler:
    """Return the sampler of a checkpoint: see `LearnerConfig.load_sampler`."""
    size = run.data.size
    return load_noise_sampler(
        config, run, checkpoint, device, lambda bands, classes: _generator(config, bands, size, classes)
    )


def _generator(config: ImleConfig, bands: int, size: int, classes: int) -> DcganGenerator:
    return DcganGenerator(bands, config.generator_width, size, config.noise_dim, "layer", classes)
