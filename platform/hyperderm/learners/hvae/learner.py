"""The hierarchical variational autoencoder as a learner: it rebuilds train cubes, and makes new ones from its prior."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hyperderm.learners import randomness
from hyperderm.learners.accumulation import Computed, accumulated
from hyperderm.learners.average import gradient_norm
from hyperderm.learners.base import Batch, Compute
from hyperderm.learners.data import TrainData
from hyperderm.learners.from_noise import load_told_sampler
from hyperderm.learners.generative_learner import GENERATOR
from hyperderm.learners.hvae.config import HvaeConfig
from hyperderm.learners.hvae.networks import BottomUp, TopDown, noise_length, sides
from hyperderm.learners.rebuilding import ENCODER, Rebuilding
from hyperderm.learners.synthesis import NetworkSampler, noise
from hyperderm.learners.vae.losses import l1_reconstruction
from hyperderm.settings import Run


class HvaeSampler(NetworkSampler):
    """A sampler that draws all latent maps of a cube from the prior, from coarse to fine.

    The noise of all maps stands in one vector, which belongs to the seed and the index of the cube alone.
    """

    config: HvaeConfig

    def inputs(self, seed: int, index: int, condition: Tensor | None) -> tuple[Tensor, ...]:
        """Return the noise (1, `noise_length`) and, if there is a condition, the class y (1,)."""
        length = noise_length(self.run.data.size, self.config.blocks, self.config.latent_channels)
        z = noise(seed, index, length, self.drawing.truncation)
        return (z,) if condition is None else (z, condition)

    def call(self, given: Sequence[Tensor]) -> Tensor:
        """See `NetworkSampler.call`."""
        assert isinstance(self.network, TopDown)
        return self.network.sampled(*given)


class Hvae(Rebuilding):
    """An encoder and a top-down decoder; the decoder is the generator, whose moving average makes all samples."""

    config: HvaeConfig
    sampler_class = HvaeSampler

    def __init__(self, config: HvaeConfig, run: Run, data: TrainData, compute: Compute) -> None:
        super().__init__(config, run, data, compute)
        self.encode, self.decode = self.wrapped[ENCODER], self.wrapped[GENERATOR]
        self.optimizer = self.optimizers["optimizer"]
        self.length = noise_length(run.data.size, config.blocks, config.latent_channels)
        self.weights = [p for network in self.modules.values() for p in network.parameters()]

    def networks(self, bands: int) -> Mapping[str, nn.Module]:
        """See `GenerativeLearner.networks`."""
        c, size = self.config, self.run.data.size
        encoder = BottomUp(bands, c.generator_width, size, c.blocks)
        return {ENCODER: encoder, GENERATOR: _decoder(c, bands, size, len(self.classes))}

    def made_optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        """See `GenerativeLearner.made_optimizers`: one optimizer for both networks."""
        c = self.config
        weights = [p for network in self.modules.values() for p in network.parameters()]
        return {"optimizer": torch.optim.AdamW(weights, c.lr, (c.beta1, c.beta2), weight_decay=c.weight_decay, fused=True)}

    def step(self, batch: Batch) -> Mapping[str, Tensor]:
        """Update both networks once, or leave the update out where gradients are too large.

        Returns:
            `reconstruction`, `kl` in nats per number of a cube, of it the part `kl_at_S` of each resolution of S pixels,
            `loss`, `skipped` (1 for an update that was left out), and the norm of each network's gradient.
        """
        self.optimizer.zero_grad(set_to_none=True)
        metrics = accumulated(batch, self._loss)
        gradients = {f"{name}_gradient": gradient_norm(network) for name, network in self.modules.items()}
        return metrics | {"skipped": self._updated(batch)} | gradients

    def _loss(self, batch: Batch) -> Computed:
        real, labels = self.real(batch), self.labels(batch)
        drawn = randomness.rows(self.seed, "latent", batch.images, batch.count, (self.length,), batch.share, normal=True)
        with self.compute.autocast():
            rebuilt, kl = self.decode(drawn.to(real), self.encode(real), *labels)
        reconstruction = l1_reconstruction(rebuilt.to(real.dtype), real)
        at_sides = kl.mean(0) / real[0].numel()
        loss = reconstruction + self.config.kl_weight * at_sides.sum()
        by_side = {f"kl_at_{side}": each for side, each in zip(sides(self.run.data.size), at_sides, strict=True)}
        return loss, {"reconstruction": reconstruction, "kl": at_sides.sum(), **by_side, "loss": loss}

    def rebuild(self, real: Tensor, *labels: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        """See `Rebuilding.rebuild`: from the means of the posteriors; the score is `kl`, in nats per number of a cube.

        A divergence far above that of train says that the prior knows the train cubes by heart.
        """
        made, kl = self.ema(real.new_zeros(len(real), self.length), self.modules[ENCODER](real), *labels)
        return made, {"kl": kl.sum(1) / real[0].numel()}

    def _updated(self, batch: Batch) -> Tensor:
        """Update by the gradients that were computed; return 1 if that was left out, else 0."""
        norm = nn.utils.clip_grad_norm_(self.weights, self.config.clip)
        skipped = ~(norm <= self.config.skip)  # the norm is of all workers' gradients, so all decide alike
        if skipped:
            self.average.update(batch.images + batch.count, batch.count)
        else:
            self.optimizer.step()
            self.updated(batch, batch.count)
        return skipped.to(norm.dtype)


def load(config: HvaeConfig, run: Run, checkpoint: Mapping[str, Any], device: str) -> HvaeSampler:
    """Return the sampler of a checkpoint: see `LearnerConfig.load_sampler`."""
    size = run.data.size
    made = lambda bands, classes: _decoder(config, bands, size, classes)  # noqa: E731
    return load_told_sampler(config, run, checkpoint, device, made, HvaeSampler)


def _decoder(config: HvaeConfig, bands: int, size: int, classes: int) -> TopDown:
    return TopDown(bands, config.generator_width, size, config.blocks, config.latent_channels, classes)
