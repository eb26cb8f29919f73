"""Which generated sample each real cube is matched with: distances of cubes, rejection, assignment. Cubes are (N, B, H, W).

Source: Vashist, Peng & Li, "Rejection Sampling IMLE: Designing Priors for Better Few-Shot Image Synthesis", ECCV 2024
(arXiv 2409.17439), on implicit maximum likelihood estimation (IMLE; Li & Malik 2018). IMLE samples a pool from the
generator, gives each real cube its nearest sample and pulls that sample to the cube. So every real cube has a sample near
it, and no mode is lost. In a small set, the nearest of many samples is unusually near, and samples that are drawn later are
not like those that were trained. RS-IMLE rejects the samples of the pool that lie nearer than ε to a real cube, and thereby
trains samples like those that are drawn later.

Choices of this project, where the paper works with RGB images and its details could not be established:
- The distance is `CubeDistance`, without learned weights. The paper's is LPIPS with a share of L2.
- A sample is rejected if it is nearer than ε to any real cube of its class.
- ε is measured in the data: a quantile of the distances between real cubes and their nearest neighbours, times a factor.
- The rejection leaves at least as many samples as there are real cubes, see `kept`. So no real cube is ever lost.
- A sample may be the nearest one of several real cubes, as in IMLE.
- The noise of a match is not perturbed while it is trained.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

GRIDS = (1, 4, 16)
"""Numbers of cells a side of the grids in which the means of the bands are compared; at most the number of pixels."""
TEXTURE_GRID = 4
"""Number of cells a side of the grid in which the strength of the texture is compared."""
TEXTURE_FLOOR = 0.05
"""Share of a band's mean gradient energy that is added before the logarithm, so that smooth cubes have bounded gradients."""
AT_ONCE = 32
"""Number of train cubes that are measured together, which bounds the memory."""
SMALLEST = 1e-6
"""Smallest scale of a block of features: a block in which the train cubes do not differ has no weight that is not finite."""


class CubeDistance:
    """A distance between scaled cubes that is cheap, differentiable and free of learned weights.

    It is the Euclidean distance of features, which are blocks of numbers: the means of each band in grids of 1, 4 and 16
    cells a side, and the texture, the logarithm of each band's gradient energy in a grid of 4 cells a side. The texture
    compares the strength of small structures, not their places: sensor noise and pores cannot be rebuilt pixel by pixel.
    Each block is scaled by the train cubes, so that two different train cubes have the mean squared distance 1.

    The distance of texture and means is related to the features of the spectral energy distance, the objective of generators
    (`metrics.spectra.cube_features`), which takes the whole cube as one cell. Judge this learner by other scores too.

    Args:
        train: (N, B, H, W) scaled cubes, N >= 2.
        texture: weight of the texture relative to all grids together, at least 0.
        pixels: weight of the single pixels relative to all grids together; only `loss` compares them.
    """

    def __init__(self, train: Tensor, texture: float = 1.0, pixels: float = 0.0) -> None:
        side = train.shape[-1]
        self.grids = sorted({min(grid, side) for grid in GRIDS})
        total = 1.0 + texture
        self.weights = [1.0 / len(self.grids) / total] * len(self.grids) + [texture / total]
        self.pixels = pixels / total
        pieces = train.split(AT_ONCE)
        energy = torch.stack([_gradient_energy(piece).mean((0, 2, 3)) * len(piece) for piece in pieces]).sum(0) / len(train)
        self.floor = TEXTURE_FLOOR * energy.clamp_min(SMALLEST**2)[:, None, None]
        blocks = zip(*(self._blocks(piece) for piece in pieces), strict=True)
        self.scales = [_scale(_variance(torch.cat(parts))) for parts in blocks]
        self.pixel_scale = _scale(sum(_variance(band.flatten(1)) for band in train.unbind(1)))

    def features(self, cubes: Tensor) -> Tensor:
        """Return the features (N, d) of cubes (N, B, H, W); their Euclidean distance is the distance of the cubes."""
        parts = zip(self._blocks(cubes), self.scales, self.weights, strict=True)
        return torch.cat([block * (weight**0.5 / scale) for block, scale, weight in parts if weight > 0], 1)

    def loss(self, cubes: Tensor, real: Tensor) -> Tensor:
        """Return the squared distance of each row of `cubes` to the row of `real`, (N,), with the share of the pixels."""
        squared = (self.features(cubes) - self.features(real)).square().sum(1)
        if self.pixels > 0:
            squared = squared + self.pixels * (cubes - real).flatten(1).square().sum(1) / self.pixel_scale**2
        return squared

    def _blocks(self, cubes: Tensor) -> list[Tensor]:
        means = [adaptive_avg_pool2d(cubes, grid).flatten(1) for grid in self.grids]
        energy = adaptive_avg_pool2d(_gradient_energy(cubes), TEXTURE_GRID)
        return [*means, (energy + self.floor.to(cubes)).log().flatten(1)]


