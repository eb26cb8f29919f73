"""Make a synthetic set from a larger one: keep some of its cubes, and give them what of train they lack.

The new set has the origin of the pool (generator, checkpoint, fold, manifest) and says in addition how it came from it, so
that every proof about the pool holds for it too. Its cubes keep their numbers and their lesions or photographs.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperderm.cubes.diagnosis import DIAGNOSES
from hyperderm.curation.keeping import Described, by_confidence, by_judge
from hyperderm.curation.matching import with_moments, with_noise
from hyperderm.errors import StudyError
from hyperderm.learners.data import CubeSet
from hyperderm.metrics.memorisation import CHUNK
from hyperderm.store.curated import Curated, Curation
from hyperderm.store.folds import POSITIVE
from hyperderm.store.manifest import Manifest
from hyperderm.store.reader import Store
from hyperderm.store.synthetic import SyntheticCube, SyntheticOrigin, check_origin, origin_of, write_synthetic
from hyperderm.strict import json_of
from hyperderm.studies.photograph_audit import PHOTOGRAPHS, UNJUDGED
from hyperderm.studies.set_audit import SetAudit, groups_of, source_group
from hyperderm.training.data import cube_set

SOURCE_FACTS = ("derived_from", "photograph", "orientation")
"""The facts on a cube's origin that it keeps from its pool."""


@dataclass(frozen=True, eq=False)
class Pool:
    """The first cubes of a synthetic set, as many as were drawn to choose from.

    Attributes:
        cubes: the cubes in the order of the set.
        indices: (N,) their numbers in the set.
        facts: (N,) their origins.
    """

    cubes: CubeSet
    indices: tuple[int, ...]
    facts: tuple[Mapping[str, Any], ...]

    @classmethod
    def read(cls, store: Store, drawn: Mapping[str, int]) -> "Pool":
        """Return the first cubes of each diagnosis of `store`, as many as `drawn` says.

        Raises:
            StudyError: the set holds fewer.
        """
        chosen = []
        held = store.index().to_pylist()
        for diagnosis, count in drawn.items():
            names = sorted(row["lesion_id"] for row in held if row["diagnosis"] == diagnosis)
            if len(names) < count:
                raise StudyError(
                    f"{count} {diagnosis} to choose from, but {store.location.uri} holds {len(names)}",
                    "Make a larger set, or ask for fewer cubes.",
                )
            chosen += names[:count]
        rows = store.read(sorted(chosen))
        facts = tuple(map(json_of, rows.column("origin").to_pylist()))
        cubes = cube_set(rows, store.manifest.shape[0])
        return cls(cubes, tuple(int(each["index"]) for each in facts), facts)

    def of(self, diagnosis: str) -> list[int]:
        """Return the rows of a diagnosis."""
        return [row for row, name in enumerate(self.cubes.diagnoses) if name == diagnosis]


@dataclass(frozen=True, eq=False)
class _Real:
    """The real train cubes of the set's fold, and their features, which are computed when they are first asked for."""

    cubes: CubeSet
    groups: Mapping[str, str]
    wavelengths_nm: tuple[float, ...]
    held_out: CubeSet = field(repr=False)

    @cached_property
    def described(self) -> Described:
        names = [self.groups[name] for name in self.cubes.lesion_ids]
        return Described.of(self.cubes.reflectance.numpy(), names, self.wavelengths_nm)

    def rows(self, diagnosis: str) -> list[int]:
        found = [row for row, name in enumerate(self.cubes.diagnoses) if name == diagnosis]
        if not found:
            raise StudyError(
                f"train of this fold holds no {diagnosis} that synthetic ones could be compared with",
                "Leave that diagnosis out, or use more data.",
            )
        return found

    def some(self, rows: Sequence[int]) -> Described:
        whole = self.described
        return Described(whole.features[list(rows)], [whole.groups[row] for row in rows])


