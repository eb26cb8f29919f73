"""DCGAN makes a cube from noise or, if it is class-conditional, from noise and a diagnosis."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from hyperderm.learners import randomness
from hyperderm.learners.adversarial import AdversarialLearner
from hyperderm.learners.adversarial_settings import check_bands
from hyperderm.learners.base import Batch
from hyperderm.learners.critics import Critic
from hyperderm.learners.dcgan.config import DcganConfig
from hyperderm.learners.dcgan.networks import DcganCritic, DcganGenerator
from hyperderm.learners.synthesis import NetworkSampler, noise
from hyperderm.settings import Run


class Dcgan(AdversarialLearner):
    """The learner of DCGAN, see `AdversarialLearner`; real and generated cubes of a batch share diagnoses, row by row."""

    config: DcganConfig

    def networks(self, bands: int) -> tuple[nn.Module, nn.Module]:
        """See `AdversarialLearner.networks`."""
        c, size, classes = self.config, self.run.data.size, len(self._classes)
        generator = _generator(c, bands, size, classes)
        if c.critic == "dcgan":
            return generator, DcganCritic(bands, c.critic_width, size, c.norm, classes)
        check_bands(c.critic, bands)
        return generator, Critic(bands, c.critic_width, 3 if c.critic == "conv3d" else 2, c.fft_arm, c.norm, classes)

    def inputs(self, batch: Batch, stream: str) -> Tensor:
        """Return noise (n, noise_dim), which is the same for any number of workers."""
        shape = (self.config.noise_dim,)
        z = randomness.rows(self.seed, f"noise/{stream}", batch.images, batch.count, shape, batch.share, normal=True)
        return z.to(self.compute.device, self.compute.dtype)

    def labels(self, batch: Batch) -> tuple[Tensor, ...]:
        """Return the diagnoses (n,) of the real cubes if the networks are class-conditional, otherwise nothing."""
        return (batch.labels.to(self.compute.device),) if self._classes else ()

    def sampler(self) -> "DcganSampler":
        """See `AdversarialLearner.sampler`."""
        data = self.data
        return DcganSampler(self.config, self.run, self.ema, data.wavelengths_nm, data.scaling, classes=self._classes)

    def condition(self, rows: Tensor) -> Tensor | None:
        """Return the classes of the train cubes in `rows`, or None without classes."""
        if not self._classes:
            return None
        return torch.tensor([self._classes.index(self.data.train.diagnoses[row]) for row in rows.tolist()])

    def state_dict(self) -> dict[str, Any]:
        """Return networks, moving average, optimizers and the names of the classes."""
        return super().state_dict() | {"classes": list(self._classes)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state that `state_dict` returned.

        Raises:
            ValueError: the state has other classes.
        """
        if tuple(state["classes"]) != self._classes:
            raise ValueError(f"it was trained on {', '.join(state['classes'])}, not on {', '.join(self._classes)}")
        super().load_state_dict(state)

    @property
    def _classes(self) -> tuple[str, ...]:
        return self.data.classes if self.config.class_conditional else ()


class DcganSampler(NetworkSampler):
    """A sampler that makes cubes from noise and, if there are classes, from a class."""

    config: DcganConfig

    def inputs(self, seed: int, index: int, condition: Tensor | None) -> tuple[Tensor, ...]:
        """Return the noise z (1, noise_dim) and, if there is a condition, the class y (1,)."""
        z = noise(seed, index, self.config.noise_dim)
        return (z,) if condition is None else (z, condition)


def load(config: DcganConfig, run: Run, checkpoint: Mapping[str, Any], device: str) -> DcganSampler:
    """Return the sampler of a checkpoint: see `LearnerConfig.load_sampler`."""
    classes = tuple(str(name) for name in checkpoint["learner"]["classes"])
    return DcganSampler.restored(
        config,
        run,
        checkpoint,
        device,
        lambda bands: _generator(config, bands, run.data.size, len(classes)),
        classes=classes,
    )


def _generator(config: DcganConfig, bands: int, size: int, classes: int) -> DcganGenerator:
    return DcganGenerator(bands, config.generator_width, size, config.noise_dim, config.generator_norm, classes)
