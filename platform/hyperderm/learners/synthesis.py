"""Cubes from a checkpoint alone: cube i depends on the seed, i and its source, and on nothing else.

Convolutions may round differently for other batch sizes and other numbers of threads. Therefore cubes are made on one
thread, without TF32 or a search for the fastest kernel, and together only where a batch was seen to give the same bits as
its cubes one by one. Processors of the same kind then give the same bits, for any selection and order of cubes and any
number of workers; another kind of processor may differ in the last digits.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Self
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri
from torch import Tensor, nn
from torch.nn.utils import parametrize

from hyperderm.errors import StudyError
from hyperderm.learners import randomness
from hyperderm.learners.abundance_space import AbundanceSpace
from hyperderm.learners.data import CubeSet
from hyperderm.learners.scaling import Coordinates, Scaling
from hyperderm.learners.sources import rgb_levels
from hyperderm.learners.spec import SPACE, Drawing, LearnerConfig
from hyperderm.settings import Run

RANGE_MARGIN = 0.5
"""A cube may lie outside train's range of a band by this share of the range's width. The range spans the extremes of a few
dozen lesions whose exposures differ by 30-55 %; a new lesion may lie outside it, but hardly by half of its width."""
BELOW_ZERO = 0.1
"""A real cube has no reflectance below both minus this value and train's lowest. Reflectance below 0 is noise of the dark
reference (about -0.07 in HSIDermoscopy, METHODS section 1)."""
MOST_TOGETHER = 32
"""Largest number of cubes that are made together."""
PIXELS_TOGETHER = 2**16
"""Largest number of pixels that are made together: 16 cubes of 64 px, 4 of 128 px. More are slower on a CPU, because the C
library gives the memory of larger maps back after each layer (`make bench-generators`)."""
RANGE_SHARE = 0.001
"""Share of a cube's pixels that may lie outside these limits: real frames have single hot and dead pixels."""


