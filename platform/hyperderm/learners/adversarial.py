"""A generator G and a critic D that train each other: the training step and the state. Cubes are (n, B, H, W).

Adversarial learners differ in their networks and in the inputs of their generator; everything else is in this module.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from hyperderm.learners import randomness
from hyperderm.learners.accumulation import Computed, accumulated
from hyperderm.learners.adversarial_losses import critic_loss, generator_loss
from hyperderm.learners.adversarial_settings import AdversarialConfig
from hyperderm.learners.average import gradient_norm
from hyperderm.learners.base import Batch, Compute
from hyperderm.learners.cube_diffaug import AdaptiveStrength, DiffAugment, draws
from hyperderm.learners.data import TrainData
from hyperderm.learners.generative_learner import GENERATOR, GenerativeLearner
from hyperderm.learners.penalties import LeCam, gradient_penalty, zero_centred_penalty
from hyperderm.settings import Run

Views = tuple[Tensor, ...]
"""Cubes as a critic sees them: the cubes (n, B, H, W) themselves first, then smaller copies, if it wants any."""
Terms = Mapping[str, tuple[float, Tensor]]
"""The weight and the mean of each further term of a loss, by name."""


class Judgement(NamedTuple):
    """What a critic says of cubes.

    Attributes:
        scores: (n,) scores, or (n, L) scores of L patches; a larger score means more real.
        more: whatever else the critic says: the logits of classes, or reconstructions.
    """

    scores: Tensor
    more: Any = None


class AdversarialLearner(GenerativeLearner):
    """A generator and a critic, their optimizers, and the generator's moving average, which makes all samples and scores.

    A subclass defines the networks (`pair`), the inputs of the generator (`inputs`), a sampler of the moving average
    (`sampler`) and the condition of that sampler (`condition`). It may also define classes (`labels`), what the critic sees
    of a cube (`generated`, `views`) and says of it (`judged`), and further terms of the losses (`consistency`,
    `critic_terms`, `generator_terms`).
    """

    config: AdversarialConfig
    fused: ClassVar[bool] = False
    """Whether Adam's update is one kernel, which is faster and rounds differently."""

    def __init__(self, config: AdversarialConfig, run: Run, data: TrainData, compute: Compute) -> None:
        super().__init__(config, run, data, compute)
        self.critic = self.modules["critic"]
        self.lecam = LeCam(mean=compute.mean).to(compute.device, compute.dtype) if config.lecam_weight > 0 else None
        self.diffaug = DiffAugment(config.diffaug)
        self.strength = AdaptiveStrength(config.diffaug, compute.mean).to(compute.device) if config.diffaug.adapts else None
        self.g, self.d = self.wrapped[GENERATOR], self.wrapped["critic"]
        self.g_optimizer, self.d_optimizer = self.optimizers["g_optimizer"], self.optimizers["d_optimizer"]

    @abstractmethod
    def pair(self, bands: int) -> tuple[nn.Module, nn.Module]:
        """Return the untrained generator and critic; they are made in this order."""

    @abstractmethod
    def inputs(self, batch: Batch, stream: str) -> Tensor:
        """Return the generator's inputs for this worker's cubes; `stream` names the network whose update needs them."""

    def networks(self, bands: int) -> Mapping[str, nn.Module]:
        """See `GenerativeLearner.networks`."""
        generator, critic = self.pair(bands)
        return {GENERATOR: generator, "critic": critic}

    def made_optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        """See `GenerativeLearner.made_optimizers`."""
        c = self.config
        return {
            "g_optimizer": self._optimizer(self.generator, c.lr_generator),
            "d_optimizer": self._optimizer(self.modules["critic"], c.lr_critic),
        }

    def labels(self, batch: Batch) -> tuple[Tensor, ...]:
        """Return further inputs of both networks: none, or the classes (n,) of the real cubes."""
        return ()

    def generated(self, inputs: Tensor, labels: Sequence[Tensor], batch: Batch, stream: str) -> Views:
        """Return cubes of the generator as the critic sees them; `stream` names the network whose update needs them."""
        return (self.g(inputs, *labels),)

    def views(self, real: Tensor) -> Views:
        """Return real cubes (n, B, H, W) as the critic sees them."""
        return (real,)

    def judged(self, critic: nn.Module, views: Views, labels: Sequence[Tensor]) -> Judgement:
        """Return what the critic says of cubes."""
        return Judgement(critic(*views, *labels))

    def judged_real(self, views: Views, labels: Sequence[Tensor], batch: Batch) -> Judgement:
        """Return what the critic says of real cubes in its own update; by default the same as of generated ones."""
        return self.judged(self.d, views, labels)

    def margins(self, scores: Tensor, batch: Batch) -> Tensor | None:
        """Return the margins of the hinge loss for scores of this shape, see `critic_loss`; None: they are 1."""
        return None

    def critic_terms(self, views: Views, said: Judgement, labels: Sequence[Tensor], batch: Batch) -> Terms:
        """Return further terms of the critic's loss, of real cubes and of what the critic said of them."""
        return {}

    def consistency(self, inputs: Tensor, fake: Tensor) -> Terms:
        """Return further terms of the generator's loss, of its inputs and its cubes."""
        return {}

    def generator_terms(self, said: Judgement, labels: Sequence[Tensor]) -> Terms:
        """Return further terms of the generator's loss, of what the critic said of its cubes."""
        return {}

    def step(self, batch: Batch) -> Mapping[str, Tensor]:
        """Update the critic once; after every `n_critic` such updates, also update the generator and its moving average.

        Return these metrics, each before those that depend on it: `wasserstein` (E D(real) − E D(fake)), `penalty_norm`,
        `penalty`, `r1`, `r2` and `lecam` where they have a weight, the further terms of the critic, `critic_loss`,
        `critic_gradient`, the adaptive probability `augmentation`, and after a generator update also `adversarial`, the
        further terms of the generator, `generator_loss`, `generator_gradient`.
        """
        metrics = self.critic_step(batch)
        step = batch.images // batch.count
        if (step + 1) % self.config.n_critic == 0:
            metrics |= self.generator_step(batch)
            self.updated(batch, batch.count * self.config.n_critic)
        return metrics

    def critic_step(self, batch: Batch) -> dict[str, Tensor]:
        """Update the critic once."""
        self.d_optimizer.zero_grad(set_to_none=True)
        metrics = accumulated(batch, self._critic_loss)
        metrics["critic_gradient"] = gradient_norm(self.critic)
        self.d_optimizer.step()
        if self.config.loss == "wgan_clip":
            with torch.no_grad():
                for p in self.critic.parameters():
                    p.clamp_(-self.config.clip, self.config.clip)
        return metrics

    def _critic_loss(self, batch: Batch) -> Computed:
        """Return the critic's loss and its metrics."""
        c = self.config
        real, labels = self.shown((self.real(batch),), batch, "critic/real")[0], self.labels(batch)
        with torch.no_grad(), self.compute.autocast():
            fake = self.generated(self.inputs(batch, "critic"), labels, batch, "critic")
        fake = self.shown(tuple(view.to(real.dtype) for view in fake), batch, "critic/fake")
        seen = self.views(real)
        with self.compute.autocast():
            said = self.judged_real(seen, labels, batch)
            on_fake = self.judged(self.d, fake, labels).scores
        on_real, on_fake = said.scores.to(real.dtype), on_fake.to(real.dtype)
        loss = critic_loss(c.loss, on_real, on_fake, c.real_label, self.margins(on_real, batch))
        penalty = norm = torch.zeros_like(loss)
        if c.loss == "wgan_gp":
            penalty, norm = self.penalty(real, fake[0], batch)
        total = loss + c.gp_weight * penalty
        terms = {
            **self._smoothness(real, fake[0], labels, on_real, on_fake),
            **self.critic_terms(seen, said, labels, batch),
        }
        for weight, term in terms.values():
            total = total + weight * term
        if self.strength is not None:
            self.strength.update(on_real, batch.count)
            terms["augmentation"] = 0.0, self.strength.probability
        gap = on_real.mean() - on_fake.mean()
        return total, {
            "wasserstein": gap,
            "penalty_norm": norm,
            "penalty": penalty,
            **{name: term for name, (_, term) in terms.items()},
            "critic_loss": total,
        }

    def penalty(self, real: Tensor, fake: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return `gradient_penalty` at keyed random points between real and fake cubes, never in bf16."""
        eps = randomness.rows(self.seed, "penalty", batch.images, batch.count, (1, 1, 1), batch.share).to(real)
        return gradient_penalty(self._scores, eps * real + (1 - eps) * fake, self.labels(batch))

    def _scores(self, x: Tensor, *labels: Tensor) -> Tensor:
        return self.judged(self.d, self.views(x), labels).scores

    def _smoothness(
        self, real: Tensor, fake: Tensor, labels: Sequence[Tensor], on_real: Tensor, on_fake: Tensor
    ) -> dict[str, tuple[float, Tensor]]:
        """Return the penalties on the critic's gradient, never in bf16, and on its scores."""
        c, terms = self.config, dict[str, tuple[float, Tensor]]()
        for name, weight, x in (("r1", c.r1_weight, real), ("r2", c.r2_weight, fake)):
            if weight > 0:
                terms[name] = weight / 2, zero_centred_penalty(self._scores, x, labels)
        if self.lecam is not None:
            self.lecam.update(on_real, on_fake)
            terms["lecam"] = c.lecam_weight, self.lecam(on_real, on_fake)
        return terms

    def generator_step(self, batch: Batch) -> dict[str, Tensor]:
        """Update the generator once; the critic stays as it is."""
        self.critic.requires_grad_(False)
        self.g_optimizer.zero_grad(set_to_none=True)
        metrics = accumulated(batch, self._generator_loss)
        metrics["generator_gradient"] = gradient_norm(self.generator)
        self.g_optimizer.step()
        self.critic.requires_grad_(True)
        return metrics

    def _generator_loss(self, batch: Batch) -> Computed:
        """Return the generator's loss and its metrics."""
        inputs, labels = self.inputs(batch, "generator"), self.labels(batch)
        with self.compute.autocast():
            fake = self.generated(inputs, labels, batch, "generator")
            said = self.judged(self.critic, self.shown(fake, batch, "generator/fake"), labels)
        loss = generator_loss(self.config.loss, said.scores.to(self.compute.dtype), self._opponents(batch, labels))
        metrics = {"adversarial": loss}
        terms = {**self.consistency(inputs, fake[0].to(self.compute.dtype)), **self.generator_terms(said, labels)}
        for name, (weight, term) in terms.items():
            metrics[name] = term
            loss = loss + weight * term
        return loss, metrics | {"generator_loss": loss}

    def _opponents(self, batch: Batch, labels: Sequence[Tensor]) -> Tensor | None:
        """Return the scores of the real cubes if the generator's loss compares pairs, otherwise None."""
        if self.config.loss != "relativistic":
            return None
        with torch.no_grad(), self.compute.autocast():
            (real,) = self.shown((self.real(batch),), batch, "generator/real")
            scores = self.judged(self.critic, self.views(real), labels).scores
        return scores.to(self.compute.dtype)

    def shown(self, views: Views, batch: Batch, stream: str) -> Views:
        """Return cubes as the critic shall see them, augmented by the draws of `stream`, which all views share."""
        if not self.config.diffaug.kinds:
            return views
        drawn = draws(self.seed, stream, batch.images, batch.count, batch.share)
        probability = None if self.strength is None else self.strength.probability
        return tuple(self.diffaug(view, drawn, probability) for view in views)

    def _helpers(self) -> dict[str, nn.Module]:
        """Return what has a state beside networks and optimizers."""
        return {name: part for name, part in (("lecam", self.lecam), ("strength", self.strength)) if part is not None}

    def state_dict(self) -> dict[str, Any]:
        """Return networks, moving average, optimizers, LeCam's averages and the strength of augmentation."""
        return super().state_dict() | {name: part.state_dict() for name, part in self._helpers().items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state that `state_dict` returned."""
        super().load_state_dict(state)
        for name, part in self._helpers().items():
            part.load_state_dict(state[name])

    def _optimizer(self, module: nn.Module, lr: float) -> torch.optim.Optimizer:
        if self.config.loss == "wgan_clip":  # momentum and clipped weights work against each other (Arjovsky et al. 2017)
            return torch.optim.RMSprop(module.parameters(), lr)
        betas = (self.config.beta1, self.config.beta2)
        return torch.optim.Adam(module.parameters(), lr, betas=betas, fused=self.fused or None)
