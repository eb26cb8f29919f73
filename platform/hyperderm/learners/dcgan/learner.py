"""DCGAN makes a cube from noise or, if it is class-conditional, from noise and a diagnosis."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from hyperderm.learners.adversarial import AdversarialLearner, Judgement, Terms, Views
from hyperderm.learners.adversarial_settings import check_bands
from hyperderm.learners.base import Batch
from hyperderm.learners.critics import Critic
from hyperderm.learners.dcgan.config import DcganConfig
from hyperderm.learners.dcgan.networks import DcganCritic
from hyperderm.learners.from_noise import FromNoise, NoiseSampler, load_noise_sampler
from hyperderm.learners.noise_networks import DcganGenerator
from hyperderm.settings import Run


class Dcgan(FromNoise, AdversarialLearner):
    """The learner of DCGAN, see `AdversarialLearner`; real and generated cubes of a batch share diagnoses, row by row."""

    config: DcganConfig

    def pair(self, bands: int) -> tuple[nn.Module, nn.Module]:
        """See `AdversarialLearner.pair`."""
        c, size, classes = self.config, self.run.data.size, len(self.classes)
        generator = _generator(c, bands, size, classes)
        if c.critic == "dcgan":
            return generator, DcganCritic(bands, c.critic_width, size, c.norm, classes, self._tells)
        check_bands(c.critic, bands)
        return generator, Critic(bands, c.critic_width, 3 if c.critic == "conv3d" else 2, c.fft_arm, c.norm, classes)

    @property
    def _tells(self) -> bool:
        """Whether the critic tells the class, instead of being told it."""
        return self.config.class_head == "auxiliary"

    def judged(self, critic: nn.Module, views: Views, labels: Sequence[Tensor]) -> Judgement:
        """See `AdversarialLearner.judged`: with an auxiliary head also the logits of the classes, (n, classes)."""
        return Judgement(*critic(*views)) if self._tells else super().judged(critic, views, labels)

    def critic_terms(self, views: Views, said: Judgement, labels: Sequence[Tensor], batch: Batch) -> Terms:
        """Return `class_loss`, the cross-entropy of the diagnoses of real cubes, if there is an auxiliary head."""
        return self._class_loss("class_loss", said, labels)

    def generator_terms(self, said: Judgement, labels: Sequence[Tensor]) -> Terms:
        """Return `generator_class_loss`, the same of the generator's cubes and the diagnoses that they were asked for."""
        return self._class_loss("generator_class_loss", said, labels)

    def _class_loss(self, name: str, said: Judgement, labels: Sequence[Tensor]) -> Terms:
        if not self._tells:
            return {}
        return {name: (self.config.class_weight, cross_entropy(said.more.to(self.compute.dtype), labels[0]))}


def load(config: DcganConfig, run: Run, checkpoint: Mapping[str, Any], device: str) -> NoiseSampler:
    """Return the sampler of a checkpoint: see `LearnerConfig.load_sampler`."""
    size = run.data.size
    return load_noise_sampler(
        config, run, checkpoint, device, lambda bands, classes: _generator(config, bands, size, classes)
    )


def _generator(config: DcganConfig, bands: int, size: int, classes: int) -> DcganGenerator:
    multiplied = config.class_head == "auxiliary"
    return DcganGenerator(bands, config.generator_width, size, config.noise_dim, config.generator_norm, classes, multiplied)
