"""What is asked of every synthetic set: does it copy its training cubes, and can it be told from real ones?"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from hyperderm.learners.data import CubeSet
from hyperderm.metrics.memorisation import Auditor
from hyperderm.metrics.recognisability import Recogniser, Sample
from hyperderm.store.reader import Store
from hyperderm.store.synthetic import SyntheticCube


class SetAudit:
    """Looks at a set chunk by chunk.

    Args:
        train: everything the generator was trained on.
        held_out: real cubes of the validation role, for the thresholds of memorisation alone.
        groups: of the lesions in `train`.
        wavelengths: (B,) nm.
        counts: diagnosis to the number of synthetic cubes that will come.

    Raises:
        StoreError: as `Auditor`.
    """

    def __init__(
        self,
        train: CubeSet,
        held_out: CubeSet,
        groups: Mapping[str, str],
        wavelengths: Sequence[float],
        counts: Mapping[str, int],
    ) -> None:
        self.memorisation = Auditor(train.reflectance, held_out.reflectance)
        self.groups = groups
        self.recognisers = {}
        for diagnosis, count in counts.items():
            rows = [i for i, name in enumerate(train.diagnoses) if name == diagnosis]
            real = Sample(train.reflectance[rows].numpy(), [groups[train.lesion_ids[i]] for i in rows])
            self.recognisers[diagnosis] = Recogniser(real, wavelengths, count)

    def add(self, cubes: Sequence[SyntheticCube]) -> None:
        """Look at the next cubes of the set, at the size of the train cubes."""
        pixels = np.moveaxis(np.stack([cube.reflectance for cube in cubes]), 3, 1).copy()
        self.memorisation.add(torch.from_numpy(pixels))
        for diagnosis, recogniser in self.recognisers.items():
            rows = [i for i, cube in enumerate(cubes) if cube.diagnosis == diagnosis]
            if rows:
                recogniser.add(Sample(pixels[rows], [self._group(cubes[i]) for i in rows]))

    def result(self, derived: bool = False) -> dict[str, Any]:
        """Return JSON values: `memorisation.Audit`, and under `recognisable` each diagnosis' `Recognisability`."""
        told = {diagnosis: recogniser.result().to_dict() for diagnosis, recogniser in self.recognisers.items()}
        return self.memorisation.result(derived).to_dict() | {"recognisable": told}

    def _group(self, cube: SyntheticCube) -> str:
        """Return the group of the lesion a cube was made from, its photograph, or a name of its own."""
        if source := cube.facts.get("derived_from"):
            return self.groups.get(str(source), str(source))
        return f"photograph {cube.facts['photograph']}" if "photograph" in cube.facts else f"cube {cube.index}"


def groups_of(store: Store) -> dict[str, str]:
    """Return lesion_id to group."""
    rows = store.index()
    return dict(zip(rows.column("lesion_id").to_pylist(), rows.column("group").to_pylist(), strict=True))
