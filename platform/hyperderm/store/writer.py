"""Write a store atomically: on a disk by renaming a staging folder, on S3 by writing the manifest last and only if new."""

import errno
import hashlib
import uuid
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hyperderm.cubes.cube import Lesion
from hyperderm.durable import begin_sync, make_parents, publish, room
from hyperderm.errors import StoreError
from hyperderm.store.folds import assign_folds
from hyperderm.store.location import Location
from hyperderm.store.manifest import LESIONS, MANIFEST, Folds, Kind, Manifest, Part, SetAsideFile
from hyperderm.store.s3 import clear, put_new, vacant
from hyperderm.store.schema import to_table

ROWS_PER_PART = 64
Fill = Callable[[Location, str], Manifest]
"""A function that writes the parts below a folder of a place and returns the manifest."""


def write_store(
    uri: str,
    lesions: Iterable[Lesion],
    *,
    fold_count: int,
    seed: int = 0,
    kind: Kind = "spectral",
    set_aside: Iterable[SetAsideFile] = (),
    source: dict[str, Any] | None = None,
) -> Manifest:
    """Write `lesions` (consumed once, at most 64 in memory) to `uri` and return the manifest.

    Args:
        uri: a folder or object-storage prefix that does not hold anything yet.
        lesions: at least one lesion; all have the same shape and wavelengths.
        fold_count: the number of folds, 0 for a store without training roles.
        seed: the seed of the fold assignment.
        kind: `spectral`, `rgb` with nominal wavelengths, or `abundances` with the numbers of the endmembers.
        set_aside: the unused files; read after `lesions` is exhausted, so that a reader may append to it while it yields.
        source: how the store was made; read after `lesions` is exhausted, like `set_aside`.

    Raises:
        StoreError: the place is not empty or cannot be written, there is no lesion, the shapes differ, the folds cannot be
            assigned, or another writer was faster. Nothing is left behind.
    """
    target = vacant(uri)

    def fill(place: Location, folder: str) -> Manifest:
        return _write(place, folder, lesions, fold_count, seed, kind, set_aside, source or {})

    return _write_local(target, fill) if target.local else _write_s3(target, fill)


def _write_local(target: Location, fill: Fill) -> Manifest:
    """Write beside `target` and rename; the rename is meant to fail if another writer was faster."""
    place = Path(target.path)
    try:
        make_parents(place)
        with room(place) as made:
            staging = Location(target.uri, target.fs, str(made / place.name))
            staging.fs.create_dir(staging.join(LESIONS), recursive=True)
            manifest = fill(staging, LESIONS)
            publish_local(staging, target, manifest)
    except OSError as error:
        raise unwritten(target, error) from error
    return manifest


def publish_local(staging: Location, target: Location, manifest: Manifest) -> None:
    """Make the parts in `staging` the store `target` by writing the manifest and renaming once.

    Raises:
        StoreError: another writer was faster; OSError: the disk refuses.
    """
    staging.write_bytes(MANIFEST, _json(manifest))
    try:
        publish(Path(staging.path), Path(target.path))  # fails, as it must, when another writer got there first
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR) and target.exists():
            raise _beaten(target) from error
        raise


def _write_s3(target: Location, fill: Fill) -> Manifest:
    """Write the parts into this writer's own folder, then the manifest if no other writer's is there."""
    folder = f"{LESIONS}/{uuid.uuid4().hex[:8]}"
    try:
        manifest = fill(target, folder)
    except BaseException as error:
        told = unwritten(target, error) if isinstance(error, OSError) else error
        if not clear(target, folder) and isinstance(told, StoreError):
            told = StoreError(told.what, f"{told.remedy} What was written stays in {target.uri}/{folder}.")
        raise told from error.__cause__
    try:
        publish_s3(target, manifest)  # fails without an answer: it may be there, so its parts stay
    except FileExistsError:
        clear(target, folder)
        raise _beaten(target) from None
    return manifest


def publish_s3(target: Location, manifest: Manifest) -> None:
    """Make the parts that `manifest` names a store by writing the manifest.

    Raises:
        FileExistsError: another writer was faster; StoreError: the server does not answer or refuses.
    """
    put_new(target, MANIFEST, _json(manifest))


def _beaten(target: Location) -> StoreError:
    return StoreError(
        f"--store {target.uri} cannot be written: another writer made a store there first",
        "Use that store, or choose another place.",
    )


def unwritten(target: Location, error: OSError) -> StoreError:
    """Return the error for a disk or server that refuses to write `target`."""
    if isinstance(error, FileExistsError):
        return _beaten(target)
    return StoreError(f"--store {target.uri} cannot be written: {error}", "Check the place, its space and rights.")


def _json(manifest: Manifest) -> bytes:
    return manifest.model_dump_json(indent=1).encode()


def _write(
    place: Location,
    folder: str,
    lesions: Iterable[Lesion],
    fold_count: int,
    seed: int,
    kind: Kind,
    set_aside: Iterable[SetAsideFile],
    source: dict[str, Any],
) -> Manifest:
    """Write the parts below `folder` and return the manifest that names them."""
    parts: list[Part] = []
    index: list[tuple[str, str, str | None]] = []
    wavelengths: tuple[float, ...] = ()
    shape: tuple[int, int, int] | None = None
    for batch in _batches(lesions):
        shape = shape or batch[0].cube.shape
        wavelengths = wavelengths or tuple(float(nm) for nm in batch[0].cube.wavelengths_nm)
        _check_wavelengths(batch, wavelengths)
        parts.append(write_part(place, f"{folder}/part-{len(parts):05d}.parquet", to_table(batch, shape)))
        index += [(lesion.lesion_id, lesion.group, lesion.diagnosis) for lesion in batch]
    if shape is None:
        raise StoreError("no lesion to write", "See the list of files set aside.")
    repeated = [name for name, count in Counter(i for i, _, _ in index).items() if count > 1]
    if repeated:
        raise StoreError(f"lesion id {repeated[0]!r} appears more than once", "Ids must be unique in a store.")
    folds: Folds | None = None
    warnings: list[str] = []
    if fold_count:
        folds, warnings = assign_folds(
            [g for _, g, _ in index], [d for _, _, d in index], fold_count, seed, [name for name, _, _ in index]
        )
    return Manifest(
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


def write_part(place: Location, name: str, table: pa.Table) -> Part:
    """Write rows as the Parquet file `name` and return the manifest's entry on it."""
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        compression="zstd",
        use_dictionary=False,
        use_byte_stream_split=["cube.list.element"],
    )
    content = sink.getvalue()
    place.write_bytes(name, content)
    if place.local:
        begin_sync(Path(place.join(name)))
    return Part(path=name, sha256=hashlib.sha256(content).hexdigest(), rows=table.num_rows, bytes=content.size)


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
