"""A generator G and a critic D that train each other: the training step and the state. Cubes are (n, B, H, W).

Adversarial learners differ in their networks and in the inputs of their generator; everything else is in this module.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hyperderm.errors import ConfigError
from hyperderm.learners import randomness
from hyperderm.learners.adversarial_losses import critic_loss, generator_loss
from hyperderm.learners.adversarial_settings import AdversarialConfig
from hyperderm.learners.average import MovingAverage, gradient_norm
from hyperderm.learners.base import Batch, Compute, Sampler, Validation
from hyperderm.learners.data import TrainData
from hyperderm.learners.generative import GenerativeReference
from hyperderm.learners.penalties import gradient_penalty
from hyperderm.learners.spec import START
from hyperderm.settings import Run


class AdversarialLearner(ABC):
    """A generator and a critic, their optimizers, and the generator's moving average, which makes all samples and scores.

    A subclass defines the networks (`networks`), the inputs of the generator (`inputs`), a sampler of the moving average
    (`sampler`) and the condition of that sampler (`condition`). It may also define classes (`labels`) and further terms of
    the generator's loss (`consistency`).
    """

    def __init__(self, config: AdversarialConfig, run: Run, data: TrainData, compute: Compute) -> None:
        self.config, self.run, self.data, self.compute = config, run, data, compute
        self.seed, self.samples = run.seed, run.training.validation_samples
        with randomness.initialised(self.seed):
            generator, critic = self.networks(len(data.wavelengths_nm))
        self.generator = generator.to(compute.device, compute.dtype)
        self.critic = critic.to(compute.device, compute.dtype)
        self.average = MovingAverage(self.generator, config.ema_images, goes_on=config.start is not None)
        if config.start is not None:
            self._begin_from(data.inputs[START]["learner"])
        self.g, self.d = compute.parallel(self.generator), compute.parallel(self.critic)
        self.g_optimizer = self._optimizer(self.generator, config.lr_generator)
        self.d_optimizer = self._optimizer(self.critic, config.lr_critic)
        self.generator_updates = 0
        self._reference: GenerativeReference | None = None

    @abstractmethod
    def networks(self, bands: int) -> tuple[nn.Module, nn.Module]:
        """Return the untrained generator and critic; they are made in this order."""

    @abstractmethod
    def inputs(self, batch: Batch, stream: str) -> Tensor:
        """Return the generator's inputs for this worker's cubes; `stream` names the network whose update needs them."""

    @abstractmethod
    def sampler(self) -> Sampler:
        """Return a sampler that makes cubes by the moving average; it follows the average when training goes on."""

    @abstractmethod
    def condition(self, rows: Tensor) -> Tensor | None:
        """Return the condition of `Sampler.sample` for cubes like those in rows `rows` (n,) of the train role."""

    def labels(self, batch: Batch) -> tuple[Tensor, ...]:
        """Return further inputs of both networks: none, or the classes (n,) of the real cubes."""
        return ()

    def consistency(self, inputs: Tensor, fake: Tensor) -> Mapping[str, tuple[float, Tensor]]:
        """Return the weight and the mean of each further term of the generator's loss, by name."""
        return {}

    def begin_from(self, state: Mapping[str, Any]) -> None:
        """Take over the networks of another run's `state_dict`."""
        self.generator.load_state_dict(state["generator"])
        self.critic.load_state_dict(state["critic"])
        self.ema.load_state_dict(state["ema"])

    def _begin_from(self, state: Mapping[str, Any]) -> None:
        try:
            self.begin_from(state)
        except (KeyError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ConfigError(
                f"learner.start = {self.config.start}: its networks are not those of this version ({reason})",
                "Train it anew, or name another run.",
            ) from error

    @property
    def ema(self) -> nn.Module:
        """The generator's moving average."""
        return self.average.module

    def step(self, batch: Batch) -> Mapping[str, Tensor]:
        """Update the critic once; after every `n_critic` such updates, also update the generator and its moving average.

        Return these metrics, each before those that depend on it: `wasserstein` (E D(real) − E D(fake)), `penalty_norm`,
        `penalty`, `critic_loss`, `critic_gradient`, and after a generator update also `adversarial`, those of
        `consistency`, `generator_loss`, `generator_gradient`.
        """
        metrics = self.critic_step(batch)
        step = batch.images // batch.count
        if (step + 1) % self.config.n_critic == 0:
            metrics |= self.generator_step(batch)
            self.average.update(batch.images + batch.count, batch.count * self.config.n_critic)
            self.generator_updates += 1
        return {name: value.detach() for name, value in metrics.items()}

    def critic_step(self, batch: Batch) -> dict[str, Tensor]:
        """Update the critic once."""
        c = self.config
        real, labels = batch.real.to(self.compute.dtype), self.labels(batch)
        with torch.no_grad(), self.compute.autocast():
            fake = self.g(self.inputs(batch, "critic"), *labels).to(real.dtype)
        with self.compute.autocast():
            on_real, on_fake = self.d(real, *labels), self.d(fake, *labels)
        on_real, on_fake = on_real.to(real.dtype), on_fake.to(real.dtype)
        loss = critic_loss(c.loss, on_real, on_fake, c.real_label)
        penalty = norm = torch.zeros_like(loss)
        if c.loss == "wgan_gp":
            penalty, norm = self.penalty(real, fake, batch)
        total = loss + c.gp_weight * penalty
        self.d_optimizer.zero_grad(set_to_none=True)
        total.backward()
        gradient = gradient_norm(self.critic)
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

    def penalty(self, real: Tensor, fake: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return `gradient_penalty` at keyed random points between real and fake cubes, never in bf16."""
        eps = randomness.rows(self.seed, "penalty", batch.images, batch.count, (1, 1, 1), batch.share).to(real)
        return gradient_penalty(self.d, eps * real + (1 - eps) * fake, self.labels(batch))

    def generator_step(self, batch: Batch) -> dict[str, Tensor]:
        """Update the generator once; the critic stays as it is."""
        self.critic.requires_grad_(False)
        inputs, labels = self.inputs(batch, "generator"), self.labels(batch)
        with self.compute.autocast():
            fake = self.g(inputs, *labels)
            score = self.critic(fake, *labels)
        loss = generator_loss(self.config.loss, score.to(self.compute.dtype))
        metrics = {"adversarial": loss}
        for name, (weight, term) in self.consistency(inputs, fake.to(self.compute.dtype)).items():
            metrics[name] = term
            loss = loss + weight * term
        self.g_optimizer.zero_grad(set_to_none=True)
        loss.backward()
        gradient = gradient_norm(self.generator)
        self.g_optimizer.step()
        self.critic.requires_grad_(True)
        return metrics | {"generator_loss": loss, "generator_gradient": gradient}

    def validate(self) -> Validation:
        """Score the moving average on the validation role; the conditions are those of train cubes, never of validation."""
        if self._reference is None:
            train, held = self.data.train.reflectance, self.data.validation.reflectance
            self._reference = GenerativeReference(train, held, self.seed)
        condition = self.condition(self._drawn(self.samples, self.seed))
        cubes = self.sample(self.seed, range(self.samples), condition)
        scores = self._reference.score(cubes) | dict(self.further_scores(cubes, condition))
        return Validation(scores | {"generator_updates": float(self.generator_updates)}, cubes)

    def further_scores(self, cubes: Tensor, condition: Tensor | None) -> Mapping[str, float]:
        """Return further validation scores of the cubes that were made from `condition`."""
        return {}

    def sample(self, seed: int, indices: Sequence[int], condition: Tensor | None) -> Tensor:
        """See `learners.base.Sampler.sample`."""
        return self.sampler().sample(seed, indices, condition)

    def _drawn(self, count: int, seed: int) -> Tensor:
        """Return `count` random rows of train, (count,) int64; every row is drawn once before any row is repeated."""
        rows = len(self.data.train)
        return torch.randperm(max(count, rows), generator=randomness.generator(seed, "sample", 0))[:count] % rows

    def state_dict(self) -> dict[str, Any]:
        """Return networks, moving average and optimizers."""
        return {
            "generator": self.generator.state_dict(),
            "critic": self.critic.state_dict(),
            "ema": self.ema.state_dict(),
            "g_optimizer": self.g_optimizer.state_dict(),
            "d_optimizer": self.d_optimizer.state_dict(),
            "generator_updates": self.generator_updates,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state that `state_dict` returned."""
        self.generator.load_state_dict(state["generator"])
        self.critic.load_state_dict(state["critic"])
        self.ema.load_state_dict(state["ema"])
        self.g_optimizer.load_state_dict(state["g_optimizer"])
        self.d_optimizer.load_state_dict(state["d_optimizer"])
        self.generator_updates = state["generator_updates"]

    def _optimizer(self, module: nn.Module, lr: float) -> torch.optim.Optimizer:
        if self.config.loss == "wgan_clip":  # momentum and clipped weights work against each other (Arjovsky et al. 2017)
            return torch.optim.RMSprop(module.parameters(), lr)
        return torch.optim.Adam(module.parameters(), lr, betas=(self.config.beta1, self.config.beta2))
