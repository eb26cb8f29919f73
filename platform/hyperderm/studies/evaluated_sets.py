"""What an evaluation reads: roles of a real store and synthetic stores, proven to belong together, at one size."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar, get_args

import numpy as np
import torch
from torch import Tensor

from hyperderm.cubes.diagnosis import UNKNOWN
from hyperderm.errors import StoreError
from hyperderm.learners.data import CubeSet
from hyperderm.metrics.evaluation.scores import MOST, CubeGroup, cube_group
from hyperderm.store.manifest import Opening, Role
from hyperderm.store.reader import Store
from hyperderm.store.synthetic import SyntheticOrigin, check_origin, origin_of
from hyperderm.strict import json_of
from hyperderm.studies.set_audit import groups_of, source_group
from hyperderm.training.data import cube_set

Item = TypeVar("Item", str, int)
HeldRole = Literal["validation", "test"]
UNIT = 20.0
"""A set whose bright values are this many times larger or smaller than the real ones is in another unit."""
NEGATIVE = 0.1
"""Share of negative values from which on a set is scaled, to [-1, 1] for instance, and no reflectance."""


@dataclass(frozen=True, eq=False)
class RealRoles:
    """The real cubes of an evaluation.

    Attributes:
        store: their store.
        fold: the fold.
        role: the role of the held-out cubes.
        size: side of all cubes in pixels.
        wavelengths: (B,) nm.
        diagnoses: the diagnoses that are compared; all of the store where a set names none of them.
        train: the train cubes of these diagnoses, at most `MOST`.
        held_out: the held-out cubes of these diagnoses, at most `MOST`.
        seen: all train cubes of all diagnoses, for the memorisation audit.
        check: (n, B, S, S) validation cubes of these diagnoses, which check the audit's false alarms.
        groups: lesion id to group, of every lesion of the store.
        notes: what a reader must know.
    """

    store: Store
    fold: int
    role: HeldRole
    size: int
    wavelengths: tuple[float, ...]
    diagnoses: tuple[str, ...]
    train: CubeGroup
    held_out: CubeGroup
    seen: CubeSet
    check: Tensor
    groups: dict[str, str]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class SyntheticSet:
    """One synthetic set of an evaluation.

    Attributes:
        store: its store.
        origin: how it was made; None for a set that hyperderm did not generate.
        cubes: its cubes, at most `MOST`, drawn at random from a larger set.
        sources: for a derived set, the train lesion that each cube was made from.
        notes: what a reader must know.
    """

    store: Store
    origin: SyntheticOrigin | None
    cubes: CubeGroup
    sources: tuple[str, ...] | None
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name in reports."""
        return self.cubes.name


def names_of(sets: Sequence[Store]) -> list[str]:
    """Return a name for each set: the last part of its address, with the fingerprint where two or a role have the same."""
    last = [store.location.uri.rstrip("/").rpartition("/")[2] for store in sets]
    taken = [*last, *get_args(Role)]  # scores and features are kept by the name of a set or a role
    return [name if taken.count(name) == 1 else f"{name} ({store.name})" for name, store in zip(last, sets, strict=True)]


def fold_of_sets(real: Store, sets: Sequence[Store], asked: int | None) -> int:
    """Return the fold in which all sets can be evaluated, and prove that each may be evaluated in it.

    Args:
        real: the real store.
        sets: the synthetic stores.
        asked: the fold that the user names; None: that of the sets.

    Raises:
        StoreError: a store holds photographs, or other bands; a set is given twice; a set is of another real store or
            fold; or sets without an origin are given without a fold.
    """
    for store in (real, *sets):
        if store.manifest.kind == "rgb":
            raise StoreError(f"{store.location.uri} holds photographs (kind rgb), not cubes", "Give stores of cubes.")
        store.check_cubes()
    if len({store.manifest.fingerprint for store in sets}) < len(sets):
        raise StoreError("two of the synthetic stores hold the same set", "Name each set once.")
    folds = real.folds()
    origins = [origin_of(store.manifest) for store in sets]
    known = {origin.fold for origin in origins if origin}
    if asked is None and len(known) > 1:
        raise StoreError(
            f"the sets were made for folds {', '.join(map(str, sorted(known)))}: no lesion is held out from all of them",
            "Evaluate the sets of one fold at a time.",
        )
    if asked is None and not known:
        raise StoreError(
            "no set says for which fold it was made", "Say which fold's train role its generator has seen: --fold K."
        )
    fold = asked if asked is not None else known.pop()
    if not 0 <= fold < folds.count:
        raise StoreError(f"--fold {fold} does not exist", f"This store has folds 0 … {folds.count - 1}.")
    for store, origin in zip(sets, origins, strict=True):
        if origin:
            check_origin(store, real, fold)
        elif store.manifest.wavelengths_nm != real.manifest.wavelengths_nm:
            raise StoreError(
                f"{store.location.uri} has the bands {_bands(store)}, {real.location.uri} has {_bands(real)}",
                "Ingest it on the real store's grid: --bands.",
            )
    return fold


