"""The audit of every synthetic set: does the set copy its training cubes, and can its cubes be told from real ones?"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from hyperderm.learners.data import CubeSet
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

    def add(self, cubes: Sequence[SyntheticCube]) -> None:
        """Audit the next cubes of the set, which have the size of the train cubes."""
        pixels = np.moveaxis(np.stack([cube.reflectance for cube in cubes]), 3, 1).copy()
        sources = [str(cube.facts.get("derived_from")) for cube in cubes] if self.derived else None
        self.memorisation.add(torch.from_numpy(pixels), sources)
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
        return source_group(cube.facts, self.groups) or f"cube {cube.index}"


def source_group(facts: Mapping[str, Any], groups: Mapping[str, str]) -> str:
    """Return the group of the lesion or photograph that a synthetic cube was made from; "" if it was made from neither.

    Args:
        facts: the facts on the origin of the cube.
        groups: lesion_id to group of the real lesions.
    """
    if source := facts.get("derived_from"):
        return groups.get(str(source), str(source))
    return f"photograph {facts['photograph']}" if "photograph" in facts else ""


def groups_of(store: Store) -> dict[str, str]:
    """Return a mapping of lesion_id to group."""
    rows = store.index()
    return dict(zip(rows.column("lesion_id").to_pylist(), rows.column("group").to_pylist(), strict=True))
