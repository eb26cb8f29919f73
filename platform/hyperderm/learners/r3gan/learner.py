"""R3GAN makes a cube from noise or, if it is class-conditional, from noise and a diagnosis."""

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import nn

from hyperderm.learners.adversarial import AdversarialLearner
from hyperderm.learners.from_noise import FromNoise, NoiseSampler, load_noise_sampler
from hyperderm.learners.r3gan.config import R3ganConfig
from hyperderm.learners.r3gan.networks import R3ganCritic, R3ganGenerator
from hyperderm.settings import Run


class R3gan(FromNoise, AdversarialLearner):
    """The learner of R3GAN, see `AdversarialLearner`; real and generated cubes of a batch share diagnoses, row by row."""

    config: R3ganConfig
    fused: ClassVar[bool] = True

    def pair(self, bands: int) -> tuple[nn.Module, nn.Module]:
        """See `AdversarialLearner.pair`."""
        c, size, classes = self.config, self.run.data.size, len(self.classes)
        return _generator(c, bands, size, classes), R3ganCritic(bands, c.critic_width, size, c.blocks, classes)


def load(config: R3ganConfig, run: Run, checkpoint: Mapping[str, Any], device: str) -> NoiseSampler:
    """Return the sampler of a checkpoint: see `LearnerConfig.load_sampler`."""
    size = run.data.size
    return load_noise_sampler(
        config, run, checkpoint, device, lambda bands, classes: _generator(config, bands, size, classes)
    )


def _generator(config: R3ganConfig, bands: int, size: int, classes: int) -> R3ganGenerator:
    return R3ganGenerator(bands, config.generator_width, size, config.noise_dim, config.blocks, classes)
