"""What tests of evaluations share: synthetic sets whose answer is known, and networks that cost nothing."""

import hashlib
from dataclasses import dataclass

import numpy as np
import torch

from hyperderm.metrics.evaluation.scores import cube_group
from hyperderm.phantom.rendering import phantom
from hyperderm.store.reader import Store, open_store
from hyperderm.store.synthetic import SyntheticCube, SyntheticOrigin, write_synthetic


@dataclass(frozen=True)
class Projection:
    """A feature space that is a fixed random projection of reduced cubes, under the name of a real one."""

    name: str
    dimension: int = 24

    @property
    def identity(self):
        return hashlib.sha256(self.name.encode()).hexdigest()

    def features(self, cubes, low, high, scaled=True):
        small = torch.nn.functional.interpolate(cubes.float(), (4, 4), mode="area").flatten(1)
        rng = torch.Generator().manual_seed(len(self.name))
        weights = torch.randn(small.shape[1], self.dimension, generator=rng) / small.shape[1] ** 0.5
        return ((small @ weights) * (1.0 if scaled else 5.0)).tanh().numpy()


SPACES = (Projection("inception"), Projection("lite0"))


def lesions(count, side=32, seed=0):
    """Return phantom lesions (count, bands, side, side), their diagnoses and the wavelengths."""
    drawn = [one.lesion for one in phantom(count, side, seed)]
    cubes = torch.from_numpy(np.moveaxis(np.stack([each.cube.reflectance for each in drawn]), 3, 1).copy())
    return cubes, [str(each.diagnosis) for each in drawn], tuple(map(float, drawn[0].cube.wavelengths_nm))


def group(name, cubes, wavelengths, diagnoses=None):
    """Return cubes as a group, each of a group of its own."""
    ids = [f"{name} {i}" for i in range(len(cubes))]
    return cube_group(name, ids, diagnoses or ["melanoma"] * len(ids), ids, cubes, wavelengths)


def write_set(place, real: Store, cubes, fold=0, diagnosis="melanoma", wavelengths=None, **origin) -> Store:
    """Write cubes (N, B, H, W) as a synthetic set of a fold of `real`, as `generate` does, without its audit."""
    made = SyntheticOrigin(
        **{
            "generator": "dcgan", "run": "a-run", "checkpoint": "c" * 64, "experiment": "e", "seed": 0,
            "manifest": real.manifest.fingerprint, "fold": fold, "requested": {diagnosis: len(cubes)}, "derived": False,
        } | origin
    )  # fmt: skip
    rows = [
        SyntheticCube(i, np.ascontiguousarray(np.moveaxis(np.asarray(cube, np.float32), 0, 2)), diagnosis)
        for i, cube in enumerate(cubes)
    ]
    write_synthetic(str(place), rows, wavelengths or real.manifest.wavelengths_nm, made)
    return open_store(str(place))
