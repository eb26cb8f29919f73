"""The audit of every synthetic set: does the set copy its training cubes, and can its cubes be told from real ones?"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hyperderm.learners.data import CubeSet
from hyperderm.metrics.copy_search import Matches
from hyperderm.metrics.memorisation import Auditor, Reference
from hyperderm.metrics.orientation import restore
from hyperderm.metrics.own_lesion import FEWEST_HELD_OUT, OwnReference
from hyperderm.metrics.recognisability import Recogniser, Sample
from hyperderm.store.reader import Store
from hyperderm.store.synthetic import SyntheticCube
from hyperderm.studies.photograph_audit import PHOTOGRAPHS, UNJUDGED, PhotographAudit


@dataclass(frozen=True)
class Maker:
    """The generator of a derived set, which makes cubes from the pseudo-RGB of other lesions too.

    Attributes:
        matrix: H (3, B) of the pseudo-RGB.
        make: a function that returns cubes (n, B, S, S) made from the pseudo-RGB of n lesions, in their orientation.
    """

    matrix: NDArray[np.float64]
    make: Callable[[CubeSet], Tensor]


@dataclass(frozen=True)
class Match:
    """What the audit found on one cube.

    Attributes:
        lesion: its best match among train lesions; for a derived cube, among others than its own.
        own: similarity of a derived cube to its own lesion, see `own_lesion`; None where that is not judged.
        photograph: its best match among the photographs that the generator learnt; None without.
    """

    lesion: Matches
    own: float | None = None
    photograph: Matches | None = None


class SetAudit:
    """Audits a synthetic set chunk by chunk.

    Args:
        train: all cubes that the generator was trained on.
        held_out: real cubes of the validation role; they only check the rate of false alarms of memorisation.
        groups: lesion_id to group, for the lesions in `train`.
        wavelengths: wavelengths of the bands, (B,), in nm.
        counts: diagnosis to the number of synthetic cubes that will be added.
        derived: whether each cube was made from the RGB of the train lesion that it names, and so keeps its geometry.
        maker: for a derived set, its generator, if that takes pseudo-RGB: it is tried on held-out lesions.
        unjudged: why there is no `maker`, for the reader of the audit.
        photographs: the audit against the photographs that the generator learnt too, or why there is none although it learnt
            some; "" if it learnt none.

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
        maker: Maker | None = None,
        unjudged: str = "the generator was not at hand to try it on held-out lesions",
        photographs: PhotographAudit | str = "",
    ) -> None:
        self.derived = derived
        self._photographs = photographs if isinstance(photographs, PhotographAudit) else None
        self._photographs_unjudged = photographs if isinstance(photographs, str) else ""
        of = [groups[name] for name in train.lesion_ids]
        self.memorisation = Auditor(Reference(train.reflectance, held_out.reflectance, train.lesion_ids, of))
        self._own, self._unjudged = None, unjudged if derived else ""
        if derived and maker:
            self._own, self._unjudged = self._learn_own(train, of, held_out, groups, maker)
        self._own_similarity: list[tuple[float, str]] = []
        self.groups = groups
        self.recognisers = {}
        for diagnosis, count in counts.items():
            rows = [i for i, name in enumerate(train.diagnoses) if name == diagnosis]
            real = Sample(train.reflectance[rows].numpy(), [groups[train.lesion_ids[i]] for i in rows])
            self.recognisers[diagnosis] = Recogniser(real, wavelengths, count)

    def _learn_own(
        self, train: CubeSet, of: Sequence[str], held_out: CubeSet, groups: Mapping[str, str], maker: Maker
    ) -> tuple[OwnReference | None, str]:
        """Return what the cubes are compared with as to their own lesions, or None and the reason if that cannot be told."""
        unseen = held_out.chosen(self.memorisation.reference.unseen.tolist())
        made = maker.make(unseen) if len(unseen) else unseen.reflectance
        whole = [row for row, cube in enumerate(made) if torch.isfinite(cube).all()]
        unseen, made = unseen.chosen(whole), made[whole]
        theirs = [groups[name] for name in unseen.lesion_ids]
        if (count := len(set(theirs))) < FEWEST_HELD_OUT:
            return None, f"{count} groups of held-out lesions are fewer than {FEWEST_HELD_OUT}"
        known = OwnReference(train.reflectance, train.lesion_ids, of, unseen.reflectance, made, theirs, maker.matrix)
        return known, ""

    def match(self, cube: SyntheticCube) -> Match:
        """Return what is found on a cube, which has the size of the train cubes, and leave the audit as it is."""
        pixels = torch.from_numpy(_pixels([cube]))
        if not self.derived:
            seen = self._photographs.match(pixels.numpy()) if self._photographs else None
            return Match(self.memorisation.match(pixels), photograph=seen)
        sources = [str(cube.facts.get("derived_from"))]
        found = self.memorisation.match(pixels, sources)
        if self._own is None:
            return Match(found)
        return Match(found, float(self._own.similarity(restore(pixels, int(cube.facts["orientation"])), sources)[0]))

    def reject(self, found: Match) -> bool:
        """Return whether a cube with this match is a copy, and count it if so: it is to be left out of the set."""
        copy = bool(found.lesion.similarity[0] >= self.memorisation.reference.law.threshold)
        if self._own and found.own is not None:
            copy |= found.own >= self._own.law.threshold
        if self._photographs and found.photograph is not None:
            copy |= self._photographs.is_copy(found.photograph)
        self.memorisation.rejected = (self.memorisation.rejected or 0) + copy
        return copy

    def add(self, cubes: Sequence[SyntheticCube], found: Sequence[Match] | None = None) -> None:
        """Audit the next cubes of the set, which have the size of the train cubes.

        Args:
            cubes: the cubes.
            found: what `match` returned for each of them; None: they are matched here.
        """
        for cube, match in zip(cubes, found or map(self.match, cubes), strict=True):
            self.memorisation.keep(match.lesion)
            if self._photographs and match.photograph is not None:
                self._photographs.keep(match.photograph)
            if match.own is not None:
                self._own_similarity.append((match.own, str(cube.facts["derived_from"])))
        pixels = _pixels(cubes)
        for diagnosis, recogniser in self.recognisers.items():
            rows = [i for i, cube in enumerate(cubes) if cube.diagnosis == diagnosis]
            if rows:
                recogniser.add(Sample(pixels[rows], [self._group(cubes[i]) for i in rows]))

    def result(self) -> dict[str, Any]:
        """Return JSON values: a `memorisation.Audit` and, under `recognisable`, the `Recognisability` of each diagnosis."""
        told = {diagnosis: recogniser.result().to_dict() for diagnosis, recogniser in self.recognisers.items()}
        own = None
        if self._own and self._own_similarity:
            similar, sources = zip(*self._own_similarity, strict=True)
            own = self._own.result(np.array(similar), sources)
        found = self.memorisation.result(self.derived, own, self._unjudged).to_dict() | {"recognisable": told}
        if self._photographs:
            found[PHOTOGRAPHS] = self._photographs.result()
        elif self._photographs_unjudged:
            found[UNJUDGED] = self._photographs_unjudged
        return found

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


def _pixels(cubes: Sequence[SyntheticCube]) -> NDArray[np.float32]:
    """Return the reflectance of cubes, (n, B, H, W)."""
    return np.moveaxis(np.stack([cube.reflectance for cube in cubes]), 3, 1).copy()


def groups_of(store: Store) -> dict[str, str]:
    """Return a mapping of lesion_id to group."""
    rows = store.index()
    return dict(zip(rows.column("lesion_id").to_pylist(), rows.column("group").to_pylist(), strict=True))
