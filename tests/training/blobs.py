"""Small cubes made of blobs, by numpy and torch alone, so that `tests.bench.gpu` has data on a machine with little else."""

import numpy as np
import torch
from torch import Tensor

from hyperderm.learners.data import CubeSet, TrainData
from hyperderm.learners.scaling import Scaling


def blobs(count: int, size: int = 16, bands: int = 16, seed: int = 0) -> Tensor:
    """(count, bands, size, size) reflectance: skin of a smooth spectrum, a darker blob, exposure, a little noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / size
    spectrum = 0.2 + 0.4 * np.linspace(0, 1, bands) ** 2
    cubes = np.empty((count, bands, size, size))
    for cube in cubes:
        cy, cx, radius = rng.uniform(0.4, 0.6), rng.uniform(0.4, 0.6), rng.uniform(0.15, 0.3)
        lesion = np.exp(-(((y - cy) ** 2 + (x - cx) ** 2) / radius**2))
        depth = rng.uniform(0.3, 0.7) * np.linspace(1, 0.6, bands)
        cube[:] = rng.uniform(0.7, 1.3) * spectrum[:, None, None] * (1 - depth[:, None, None] * lesion)
        cube += rng.normal(0, 0.005, cube.shape)
    return torch.from_numpy(cubes.astype(np.float32))


def cube_set(reflectance: Tensor, name: str = "lesion") -> CubeSet:
    n, _, h, w = reflectance.shape
    ids = tuple(f"{name}-{i}" for i in range(n))
    return CubeSet(ids, ("melanoma",) * n, reflectance, torch.zeros(n, h, w, dtype=torch.bool))


def tiny_data(train: int = 12, validation: int = 6, size: int = 16, bands: int = 16, seed: int = 0) -> TrainData:
    a, b = blobs(train, size, bands, seed), blobs(validation, size, bands, seed + 1000)
    wavelengths = tuple(np.linspace(465.0, 630.0, bands).tolist())
    return TrainData(cube_set(a, "train"), cube_set(b, "validation"), wavelengths, Scaling.fit(a))