def read_roles(real: Store, sets: Sequence[Store], fold: int, record: Callable[[Opening], None] | None = None) -> RealRoles:
    """Read the real cubes with which `sets` are compared.

    Args:
        real: the real store.
        sets: the synthetic stores, which decide size and diagnoses.
        fold: the fold, see `fold_of_sets`.
        record: for a final evaluation: is told of the opening before the test role is read. None: validation is read.

    Raises:
        StoreError: a role holds too few lesions of the diagnoses.
    """
    notes = []
    diagnoses = _common(real, sets)
    if diagnoses is None:
        notes.append("The sets name no diagnosis of the real store: they are compared with all of its lesions.")
    shapes = {store.location.uri: min(store.manifest.shape[:2]) for store in (real, *sets)}
    size = min(shapes.values())
    if len(set(shapes.values())) > 1:
        larger = [uri for uri, side in shapes.items() if side > size]
        notes.append(f"Compared at {size} px; {', '.join(larger)} was averaged down over areas.")
    for store in (real, *sets):
        if store.manifest.shape[0] != store.manifest.shape[1]:
            height, width = store.manifest.shape[:2]
            notes.append(f"{store.location.uri} holds cubes of {height} x {width} px, which are squeezed to squares.")
    role: HeldRole = "test" if record else "validation"
    held_ids = real.open_test(fold, "all", record) if record else real.select("validation", fold, "all")
    kinds = dict(zip(*(real.index().column(c).to_pylist() for c in ("lesion_id", "diagnosis")), strict=True))
    held_ids = [name for name in held_ids if diagnoses is None or kinds[name] in diagnoses]
    seen = cube_set(real.read(real.select("train", fold, "all")), size)
    rows = [i for i, name in enumerate(seen.diagnoses) if diagnoses is None or name in diagnoses]
    where = f"fold {fold} of {real.location.uri}"
    for count, which in ((len(rows), "train"), (len(held_ids), role)):
        if count < 2:
            raise StoreError(
                f"the {which} role of {where} holds {count} lesions of {', '.join(diagnoses or ('any diagnosis',))}, the "
                "diagnoses that the sets name",
                "Choose another --fold, or a store with more lesions.",
            )
    groups = groups_of(real)
    nm = real.manifest.wavelengths_nm
    if len(held_ids) > MOST or len(rows) > MOST:
        notes.append(f"Metrics are of {MOST} cubes of a role at most, drawn at random; the audit reads all train cubes.")
    train = _group("train", seen.chosen(_drawn(rows)), groups, nm)
    held_out = _group(role, cube_set(real.read(_drawn(held_ids)), size), groups, nm)
    check = held_out.cubes
    if role == "test":
        validation = [
            name for name in real.select("validation", fold, "all") if diagnoses is None or kinds[name] in diagnoses
        ]
        check = cube_set(real.read(_drawn(validation)), size).reflectance
    named = diagnoses or tuple(real.manifest.diagnoses)
    return RealRoles(real, fold, role, size, nm, named, train, held_out, seen, check, groups, tuple(notes))


