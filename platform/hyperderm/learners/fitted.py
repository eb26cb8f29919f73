"""What the generators share that are fitted to train at once: diagnoses, scores, samples, state, principal components."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hyperderm.errors import ConfigError
from hyperderm.learners import randomness
from hyperderm.learners.base import Batch, Compute, Validation
from hyperderm.learners.data import TrainData
from hyperderm.learners.generative import GenerativeReference
from hyperderm.learners.space_settings import SpaceConfig
from hyperderm.learners.spaces import unmixing_errors
from hyperderm.learners.synthesis import NetworkSampler
from hyperderm.settings import Run

AnySampler = TypeVar("AnySampler", bound=NetworkSampler)


class FittedNetwork(nn.Module):
    """A module whose tensors are fitted at once, not trained, and which makes cubes of one shape.

    Attributes:
        shape: (C, H, W) of its cubes.
    """

    shape: tuple[int, ...]


class FittedGenerator(ABC):
    """A generator that the constructor fits to the cubes of train.

    A subclass fits the network (`fitted`) and names the sampler, which draws the inputs of the network.

    Attributes:
        classes: the diagnoses that can be asked for, in the order of their numbers; empty with `conditioning=none`.
        network: what was fitted, on the device that computes.
    """

    config: SpaceConfig
    sampler_class: ClassVar[type[NetworkSampler]]

    def __init__(self, config: SpaceConfig, run: Run, data: TrainData, compute: Compute) -> None:
        self.config, self.run, self.data = config, run, data
        if config.condition == "class" and len(data.classes) < 2:
            raise ConfigError(
                f"learner.conditioning = class in fold {run.data.fold}, whose train role holds {', '.join(data.classes)} "
                "alone, is refused: there is nothing to tell apart",
                "Use another data.fold or more data, or --set learner.conditioning=none.",
            )
        self.classes = data.classes if config.condition == "class" else ()
        self.network = self.fitted().to(compute.device).eval()

    @abstractmethod
    def fitted(self) -> FittedNetwork:
        """Return the network, fitted to `data.drawn` as `data.coordinates` shows it."""

    def step(self, batch: Batch) -> Mapping[str, Tensor]:
        """Do nothing: all is already fitted."""
        return {}

    def validate(self) -> Validation:
        """Score generated cubes on the validation role; their diagnoses are those of train cubes."""
        data, seed, count = self.data, self.run.seed, self.run.training.validation_samples
        reference = GenerativeReference(data.train.reflectance, data.validation.reflectance, seed)
        chosen = torch.randperm(max(count, len(data.train)), generator=randomness.generator(seed, "sample", 0))[:count]
        cubes = self.sample(seed, range(count), self.condition(chosen % len(data.train)))
        return Validation(reference.score(cubes) | (unmixing_errors(data) if data.space else {}), cubes)

    def sampler(self) -> NetworkSampler:
        """Return the sampler of the network."""
        data = self.data
        how = self.config, self.run, self.network, data.wavelengths_nm, data.scaling
        return self.sampler_class(*how, space=data.space, classes=self.classes)

    def sample(self, seed: int, indices: Sequence[int], condition: Tensor | None) -> Tensor:
        """See `learners.base.Sampler.sample`."""
        return self.sampler().sample(seed, indices, condition)

    def condition(self, rows: Tensor) -> Tensor | None:
        """Return the classes of the train cubes in `rows`, or None without classes."""
        if not self.classes:
            return None
        return torch.tensor([self.classes.index(self.data.train.diagnoses[row]) for row in rows.tolist()])

    def state_dict(self) -> dict[str, Any]:
        """Return the network, under the name of a moving average, and the names of the classes."""
        return {"ema": self.network.state_dict(), "classes": list(self.classes)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the network that `state_dict` returned."""
        self.network.load_state_dict(state["ema"])


def load_fitted(
    config: SpaceConfig,
    run: Run,
    checkpoint: Mapping[str, Any],
    device: str,
    network: Callable[[Mapping[str, Any]], FittedNetwork],
    sampler: type[AnySampler],
    **more: Any,  # noqa: ANN401 - those of the sampler
) -> AnySampler:
    """Return the sampler of a checkpoint: see `LearnerConfig.load_sampler`.

    Args:
        config: the configuration of the learner.
        run: the run that fitted the generator.
        checkpoint: the checkpoint that it left.
        device: the device that computes.
        network: a function that returns a network of the form that the state of the learner says.
        sampler: the class of the sampler.
        more: further arguments of the sampler.

    Raises:
        ValueError: the checkpoint names classes although its generator was told none, or the other way round; or its cubes
            have another shape than those of the run.
    """
    state = checkpoint["learner"]
    classes = tuple(str(name) for name in state["classes"])
    if bool(classes) != (config.condition == "class"):
        told = ", ".join(classes) or "no diagnosis"
        raise ValueError(f"its cubes are to be made from {config.made_from}, but its generator was told {told}")

    def made(channels: int) -> FittedNetwork:
        found = network(state)
        if found.shape != (channels, run.data.size, run.data.size):
            raise ValueError(f"its cubes have the shape {list(found.shape)}")
        return found

    return sampler.restored(config, run, checkpoint, device, made, classes=classes, **more)


def principal(
    centred: NDArray[np.float64], count: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return at most `count` principal components of rows (n, d) whose mean is 0.

    Axes along which the rows do not vary are left out, all but the first one.

    Returns:
        The scores (n, D) of variance 1, the orthonormal axes (D, d), and the standard deviations (D,) along them.
    """
    left, values, axes = np.linalg.svd(centred, full_matrices=False)
    spreads = values[:count] / np.sqrt(len(centred))
    kept = max(1, int((spreads > 1e-9 * max(spreads[0], 1e-9)).sum()))
    return left[:, :kept] * np.sqrt(len(centred)), axes[:kept], spreads[:kept]
