"""Features that were computed once are kept in a folder: a second evaluation of the same cubes computes nothing.

A cube is known by the sha256 of its values in float32 and its shape, so it may come from any store, in any order and type.
For each space, range and scaling there is one folder with parts of up to `PART` cubes. A part is whole or absent and never
changes, so several processes can share the folder.
"""

import hashlib
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from hyperderm.durable import make_parents, whole
from hyperderm.metrics.feature_spaces import FeatureSpace

PART = 256
"""Largest number of cubes of a part: so many are lost at most if an evaluation is interrupted."""

Known = dict[bytes, NDArray[np.float32]]


@dataclass
class FeatureCache:
    """The cache.

    Attributes:
        folder: where the features are kept; it is created when there is something to keep.
        notes: a sentence for each damaged part that was met; its cubes are computed again and the part is replaced.
        computed: number of cubes whose features were computed, not read.
    """

    folder: Path
    notes: list[str] = field(default_factory=list)
    computed: int = 0

    def features(
        self, space: FeatureSpace, cubes: Tensor, low: ArrayLike, high: ArrayLike, scaled: bool = True
    ) -> NDArray[np.float32]:
        """Return `space.features(cubes, low, high, scaled)`, (N, d), and compute only what the folder lacks.

        A cube that occurs twice is computed once. Features of one cube may differ in the last digits with the cubes beside
        it in a block, so what is read may differ in the last digits from what would be computed.

        Raises:
            CubeError: see `NetworkSpace.features`.
            OSError: the folder cannot be read or written.
        """
        keys = [_content(cube) for cube in cubes]
        place = self.folder / f"{space.name}-{_setting(space, low, high, scaled)}"
        known = self._read(place, space.dimension, set(keys))
        missing = [key for key in dict.fromkeys(keys) if key not in known]
        row = {key: i for i, key in enumerate(keys)}
        for start in range(0, len(missing), PART):
            part = missing[start : start + PART]
            made = space.features(cubes[torch.tensor([row[key] for key in part])], low, high, scaled)
            self.computed += len(part)
            _write(place, part, made)
            known.update(zip(part, made, strict=True))
        return np.stack([known[key] for key in keys]) if keys else np.empty((0, space.dimension), np.float32)

    def _read(self, place: Path, dimension: int, wanted: set[bytes]) -> Known:
        known: Known = {}
        for path in sorted(place.glob("*.npz")):
            try:
                content = path.read_bytes()
            except FileNotFoundError:
                continue  # removed by a process that found it damaged
            try:
                known.update(_part(content, dimension, wanted))
            except Exception as error:  # damage breaks zip and numpy in many ways; the disk has nothing to do with it here
                path.unlink(missing_ok=True)
                self.notes.append(f"{path} was damaged ({type(error).__name__}): its features are computed again.")
        return known


def _content(cube: Tensor) -> bytes:
    values = cube.detach().to("cpu", torch.float32).contiguous().numpy()
    return hashlib.sha256(repr(values.shape).encode() + values.tobytes()).digest()


def _setting(space: FeatureSpace, low: ArrayLike, high: ArrayLike, scaled: bool) -> str:
    parts = [np.asarray(each, np.float64).tobytes() for each in (low, high)]
    return hashlib.sha256(b"|".join([space.identity.encode(), *parts, repr(scaled).encode()])).hexdigest()[:32]


def _part(content: bytes, dimension: int, wanted: set[bytes]) -> Known:
    """Return what a part holds of the wanted cubes; the archive's checksums prove what is read."""
    with np.load(BytesIO(content), allow_pickle=False) as archive:
        keys = archive["keys"]
        if keys.dtype != np.uint8 or keys.ndim != 2 or keys.shape[1] != hashlib.sha256().digest_size:
            raise ValueError(f"keys {keys.dtype} {keys.shape}")
        held = {key.tobytes(): i for i, key in enumerate(keys)}
        mine = wanted & held.keys()
        if not mine:
            return {}
        features = archive["features"]
    if features.dtype != np.float32 or features.shape != (len(keys), dimension):
        raise ValueError(f"features {features.dtype} {features.shape}")
    return {key: features[held[key]] for key in mine}


def _write(place: Path, keys: list[bytes], features: NDArray[np.float32]) -> None:
    path = place / f"{hashlib.sha256(b''.join(keys)).hexdigest()[:32]}.npz"
    make_parents(path)
    with whole(path) as made:
        np.savez(made, keys=np.frombuffer(b"".join(keys), np.uint8).reshape(len(keys), -1), features=features)
