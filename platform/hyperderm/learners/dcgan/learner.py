"""DCGAN makes a cube from noise or, if it is class-conditional, from noise and a diagnosis."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from hyperderm.learners.adversarial import AdversarialLearner
from hyperderm.learners.adversarial_settings import check_bands
from hyperderm.learners.critics import Critic
from hyperderm.learners.dcgan.config import DcganConfig
from hyperderm.learners.dcgan.networks import DcganCritic, DcganGenerator
from hyperderm.learners.from_noise import FromNoise, NoiseSampler, load_noise_sampler
from hyperderm.settings import Run


class Dcgan(FromNoise, AdversarialLearner):
    """The learner of DCGAN, see `AdversarialLearner`; real and generated cubes of a batch share diagnoses, row by row."""

    config: DcganConfig

    def pair(self, bands: int) -> tuple[nn.Module, nn.Module]:
        """See `AdversarialLearner.pair`."""
        c, size, classes = self.config, self.run.data.size, len(self.classes)
        generator = _generator(c, bands, size, classes)
        if c.critic == "dcgan":
            return generator, DcganCritic(bands, c.critic_width, size, c.norm, classes)
        check_bands(c.critic, bands)
        return generator, Critic(bands, c.critic_width, 3 if c.critic == "conv3d" else 2, c.fft_arm, c.norm, classes)


def load(config: DcganConfig, run: Run, checkpoint: Mapping[str, Any], device: str) -> NoiseSampler:
    """Return the sampler of a checkpoint: see `LearnerConfig.load_sampler`."""
    size = run.data.size
    return load_noise_sampler(
        config, run, checkpoint, device, lambda bands, classes: _generator(config, bands, size, classes)
    )


def _generator(config: DcganConfig, bands: int, size: int, classes: int) -> DcganGenerator:
    return DcganGenerator(bands, config.generator_width, size, config.noise_dim, config.generator_norm, classes)
