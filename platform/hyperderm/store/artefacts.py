"""What took part in a project, as plain records: an audit of leaks needs neither MLflow nor the folder of a grid."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from hyperderm.store.manifest import Opening

Kind = Literal["search", "generator", "segmenter", "unmixer", "set", "classifier", "evaluation", "description"]


@dataclass(frozen=True)
class Trial:
    """One trial of a search.

    Attributes:
        name: the displayed name.
        values: swept configuration path to value.
        key: artefacts that were made with the trial name it by this key.
    """

    name: str
    values: Mapping[str, object]
    key: str = ""


@dataclass(frozen=True)
class Artefact:
    """Something that read data, or that was made from something that did.

    Attributes:
        key: the key by which other artefacts name this one in `uses`; for a set, the fingerprint of its store.
        name: the displayed name, with the names of its parents before it.
        kind: the kind of the artefact; a search stands for all its trials. A description of a store has read all
            roles; nothing is made from it, so it matters only if something names it in `uses`.
        classifies: whether it is judged on a test role: that of its fold if it opened none. So it is for a classifier, a
            search for one, and an evaluation that opened a test role.
        manifest: fingerprint of the store that it read; "" if unknown.
        fold: the fold whose train and validation roles it read; None if unknown.
        diagnoses: the diagnoses that it read; None for all or unknown.
        uses: keys of what it was made with: sets for a classifier, a generator or trial for a set, a search for a generator.
        openings: test roles that it opened.
        chosen_at: when its checkpoint and threshold were chosen; "" if unknown.
        settings: dotted configuration path to value.
        trials: the trials of a search.
        checkpoint: for a set, the sha256 of its generator's checkpoint.
        missing: facts that are not recorded, in words.
        fold_free: whether it read pixels of every lesion of its store, without regard to folds.
        photographs: fingerprint of the store of photographs that a generator learnt beside its cubes; "" for none.
        predicted: (lesion id, group) of every test lesion that a classifier predicted; empty if this is not recorded.
    """

    key: str
    name: str
    kind: Kind
    classifies: bool = False
    manifest: str = ""
    fold: int | None = None
    diagnoses: tuple[str, ...] | None = None
    uses: tuple[str, ...] = ()
    openings: tuple[Opening, ...] = ()
    chosen_at: str = ""
    settings: Mapping[str, object] = field(default_factory=dict)
    trials: tuple[Trial, ...] = ()
    checkpoint: str = ""
    missing: tuple[str, ...] = ()
    fold_free: bool = False
    photographs: str = ""
    predicted: frozenset[tuple[str, str]] = frozenset()


def set_artefact(manifest: str, name: str, source: Mapping[str, Any]) -> Artefact:
    """Return the record of a synthetic set, from its fingerprint and its `Manifest.source`."""
    fold, missing = source.get("fold"), [f for f in ("manifest", "fold", "run") if source.get(f) in (None, "")]
    return Artefact(
        manifest,
        name,
        "set",
        manifest=str(source.get("manifest") or ""),
        fold=int(fold) if fold is not None else None,
        uses=(str(source["run"]),) if source.get("run") else (),
        checkpoint=str(source.get("checkpoint") or ""),
        missing=tuple(f"its origin names no {each}" for each in missing),
    )