@contextmanager
def repeatable() -> Iterator[None]:
    """Compute without gradients, on one thread, with fixed kernels in full precision."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.no_grad(), torch.backends.cudnn.flags(True, benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.set_num_threads(threads)


def out_of_range(reflectance: Tensor, scaling: Scaling) -> bool:
    """Return whether a cube (B, H, W) cannot be real.

    A cube cannot be real if one of its values is not finite, or if more than `RANGE_SHARE` of its pixels have a bad band. A
    band is bad if it lies outside train's range by more than `RANGE_MARGIN` of the range's width, or below both
    -`BELOW_ZERO` and train's lowest value.
    """
    if not torch.isfinite(reflectance).all():
        return True
    scaled = scaling.whole.forward(reflectance.double()[None])  # train's range is [-1, 1], two wide
    dark = (reflectance.double() < -BELOW_ZERO)[None] & (scaled < -1)
    outside = ((scaled.abs() > 1 + 2 * RANGE_MARGIN) | dark).any(1)
    return bool(outside.double().mean() > RANGE_SHARE)


class NetworkSampler(ABC):
    """A sampler that makes each cube by one pass of a network: see `learners.base.Sampler`.

    Args:
        config: the configuration of the learner.
        run: the run that trains or trained the generator.
        network: the generator, in evaluation mode; its training may continue.
        wavelengths_nm: (B,) wavelengths of its cubes.
        scaling: the scaling fitted on the train role.
        space: the abundance space in which the network makes cubes; None: it makes scaled bands.
        matrix: H (3, B) of its RGB condition; None if the generator takes no RGB.
        classes: see `learners.base.Sampler`.
    """

    def __init__(
        self,
        config: LearnerConfig,
        run: Run,
        network: nn.Module,
        wavelengths_nm: Sequence[float],
        scaling: Scaling,
        *,
        space: AbundanceSpace | None = None,
        matrix: NDArray[np.float64] | None = None,
        classes: Sequence[str] = (),
    ) -> None:
        self.config, self.run, self.network, self.scaling, self.matrix = config, run, network, scaling, matrix
        self.coordinates: Coordinates = scaling if space is None else space
        self.wavelengths_nm, self.classes = tuple(wavelengths_nm), tuple(classes)
        self.drawing = Drawing()
        first = next(network.parameters())
        self.device, self.dtype = first.device, first.dtype

    @classmethod
    def restored(
        cls,
        config: LearnerConfig,
        run: Run,
        checkpoint: Mapping[str, Any],
        device: str,
        network: Callable[[int], nn.Module],
        **more: Any,  # noqa: ANN401 - those of the sampler
    ) -> Self:
        """Return the sampler of a checkpoint's moving average: see `LearnerConfig.load_sampler`.

        Args:
            config: the configuration of the learner.
            run: the run that trained the generator.
            checkpoint: the checkpoint that training left.
            device: the device that computes.
            network: a function that returns the untrained generator for a number of channels.
            more: further arguments of the sampler.

        Raises:
            StudyError: a weight is NaN or infinite.
        """
        wavelengths = tuple(float(nm) for nm in checkpoint["wavelengths_nm"])
        space = AbundanceSpace.from_state(checkpoint[SPACE]) if SPACE in checkpoint else None
        if space is not None and not (space.endmembers.shape[1] == len(wavelengths) and space.residual.fits(run.data.size)):
            raise ValueError("its abundance space is of other bands or pixels than its cubes")
        with randomness.initialised(run.seed):  # the weights are overwritten; nobody's random numbers move
            made = network(len(wavelengths) if space is None else space.channels)
        made.load_state_dict(checkpoint["learner"]["ema"])
        for field, values in made.state_dict().items():
            if not torch.isfinite(values).all():
                raise StudyError(
                    f"this checkpoint's generator holds NaN or infinite values ({field}): its training diverged",
                    "Give the checkpoint of another run, or train again with smaller learning rates.",
                )
        made.to(device).eval().requires_grad_(False)
        if config.pixelwise:  # another layout in memory may give other last digits
            made.to(memory_format=torch.channels_last)
        return cls(config, run, made, wavelengths, Scaling.from_state(checkpoint["scaling"]), space=space, **more)

    @abstractmethod
    def inputs(self, seed: int, index: int, condition: Tensor | None) -> tuple[Tensor, ...]:
        """Return the network's inputs for cube `index`, each with a first axis of length one.

        Args:
            seed: seed of the set.
            index: position of the cube in the set.
            condition: the row of `sample`'s condition for this cube, with a first axis of length one.
        """

    def sources(self, cubes: CubeSet) -> NDArray[np.float64] | None:
        """See `learners.base.Sampler.sources`; a learner whose condition is another run's output overrides this method."""
        if self.config.condition == "mask":
            return cubes.masks[:, None].double().numpy()
        return None if self.matrix is None else rgb_levels(cubes.reflectance, self.matrix)

    def sample(self, seed: int, indices: Sequence[int], condition: Tensor | None) -> Tensor:
        """See `learners.base.Sampler.sample`."""
        with repeatable(), parametrize.cached():
            each = [
                self.inputs(seed, index, None if condition is None else condition[place : place + 1])
                for place, index in enumerate(indices)
            ]
            cubes = self._made([torch.cat(rows) for rows in zip(*each, strict=True)])
        return torch.cat(
            [
                self.coordinates.made(cube[None].double(), seed, [index]).float()  # one by one, doubles stay in the cache
                for cube, index in zip(cubes, indices, strict=True)
            ]
        )

    def call(self, given: Sequence[Tensor]) -> Tensor:
        """Return the network's cubes for its inputs, which are on its device."""
        made: Tensor = self.network(*given)
        return made

    def _made(self, given: Sequence[Tensor]) -> Tensor:
        """Return the network's cubes (n, B, H, W) on the CPU, made together where the bits are those of single cubes."""
        count, made = len(given[0]), list[Tensor]()
        most = min(count, MOST_TOGETHER, max(PIXELS_TOGETHER // self.run.data.size**2, 1))
        found = _TOGETHER.get(self.network, Together(1, 1))
        if found.given >= found.tried and most >= 2 * found.tried:
            made, found = self._tried(given, 2 ** (most.bit_length() - 1))
            _TOGETHER[self.network] = found
        for first in range(len(made), count, found.given):
            rows = [min(row, count - 1) for row in range(first, first + found.given)]  # a batch is always full
            made += self._batch(given, rows).unbind()
        return torch.stack(made[:count])

    def _tried(self, given: Sequence[Tensor], size: int) -> "tuple[list[Tensor], Together]":
        """Return the first `size` cubes, made one by one, and how many may be made together from now on.

        The order in which kernels add depends on shapes, not on values. So a batch whose bits are those of its single cubes
        shows that all batches of this size have that property, on this machine.
        """
        singles, given_together = [self._batch(given, [row])[0] for row in range(size)], size
        while given_together > 1:
            if torch.equal(self._batch(given, list(range(given_together))), torch.stack(singles[:given_together])):
                break
            given_together //= 2
        return singles, Together(given_together, size)

    def _batch(self, given: Sequence[Tensor], rows: list[int]) -> Tensor:
        return self.call([x[rows].to(self.device, self.dtype if x.is_floating_point() else None) for x in given]).cpu()


class Together(NamedTuple):
    """How many cubes a network may make together, and how many were tried."""

    given: int
    tried: int


_TOGETHER: "WeakKeyDictionary[nn.Module, Together]" = WeakKeyDictionary()
"""What is known of the networks of this process."""


def noise(seed: int, index: int, length: int, truncation: float | None = None, stream: str = "noise") -> Tensor:
    """Return the noise z (1, length) from which cube `index` of a set is made: standard normal, float32.

    With a truncation t, each value is moved to the quantile of the same level of a normal distribution that is cut off at
    -t and t, so that a cube is the same lesion drawn closer to the average.
    """
    z = torch.randn(length, generator=randomness.generator(seed, f"synthesis/{stream}", index))[None]
    if truncation is None:
        return z
    below, inside = float(ndtr(-truncation)), float(ndtr(truncation) - ndtr(-truncation))
    return torch.from_numpy(ndtri(below + inside * ndtr(z.double().numpy()))).float()
