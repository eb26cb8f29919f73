"""Write a store atomically: parts into a staging folder, the manifest last, one rename."""

import hashlib
import os
import uuid
from collections import Counter
from collections.abc import Iterable
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from hyperderm.cubes.cube import Lesion
from hyperderm.errors import StoreError
from hyperderm.store.folds import assign_folds
from hyperderm.store.location import Location, locate
from hyperderm.store.manifest import MANIFEST, Folds, Manifest, Part, SetAsideFile
from hyperderm.store.schema import to_table

ROWS_PER_PART = 64


def write_store(
    uri: str,
    lesions: Iterable[Lesion],
    *,
    fold_count: int,
    seed: int = 0,
    kind: Literal["spectral", "rgb"] = "spectral",
    set_aside: Iterable[SetAsideFile] = (),
    source: dict[str, Any] | None = None,
) -> Manifest:
    """Write `lesions` (consumed once, at most 64 in memory) to `uri` and return the manifest.

    Args:
        uri: folder or object-storage prefix that does not hold anything yet.
        lesions: at least one; all of one shape and one set of wavelengths.
        fold_count: 0 for a store without training roles.
        seed: of the fold assignment.
        kind: `spectral`, or `rgb` with nominal wavelengths.
        set_aside: read after `lesions` is exhausted, so that a reader may append to it while it yields.
        source: how the store was made; read after `lesions` is exhausted, as `set_aside` is.

    Raises:
        StoreError: something is already there, no lesion, mixed shapes, or folds that cannot be assigned. Nothing is left
            behind.
    """
    target = locate(uri)
    if target.exists():
        raise StoreError(f"--store {uri}: something is already there", "Choose another place, or remove it first.")
    staging = f"{target.path}.partial-{uuid.uuid4().hex[:8]}" if target.local else target.path
    place = Location(uri, target.fs, staging)
    try:
        manifest = _write(place, lesions, fold_count, seed, kind, set_aside, source or {})
        if target.local:
            os.replace(staging, target.path)  # noqa: PTH105 - fails, as it must, when another writer got there first
    except BaseException as error:
        if place.exists():
            place.fs.delete_dir(staging)
        if isinstance(error, OSError):
            raise StoreError(
                f"--store {uri} cannot be written: {error}", "Check the place, its space and rights."
            ) from error
        raise
    return manifest


def _write(
    place: Location,
    lesions: Iterable[Lesion],
    fold_count: int,
    seed: int,
    kind: Literal["spectral", "rgb"],
    set_aside: Iterable[SetAsideFile],
    source: dict[str, Any],
) -> Manifest:
    place.fs.create_dir(place.join("lesions"), recursive=True)
    parts: list[Part] = []
    index: list[tuple[str, str, str | None]] = []
    wavelengths: tuple[float, ...] = ()
    shape: tuple[int, int, int] | None = None
    for batch in _batches(lesions):
        shape = shape or batch[0].cube.shape
        wavelengths = wavelengths or tuple(float(nm) for nm in batch[0].cube.wavelengths_nm)
        _check_wavelengths(batch, wavelengths)
        parts.append(_write_part(place, f"lesions/part-{len(parts):05d}.parquet", to_table(batch, shape)))
        index += [(lesion.lesion_id, lesion.group, lesion.diagnosis) for lesion in batch]
    if shape is None:
        raise StoreError("no lesion to write", "See the list of files set aside.")
    repeated = [name for name, count in Counter(i for i, _, _ in index).items() if count > 1]
    if repeated:
        raise StoreError(f"lesion id {repeated[0]!r} appears more than once", "Ids must be unique in a store.")
    folds: Folds | None = None
    warnings: list[str] = []
    if fold_count:
        folds, warnings = assign_folds([g for _, g, _ in index], [d for _, _, d in index], fold_count, seed)
    manifest = Manifest(
        kind=kind,
        wavelengths_nm=wavelengths,
        shape=shape,
        lesions=len(index),
        diagnoses=dict(sorted(Counter(d or "unknown" for _, _, d in index).items())),
        parts=tuple(parts),
        folds=folds,
        warnings=tuple(warnings),
        set_aside=tuple(set_aside),
        source=source,
    ).sealed()
    with place.fs.open_output_stream(place.join(MANIFEST)) as stream:
        stream.write(manifest.model_dump_json(indent=1).encode())
    return manifest


def _write_part(place: Location, name: str, table: pa.Table) -> Part:
    pq.write_table(
        table,
        place.join(name),
        filesystem=place.fs,
        compression="zstd",
        use_dictionary=False,
        use_byte_stream_split=["cube.list.element"],
    )
    content = place.read_bytes(name)
    return Part(path=name, sha256=hashlib.sha256(content).hexdigest(), rows=table.num_rows, bytes=len(content))


def _batches(lesions: Iterable[Lesion]) -> Iterable[list[Lesion]]:
    batch: list[Lesion] = []
    for lesion in lesions:
        batch.append(lesion)
        if len(batch) == ROWS_PER_PART:
            yield batch
            batch = []
    if batch:
        yield batch


def _check_wavelengths(batch: list[Lesion], wavelengths: tuple[float, ...]) -> None:
    for lesion in batch:
        if tuple(float(nm) for nm in lesion.cube.wavelengths_nm) != wavelengths:
            raise StoreError(f"lesion {lesion.lesion_id} has other wavelengths than the first", "A store has one set.")