def read_set(store: Store, name: str, roles: RealRoles) -> SyntheticSet:
    """Read a synthetic set at the size of the real cubes.

    Raises:
        StoreError: a cube holds NaN or infinite values, or the set is in another unit than the real cubes.
    """
    origin = origin_of(store.manifest)
    index = store.index()
    every = sorted(index.column("lesion_id").to_pylist())
    ids = _drawn(every)
    rows = store.read(ids)
    cubes = cube_set(rows, roles.size)
    facts = [json_of(each) for each in rows.column("origin").to_pylist()]
    sources = tuple(str(each.get("derived_from")) for each in facts) if origin and origin.derived else None
    groups = [
        source_group(each, roles.groups) or f"{store.name} {group}"
        for each, group in zip(facts, rows.column("group").to_pylist(), strict=True)
    ]
    group = cube_group(name, cubes.lesion_ids, cubes.diagnoses, groups, cubes.reflectance, roles.wavelengths)
    _check_unit(group, roles.train, store.location.uri)
    notes = [*_notes(store, origin, len(every), roles), *_constant(group)]
    return SyntheticSet(store, origin, group, sources, tuple(notes))


def _constant(group: CubeGroup) -> list[str]:
    """Return a sentence on cubes that are constant over their pixels, which no mean of scores would show."""
    flat = group.cubes.amax((2, 3)).eq(group.cubes.amin((2, 3))).all(1)
    ids = [name for name, constant in zip(group.ids, flat.tolist(), strict=True) if constant]
    shown = ", ".join(ids[:3]) + (", …" if len(ids) > 3 else "")
    return [f"{len(ids)} of its cubes show nothing: every band is constant ({shown})."] if ids else []


def _notes(store: Store, origin: SyntheticOrigin | None, count: int, roles: RealRoles) -> list[str]:
    said = []
    if count > MOST:
        said.append(f"Metrics and audit are of {MOST} of its {count} cubes, drawn at random.")
    if store.manifest.fingerprint == roles.store.manifest.fingerprint:
        said.append("This is the real store itself: its cubes are the lesions that it is compared with.")
    elif origin is None:
        said.append(
            "hyperderm did not generate this set, so it is not proven that its generator has not seen the held-out cubes."
        )
    else:
        if roles.role == "validation":
            said.append(
                "Optimistic: the held-out cubes are those of validation, on which the generator's checkpoint was chosen."
            )
        if origin.derived:
            said.append("Derived: each cube keeps the geometry of a train lesion, so it is no new lesion.")
    return said


def _common(real: Store, sets: Sequence[Store]) -> tuple[str, ...] | None:
    """Return the diagnoses of the sets, in the real store's order; None if the real store holds none of them."""
    wanted = {name for store in sets for name in store.manifest.diagnoses if name != UNKNOWN}
    return tuple(name for name in real.manifest.diagnoses if name in wanted) or None


def _drawn(items: Sequence[Item]) -> list[Item]:
    """Return at most `MOST` of the items, drawn at random, in their order."""
    if len(items) <= MOST:
        return list(items)
    return [items[i] for i in np.sort(np.random.default_rng(0).permutation(len(items))[:MOST])]


def _group(name: str, cubes: CubeSet, groups: dict[str, str], nm: Sequence[float]) -> CubeGroup:
    of = [groups[lesion] for lesion in cubes.lesion_ids]
    return cube_group(name, cubes.lesion_ids, cubes.diagnoses, of, cubes.reflectance, nm)


def _check_unit(made: CubeGroup, real: CubeGroup, uri: str) -> None:
    negative = float((made.cubes < 0).float().mean())
    ours, theirs = (
        float(torch.quantile(group.cubes.flatten()[:: max(1, group.cubes.numel() // 2**22)], 0.95)) for group in (real, made)
    )
    if negative > NEGATIVE and float((real.cubes < 0).float().mean()) < NEGATIVE / 2:
        raise StoreError(
            f"{negative:.0%} of the values of {uri} are negative, so they are no reflectance",
            "Undo the generator's scaling before the set is stored.",
        )
    if not made.cubes.any():
        raise StoreError(f"every value of {uri} is zero", "Look at the generator that made it.")
    if not ours / UNIT <= theirs <= ours * UNIT:
        raise StoreError(
            f"{uri} is in another unit: 95 % of its values are below {theirs:.3g}, of the real ones below {ours:.3g}",
            "Ingest it with --scale, which divides its values.",
        )


def _bands(store: Store) -> str:
    nm = store.manifest.wavelengths_nm
    return f"{nm[0]:g} … {nm[-1]:g} nm ({len(nm)})"
