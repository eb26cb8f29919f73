"""Compare two stores: their manifests, and their lesions by id."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hyperderm.store.manifest import Manifest
from hyperderm.store.reader import Store

ASPECTS = ("cube", "mask", "diagnosis", "group", "image_id", "origin")

Progress = Callable[[int, int], None]
"""A function that is called with the number of parts read and the number of parts of both stores."""


@dataclass(frozen=True)
class FieldChange:
    """A field of the manifest that differs, with a short text for each side."""

    name: str
    a: str
    b: str


@dataclass(frozen=True)
class LesionChange:
    """A lesion that both stores hold, but with different contents.

    Attributes:
        lesion_id: the id of the lesion.
        aspects: the `ASPECTS` that differ; cubes and masks are compared bit by bit.
        words: diagnosis and group on both sides if they differ, as "diagnosis: nevus -> melanoma".
        largest: the largest absolute difference of each band (B,); None if the cube is the same or cannot be compared.
    """

    lesion_id: str
    aspects: tuple[str, ...]
    words: tuple[str, ...] = ()
    largest: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Difference:
    """The differences between stores A and B.

    Attributes:
        fields: the differing fields of the manifests; the places and hashes of parts do not count as content.
        only_a: the sorted ids of lesions that only A holds.
        only_b: the sorted ids of lesions that only B holds.
        lesions: the lesions in both stores that differ, sorted by id.
        same_files: whether the fingerprints agree, so that the bytes are the same too.
    """

    fields: tuple[FieldChange, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    lesions: tuple[LesionChange, ...]
    same_files: bool

    @property
    def same(self) -> bool:
        """Return True if nothing differs."""
        return not (self.fields or self.only_a or self.only_b or self.lesions)

    def largest(self) -> NDArray[np.float64] | None:
        """Return the largest absolute difference of each band (B,) over all changed cubes; None if no cube changed."""
        found = [one.largest for one in self.lesions if one.largest is not None]
        return np.max(np.array(found, dtype=np.float64), axis=0) if found else None


@dataclass(frozen=True)
class _RowPosition:
    """The place and the contents of a row."""

    part: int
    row: int
    digests: tuple[bytes, ...]
    """The digests of the `ASPECTS`."""
    diagnosis: str | None
    group: str


def diff_stores(a: Store, b: Store, progress: Progress = lambda done, total: None) -> Difference:
    """Compare two stores.

    Both stores are read once, part by part, into an index of hashes. The values of cubes that differ are read again, with
    one part of each store in memory at a time.

    Raises:
        StoreError: a part is missing, or the server does not answer.
    """
    fields = tuple(_fields(a.manifest, b.manifest))
    same_files = a.manifest.fingerprint == b.manifest.fingerprint
    done, total = 0, len(a.manifest.parts) + len(b.manifest.parts)

    def read() -> None:
        nonlocal done
        done += 1
        progress(done, total)

    in_a, in_b = _index(a, read), _index(b, read)
    changed = {one: found for one in sorted(in_a.keys() & in_b.keys()) if (found := _aspects(in_a[one], in_b[one]))}
    comparable = a.manifest.shape == b.manifest.shape and a.manifest.wavelengths_nm == b.manifest.wavelengths_nm
    cubes = [one for one, aspects in changed.items() if "cube" in aspects] if comparable else []
    largest = dict(_largest(a, b, [(one, in_a[one], in_b[one]) for one in cubes]))
    return Difference(
        fields=fields,
        only_a=tuple(sorted(in_a.keys() - in_b.keys())),
        only_b=tuple(sorted(in_b.keys() - in_a.keys())),
        lesions=tuple(
            LesionChange(one, aspects, _words(in_a[one], in_b[one]), largest.get(one)) for one, aspects in changed.items()
        ),
        same_files=same_files,
    )


def _fields(a: Manifest, b: Manifest) -> Iterator[FieldChange]:
    for name in ("kind", "schema_version", "shape", "wavelengths_nm", "lesions", "diagnoses", "warnings", "source"):
        old, new = getattr(a, name), getattr(b, name)
        if old != new:
            yield FieldChange(name, _plain(old), _plain(new))
    if a.set_aside != b.set_aside:
        left, right = ({f"{one.file}: {one.reason}" for one in m.set_aside} for m in (a, b))
        yield FieldChange("set_aside", _only(left - right, len(left)), _only(right - left, len(right)))
    if (a.folds is None) != (b.folds is None):
        yield FieldChange("folds", *("none" if m.folds is None else f"{m.folds.count}, seed {m.folds.seed}" for m in (a, b)))
    if a.folds is not None and b.folds is not None:
        for name in ("count", "seed"):
            old, new = getattr(a.folds, name), getattr(b.folds, name)
            if old != new:
                yield FieldChange(f"folds.{name}", str(old), str(new))
        mine, theirs = a.folds.groups, b.folds.groups
        moved = sorted(g for g in mine.keys() | theirs.keys() if mine.get(g) != theirs.get(g))
        if moved:
            first, more = moved[0], f" and {len(moved) - 1} more groups" if len(moved) > 1 else ""
            sides = (f"{first!r} in {'no fold' if m.get(first) is None else m[first]}{more}" for m in (mine, theirs))
            yield FieldChange("folds.groups", *sides)


def _index(store: Store, read: Callable[[], None]) -> dict[str, _RowPosition]:
    """Return the place of each lesion; only hashes of the contents are kept."""
    found: dict[str, _RowPosition] = {}
    for number, part in enumerate(store.manifest.parts):
        table = store.location.read_table(part.path)
        cubes, masks = _arrays(table, "cube"), _arrays(table, "mask")
        for i, row in enumerate(table.drop_columns(["cube", "mask"]).to_pylist()):
            mask = masks[i].tobytes() if row["has_mask"] else None
            texts = [row["diagnosis"], row["group"], row["image_id"], row["origin"]]
            contents = [cubes[i].tobytes(), mask, *(None if text is None else text.encode() for text in texts)]
            digests = tuple(b"" if one is None else hashlib.sha256(one).digest()[:16] for one in contents)
            found[row["lesion_id"]] = _RowPosition(number, i, digests, row["diagnosis"], row["group"])
        read()
    return found


def _largest(
    a: Store, b: Store, pairs: Sequence[tuple[str, _RowPosition, _RowPosition]]
) -> Iterator[tuple[str, tuple[float, ...]]]:
    """Yield the largest absolute difference of each band; pairs are ordered so that parts are not read again."""
    held: dict[str, tuple[int, NDArray[np.float32]]] = {}

    def cubes(side: str, store: Store, part: int) -> NDArray[np.float32]:
        if side not in held or held[side][0] != part:
            held.pop(side, None)
            table = store.location.read_table(store.manifest.parts[part].path, ["cube"])
            held[side] = (part, _arrays(table, "cube"))
        return held[side][1]

    for one, at, to in sorted(pairs, key=lambda pair: (pair[1].part, pair[2].part)):
        x = cubes("a", a, at.part)[at.row].astype(np.float64)
        y = cubes("b", b, to.part)[to.row].astype(np.float64)
        yield one, tuple(float(d) for d in np.abs(x - y).max(axis=(0, 1)))


def _arrays(table: pa.Table, name: str) -> NDArray[Any]:
    array: NDArray[Any] = table.column(name).combine_chunks().to_numpy_ndarray()
    return array


def _aspects(a: _RowPosition, b: _RowPosition) -> tuple[str, ...]:
    return tuple(name for name, mine, theirs in zip(ASPECTS, a.digests, b.digests, strict=True) if mine != theirs)


def _words(a: _RowPosition, b: _RowPosition) -> tuple[str, ...]:
    pairs = (("diagnosis", a.diagnosis or "unknown", b.diagnosis or "unknown"), ("group", a.group, b.group))
    return tuple(f"{name}: {mine} -> {theirs}" for name, mine, theirs in pairs if mine != theirs)


def _only(found: set[str], count: int) -> str:
    files = f"{count} file{'s' * (count != 1)}"
    if not found:
        return f"{files}, none that the other lacks"
    first, more = min(found), f" and {len(found) - 1} more" if len(found) > 1 else ""
    return f"{files}, of them only here {first}{more}"


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items()) or "none"
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    return str(value)