def curate(
    store: Store,
    pool: Store,
    uri: str,
    curation: Curation,
    counts: Mapping[str, int],
    drawn: Mapping[str, int],
    seed: int = 0,
) -> Manifest:
    """Write the set that `curation` makes of the first cubes of a pool.

    Args:
        store: the real store on whose train role the generator of the pool was trained.
        pool: a synthetic set as `generate` writes it.
        uri: where the new set is written; the place must be empty.
        curation: what is done.
        counts: diagnosis, as drawn, to the number of cubes that are kept.
        drawn: diagnosis to the number of cubes of the pool among which is chosen, at least as many.
        seed: seed of choices at random and of added noise.

    Returns:
        The manifest of the new set.

    Raises:
        StudyError: the pool is curated itself or holds too few cubes, or what is left of it are too few. StoreError: the
            pool was made from another store, or the place is taken. After an error nothing is left behind.
    """
    claimed = origin_of(pool.manifest)
    origin = check_origin(pool, store, claimed.fold if claimed else 0)
    if origin.curated is not None:
        raise StudyError(f"{pool.location.uri} is a curated set", "Give the set that it was made from.")
    _check(pool, counts, drawn)
    held, real = Pool.read(pool, drawn), _real(store, origin.fold, pool.manifest.shape[0])
    requested: dict[str, int] = {}
    for diagnosis, count in counts.items():
        meant = curation.named or diagnosis
        requested[meant] = requested.get(meant, 0) + count
    audit = _audit(real, requested, origin.derived)
    keeper = _Keeper(curation, held, real, audit, seed)
    rows = sorted(row for diagnosis, count in counts.items() for row in keeper.kept(diagnosis, count))
    pixels, clipped = _matched(curation, held, real, rows, seed)
    kept = [_cube(held, row, cube, curation) for row, cube in zip(rows, pixels, strict=True)]
    said = Curated(asked=curation, pool=pool.manifest.fingerprint, drawn=dict(drawn), seed=seed, clipped=clipped)
    said = said.model_copy(update={"copies": keeper.copies})
    new = origin.model_copy(update={"requested": requested, "curated": said, "audit": None})

    def audited() -> Iterator[SyntheticCube]:
        for at in range(0, len(kept), CHUNK):
            audit.add(kept[at : at + CHUNK])
            yield from kept[at : at + CHUNK]

    def finish() -> dict[str, Any]:
        return {"audit": audit.result() | _photographs(origin)}

    return write_synthetic(uri, audited(), pool.manifest.wavelengths_nm, new, finish)


def _check(pool: Store, counts: Mapping[str, int], drawn: Mapping[str, int]) -> None:
    if not counts:
        raise StudyError("no diagnosis is asked for", f"Name one that {pool.location.uri} holds.")
    for diagnosis, count in counts.items():
        if not 1 <= count <= drawn.get(diagnosis, 0):
            raise StudyError(
                f"{count} {diagnosis} to keep of {drawn.get(diagnosis, 0)} drawn",
                "Keep 1 or more, at most as many as drawn.",
            )


def _real(store: Store, fold: int, size: int) -> _Real:
    train = cube_set(store.read(store.select("train", fold, "all")), size)
    held_out = cube_set(store.read(store.select("validation", fold, "all")), size)
    return _Real(train, groups_of(store), store.manifest.wavelengths_nm, held_out)


def _audit(real: _Real, counts: Mapping[str, int], derived: bool) -> SetAudit:
    """Return the audit of cubes against all of train; validation only checks false alarms."""
    held = {name: count for name, count in counts.items() if name in real.cubes.diagnoses}
    return SetAudit(real.cubes, real.held_out, real.groups, real.wavelengths_nm, held, derived)


def _photographs(origin: SyntheticOrigin) -> dict[str, Any]:
    """Return why a curated set is not compared with the photographs that its generator learnt, if it learnt some."""
    known = origin.audit or {}
    if PHOTOGRAPHS in known or UNJUDGED in known:
        return {UNJUDGED: "the cubes were chosen from a set that was compared with the photographs; see there"}
    return {}


