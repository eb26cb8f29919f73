"""The audit of every synthetic set: does the set copy its training cubes, and can its cubes be told from real ones?"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hyperderm.learners.data import CubeSet
from hyperderm.metrics.copy_search import Matches
from hyperderm.metrics.memorisation import Auditor, Reference
from hyperderm.metrics.recognisability import Recogniser, Sample
from hyperderm.store.reader import Store
from hyperderm.store.synthetic import SyntheticCube


class SetAudit:
    """Audits a synthetic set chunk by chunk.

    Args:
        train: all cubes that the generator was trained on.
        held_out: real cubes of the validation role; they only check the rate of false alarms of memorisation.
        groups: lesion_id to group, for the lesions in `train`.
        wavelengths: wavelengths of the bands, (B,), in nm.
        counts: diagnosis to the number of synthetic cubes that will be added.
        derived: whether each cube was made from the RGB of the train lesion that it names, and so keeps its geometry.

    Raises:
        StoreError: for the same reasons as `memorisation.Reference`.
    """

    def __init__(
        self,
        train: CubeSet,
        held_out: CubeSet,
        groups: Mapping[str, str],
        wavelengths: Sequence[float],
        counts: Mapping[str, int],
        derived: bool = False,
    ) -> None:
        self.derived = derived
        of = [groups[name] for name in train.lesion_ids]
        self.memorisation = Auditor(Reference(train.reflectance, held_out.reflectance, train.lesion_ids, of))
        self.groups = groups
        self.recognisers = {}
        for diagnosis, count in counts.items():
            rows = [i for i, name in enumerate(train.diagnoses) if name == diagnosis]
            real = Sample(train.reflectance[rows].numpy(), [groups[train.lesion_ids[i]] for i in rows])
            self.recognisers[diagnosis] = Recogniser(real, wavelengths, count)

    def match(self, cube: SyntheticCube) -> Matches:
        """Return the best match of a cube, which has the size of the train cubes, and leave the audit as it is."""
        sources = [str(cube.facts.get("derived_from"))] if self.derived else None
        return self.memorisation.match(torch.from_numpy(_pixels([cube])), sources)

    def reject(self, found: Matches) -> bool:
        """Return whether a cube with this match is a copy, and count it if so: it is to be left out of the set."""
        copy = bool(found.similarity[0] >= self.memorisation.reference.law.threshold)
        self.memorisation.rejected = (self.memorisation.rejected or 0) + copy
        return copy

    def add(self, cubes: Sequence[SyntheticCube], found: Sequence[Matches] | None = None) -> None:
        """Audit the next cubes of the set, which have the size of the train cubes.

        Args:
            cubes: the cubes.
            found: what `match` returned for each of them; None: they are matched here.
        """
        for met in found or map(self.match, cubes):
            self.memorisation.keep(met)
        pixels = _pixels(cubes)
        for diagnosis, recogniser in self.recognisers.items():
            rows = [i for i, cube in enumerate(cubes) if cube.diagnosis == diagnosis]
            if rows:
                recogniser.add(Sample(pixels[rows], [self._group(cubes[i]) for i in rows]))

    def result(self) -> dict[str, Any]:
        """Return JSON values: a `memorisation.Audit` and, under `recognisable`, the `Recognisability` of each diagnosis."""
        told = {diagnosis: recogniser.result().to_dict() for diagnosis, recogniser in self.recognisers.items()}
        return self.memorisation.result(self.derived).to_dict() | {"recognisable": told}

    def _group(self, cube: SyntheticCube) -> str:
        """Return the group of the lesion that a cube was made from, else its photograph, or else a name of its own."""
        if source := cube.facts.get("derived_from"):
            return self.groups.get(str(source), str(source))
        return f"photograph {cube.facts['photograph']}" if "photograph" in cube.facts else f"cube {cube.index}"


def _pixels(cubes: Sequence[SyntheticCube]) -> NDArray[np.float32]:
    """Return the reflectance of cubes, (n, B, H, W)."""
    return np.moveaxis(np.stack([cube.reflectance for cube in cubes]), 3, 1).copy()


def groups_of(store: Store) -> dict[str, str]:
    """Return a mapping of lesion_id to group."""
    rows = store.index()
    return dict(zip(rows.column("lesion_id").to_pylist(), rows.column("group").to_pylist(), strict=True))
