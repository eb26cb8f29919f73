"""What every generator shares that is trained step by step: its networks, moving average, scores, samples and state."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hyperderm.errors import ConfigError
from hyperderm.learners import randomness
from hyperderm.learners.average import MovingAverage
from hyperderm.learners.base import Batch, Compute, Sampler, Validation
from hyperderm.learners.data import TrainData
from hyperderm.learners.generative import GenerativeReference
from hyperderm.learners.generative_settings import GenerativeConfig
from hyperderm.learners.spaces import unmixing_errors
from hyperderm.learners.spec import START
from hyperderm.settings import Run

GENERATOR = "generator"
"""The name of the network that makes cubes."""


class GenerativeLearner(ABC):
    """Networks, one of which makes cubes, their optimizers, and the generator's moving average, which makes all samples.

    A subclass defines the networks (`networks`), their optimizers (`optimizers`), the training step (`step`), a sampler of
    the moving average (`sampler`) and the condition of that sampler (`condition`).

    Attributes:
        modules: the networks by name, on the device that trains.
        generator: the network that makes cubes, one of `modules`.
        optimizers: the optimizers, by the name under which their state is saved.
        generator_updates: number of updates of the generator.
    """

    def __init__(self, config: GenerativeConfig, run: Run, data: TrainData, compute: Compute) -> None:
        self.config, self.run, self.data, self.compute = config, run, data, compute
        self.seed, self.samples = run.seed, run.training.validation_samples
        with randomness.initialised(self.seed):
            made = self.networks(data.coordinates.channels)
        self.modules = {name: network.to(compute.device, compute.dtype) for name, network in made.items()}
        if config.pixelwise:
            for network in self.modules.values():
                network.to(memory_format=torch.channels_last)
        self.generator = self.modules[GENERATOR]
        self.average = MovingAverage(self.generator, config.ema_images, goes_on=config.start is not None)
        if config.start is not None:
            self._begin_from(data.inputs[START]["learner"])
        self.wrapped = {name: compute.parallel(network) for name, network in self.modules.items()}
        self.optimizers = dict(self.made_optimizers())
        self.generator_updates = 0
        self._reference: GenerativeReference | None = None
        self._given: dict[str, float] = {}

    @abstractmethod
    def networks(self, bands: int) -> Mapping[str, nn.Module]:
        """Return the untrained networks by name, in the order in which they are made; one of them is `GENERATOR`."""

    @abstractmethod
    def made_optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        """Return the optimizers of the networks, by the name under which their state is saved."""

    @abstractmethod
    def step(self, batch: Batch) -> Mapping[str, Tensor]:
        """See `learners.base.Learner.step`."""

    @abstractmethod
    def sampler(self) -> Sampler:
        """Return a sampler that makes cubes by the moving average; it follows the average when training goes on."""

    @abstractmethod
    def condition(self, rows: Tensor) -> Tensor | None:
        """Return the condition of `Sampler.sample` for cubes like those in rows `rows` (n,) of the train role."""

    def begin_from(self, state: Mapping[str, Any]) -> None:
        """Take over the networks of another run's `state_dict`."""
        for name, network in self.modules.items():
            network.load_state_dict(state[name])
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

    def updated(self, batch: Batch, since: int) -> None:
        """Move the average after an update of the generator; `since` counts the images shown since the last update."""
        self.average.update(batch.images + batch.count, since)
        self.generator_updates += 1

    def real(self, batch: Batch) -> Tensor:
        """Return the scaled cubes of this worker's share, (n, B, H, W), in the precision and layout of the networks."""
        real = batch.real.to(self.compute.dtype)
        return real.contiguous(memory_format=torch.channels_last) if self.config.pixelwise else real

    def validate(self) -> Validation:
        """Score the moving average on the validation role; the conditions are those of train cubes, never of validation."""
        if self._reference is None:
            train, held = self.data.train.reflectance, self.data.validation.reflectance
            self._reference = GenerativeReference(train, held, self.seed)
            self._given = self._through_space(self._reference)
        condition = self.condition(self._drawn(self.samples, self.seed))
        cubes = self.sample(self.seed, range(self.samples), condition)
        scores = self._reference.score(cubes) | self._given | dict(self.further_scores(cubes, condition))
        return Validation(scores | {"generator_updates": float(self.generator_updates)}, cubes, self.rebuilt())

    def _through_space(self, reference: GenerativeReference) -> dict[str, float]:
        """Return what the space itself costs: the score of train cubes unmixed and mixed again, and `unmixing_errors`.

        No network in this space is expected to score better.
        """
        data = self.data
        if data.space is None:
            return {}
        rows = range(min(len(data.train), self.samples))
        mixed = data.space.made(data.space.forward(data.train.reflectance[rows.start : rows.stop]), self.seed, rows)
        return {"score_through_space": reference.score(mixed)["spectral_energy_distance"], **unmixing_errors(data)}

    def further_scores(self, cubes: Tensor, condition: Tensor | None) -> Mapping[str, float]:
        """Return further validation scores of the cubes that were made from `condition`."""
        return {}

    def rebuilt(self) -> tuple[Tensor, Tensor] | None:
        """Return held-out cubes and how this learner rebuilds them, see `Validation.rebuilt`; None if it does not."""
        return None

    def sample(self, seed: int, indices: Sequence[int], condition: Tensor | None) -> Tensor:
        """See `learners.base.Sampler.sample`."""
        return self.sampler().sample(seed, indices, condition)

    def _drawn(self, count: int, seed: int) -> Tensor:
        """Return `count` random rows of train, (count,) int64; every row is drawn once before any row is repeated."""
        rows = len(self.data.train)
        return torch.randperm(max(count, rows), generator=randomness.generator(seed, "sample", 0))[:count] % rows

    def state_dict(self) -> dict[str, Any]:
        """Return networks, moving average and optimizers."""
        networks = {name: network.state_dict() for name, network in self.modules.items()}
        optimizers = {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()}
        return networks | {"ema": self.ema.state_dict()} | optimizers | {"generator_updates": self.generator_updates}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state that `state_dict` returned."""
        for name, network in self.modules.items():
            network.load_state_dict(state[name])
        self.ema.load_state_dict(state["ema"])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state[name])
        self.generator_updates = state["generator_updates"]
