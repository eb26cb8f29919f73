"""Inputs of generators beside noise: photographs, or from train cubes pseudo-RGB, masks or another run's output.

All are used in several orientations.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hyperderm.cubes.diagnosis import UNKNOWN
from hyperderm.learners.data import CubeSet
from hyperderm.learners.randomness import generator
from hyperderm.metrics.orientation import ORIENTATIONS, orient


class Colours(NamedTuple):
    """What photographs are matched to: mean and standard deviation (3,) of R, G, B over all pixels of train's RGB."""

    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]

    @classmethod
    def of(cls, levels: NDArray[np.float64]) -> Self:
        """Return those of H · reflectance of train cubes, (m, 3, S, S)."""
        return cls(levels.mean((0, 2, 3)), levels.std((0, 2, 3)))


@dataclass(frozen=True)
class Sources:
    """Images in the order of their names: linear RGB in units of H · reflectance, masks, or the output of another run.

    Every source is used once before any is used again, in an order that depends on the seed. In every round a source has
    another orientation; the original orientation comes last. After eight rounds a generator without noise would repeat
    itself, see `limit`.

    Attributes:
        names: (n,) lesion ids.
        levels: (n, C, S, S) float32; the channels of RGB are R, G, B.
    """

    names: tuple[str, ...]
    levels: NDArray[np.float32]

    @property
    def limit(self) -> int:
        """The number of different inputs."""
        return ORIENTATIONS * len(self.names)

    def place(self, seed: int, index: int) -> tuple[int, int]:
        """Return the position of the source from which cube `index` is made, and its orientation."""
        use, place = divmod(index, len(self.names))
        chosen = _order(seed, use, len(self.names))[place]
        return chosen, _orientations(seed, chosen)[use % ORIENTATIONS]

    def draw(self, seed: int, indices: list[int]) -> Tensor:
        """Return the sources of cubes `indices`: (n, C, S, S)."""
        places = [self.place(seed, index) for index in indices]
        return torch.stack([orient(torch.tensor(self.levels[chosen]), k) for chosen, k in places])


def rgb_levels(reflectance: Tensor, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return H · reflectance: (n, B, S, S) -> (n, 3, S, S); every machine sums in the order of the bands."""
    return np.einsum("cb,nbhw->nchw", matrix, reflectance.double().numpy(), optimize=False)


def matched(photographs: NDArray[np.float32], train: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return photographs matched to the colours of train cubes: see `matched_to`.

    Args:
        photographs: (n, 3, S, S) linear RGB.
        train: (m, 3, S, S) H · reflectance of train cubes.
    """
    return matched_to(photographs, Colours.of(train))


def matched_to(photographs: NDArray[np.float32], train: Colours) -> NDArray[np.float32]:
    """Return photographs rescaled per channel so that mean and deviation over all pixels equal those of `train` (METHODS 4).

    Sums are made in float64, one photograph at a time: no memory but that of the result grows with their number.

    Args:
        photographs: (n, 3, S, S) linear RGB.
        train: the colours of train cubes.
    """
    m_p = np.mean([x.mean((1, 2), dtype=np.float64) for x in photographs], axis=0)[:, None, None]
    s_p = np.sqrt(np.mean([np.square(x - m_p).mean((1, 2)) for x in photographs], axis=0))[:, None, None]
    m_t, s_t = train.mean[:, None, None], train.deviation[:, None, None]
    result = np.empty(photographs.shape, np.float32)
    for place, x in enumerate(photographs):
        result[place] = (x - m_p) / np.maximum(s_p, 1e-6) * s_t + m_t
    return result


def matched_by_diagnosis(photographs: CubeSet, train: CubeSet, matrix: NDArray[np.float64]) -> Tensor:
    """Return photographs (n, 3, S, S) R, G, B, matched to H · reflectance of the train cubes of the same diagnosis.

    Photographs of a diagnosis that train does not hold are matched to all of train; so are those without one, which count as
    the first diagnosis of train.

    Args:
        photographs: linear colours, stored by rising wavelength: B, G, R.
        train: the cubes of train.
        matrix: H (3, B).
    """
    named = learnt_names(photographs, train)
    found = photographs.reflectance.new_empty(photographs.reflectance.shape)
    for diagnosis in dict.fromkeys(named):
        rows = [row for row, name in enumerate(named) if name == diagnosis]
        lesions = [row for row, name in enumerate(train.diagnoses) if name == diagnosis]
        cubes = train.reflectance[lesions] if lesions else train.reflectance
        linear = photographs.reflectance[rows].numpy()[:, ::-1]
        found[rows] = torch.from_numpy(matched(linear, rgb_levels(cubes, matrix)))
    return found


def learnt_names(photographs: CubeSet, train: CubeSet) -> tuple[str, ...]:
    """Return the diagnoses of photographs; those without any count as the first one of train."""
    if set(photographs.diagnoses) <= {None, UNKNOWN}:
        return (train.diagnoses[0],) * len(photographs.diagnoses)
    return photographs.diagnoses


@lru_cache(maxsize=ORIENTATIONS)
def _order(seed: int, use: int, count: int) -> tuple[int, ...]:
    return tuple(torch.randperm(count, generator=generator(seed, "synthesis/order", use)).tolist())


@lru_cache(maxsize=1024)
def _orientations(seed: int, chosen: int) -> tuple[int, ...]:
    turned = torch.randperm(ORIENTATIONS - 1, generator=generator(seed, "synthesis/orientation", chosen)) + 1
    return (*turned.tolist(), 0)
