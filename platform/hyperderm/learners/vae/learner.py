"""The variational autoencoder as a learner: it rebuilds train cubes, and makes new ones from noise."""

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
from hyperderm.learners.rebuilding import ENCODER, Rebuilding
from hyperderm.learners.vae.config import VaeConfig
from hyperderm.learners.vae.losses import kl_divergence, l1_reconstruction
from hyperderm.learners.vae.networks import VaeDecoder, VaeEncoder, latent
from hyperderm.settings import Run


class Vae(FromNoise, Rebuilding):
    """An encoder and a decoder; the decoder is the generator, whose moving average makes all samples."""

    config: VaeConfig

    def __init__(self, config: VaeConfig, run: Run, data: TrainData, compute: Compute) -> None:
        super().__init__(config, run, data, compute)
        self.encode, self.decode = self.wrapped[ENCODER], self.wrapped[GENERATOR]
        self.optimizer = self.optimizers["optimizer"]

    def networks(self, bands: int) -> Mapping[str, nn.Module]:
        """See `GenerativeLearner.networks`."""
        c, size, classes = self.config, self.run.data.size, len(self.classes)
        encoder = VaeEncoder(bands, c.encoder_width, size, c.noise_dim, c.norm, classes)
        return {ENCODER: encoder, GENERATOR: _decoder(c, bands, size, classes)}

    def made_optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        """See `GenerativeLearner.made_optimizers`: one optimizer for both networks."""
        c = self.config
        weights = [p for network in self.modules.values() for p in network.parameters()]
        betas = (c.beta1, c.beta2)
        return {"optimizer": torch.optim.Adam(weights, c.lr, betas=betas, weight_decay=c.weight_decay, fused=True)}

    def step(self, batch: Batch) -> Mapping[str, Tensor]:
        """Update both networks once; return `reconstruction`, `kl`, `loss` and the norm of each network's gradient."""
        self.optimizer.zero_grad(set_to_none=True)
        metrics = accumulated(batch, self._loss)
        metrics |= {f"{name}_gradient": gradient_norm(network) for name, network in self.modules.items()}
        self.optimizer.step()
        self.updated(batch, batch.count)
        return metrics

    def _loss(self, batch: Batch) -> Computed:
        real, labels = self.real(batch), self.labels(batch)
        shape = (self.config.noise_dim,)
        noise = randomness.rows(self.seed, "latent", batch.images, batch.count, shape, batch.share, normal=True).to(real)
        with self.compute.autocast():
            mu, log_variance = self.encode(real, *labels)
            mu, log_variance = mu.to(real.dtype), log_variance.to(real.dtype)
            rebuilt = self.decode(latent(mu, log_variance, noise), *labels)
        reconstruction = l1_reconstruction(rebuilt.to(real.dtype), real)
        kl = kl_divergence(mu, log_variance)
        loss = reconstruction + self.config.kl_weight * kl
        return loss, {"reconstruction": reconstruction, "kl": kl, "loss": loss}

    def rebuild(self, real: Tensor, *labels: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        """See `Rebuilding.rebuild`: from μ."""
        mu, _ = self.modules[ENCODER](real, *labels)
        return self.ema(mu, *labels), {}


def load(config: VaeConfig, run: Run, checkpoint: Mapping[str, Any], device: str) -> NoiseSampler:
    """Return the sampler of a checkpoint: see `LearnerConfig.load_sampler`."""
    size = run.data.size
    return load_noise_sampler(config, run, checkpoint, device, lambda bands, classes: _decoder(config, bands, size, classes))


def _decoder(config: VaeConfig, bands: int, size: int, classes: int) -> VaeDecoder:
    return VaeDecoder(bands, config.generator_width, size, config.noise_dim, config.norm, classes)
