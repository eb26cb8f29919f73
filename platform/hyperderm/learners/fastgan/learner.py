"""FastGAN makes a cube from noise or, if it is class-conditional, from noise and a diagnosis."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from hyperderm.learners import randomness
from hyperderm.learners.adversarial import AdversarialLearner, Judgement, Terms, Views
from hyperderm.learners.adversarial_losses import jittered
from hyperderm.learners.base import Batch, Compute
from hyperderm.learners.data import TrainData
from hyperderm.learners.fastgan.config import FastGanConfig
from hyperderm.learners.fastgan.losses import absolute_difference, spectral_angle
from hyperderm.learners.fastgan.networks import QUADRANTS, FastGanDiscriminator, FastGanGenerator, halved, targets
from hyperderm.learners.from_noise import FromNoise, NoiseSampler, load_noise_sampler
from hyperderm.learners.synthesis import noise
from hyperderm.settings import Run


class FastGanSampler(NoiseSampler):
    """A sampler that can take the style of a cube from a second noise."""

    def inputs(self, seed: int, index: int, condition: Tensor | None) -> tuple[Tensor, ...]:
        """Return z (1, noise_dim), the class y (1,) if there is a condition, and the noise of the style if it is mixed."""
        style = noise(seed, index, self.config.noise_dim, self.drawing.truncation, "style")
        return super().inputs(seed, index, condition) + ((style,) if self.drawing.mix else ())

    def call(self, given: Sequence[Tensor]) -> Tensor:
        """See `NetworkSampler.call`."""
        z, *more = given
        style = more.pop() if self.drawing.mix else None
        made: Tensor = self.network(z, more[0] if more else None, style)
        return made


class FastGan(FromNoise, AdversarialLearner):
    """The learner of FastGAN, see `AdversarialLearner`; the critic sees each cube and a copy of half the size."""

    config: FastGanConfig
    generator: FastGanGenerator
    fused: ClassVar[bool] = True
    sampler_class: ClassVar[type[NoiseSampler]] = FastGanSampler

    def __init__(self, config: FastGanConfig, run: Run, data: TrainData, compute: Compute) -> None:
        super().__init__(config, run, data, compute)
        self.difference = _difference(config, compute)

    def pair(self, bands: int) -> tuple[nn.Module, nn.Module]:
        """See `AdversarialLearner.pair`."""
        c, size, classes = self.config, self.run.data.size, len(self.classes)
        generator = _generator(c, bands, size, classes)
        critic = FastGanDiscriminator(bands, c.critic_width, size, classes, c.norm)
        for decoder in () if c.rebuilds else critic.decoders:
            decoder.requires_grad_(False)  # data-parallel training waits for the gradient of every weight that wants one
        return generator, critic

    def generated(self, inputs: Tensor, labels: Sequence[Tensor], batch: Batch, stream: str) -> Views:
        """Return cubes and their small copies, both of which the generator makes, with keyed maps of noise."""
        maps = [
            randomness.rows(
                self.seed, f"maps/{stream}/{place}", batch.images, batch.count, shape, batch.share, normal=True
            ).to(inputs)
            for place, shape in enumerate(self.generator.noise_shapes())
        ]
        made: Views = self.g(inputs, *labels, noise=maps, both=True)
        return made

    def views(self, real: Tensor) -> Views:
        """Return cubes and their copies of half the size."""
        return real, halved(real)

    def margins(self, scores: Tensor, batch: Batch) -> Tensor:
        """Return the margins U(0.8, 1) of each logit."""
        shape = (2, *scores.shape[1:])
        draws = randomness.rows(self.seed, "margins", batch.images, batch.count, shape, batch.share)
        return jittered(draws.to(scores))

    def judged_real(self, views: Views, labels: Sequence[Tensor], batch: Batch) -> Judgement:
        """Return the logits of real cubes, and the cubes that the discriminator rebuilds of its maps if they count."""
        if not self.config.rebuilds:
            return self.judged(self.d, views, labels)
        return Judgement(*self.d(*views, *labels, part=self._part(batch)))

    def critic_terms(self, views: Views, said: Judgement, labels: Sequence[Tensor], batch: Batch) -> Terms:
        """Return `reconstruction` and `spectral_angle`, where they have a weight: sums over three rebuilt cubes."""
        if not self.config.rebuilds:
            return {}
        real = targets(views[0], self._part(batch))
        pairs = [(rebuilt.to(self.compute.dtype), wanted) for rebuilt, wanted in zip(said.more, real, strict=True)]
        c, terms = self.config, dict[str, tuple[float, Tensor]]()
        if c.reconstruction_weight > 0:
            terms["reconstruction"] = c.reconstruction_weight, torch.stack([self.difference(a, b) for a, b in pairs]).sum()
        if c.spectral_weight > 0:
            inverse = self.data.coordinates.inverse
            angles = [spectral_angle(inverse(a), inverse(b)) for a, b in pairs]
            terms["spectral_angle"] = c.spectral_weight, torch.stack(angles).sum()
        return terms

    def _part(self, batch: Batch) -> int:
        """Return the quadrant that is rebuilt in this step, the same for all workers."""
        return int(torch.randint(QUADRANTS, (), generator=randomness.generator(self.seed, "quadrant", batch.images)))


def load(config: FastGanConfig, run: Run, checkpoint: Mapping[str, Any], device: str) -> NoiseSampler:
    """Return the sampler of a checkpoint: see `LearnerConfig.load_sampler`."""
    size = run.data.size
    return load_noise_sampler(
        config, run, checkpoint, device, lambda bands, classes: _generator(config, bands, size, classes), FastGanSampler
    )


def _generator(config: FastGanConfig, bands: int, size: int, classes: int) -> FastGanGenerator:
    return FastGanGenerator(bands, config.generator_width, size, config.noise_dim, classes, config.norm)


def _difference(config: FastGanConfig, compute: Compute) -> Callable[[Tensor, Tensor], Tensor]:
    if config.reconstruction == "l1":
        return absolute_difference
    from hyperderm.learners.lpips import Lpips

    lpips = Lpips().to(compute.device, compute.dtype)
    return lambda a, b: lpips(a, b).mean()
