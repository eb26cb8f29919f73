"""What generators are given beside noise: photographs, or train cubes' pseudo-RGB, masks or another run's output, turned."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hyperderm.learners.randomness import generator
from hyperderm.metrics.orientation import ORIENTATIONS, orient


@dataclass(frozen=True)
class Sources:
    """Images in the order of their names: linear RGB in units of H · reflectance, masks, or what another run says.

    Every source is used once before any is used again, in an order keyed on the seed, and each time in another orientation;
    the original one comes last. After eight rounds a generator without noise would repeat itself: `limit`.

    Attributes:
        names: (n,) lesion ids.
        levels: (n, C, S, S) float32; of RGB, rows R, G, B.
    """

    names: tuple[str, ...]
    levels: NDArray[np.float32]

    @property
    def limit(self) -> int:
        """Number of different inputs."""
        return ORIENTATIONS * len(self.names)

    def place(self, seed: int, index: int) -> tuple[int, int]:
        """Return which source cube `index` is made from, and in which orientation."""
        use, place = divmod(index, len(self.names))
        chosen = _order(seed, use, len(self.names))[place]
        return chosen, _orientations(seed, chosen)[use % ORIENTATIONS]

    def draw(self, seed: int, indices: list[int]) -> Tensor:
        """Return the sources of cubes `indices`: (n, C, S, S)."""
        places = [self.place(seed, index) for index in indices]
        return torch.stack([orient(torch.tensor(self.levels[chosen]), k) for chosen, k in places])


def rgb_levels(reflectance: Tensor, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return H · reflectance: (n, B, S, S) -> (n, 3, S, S); summed in the order of the bands on any machine."""
    return np.einsum("cb,nbhw->nchw", matrix, reflectance.double().numpy(), optimize=False)


def matched(photographs: NDArray[np.float32], train: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return photographs whose mean and deviation over all pixels are, channel by channel, those of `train` (METHODS 4).

    Sums are in float64, photograph by photograph: beside the result nothing grows with their number.

    Args:
        photographs: (n, 3, S, S) linear RGB.
        train: (m, 3, S, S) H · reflectance of train cubes.
    """
    m_p = np.mean([x.mean((1, 2), dtype=np.float64) for x in photographs], axis=0)[:, None, None]
    s_p = np.sqrt(np.mean([np.square(x - m_p).mean((1, 2)) for x in photographs], axis=0))[:, None, None]
    m_t, s_t = train.mean((0, 2, 3))[:, None, None], train.std((0, 2, 3))[:, None, None]
    result = np.empty(photographs.shape, np.float32)
    for place, x in enumerate(photographs):
        result[place] = (x - m_p) / np.maximum(s_p, 1e-6) * s_t + m_t
    return result


@lru_cache(maxsize=ORIENTATIONS)
def _order(seed: int, use: int, count: int) -> tuple[int, ...]:
    return tuple(torch.randperm(count, generator=generator(seed, "synthesis/order", use)).tolist())


@lru_cache(maxsize=1024)
def _orientations(seed: int, chosen: int) -> tuple[int, ...]:
    turned = torch.randperm(ORIENTATIONS - 1, generator=generator(seed, "synthesis/orientation", chosen)) + 1
    return (*turned.tolist(), 0)