@dataclass(eq=False)
class _Keeper:
    """Chooses cubes of the pool.

    Attributes:
        copies: number of cubes that were left out as copies.
    """

    curation: Curation
    pool: Pool
    real: _Real
    audit: SetAudit
    seed: int
    copies: int = 0

    def kept(self, diagnosis: str, count: int) -> list[int]:
        """Return the rows of the pool that are kept of a diagnosis."""
        rows, keep = self.pool.of(diagnosis), self.curation.keep
        if keep in ("copies", "all"):
            rows = self._no_copies(rows, diagnosis, count)
        if keep == "random":
            rng = np.random.default_rng([self.seed, DIAGNOSES.index(diagnosis)])
            return [rows[place] for place in rng.permutation(len(rows))[:count]]
        if keep in ("judge", "all"):
            left = count if keep == "judge" else round(sqrt(count * len(rows)))
            real = self.real.some(self.real.rows(self._meant(diagnosis)))
            rows = [rows[place] for place in by_judge(self._described(rows), real, self.seed)[:left]]
        if keep in ("confidence", "all"):
            melanoma = np.array([name == POSITIVE for name in self.real.cubes.diagnoses])
            wanted = self._meant(diagnosis) == POSITIVE
            order = by_confidence(self._described(rows), self.real.described, melanoma, wanted)
            rows = [rows[place] for place in order[:count]]
        return rows[:count]

    def _meant(self, diagnosis: str) -> str:
        return self.curation.named or diagnosis

    def _described(self, rows: Sequence[int]) -> Described:
        facts = [self.pool.facts[row] for row in rows]
        names = [source_group(fact, self.real.groups) or f"cube {fact['index']}" for fact in facts]
        return Described.of(self.pool.cubes.reflectance[list(rows)].numpy(), names, self.real.wavelengths_nm)

    def _no_copies(self, rows: Sequence[int], diagnosis: str, count: int) -> list[int]:
        left = []
        for row in rows:
            cube = _cube(self.pool, row, self.pool.cubes.reflectance[row].numpy(), self.curation)
            if not self.audit.reject(self.audit.match(cube)):
                left.append(row)
        self.copies += len(rows) - len(left)
        if len(left) < count:
            raise StudyError(
                f"of {len(rows)} {diagnosis} that were drawn, {len(rows) - len(left)} are copies of train lesions, and "
                f"{count} are to be kept",
                "Draw more, keep fewer, or take another generator: this one hardly makes new lesions.",
            )
        return left


def _matched(
    curation: Curation, pool: Pool, real: _Real, rows: Sequence[int], seed: int
) -> tuple[NDArray[np.float32], float]:
    """Return the kept cubes (n, B, S, S), matched to train where that is asked for, and the share of clipped values."""
    cubes = pool.cubes.reflectance[list(rows)].numpy().copy()
    if curation.match is None:
        return cubes, 0.0
    clipped = 0
    meant = np.array([curation.named or pool.cubes.diagnoses[row] for row in rows])
    for diagnosis in dict.fromkeys(meant.tolist()):
        mine = np.flatnonzero(meant == diagnosis)
        train = real.cubes.reflectance[real.rows(diagnosis)].numpy()
        changed = cubes[mine]
        if curation.match in ("noise", "both"):
            changed = with_noise(changed, train, seed, [pool.indices[rows[place]] for place in mine.tolist()])
        if curation.match in ("moments", "both"):
            changed = with_moments(changed, train)
        low, high = (end(train, axis=(0, 2, 3))[:, None, None] for end in (np.min, np.max))
        clipped += int(((changed < low) | (changed > high)).sum())
        cubes[mine] = np.clip(changed, low, high)
    return cubes, clipped / cubes.size


def _cube(pool: Pool, row: int, cube: NDArray[np.float32], curation: Curation) -> SyntheticCube:
    facts = {name: pool.facts[row][name] for name in SOURCE_FACTS if name in pool.facts[row]}
    named = curation.named or pool.cubes.diagnoses[row]
    if named != pool.cubes.diagnoses[row]:
        facts["drawn_as"] = pool.cubes.diagnoses[row]
    return SyntheticCube(pool.indices[row], np.ascontiguousarray(np.moveaxis(cube, 0, 2)), named, facts)
