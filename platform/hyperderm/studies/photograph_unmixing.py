"""Photographs as mixtures: the abundances that an unmixing net which sees colours finds in them (METHODS section 7).

Three numbers a pixel do not say five abundances: what the net adds is what it has learnt of cubes, so its maps are estimates
with a prior. Colours are matched to the pseudo-RGB of the net's train cubes first, as where photographs and cubes train one
generator (`learners.spaces`).
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from hyperderm.cubes.diagnosis import UNKNOWN
from hyperderm.cubes.pseudo_rgb import pseudo_rgb_matrix
from hyperderm.errors import ConfigError
from hyperderm.identity import read
from hyperderm.learners.sources import rgb_levels
from hyperderm.learners.spaces import unmixing_network
from hyperderm.learners.synthesis import repeatable
from hyperderm.store.reader import Store
from hyperderm.training.data import cube_set
from hyperderm.training.named_checkpoints import fold_of

SMALLEST = 1e-6
Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ColourNet:
    """An unmixing net that sees colours, with how the colours of photographs are matched to those it knows.

    Attributes:
        network: the net.
        bands: (B,) nm of its endmembers.
        source: address of the store of cubes on which it was trained.
        matrix: H (3, B) to linear R, G, B.
        means, spreads: diagnosis to mean and deviation of the photographs' colours (3,).
        known_means, known_spreads: the same of the pseudo-RGB of train cubes.
    """

    network: nn.Module
    bands: tuple[float, ...]
    source: str
    matrix: Values
    means: Mapping[str, Values]
    spreads: Mapping[str, Values]
    known_means: Mapping[str, Values]
    known_spreads: Mapping[str, Values]

    def colours(self, photograph: NDArray[np.float32], diagnosis: str) -> Values:
        """Return the matched R, G, B (H · W, 3) of a photograph (H, W, 3), which is stored as B, G, R."""
        linear = photograph[..., ::-1].reshape(-1, 3).astype(np.float64)
        scaled = (linear - self.means[diagnosis]) / np.maximum(self.spreads[diagnosis], SMALLEST)
        return np.asarray(scaled * self.known_spreads[diagnosis] + self.known_means[diagnosis])

    def abundances(self, colours: Values, height: int, width: int) -> Values:
        """Return what the net finds in colours (H · W, 3), as abundances (H · W, R)."""
        seen = torch.from_numpy(colours.reshape(height, width, 3)).permute(2, 0, 1)[None].float()
        with torch.no_grad(), repeatable():
            found = self.network(seen)[0][0]
        return np.asarray(found.permute(1, 2, 0).reshape(height * width, -1).double().numpy())


def colour_net(checkpoint: Mapping[str, Any], photographs: Store, source: Store) -> ColourNet:
    """Return the net of a checkpoint, ready for the photographs of a store.

    Raises:
        ConfigError: the net sees all bands, or pixels of unit length. StoreError: `source` is not the store that it was
            trained on.
    """
    experiment = read(json.loads(checkpoint["experiment"]))
    settings = experiment.learner.model_dump()
    if settings.get("bands") != "rgb" or settings.get("unit_length"):
        seen = "pixels of unit length" if settings.get("unit_length") else "all bands"
        raise ConfigError(
            f"this net sees {seen}, and photographs have three colours",
            "Name a run of `hyperderm train unmixer --set learner.bands=rgb`.",
        )
    fold, bands = fold_of(checkpoint, source), tuple(source.manifest.wavelengths_nm)
    matrix = pseudo_rgb_matrix(bands)
    train = cube_set(source.read(source.select("train", fold, "all")), experiment.data.size)
    moments = _moments(photographs)
    known = {}
    for diagnosis in moments:
        rows = [row for row, name in enumerate(train.diagnoses) if name == diagnosis]
        levels = rgb_levels(train.reflectance[rows] if rows else train.reflectance, matrix)
        known[diagnosis] = levels.mean((0, 2, 3)), levels.std((0, 2, 3))
    return ColourNet(
        unmixing_network(checkpoint),
        bands,
        source.location.uri,
        matrix,
        {name: mean for name, (mean, _) in moments.items()},
        {name: spread for name, (_, spread) in moments.items()},
        {name: mean for name, (mean, _) in known.items()},
        {name: spread for name, (_, spread) in known.items()},
    )


def _moments(photographs: Store) -> dict[str, tuple[Values, Values]]:
    """Return diagnosis to mean and deviation of R, G, B over all pixels of its photographs, read part by part."""
    sums: dict[str, Values] = {}
    for name, levels in _levels(photographs):
        held = sums.setdefault(name, np.zeros((3, 3)))
        held += np.stack([levels.sum(0), np.square(levels).sum(0), np.full(3, len(levels))])
    found = {}
    for name, (total, squares, count) in sums.items():
        mean = total / count
        found[name] = mean, np.sqrt(np.maximum(squares / count - mean**2, 0))
    return found


def _levels(photographs: Store) -> Iterator[tuple[str, Values]]:
    for part in photographs.tables(["diagnosis", "cube"]):
        cubes = part.column("cube").combine_chunks().to_numpy_ndarray()
        for name, cube in zip(part.column("diagnosis").to_pylist(), cubes, strict=True):
            yield name or UNKNOWN, cube[..., ::-1].reshape(-1, 3).astype(np.float64)
