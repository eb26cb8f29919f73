"""Verify a store: every byte by the manifest's hashes, and every row by the statements of the manifest."""

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import PurePosixPath

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from hyperderm.cubes.diagnosis import DIAGNOSES
from hyperderm.errors import StoreError
from hyperderm.store.location import Location, locate
from hyperderm.store.manifest import LESIONS, MANIFEST, SCHEMA_VERSION, Manifest, Part
from hyperderm.store.reader import open_store
from hyperderm.store.s3 import prepare
from hyperderm.store.schema import schema
from hyperderm.strict import json_of

SHOWN = 3
"""The number of rows that one fault names."""


@dataclass(frozen=True)
class Verdict:
    """The findings on one part; the part is sound if there are no faults."""

    path: str
    rows: int
    bytes: int
    faults: tuple[str, ...]


@dataclass(frozen=True)
class Verification:
    """The findings on a store.

    Attributes:
        manifest: the manifest of the store as it was found.
        parts: one verdict per part, in the order of the manifest.
        faults: all faults, first those of the manifest, then those of the parts, each with the name of its part.
        notes: harmless oddities, such as files that the manifest does not name.
    """

    manifest: Manifest
    parts: tuple[Verdict, ...]
    faults: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def sound(self) -> bool:
        """Return True if nothing is wrong."""
        return not self.faults


Progress = Callable[[Verdict, int], None]
"""A function that is called with each part's verdict and the number of parts."""


@dataclass
class _Seen:
    """The sums over the rows of all parts."""

    ids: set[str] = field(default_factory=set)
    groups: set[str] = field(default_factory=set)
    diagnoses: Counter[str] = field(default_factory=Counter)
    lesions: int = 0
    parts: int = 0
    """The number of parts that could be read; the sums are meaningful only if all parts could."""


def verify_store(uri: str, progress: Progress = lambda verdict, total: None) -> Verification:
    """Hash every part of the store at `uri` and check its rows.

    One part and the ids of all rows are in memory at a time.

    A part whose bytes have changed is not decoded.

    Raises:
        StoreError: there is no store, its schema is newer, its manifest is unreadable, or the server does not answer.
    """
    location, manifest, faults = _opened(uri)
    faults += _manifest_faults(manifest)
    seen, parts = _Seen(), []
    for part in manifest.parts:
        verdict = Verdict(part.path, part.rows, part.bytes, tuple(_part_faults(location, manifest, part, seen)))
        parts.append(verdict)
        progress(verdict, len(manifest.parts))
    faults += [f"part {one.path}: {fault}" for one in parts for fault in one.faults]
    if seen.parts == len(parts):
        faults += _sum_faults(manifest, seen)
    return Verification(manifest, tuple(parts), tuple(faults), tuple(_notes(location, manifest)))


def _opened(uri: str) -> tuple[Location, Manifest, list[str]]:
    """Return the manifest, even if it was edited, so that all faults are found and not only this one."""
    location = prepare(locate(uri), write=False)
    try:
        return location, open_store(uri, verify=False).manifest, []
    except StoreError as error:
        try:
            manifest = Manifest.model_validate_json(location.read_bytes(MANIFEST))
        except (OSError, ValueError):
            raise error from None
        if manifest.schema_version > SCHEMA_VERSION or manifest.digest() == manifest.fingerprint:
            raise
        return location, manifest, [f"{MANIFEST} was edited: it does not match its own fingerprint"]


def _manifest_faults(manifest: Manifest) -> Iterator[str]:
    nm, bands = manifest.wavelengths_nm, manifest.shape[2]
    if min(manifest.shape) < 1:
        yield f"{MANIFEST} says cubes of {' x '.join(map(str, manifest.shape))}"
    if len(nm) != bands:
        yield f"{MANIFEST} names {len(nm)} wavelengths for {bands} bands"
    if not all(0 < a < b for a, b in pairwise(nm)) or not all(0 < one < math.inf for one in nm):
        yield f"{MANIFEST}: wavelengths_nm do not increase: {list(nm)}"
    if (rows := sum(part.rows for part in manifest.parts)) != manifest.lesions:
        yield f"{MANIFEST} says {manifest.lesions} lesions, its parts {rows} rows"
    if (count := sum(manifest.diagnoses.values())) != manifest.lesions:
        yield f"{MANIFEST} says {manifest.lesions} lesions, its diagnoses {count}"
    for what, named in (("path", [p.path for p in manifest.parts]), ("sha256", [p.sha256 for p in manifest.parts])):
        yield from (f"{MANIFEST} names two parts of {what} {one}" for one, n in Counter(named).items() if n > 1)
    if manifest.folds:
        count = manifest.folds.count
        wrong = sorted(group for group, fold in manifest.folds.groups.items() if not 0 <= fold < count)
        if wrong:
            yield f"{MANIFEST} puts {_some(wrong)} into folds that are not 0 … {count - 1}"


def _part_faults(location: Location, manifest: Manifest, part: Part, seen: _Seen) -> Iterator[str]:
    if PurePosixPath(part.path).is_absolute() or ".." in PurePosixPath(part.path).parts:
        yield "its path leads out of the store"
        return
    try:
        content = location.read_bytes(part.path)
    except FileNotFoundError:
        yield "it is missing"
        return
    except OSError as error:
        yield f"it cannot be read: {error}"
        return
    if fault := _byte_fault(content, manifest, part):
        yield fault
        return
    if min(manifest.shape) < 1:  # told of the manifest already
        return
    try:
        table = pq.read_table(pa.BufferReader(content))
    except (pa.ArrowException, OSError, ValueError) as error:
        yield f"it cannot be read as Parquet: {str(error).splitlines()[0]}"
        return
    if not table.schema.equals(schema(manifest.shape)):
        yield from _schema_faults(table.schema, manifest)
        return
    if table.num_rows != part.rows:
        yield f"it holds {table.num_rows} rows, {MANIFEST} says {part.rows}"
    yield from _row_faults(table, manifest, seen)


