"""Synthetic sets: stores that say which checkpoint, fold and manifest their cubes come from, and the proof of it."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from hyperderm.cubes.cube import Cube, Lesion
from hyperderm.errors import StoreError
from hyperderm.store.manifest import Manifest
from hyperderm.store.reader import Store
from hyperderm.store.writer import write_store
from hyperderm.strict import Strict

VERB = "generate"
PREFIX = "synthetic"
"""Begins the id and the group of every synthetic lesion; no reader of real files makes such names."""


class SyntheticOrigin(Strict):
    """Where a synthetic set comes from: `Manifest.source` of its store."""

    verb: Literal["generate"] = "generate"
    generator: str
    """Kind of the learner that made the cubes, or the name of another generator."""
    run: str
    """Key of the run that trained it."""
    checkpoint: str = Field(min_length=8)
    """sha256 (hex) of the checkpoint file."""
    experiment: str
    """Fingerprint of the run's configuration."""
    manifest: str
    """Fingerprint of the real store it was trained on."""
    fold: int
    """The fold of that store whose train role it was trained on."""
    seed: int
    requested: dict[str, int]
    """Diagnosis to number of cubes."""
    derived: bool
    """Each cube keeps the geometry of a lesion of the train role: these are no new lesions."""
    rgb: str | None = None
    """Fingerprint of the store of photographs that the cubes were made from."""
    device: str = "cpu"
    """Kind of processor: the last bits of a cube depend on it."""
    rejected: int = Field(0, ge=0)
    """Cubes that were made and left out, because their values lie outside any real cube's."""
    audit: dict[str, Any] | None = None
    """Memorisation audit (`metrics.memorisation`), None where there was none."""


@dataclass(frozen=True)
class SyntheticCube:
    """One cube for a synthetic set.

    Attributes:
        index: unique in its set.
        reflectance: (H, W, B) float32, finite.
        diagnosis: what was asked for.
        facts: further origin of the row, JSON-serialisable, such as the lesion or photograph it was made from.
    """

    index: int
    reflectance: NDArray[np.float32]
    diagnosis: str
    facts: Mapping[str, Any] = field(default_factory=dict)


def write_synthetic(
    uri: str,
    cubes: Iterable[SyntheticCube],
    wavelengths_nm: Iterable[float],
    origin: SyntheticOrigin,
    finish: Callable[[], Mapping[str, Any]] | None = None,
) -> Manifest:
    """Write `cubes` (consumed once, a part's rows in memory at a time) as a synthetic set: no folds, no masks.

    Args:
        uri: nothing may be there yet.
        cubes: in the order they are stored.
        wavelengths_nm: (B,) band centres.
        origin: what the manifest and every row say of where the cubes come from.
        finish: called after the last cube; fields of `origin` known only then, such as `rejected` and `audit`.

    Raises:
        StoreError: something is already there, no cube, or cubes of different shapes. Nothing is left behind.
    """
    source = origin.model_dump(mode="json")
    nm = np.array(list(wavelengths_nm), dtype=np.float64)

    def lesions() -> Iterator[Lesion]:
        for cube in cubes:
            yield _lesion(cube, nm, origin)
        if finish:
            source.update(origin.model_copy(update=dict(finish())).model_dump(mode="json"))

    return write_store(uri, lesions(), fold_count=0, source=source)


def origin_of(manifest: Manifest) -> SyntheticOrigin | None:
    """Return where a synthetic set comes from; None for a store that is none.

    Raises:
        StoreError: a set whose origin another version of hyperderm wrote.
    """
    if manifest.source.get("verb") != VERB:
        return None
    try:
        return SyntheticOrigin.model_validate(manifest.source)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"]))
        raise StoreError(
            f"the origin of synthetic set {manifest.fingerprint[:8]} cannot be read ({where}: {fault['msg']})",
            "It was written by another version of hyperderm; generate it again.",
        ) from None


def check_origin(synthetic: Store, real: Store, fold: int) -> SyntheticOrigin:
    """Prove that `synthetic` was made by a generator that saw nothing but train cubes of this fold of `real`.

    Raises:
        StoreError: it is no synthetic set, or one of another manifest, fold or of other bands.
    """
    uri, origin = synthetic.location.uri, origin_of(synthetic.manifest)
    if origin is None:
        verb = synthetic.manifest.source.get("verb", "unknown")
        raise StoreError(f"{uri} is no synthetic set (it was made by `{verb}`)", "Make one with `hyperderm generate`.")
    theirs, mine = origin.manifest, real.manifest.fingerprint
    if theirs != mine:
        raise StoreError(
            f"synthetic set {uri} was made from store {theirs[:12]}, not from {real.location.uri} ({mine[:12]}): its "
            "generator may have seen lesions that are now held back",
            "Use the store it was made from, or generate a set from a checkpoint trained on this one.",
        )
    if origin.fold != fold:
        raise StoreError(
            f"synthetic set {uri} was made for fold {origin.fold}, not for fold {fold}: its generator has seen lesions that "
            "this fold holds back",
            f"Use it with data.fold={origin.fold}, or generate a set from a checkpoint of fold {fold}.",
        )
    if synthetic.manifest.wavelengths_nm != real.manifest.wavelengths_nm:
        raise StoreError(f"synthetic set {uri} has other bands than {real.location.uri}", "Generate it again.")
    return origin


def lesion_name(origin: SyntheticOrigin, index: int) -> str:
    """Return the id of a synthetic lesion; ids sort as indices do."""
    return f"{PREFIX}-{origin.checkpoint[:8]}-{origin.seed}-{index:07d}"


def _lesion(cube: SyntheticCube, nm: NDArray[np.float64], origin: SyntheticOrigin) -> Lesion:
    name = lesion_name(origin, cube.index)
    facts = origin.model_dump(mode="json", include={"run", "checkpoint", "seed", "fold", "manifest", "generator"})
    return Lesion(
        lesion_id=name,
        image_id=name,
        group=name,
        diagnosis=cube.diagnosis,
        cube=Cube(cube.reflectance, nm),
        mask=None,
        origin={**facts, "index": cube.index, **cube.facts},
    )