def _gradient_energy(cubes: Tensor) -> Tensor:
    """Return the sum of the squared forward differences in x and in y, (N, B, H - 1, W - 1)."""
    corner = cubes[:, :, :-1, :-1]
    return (cubes[:, :, :-1, 1:] - corner).square() + (cubes[:, :, 1:, :-1] - corner).square()


def _variance(block: Tensor) -> float:
    """Return the sum of the variances of the columns of (N, d)."""
    return float(block.double().var(0).sum())


def _scale(variance: float) -> float:
    """Return the root mean square distance of two different rows of a block with this summed variance."""
    return max(math.sqrt(2.0 * variance), SMALLEST)


def threshold(features: Tensor, labels: Tensor, quantile: float, factor: float) -> float:
    """Return ε: `factor` times a quantile of the distances of real cubes to their nearest other real cube of the class.

    Args:
        features: (N, d) features of the real cubes, see `CubeDistance`.
        labels: (N,) classes; a class with a single cube has no such distance. Without any distance ε is 0.
        quantile: 0 … 1, interpolated linearly.
        factor: at least 0; with 0 nothing is rejected.
    """
    distances = torch.cdist(features, features)
    distances = distances.masked_fill(labels[:, None] != labels[None], torch.inf).fill_diagonal_(torch.inf)
    nearest = distances.amin(1)
    nearest = nearest[torch.isfinite(nearest)]
    return factor * float(torch.quantile(nearest.double(), quantile)) if len(nearest) else 0.0


def kept(distances: Tensor, epsilon: float) -> Tensor:
    """Return which samples of a pool are not rejected, (P,) bool.

    A sample is rejected if its nearest real cube is nearer than ε. If fewer samples than real cubes would be left, the
    samples that are farthest from their nearest real cube stay, until there are as many as real cubes (or the whole pool).

    Args:
        distances: (n, P) distances of n real cubes to P samples.
        epsilon: ε.
    """
    nearest = distances.amin(0)
    keep = nearest >= epsilon
    least = min(distances.shape)
    if int(keep.sum()) < least:
        keep[nearest.argsort(descending=True, stable=True)[:least]] = True
    return keep


def assign(distances: Tensor, labels: Tensor, pool_labels: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """Return the nearest remaining sample of each real cube's class, and which samples remain.

    Args:
        distances: (n, P) distances of real cubes to samples.
        labels: (n,) classes of the real cubes; each has samples in the pool.
        pool_labels: (P,) classes of the samples.
        epsilon: ε, see `kept`; 0 gives IMLE without rejection.

    Returns:
        The positions (n,) int64 in the pool, and (P,) bool.
    """
    found, remain = torch.empty_like(labels), torch.zeros_like(pool_labels, dtype=torch.bool)
    for number in labels.unique().tolist():
        rows, samples = torch.nonzero(labels == number)[:, 0], torch.nonzero(pool_labels == number)[:, 0]
        part = distances[rows[:, None], samples]
        keep = kept(part, epsilon)
        found[rows] = samples[part.masked_fill(~keep, torch.inf).argmin(1)]
        remain[samples[keep]] = True
    return found, remain


def pool_distances(real: Tensor, features: Callable[[slice], Tensor], count: int, at_once: int) -> Tensor:
    """Return the distances (n, P) of real cubes to samples, of which only `at_once` are in memory at a time.

    Args:
        real: (n, d) features of the real cubes.
        features: returns the features of the samples of a slice of the pool.
        count: P, number of samples of the pool.
        at_once: number of samples that are made together.
    """
    parts = [slice(first, min(first + at_once, count)) for first in range(0, count, at_once)]
    return torch.cat([torch.cdist(real, features(part)) for part in parts], 1)