def _byte_fault(content: bytes, manifest: Manifest, part: Part) -> str:
    """Return a description of what is wrong with a part's bytes, as exact as possible."""
    found = hashlib.sha256(content).hexdigest()
    if found == part.sha256:
        return "" if len(content) == part.bytes else f"it holds {len(content)} bytes, {MANIFEST} says {part.bytes}"
    if other := [one.path for one in manifest.parts if one.sha256 == found]:
        return f"it holds the content of part {other[0]}: they were swapped"
    if len(content) < part.bytes:
        return f"it is truncated or another file: {len(content)} bytes, {MANIFEST} says {part.bytes}"
    if len(content) > part.bytes:
        return f"it is another file: {len(content)} bytes, {MANIFEST} says {part.bytes}"
    return f"it was changed: it does not match its sha256 in {MANIFEST}"


def _schema_faults(found: pa.Schema, manifest: Manifest) -> Iterator[str]:
    wanted = schema(manifest.shape)
    if found.names != wanted.names:
        yield f"it has the columns {', '.join(found.names)}, not {', '.join(wanted.names)}"
        return
    h, w, b = manifest.shape
    for have, want in zip(found, wanted, strict=True):
        if not have.equals(want):
            told = f"; {MANIFEST} says cubes of {h} x {w} x {b}" if want.name in ("cube", "mask") else ""
            yield f"its column {want.name} is {have.type}, not {want.type}{told}"


def _row_faults(table: pa.Table, manifest: Manifest, seen: _Seen) -> Iterator[str]:
    rows = table.drop_columns(["cube", "mask"]).to_pylist()
    ids = [row["lesion_id"] for row in rows]
    again = [one for one, count in Counter(ids).items() if count > 1 or one in seen.ids]
    if again:
        yield f"lesion id {_some(again)} appears more than once"
    seen.ids.update(ids)
    seen.parts += 1
    seen.lesions += len(rows)
    seen.groups.update(row["group"] for row in rows)
    seen.diagnoses.update(row["diagnosis"] or "unknown" for row in rows)
    unknown = sorted({row["diagnosis"] for row in rows if row["diagnosis"] not in (None, *DIAGNOSES)})
    if unknown:
        yield f"diagnosis {_some(unknown)} is not one of {', '.join(DIAGNOSES)}"
    if manifest.folds and (absent := sorted({row["group"] for row in rows} - manifest.folds.groups.keys())):
        yield f"group {_some(absent)} is in no fold"
    if bad := [row["lesion_id"] for row in rows if not _is_object(row["origin"])]:
        yield f"the origin of {_some(bad)} is no JSON object"
    yield from _pixel_faults(table, ids, [row["has_mask"] for row in rows])


def _pixel_faults(table: pa.Table, ids: list[str], has_mask: list[bool]) -> Iterator[str]:
    if not ids:
        return
    for name in ("cube", "mask"):
        # A null within a tensor would shift every row after it.
        storage = table.column(name).combine_chunks().storage
        if storage.null_count or storage.flatten().null_count:
            yield f"its column {name} holds nulls"
            return
    cubes = table.column("cube").combine_chunks().to_numpy_ndarray()
    masks = table.column("mask").combine_chunks().to_numpy_ndarray()
    if bad := [one for one, cube in zip(ids, cubes, strict=True) if not np.isfinite(cube).all()]:
        yield f"the cube of {_some(bad)} holds NaN or infinite values"
    if bad := [one for one, mask in zip(ids, masks, strict=True) if mask.max() > 1]:
        yield f"the mask of {_some(bad)} holds other values than 0 and 1"
    if bad := [one for one, mask, has in zip(ids, masks, has_mask, strict=True) if mask.any() and not has]:
        yield f"the mask of {_some(bad)} is marked although has_mask says there is none"


def _sum_faults(manifest: Manifest, seen: _Seen) -> Iterator[str]:
    if seen.lesions != manifest.lesions:
        yield f"the parts hold {seen.lesions} lesions, {MANIFEST} says {manifest.lesions}"
    for name in sorted(seen.diagnoses.keys() | manifest.diagnoses.keys()):
        found, said = seen.diagnoses[name], manifest.diagnoses.get(name, 0)
        if found != said:
            yield f"the parts hold {found} lesions of diagnosis {name}, {MANIFEST} says {said}"
    if manifest.folds and (absent := sorted(manifest.folds.groups.keys() - seen.groups)):
        yield f"the folds name group {_some(absent)}, which no lesion has"


def _notes(location: Location, manifest: Manifest) -> Iterator[str]:
    selector = pafs.FileSelector(location.join(LESIONS), allow_not_found=True, recursive=True)
    named = {location.join(part.path) for part in manifest.parts}
    try:
        found = sorted(one.path for one in location.fs.get_file_info(selector) if one.type == pafs.FileType.File)
    except OSError:
        return  # a server that lets files be read, not listed
    if extra := [path.removeprefix(location.path + "/") for path in found if path not in named]:
        yield f"{MANIFEST} does not name {_some(extra)}: no part of the store, but other programs may read it as one"


def _is_object(text: str) -> bool:
    try:
        return isinstance(json_of(text), dict)
    except ValueError:
        return False


def _some(names: list[str]) -> str:
    shown = ", ".join(map(repr, names[:SHOWN]))
    return shown + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
