"""The SHS-GAN step: WGAN-GP with RGB consistency (Hauser et al., IEEE TCI 7, 2021), and the ladder's other losses.

Units: the networks see cubes scaled to [-1, 1] per band; the fixed pseudo-RGB matrix H acts on reflectance, after the
exact inverse of the scaling, followed by one gain (fitted on train) and a clip to [-1, 1]. The real cubes of a step and
the cubes whose RGB the generator sees are independent draws from train.
"""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits as bce

from hyperderm.cubes.pseudo_rgb import fit_gain, pseudo_rgb_matrix
from hyperderm.errors import ConfigError
from hyperderm.learners import keyed
from hyperderm.learners.base import Batch, Placement, Validation
from hyperderm.learners.critics import FEWEST_BANDS, Critic
from hyperderm.learners.data import TrainData
from hyperderm.learners.generative import GenerativeReference
from hyperderm.learners.shsgan.config import ShsGanConfig
from hyperderm.learners.shsgan.networks import DcganGenerator, UNetGenerator, dcgan_init
from hyperderm.settings import Run

EMA_RAMP = 0.05
"""The moving average's half-life is at most this share of the images shown so far (Karras et al. 2020, ADA)."""
SAMPLE_BATCH = 32


class ShsGan:
    """Generator, critic, their optimizers and the generator's moving average, which makes every sample and score."""

    def __init__(self, config: ShsGanConfig, run: Run, data: TrainData, placement: Placement) -> None:
        self.config, self.data, self.placement = config, data, placement
        self.seed, self.samples = run.seed, run.training.validation_samples
        c, bands = self.config, len(data.wavelengths_nm)
        matrix = pseudo_rgb_matrix(data.wavelengths_nm)
        self.gain = fit_gain(data.train.reflectance.movedim(1, 3).numpy(), matrix)
        self.h = torch.from_numpy(matrix).to(placement.device, placement.dtype)  # (3, B)
        _check_bands(c, bands)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(keyed.generator(self.seed, "init", 0).initial_seed())
            generator = generator_network(c, bands, run.data.size)
            critic = Critic(bands, c.critic_width, 3 if c.critic == "conv3d" else 2, c.fft_arm, c.norm)
        self.generator = generator.to(placement.device, placement.dtype)
        self.critic = critic.to(placement.device, placement.dtype)
        self.ema = copy.deepcopy(self.generator).eval().requires_grad_(False)
        self.g, self.d = placement.parallel(self.generator), placement.parallel(self.critic)
        self.g_optimizer = self._optimizer(self.generator, c.lr_generator)
        self.d_optimizer = self._optimizer(self.critic, c.lr_critic)
        self.generator_updates = 0
        self._reference: GenerativeReference | None = None

    def step(self, batch: Batch) -> Mapping[str, Tensor]:
        """Update the critic; after every `n_critic` such updates, the generator and its moving average.

        Metrics, causes before what follows from them: `wasserstein`, `penalty_norm`, `penalty`, `critic_loss`,
        `critic_gradient`, and after a generator update `adversarial`, `rgb_loss`, `generator_loss`, `generator_gradient`.
        """
        metrics = self._critic_step(batch)
        step = batch.images // batch.count
        if (step + 1) % self.config.n_critic == 0:
            metrics |= self._generator_step(batch)
            self._average(batch)
            self.generator_updates += 1
        return {name: value.detach() for name, value in metrics.items()}

    def _critic_step(self, batch: Batch) -> dict[str, Tensor]:
        c = self.config
        real = batch.real.to(self.placement.dtype)
        with torch.no_grad(), self._autocast():
            fake = self.g(self._input(batch, "critic")).to(real.dtype)
        with self._autocast():
            on_real, on_fake = self.d(real), self.d(fake)
        on_real, on_fake = on_real.to(real.dtype), on_fake.to(real.dtype)
        if c.loss == "bce":
            loss = (bce(on_real, torch.ones_like(on_real)) + bce(on_fake, torch.zeros_like(on_fake))) / 2
            penalty = norm = torch.zeros_like(loss)
        else:
            loss = on_fake.mean() - on_real.mean()
            penalty, norm = self._penalty(real, fake, batch) if c.loss == "wgan_gp" else (loss.new_zeros(()),) * 2
        total = loss + c.gp_weight * penalty
        self.d_optimizer.zero_grad(set_to_none=True)
        total.backward()
        gradient = _gradient_norm(self.critic)
        self.d_optimizer.step()
        if c.loss == "wgan_clip":
            with torch.no_grad():
                for p in self.critic.parameters():
                    p.clamp_(-c.clip, c.clip)
        gap = on_real.mean() - on_fake.mean()
        return {
            "wasserstein": gap,
            "penalty_norm": norm,
            "penalty": penalty,
            "critic_loss": total,
            "critic_gradient": gradient,
        }

    def _penalty(self, real: Tensor, fake: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """E (‖∇D(x̂)‖₂ − 1)², the norm over the flattened sample, x̂ on the line between real and fake; never in bf16."""
        eps = keyed.rows(self.seed, "penalty", batch.images, batch.count, (1, 1, 1), batch.share).to(real)
        x = (eps * real + (1 - eps) * fake).requires_grad_(True)
        (gradient,) = torch.autograd.grad(self.d(x).sum(), x, create_graph=True)
        norm = (gradient.flatten(1).square().sum(1) + 1e-12).sqrt()  # (n,)
        return (norm - 1).square().mean(), norm.mean()

    def _generator_step(self, batch: Batch) -> dict[str, Tensor]:
        c = self.config
        self.critic.requires_grad_(False)
        rgb = self._input(batch, "generator")
        with self._autocast():
            fake = self.g(rgb)
            score = self.critic(fake)
        score = score.to(self.placement.dtype)
        adversarial = bce(score, torch.ones_like(score)) if c.loss == "bce" else -score.mean()
        metrics = {"adversarial": adversarial}
        loss = adversarial
        if c.rgb_weight > 0:
            metrics["rgb_loss"] = self._rgb_error(rgb, fake.to(self.placement.dtype)).mean()
            loss = loss + c.rgb_weight * metrics["rgb_loss"]
        self.g_optimizer.zero_grad(set_to_none=True)
        loss.backward()
        gradient = _gradient_norm(self.generator)
        self.g_optimizer.step()
        self.critic.requires_grad_(True)
        return metrics | {"generator_loss": loss, "generator_gradient": gradient}

    def _average(self, batch: Batch) -> None:
        shown = batch.images + batch.count
        half_life = min(self.config.ema_images, EMA_RAMP * shown)
        keep = 0.5 ** (batch.count * self.config.n_critic / max(half_life, 1e-8))
        with torch.no_grad():
            for mean, p in zip(self.ema.parameters(), self.generator.parameters(), strict=True):
                mean.lerp_(p, 1 - keep)
            for kept, buffer in zip(self.ema.buffers(), self.generator.buffers(), strict=True):
                kept.copy_(buffer)

    def rgb(self, scaled: Tensor) -> Tensor:
        """Return the scaled pseudo-RGB of scaled cubes: 2 · clip(gain · H · reflectance, 0, 1) − 1, (N, 3, H, W)."""
        reflectance = self.data.scaling.inverse(scaled)
        return scaled_rgb(torch.einsum("cb,nbhw->nchw", self.h.to(reflectance.dtype), reflectance), self.gain)

    def _rgb_error(self, rgb: Tensor, fake: Tensor) -> Tensor:
        return (self.rgb(fake) - rgb).square().flatten(1).mean(1).clamp_min(1e-12).sqrt()  # (n,)

    def _input(self, batch: Batch, stream: str) -> Tensor:
        if self.config.input == "rgb":
            return self.rgb(batch.source.to(self.placement.dtype))
        z = keyed.rows(
            self.seed, f"noise/{stream}", batch.images, batch.count, (self.config.noise_dim,), batch.share, normal=True
        )
        return z.to(self.placement.device, self.placement.dtype)

    def validate(self) -> Validation:
        """Score the moving average on the validation role; the RGB inputs are those of train cubes, never validation's."""
        reference = self._reference or GenerativeReference(
            self.data.train.reflectance, self.data.validation.reflectance, self.seed
        )
        self._reference = reference
        inputs, cubes = self._generate(self.samples, self.seed)
        scores = reference.score(cubes)
        if self.config.input == "rgb":
            again = self.rgb(self.data.scaling.forward(cubes.to(self.placement.device, self.placement.dtype)))
            scores["rgb_consistency_error"] = float((again.cpu() - inputs).square().flatten(1).mean(1).sqrt().mean())
        scores["generator_updates"] = float(self.generator_updates)
        return Validation(scores, cubes)

    def sample(self, count: int, seed: int) -> Tensor:
        """Return `count` cubes in reflectance, (count, B, H, W) float32 on the CPU."""
        return self._generate(count, seed)[1]

    @torch.no_grad()
    def _generate(self, count: int, seed: int) -> tuple[Tensor, Tensor]:
        if self.config.input == "rgb":
            train = self.data.train.reflectance
            pool = max(count, len(train))
            order = torch.randperm(pool, generator=keyed.generator(seed, "sample", 0))[:count] % len(train)
            inputs = self.rgb(self.data.scaling.forward(train[order]).to(self.placement.device, self.placement.dtype))
        else:
            everyone = slice(0, count)
            inputs = keyed.rows(seed, "sample", 0, count, (self.config.noise_dim,), everyone, normal=True)
            inputs = inputs.to(self.placement.device, self.placement.dtype)
        scaled = torch.cat([self.ema(part) for part in inputs.split(SAMPLE_BATCH)])
        return inputs.cpu(), self.data.scaling.inverse(scaled).float().cpu()

    def state_dict(self) -> dict[str, Any]:
        """Return networks, moving average, optimizers, H and the gain."""
        return {
            "generator": self.generator.state_dict(),
            "critic": self.critic.state_dict(),
            "ema": self.ema.state_dict(),
            "g_optimizer": self.g_optimizer.state_dict(),
            "d_optimizer": self.d_optimizer.state_dict(),
            "h": self.h.cpu(),
            "gain": self.gain,
            "generator_updates": self.generator_updates,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.generator.load_state_dict(state["generator"])
        self.critic.load_state_dict(state["critic"])
        self.ema.load_state_dict(state["ema"])
        self.g_optimizer.load_state_dict(state["g_optimizer"])
        self.d_optimizer.load_state_dict(state["d_optimizer"])
        self.h = state["h"].to(self.placement.device, self.placement.dtype)
        self.gain = state["gain"]
        self.generator_updates = state["generator_updates"]

    def _optimizer(self, module: nn.Module, lr: float) -> torch.optim.Optimizer:
        if self.config.loss == "wgan_clip":  # momentum and clipped weights work against each other (Arjovsky et al. 2017)
            return torch.optim.RMSprop(module.parameters(), lr)
        return torch.optim.Adam(module.parameters(), lr, betas=(self.config.beta1, self.config.beta2))

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.placement.device.type, torch.bfloat16, enabled=self.placement.bf16)


def generator_network(config: ShsGanConfig, bands: int, size: int) -> nn.Module:
    """Return an untrained generator: what training starts from, and what a checkpoint's weights go into."""
    if config.input == "rgb":
        return UNetGenerator(bands, config.generator_width)
    return DcganGenerator(bands, config.generator_width, size, config.noise_dim).apply(dcgan_init)


def scaled_rgb(levels: Tensor, gain: float) -> Tensor:
    """Return the generator's input 2 · clip(gain · levels, 0, 1) − 1 for linear RGB levels H · reflectance (N, 3, H, W)."""
    return (gain * levels).clamp(0, 1) * 2 - 1


def _gradient_norm(module: nn.Module) -> Tensor:
    return torch.nn.utils.get_total_norm([p.grad for p in module.parameters() if p.grad is not None])


def _check_bands(config: ShsGanConfig, bands: int) -> None:
    if config.critic == "conv3d" and bands < FEWEST_BANDS:
        raise ConfigError(
            f"learner.critic = conv3d needs at least {FEWEST_BANDS} bands, the store has {bands}",
            "Use --set learner.critic=conv2d",
        )
