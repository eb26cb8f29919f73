"""What a project is made of, as plain records: who judges them needs neither MLflow nor a store."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["search", "generator", "segmenter", "unmixer", "set", "classifier"]


@dataclass(frozen=True)
class Trial:
    """One trial of a search.

    Attributes:
        name: shown.
        values: swept configuration path to value.
        key: what is made with the trial names it by this.
    """

    name: str
    values: Mapping[str, object]
    key: str = ""


@dataclass(frozen=True)
class Opening:
    """A test role that was opened: of which store (fingerprint), which fold, when (UTC, ISO 8601; "" unknown)."""

    manifest: str
    fold: int
    at: str = ""


@dataclass(frozen=True)
class Artefact:
    """Something that read data, or was made of what did.

    Attributes:
        key: others name it by this in `uses`.
        name: shown, its parents' names before it.
        kind: a search stands for all its trials.
        classifies: it is, or searches for, a classifier: its fold's test role is what it will be judged on.
        manifest: fingerprint of the store it read, "" unknown.
        fold: whose train and validation roles it read, None unknown.
        diagnoses: those it read, None for all or unknown.
        uses: keys of what it was made with: a classifier its sets, a set its generator or trial, a generator its search.
        openings: test roles that it opened.
        chosen_at: when its checkpoint and threshold were chosen, "" unknown.
        settings: dotted configuration path to value.
        trials: of a search.
        checkpoint: of a set: sha256 of its generator's.
        missing: facts that are not recorded, in words.
        fold_free: it read pixels of every lesion of its store, which has no folds.
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


@dataclass(frozen=True)
class Project:
    """Everything that MLflow knows.

    Attributes:
        artefacts: searches, generators, sets and classifiers.
        foreign: names of runs that carry no fact of hyperderm.
        runs: how many were read.
        stores: addresses that runs name.
    """

    artefacts: tuple[Artefact, ...]
    foreign: tuple[str, ...]
    runs: int
    stores: tuple[str, ...]


def set_artefact(manifest: str, name: str, source: Mapping[str, Any]) -> Artefact:
    """Return the record of a synthetic set from its fingerprint and `Manifest.source`."""
    fold, missing = source.get("fold"), [f for f in ("manifest", "fold", "run") if source.get(f) in (None, "")]
    return Artefact(
        set_key(manifest),
        name,
        "set",
        manifest=str(source.get("manifest") or ""),
        fold=int(fold) if fold is not None else None,
        uses=(str(source["run"]),) if source.get("run") else (),
        checkpoint=str(source.get("checkpoint") or ""),
        missing=tuple(f"its origin names no {each}" for each in missing),
    )


def set_key(manifest: str) -> str:
    """Return the key of the synthetic set of that fingerprint."""
    return f"set {manifest}"
