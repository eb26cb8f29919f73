"""What generators from noise share: keyed noise, the diagnosis that they may be told, and their samplers."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from hyperderm.errors import ConfigError
from hyperderm.learners import randomness
from hyperderm.learners.base import Batch, Compute
from hyperderm.learners.data import TrainData
from hyperderm.learners.generative_learner import GenerativeLearner
from hyperderm.learners.noise_settings import DiagnosisConfig, NoiseConfig
from hyperderm.learners.synthesis import NetworkSampler, noise
from hyperderm.settings import Run

AnySampler = TypeVar("AnySampler", bound=NetworkSampler)


class NoiseSampler(NetworkSampler):
    """A sampler that makes cubes from a noise vector and, if there are classes, from a class."""

    config: NoiseConfig

    def inputs(self, seed: int, index: int, condition: Tensor | None) -> tuple[Tensor, ...]:
        """Return the noise z (1, noise_dim) and, if there is a condition, the class y (1,)."""
        z = noise(seed, index, self.config.noise_dim, self.drawing.truncation)
        return (z,) if condition is None else (z, condition)


class ToldDiagnosis(GenerativeLearner):
    """A generator that makes cubes from noise of any form and, with `conditioning=class`, from a diagnosis.

    A subclass names the sampler, which draws the noise.
    """

    config: DiagnosisConfig
    sampler_class: ClassVar[type[NetworkSampler]]

    def __init__(self, config: DiagnosisConfig, run: Run, data: TrainData, compute: Compute) -> None:
        if config.conditioning == "class" and len(data.classes) < 2:
            raise ConfigError(
                f"learner.conditioning = class in fold {run.data.fold}, whose train role holds {', '.join(data.classes)} "
                "alone, is refused: there is nothing to tell apart",
                "Use another data.fold or more data, or --set learner.conditioning=none.",
            )
        super().__init__(config, run, data, compute)

    def labels(self, batch: Batch) -> tuple[Tensor, ...]:
        """Return the diagnoses (n,) of the real cubes if the networks are class-conditional, otherwise nothing."""
        return (batch.labels.to(self.compute.device),) if self.classes else ()

    @property
    def classes(self) -> tuple[str, ...]:
        """The diagnoses that the networks are told, in the order of their numbers; empty without classes."""
        return self.data.classes if self.config.conditioning == "class" else ()

    def sampler(self) -> NetworkSampler:
        """See `GenerativeLearner.sampler`."""
        data = self.data
        how = self.config, self.run, self.ema, data.wavelengths_nm, data.scaling
        return self.sampler_class(*how, space=data.space, classes=self.classes)

    def condition(self, rows: Tensor) -> Tensor | None:
        """Return the classes of the train cubes in `rows`, or None without classes."""
        if not self.classes:
            return None
        return torch.tensor([self.classes.index(self.data.train.diagnoses[row]) for row in rows.tolist()])

    def state_dict(self) -> dict[str, Any]:
        """Return networks, moving average, optimizers and the names of the classes."""
        return super().state_dict() | {"classes": list(self.classes)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state that `state_dict` returned.

        Raises:
            ValueError: the state has other classes.
        """
        if tuple(state["classes"]) != self.classes:
            raise ValueError(f"it was trained on {', '.join(state['classes'])}, not on {', '.join(self.classes)}")
        super().load_state_dict(state)


class FromNoise(ToldDiagnosis):
    """A generator that makes cubes from a noise vector and, with `conditioning=class`, from a diagnosis.

    Real and generated cubes of a batch share diagnoses, row by row.
    """

    config: NoiseConfig
    sampler_class: ClassVar[type[NoiseSampler]] = NoiseSampler

    def inputs(self, batch: Batch, stream: str) -> Tensor:
        """Return noise (n, noise_dim), which is the same for any number of workers."""
        shape = (self.config.noise_dim,)
        z = randomness.rows(self.seed, f"noise/{stream}", batch.images, batch.count, shape, batch.share, normal=True)
        return z.to(self.compute.device, self.compute.dtype)


def load_noise_sampler(
    config: NoiseConfig,
    run: Run,
    checkpoint: Mapping[str, Any],
    device: str,
    network: Callable[[int, int], nn.Module],
    sampler: type[NoiseSampler] = NoiseSampler,
) -> NoiseSampler:
    """Return the sampler of a generator from a noise vector: see `load_told_sampler`."""
    return load_told_sampler(config, run, checkpoint, device, network, sampler)


def load_told_sampler(
    config: DiagnosisConfig,
    run: Run,
    checkpoint: Mapping[str, Any],
    device: str,
    network: Callable[[int, int], nn.Module],
    sampler: type[AnySampler],
) -> AnySampler:
    """Return the sampler of a checkpoint: see `LearnerConfig.load_sampler`.

    Args:
        config: the configuration of the learner.
        run: the run that trained the generator.
        checkpoint: the checkpoint that training left.
        device: the device that computes.
        network: a function that returns the untrained generator for a number of channels and of classes.
        sampler: the class of the sampler.

    Raises:
        ValueError: the checkpoint names classes although its networks were told none, or the other way round.
    """
    classes = tuple(str(name) for name in checkpoint["learner"]["classes"])
    if bool(classes) != (config.conditioning == "class"):
        told = ", ".join(classes) or "no diagnosis"
        raise ValueError(f"learner.conditioning = {config.conditioning}, but its networks were told {told}")
    return sampler.restored(config, run, checkpoint, device, lambda bands: network(bands, len(classes)), classes=classes)
