"""Synthetic sets: stores that record the checkpoint, fold and manifest of their cubes, and the proof of this origin."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, SerializerFunctionWrapHandler, ValidationError, model_serializer

from hyperderm.cubes.cube import Cube, Lesion
from hyperderm.errors import StoreError, StudyError
from hyperderm.store.curated import Curated
from hyperderm.store.manifest import Manifest
from hyperderm.store.reader import Store
from hyperderm.store.writer import write_store
from hyperderm.strict import Strict, first_fault

VERB = "generate"
PREFIX = "synthetic"
"""The beginning of the id and the group of every synthetic lesion; no reader of real files makes such names."""
Rejectable = Literal["copies"]
"""What may be left out of a set beside cubes that are out of range."""


class SyntheticOrigin(Strict):
    """The origin of a synthetic set, which is the `Manifest.source` of its store."""

    verb: Literal["generate"] = "generate"
    generator: str
    """The kind of the learner that made the cubes, or the name of another generator."""
    run: str
    """The key of the run that trained the generator."""
    checkpoint: str = Field(min_length=8)
    """The sha256 (hex) of the checkpoint file."""
    experiment: str
    """The fingerprint of the run's configuration."""
    manifest: str
    """The fingerprint of the real store on which the generator was trained."""
    fold: int
    """The fold of that store on whose train role the generator was trained."""
    seed: int
    requested: dict[str, int]
    """Diagnosis → number of cubes."""
    derived: bool
    """Whether each cube keeps the geometry of a lesion of the train role; such cubes are not new lesions."""
    rgb: str | None = None
    """The fingerprint of the store of photographs from which the cubes were made."""
    device: str = "cpu"
    """The kind of processor, on which the last bits of a cube depend."""
    rejected: int = Field(0, ge=0)
    """The number of cubes that were left out because their values lie outside those of all real cubes."""
    reject: Rejectable | None = None
    """What else was left out; None: nothing else."""
    rejected_copies: int = Field(0, ge=0)
    """The number of cubes that were left out because the audit called them copies of train lesions."""
    truncation: float | None = None
    """The largest absolute value of the noise from which the cubes were made; None: there was no such limit."""
    mix: bool = False
    """Whether the style of each cube came from a second noise."""
    guidance: float | None = None
    """The classifier-free guidance of the cubes, where another was asked for than that of the configuration."""
    rebuilt: bool = False
    """Whether each cube is a train cube as the generator rebuilds it, in its own orientation."""
    curated: Curated | None = None
    """How the set was made from a larger one of the same generator; None: as it was drawn."""
    audit: dict[str, Any] | None = None
    """The memorisation audit (`metrics.memorisation`), or None if there was none."""

    @model_serializer(mode="wrap")
    def _without_defaults(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what says nothing, so that sets have the fingerprint that they had before there was such a choice."""
        found: dict[str, Any] = dump(self)
        if self.reject is None:
            found.pop("reject", None)
            found.pop("rejected_copies", None)
        if self.truncation is None:
            found.pop("truncation", None)
        if not self.mix:
            found.pop("mix", None)
        if self.guidance is None:
            found.pop("guidance", None)
        if not self.rebuilt:
            found.pop("rebuilt", None)
        if self.curated is None:
            found.pop("curated", None)
        return found


def check_rejectable(word: str | None) -> Rejectable | None:
    """Return what `generate` is asked to reject.

    Raises:
        StudyError: it is not one of `Rejectable`.
    """
    if word is None or word in get_args(Rejectable):
        return word  # type: ignore[return-value]
    raise StudyError(
        f"--reject {word}", f"Give one of: {', '.join(get_args(Rejectable))}; or leave it out to keep every cube in range."
    )


@dataclass(frozen=True)
class SyntheticCube:
    """One cube for a synthetic set.

    Attributes:
        index: the cube's number, unique in its set.
        reflectance: (H, W, B) float32, finite.
        diagnosis: the requested diagnosis.
        facts: further facts on the row's origin, JSON-serialisable, such as the lesion or photograph from which it was made.
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
    """Write `cubes` as a synthetic set without folds and masks.

    The cubes are consumed once, with one part's rows in memory at a time.

    Args:
        uri: the place of the store; nothing may exist there yet.
        cubes: the cubes in the order in which they are stored.
        wavelengths_nm: the band centres (B,) in nm.
        origin: the origin of the cubes, recorded in the manifest and in every row.
        finish: called after the last cube; returns the fields of `origin` that are known only then, such as `rejected` and
            `audit`.

    Raises:
        StoreError: the place is not empty, there is no cube, or the cubes have different shapes. Nothing is left behind.
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
    """Return the origin of a synthetic set, or None if the store is not a synthetic set.

    Raises:
        StoreError: the origin was written by another version of hyperderm.
    """
    if manifest.source.get("verb") != VERB:
        return None
    try:
        return SyntheticOrigin.model_validate(manifest.source)
    except ValidationError as error:
        raise StoreError(
            f"the origin of synthetic set {manifest.fingerprint[:8]} cannot be read ({first_fault(error)})",
            "It was written by another version of hyperderm; generate it again.",
        ) from None


def check_origin(synthetic: Store, real: Store, fold: int) -> SyntheticOrigin:
    """Prove that `synthetic` was made by a generator that has seen only train cubes of this fold of `real`.

    Raises:
        StoreError: the store is not a synthetic set, or it belongs to another manifest or fold or has other bands.
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


def _lesion(cube: SyntheticCube, nm: NDArray[np.float64], origin: SyntheticOrigin) -> Lesion:
    name = f"{PREFIX}-{origin.checkpoint[:8]}-{origin.seed}-{cube.index:07d}"  # sorts like the index
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
