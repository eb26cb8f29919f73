"""From a source folder to a store: parts are made one by one, here or on many machines, then joined under a manifest.

A part and its report lie in a staging place named by the job's digest. If an ingest is interrupted, the same command
therefore continues it, and never uses parts of other files or options. Unusable files are listed with the reason. On a disk
the staging folder becomes the store by one rename; on S3 the parts become a store when the manifest is written, last of all
and only if there is none yet.
"""

import fcntl
import hashlib
import os
import shutil
import socket
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from hyperderm.cubes.cube import NOTES, Lesion
from hyperderm.errors import ClusterError, CubeError, HyperdermError, MachineTrouble, StoreError
from hyperderm.ingest.formats.scene import SetAside
from hyperderm.ingest.groups import merged
from hyperderm.ingest.layouts.naming import folded
from hyperderm.ingest.layouts.source_tables import NOT_NAMED
from hyperderm.ingest.lesions import WHOLE
from hyperderm.ingest.source import Job, gathered, none_used, plain, shown
from hyperderm.ingest.units import LAYOUTS, File, check_units, kind_of, middle, spoken
from hyperderm.store.folds import assign_folds, check_count
from hyperderm.store.location import Location, locate
from hyperderm.store.manifest import LESIONS, MANIFEST, Folds, Manifest, Part, SetAsideFile
from hyperderm.store.reader import open_store
from hyperderm.store.s3 import clear, occupied, prepare, remove
from hyperderm.store.schema import to_table
from hyperderm.store.writer import publish_local, publish_s3, unwritten, write_part
from hyperderm.strict import Strict

REGROUPED = "regrouped.parquet"
SHOWN = 3
"""The number of files that an error message lists."""
_WHOLE_FRAMES = "without a mask are stored as whole frames"
MASK_STORED = 0.98
"""A lesion is reported if less than this share of its mask is stored."""
LATE_S = 1.0
"""The delay (s) within which an S3 server may still finish requests of a worker that was ended."""
Progress = Callable[[int, int], None]
"""A function that is called with the number of files read and the total number of files."""


class Row(Strict):
    """The facts on one lesion that joining the parts needs."""

    lesion_id: str
    group: str
    diagnosis: str | None
    automatic: bool
    file: str
    """The sha256 of the lesion's file, "" if there is no file."""
    cube: str
    """The sha256 of the lesion's reflectance."""
    notes: tuple[str, ...] = ()
    """Sentences on the lesion that the user must see."""
    path: str = ""
    """The path of the lesion's file, relative to the source."""
    alike: str = ""
    """The format, frame, type, factors and bands of that file; a report groups the files by this text."""
    dtype: str = ""
    factor: float = 1.0
    """The factor by which `--scale` divided the lesion's numbers."""
    low: float = 0.0
    median: float = 0.0
    high: float = 0.0
    """The largest of the stored numbers."""
    mask_share: float | None = None
    """The share of the frame that the mask covers; None without a mask."""
    mask_stored: float | None = None
    """The share of the mask that the stored cube shows; None without a mask."""
    whole: bool = False
    """Whether the lesion is a whole frame because nothing marks a lesion on it."""


class PartReport(Strict):
    """The contents of a part; the report lies beside the part until the store is complete."""

    number: int
    part: Part | None
    """The written part, or None if none of its files can be used."""
    shape: tuple[int, int, int] | None
    wavelengths_nm: tuple[float, ...]
    rows: tuple[Row, ...]
    set_aside: tuple[SetAsideFile, ...]
    no_images: int = 0
    """The number of files set aside that cannot be images."""


@dataclass(frozen=True)
class Staging:
    """The place of the parts of an unfinished store; can be pickled.

    Attributes:
        place: a folder beside the store on a disk, the store itself on S3.
        folder: the folder of the parts, below `place`.
    """

    place: Location
    folder: str

    def name(self, number: int, suffix: str = "parquet") -> str:
        """Return the name of a part's file, or with another suffix that of its report."""
        return f"{self.folder}/part-{number:05d}.{suffix}"

    def report(self, number: int) -> PartReport | None:
        """Return the report of an intact part, or None if the part has to be made."""
        try:
            found = PartReport.model_validate_json(self.place.read_bytes(self.name(number, "json")))
            if found.part is None or hashlib.sha256(self.place.read_bytes(found.part.path)).hexdigest() == found.part.sha256:
                return found
        except (FileNotFoundError, ValueError):
            pass
        return None


Make = Callable[[Job, Staging, list[int]], Iterable[PartReport]]
"""A function that makes the parts of these numbers, in any order."""


def ingest(
    job: Job, uri: str, *, folds: int, seed: int, progress: Progress = lambda done, total: None, make: "Make | None" = None
) -> Manifest:
    """Read what `job` lists into a store at `uri`.

    Args:
        job: a job made by `source.make_job`.
        uri: the place of the store; nothing may exist there yet.
        folds: the number of folds, 0 for none; a source without any diagnosis has none.
        seed: the seed of the folds.
        progress: called after every part.
        make: the function that makes the parts; None: this process makes them one by one.

    Raises:
        CubeError: no file can be used; StoreError: the store cannot be made. Both leave nothing behind. After an interrupt
            or the loss of an S3 server or a worker the parts stay, and the same command continues.
    """
    if folds:
        check_count(folds)
    target = free_place(job, uri)
    staging = staging_of(target, job)
    with _held(staging, target):
        try:
            manifest = _make_and_join(job, staging, folds, seed, progress, make or make_here)
            if target.local:
                _forget_reports(staging, job.parts)
                publish_local(staging.place, target, manifest)
            else:
                publish_s3(target, manifest)
        except (MachineTrouble, ClusterError):
            raise  # what lies there stays, and the same command goes on
        except HyperdermError:
            _discard(staging, target, job.parts)
            raise
        except OSError as error:
            beaten = not target.local and _published(staging, target)  # it tidies up what this one would still have read
            _discard(staging, target, job.parts)
            raise unwritten(target, FileExistsError() if beaten else error) from error
    if not target.local:
        with suppress(StoreError):  # the store is there; `bucket clean` and the next writer know what is left
            _tidy(staging, job.parts, manifest)
    return manifest


def free_place(job: Job, uri: str) -> Location:
    """Return the place of the store, after proving that nothing is there and, on S3, that it can be written.

    Raises:
        StoreError: the place lies in the source, is not empty, or cannot be reached.
    """
    target = locate(uri)
    if target.local and job.root.is_dir() and Path(target.path).resolve().is_relative_to(job.root.resolve()):
        raise StoreError(
            f"--store {uri} lies in the source {job.root}: what is written there would be read as part of it",
            "Choose a place outside.",
        )
    prepare(target, write=True)
    if occupied(target):
        forget_lock(target, job)
        raise StoreError(f"--store {uri}: something is already there", "Choose another place, or remove it first.")
    return target


def prove_place(target: Location, job: Job) -> None:
    """Prove that the store's folder can be made on a disk, in the same way as an ingest, and leave nothing behind.

    Raises:
        StoreError: the ingest would fail with the same error.
    """
    if not target.local:
        return
    staging = staging_of(target, job)
    place, folder = staging.place, Path(staging.place.join(staging.folder))
    missing = [each for each in (folder, *folder.parents) if not os.path.lexists(each)]
    try:
        place.fs.create_dir(str(folder), recursive=True)
        for each in (folder, folder.parent.parent):  # parts in one, a lock in the other
            tempfile.TemporaryFile(dir=each).close()
    except OSError as error:
        raise unwritten(target, error) from error
    finally:
        for made in missing:
            with suppress(OSError):  # not made, or somebody else put something there meanwhile
                made.rmdir()


def forget_lock(target: Location, job: Job) -> None:
    """Remove the lock of a writer that was killed after it had made its store but before it removed the lock."""
    if not target.local:
        return
    path = _lock(staging_of(target, job))
    with suppress(OSError), path.open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()


def staging_of(target: Location, job: Job) -> Staging:
    """Return the staging place of the parts of this job's store."""
    if target.local:
        return Staging(Location(target.uri, target.fs, f"{target.path}.partial-{job.digest[:8]}"), LESIONS)
    return Staging(target, f"{LESIONS}/{job.digest[:8]}")


def make_here(job: Job, staging: Staging, numbers: list[int]) -> Iterator[PartReport]:
    """Make parts in this process, one after the other, and yield their reports."""
    for number in numbers:
        yield make_part(job, staging, number)


def make_part(job: Job, staging: Staging, number: int) -> PartReport:
    """Read the files of one part, then write the part and last its report; at most one part's lesions are in memory.

    Raises:
        StoreError: the lesions have several shapes or wavelengths, or the place cannot be written.
    """
    if not job.root.exists():
        raise StoreError(
            f"{job.root} is not visible from {socket.gethostname()}", "Put the files on storage that all nodes share."
        )
    lesions, report = read_part(job, number)
    if lesions:
        check_part(report, lesions)
        assert report.shape is not None
        part = write_part(staging.place, staging.name(number), to_table(lesions, report.shape))
        report = report.model_copy(update={"part": part})
    staging.place.write_bytes(staging.name(number, "json"), report.model_dump_json().encode())
    return report


def read_part(job: Job, number: int) -> tuple[list[Lesion], PartReport]:
    """Read the files of one part; the report names no written part and has the first lesion's shape and wavelengths."""
    lesions: list[Lesion] = []
    aside: list[SetAside] = []
    for source in job.of_part(number):
        found, bad = job.read(source)
        lesions += found
        aside += bad
    first = lesions[0].cube if lesions else None
    report = PartReport(
        number=number,
        part=None,
        shape=first.shape if first else None,
        wavelengths_nm=tuple(first.wavelengths_nm.tolist()) if first else (),
        rows=tuple(map(_row, lesions)),
        set_aside=tuple(map(_told, aside)),
        no_images=sum(not one.image for one in aside),
    )
    return lesions, report


def check_part(report: PartReport, lesions: list[Lesion]) -> None:
    """Prove that the lesions of a part have the shape and the wavelengths of its first one.

    Raises:
        StoreError: a lesion differs; the message names the first one.
    """
    for lesion in lesions:
        nm = lesion.cube.wavelengths_nm.tolist()
        _check_alike(lesion.lesion_id, lesion.cube.shape, nm, report.shape, report.wavelengths_nm)


def _make_and_join(job: Job, staging: Staging, folds: int, seed: int, progress: Progress, make: Make) -> Manifest:
    reports = {number: found for number in range(job.parts) if (found := staging.report(number))}
    read = sum(len(job.of_part(number)) for number in reports)
    progress(read, len(job.sources))
    for report in make(job, staging, [number for number in range(job.parts) if number not in reports]):
        reports[report.number] = report
        read += len(job.of_part(report.number))
        progress(read, len(job.sources))
    return join(job, staging, [reports[number] for number in range(job.parts)], folds, seed)


def join(job: Job, staging: Staging | None, reports: list[PartReport], folds: int, seed: int) -> Manifest:
    """Return the manifest of these parts, or without `staging` the manifest that they would have if they were written.

    Raises:
        CubeError: no lesion can be used; StoreError: the lesions cannot be in one store.
    """
    left = [*map(_told, job.set_aside)]
    unread = [one for report in reports for one in report.set_aside]
    aside = left + unread
    rows = [row for report in reports for row in report.rows]
    if not rows:
        raise _nothing(job, unread + left, sum(report.no_images for report in reports))
    first_part = next(report for report in reports if report.shape)
    assert first_part.shape is not None
    for report in reports:
        if report.shape:
            name = report.rows[0].lesion_id
            _check_alike(name, report.shape, report.wavelengths_nm, first_part.shape, first_part.wavelengths_nm)
    if repeated := [name for name, count in Counter(row.lesion_id for row in rows).items() if count > 1]:
        raise StoreError(f"lesion id {repeated[0]!r} appears more than once", "Ids must be unique in a store.")
    identical, warnings = _same_pictures(rows)
    warnings += told_of(job, rows)
    groups = merged([row.group for row in rows], identical)
    if job.layout in LAYOUTS:
        warnings += check_units(files_of(rows), job.how.scale)
    parts = _regrouped(staging, reports, groups) if staging else ()
    assigned: Folds | None = None
    if folds and any(row.diagnosis for row in rows) and job.source is None:
        names = [row.lesion_id for row in rows]
        try:
            assigned, more = assign_folds(groups, [row.diagnosis for row in rows], folds, seed, names)
        except StoreError as error:
            raise _after_aside(error, job, rows, unread) from error
        warnings += more
    return Manifest(
        kind=job.kind,
        wavelengths_nm=first_part.wavelengths_nm,
        shape=first_part.shape,
        lesions=len(rows),
        diagnoses=dict(sorted(Counter(row.diagnosis or "unknown" for row in rows).items())),
        parts=parts,
        folds=assigned,
        warnings=tuple(warnings),
        set_aside=tuple(aside),
        source=_source(job, rows),
    ).sealed()


def told_of(job: Job, rows: Sequence[Row]) -> list[str]:
    """Return the notes on a source and its lesions, whether or not they become a store."""
    said = [plain(note) for note in job.notes]
    whole = [row.lesion_id for row in rows if row.whole]
    astray = any("masks" in map(folded, one.file.split("/")[:-1]) for one in job.set_aside)
    if whole and job.layout != "exported" and (astray or len(whole) < len(rows)):
        one = len(whole) == 1
        what = "1 image without a mask is stored as a whole frame" if one else f"{len(whole)} images {_WHOLE_FRAMES}"
        said.append(f"{what}: {shown(whole)}; --masks auto finds a lesion in {'it' if one else 'them'}")
    shares = {row.lesion_id: row.mask_stored for row in rows if row.mask_stored is not None}
    if cut := {name: share for name, share in shares.items() if share < MASK_STORED}:
        what = "1 lesion is" if len(cut) == 1 else f"{len(cut)} lesions are"
        part = f"{min(cut.values()):.1%}" + " or more" * (len(cut) > 1)
        said.append(
            f"{what} cut at the edge: {shown(list(cut))}; of an oblong crop the central square is stored, here with {part} "
            "of the mask"
        )
    return said + gathered([(row.lesion_id, note) for row in rows for note in row.notes])


def _nothing(job: Job, aside: list[SetAsideFile], no_images: int) -> CubeError:
    """Return the error for a source without lesions, images first; files that cannot be images are not counted as images."""
    more = f"; and {len(aside) - SHOWN} more" if len(aside) > SHOWN else ""
    first = "; ".join([*job.notes, *(f"{one.file}: {one.reason}" for one in aside[:SHOWN])]) + more
    if no_images and no_images == len(job.sources):
        what = f"{job.root} holds no image that layout {job.layout} reads ({first})"
        known = job.layout in ("scenes", "photographs")
        return CubeError(what, "If they are raw frames of a 4 x 4 mosaic camera: --layout mosaic." if known else "")
    remedy = {
        "scenes": "Mend the files, or check --wavelengths, --layout and --masks.",
        "mosaic": "Mend the files, or check --wavelengths, --white, --dark and --layout.",
        "hsidermoscopy": "Mend the files, or check --wavelengths, --layout and --masks.",
        "photographs": "Mend the files, or check --layout and --masks.",
        "exported": "Export it again, or mend the files.",
    }[job.layout]
    if any(NOT_NAMED in one.reason for one in aside[:SHOWN]):  # which says what to do itself
        remedy = "Mend the files or the table."
    return CubeError(f"{none_used(len(job.sources) - no_images, job.root)} ({first})", remedy)


def _after_aside(error: StoreError, job: Job, rows: Sequence[Row], unread: Sequence[SetAsideFile]) -> StoreError:
    """Return an error about too few lesions, preceded by the reason if most images were set aside."""
    lost = len(job.sources) - len(job.without_lesion) - len({row.path for row in rows})
    if not unread or 2 * lost < len(job.sources):
        return error
    first = unread[0]
    many = f"{lost} of {len(job.sources)} images {'is' if lost == 1 else 'are'} set aside"
    return StoreError(f"{many} ({first.file}: {first.reason.rstrip('.')}); of the others: {error.what}", error.remedy)


def files_of(rows: Sequence[Row]) -> list[File]:
    """Return the input of the unit check: every file once, with the median of its lesions' medians."""
    by_file: dict[str, list[Row]] = {}
    for row in rows:
        by_file.setdefault(row.path, []).append(row)
    return [
        File(
            name,
            float(np.median([one.median for one in held])),
            max(one.high for one in held),
            held[0].dtype,
            held[0].factor,
        )
        for name, held in by_file.items()
    ]


def _source(job: Job, rows: list[Row]) -> dict[str, Any]:
    if job.source is not None:
        return dict(job.source)
    how = job.how
    facts: dict[str, Any] = {
        "verb": "ingest",
        "layout": job.layout,
        "size": how.size if how.size is not None else "native",
        "files": len(job.sources),
    }
    if how.bands_nm is not None:
        facts["bands_nm"] = list(how.bands_nm)
    if how.groups:
        facts["groups"] = job.grouped
    if job.used:
        facts["used"] = list(job.used)
    if how.scale:
        facts["scale"] = spoken(how.scale)
    if automatic := sum(row.automatic for row in rows):
        facts["automatic_masks"] = automatic
    if job.without_lesion:
        facts["without_lesion"] = len(job.without_lesion)
    return facts


def _told(one: SetAside) -> SetAsideFile:
    return SetAsideFile(file=plain(one.file), reason=plain(one.reason))


def _row(lesion: Lesion) -> Row:
    numbers, origin = lesion.cube.reflectance, lesion.origin
    return Row(
        lesion_id=lesion.lesion_id,
        group=lesion.group,
        diagnosis=lesion.diagnosis,
        automatic=lesion.origin.get("mask") == "automatic",
        file=str(lesion.origin.get("sha256", "")),
        cube=hashlib.sha256(np.ascontiguousarray(numbers).data).hexdigest(),
        notes=tuple(plain(str(note)) for note in lesion.origin.get(NOTES, ())),
        path=plain(str(origin.get("file", ""))),
        alike=kind_of(lesion),
        dtype=str(origin.get("dtype", "")),
        factor=float(origin.get("scale", 1.0)),
        low=float(numbers.min()),
        median=middle(numbers),
        high=float(numbers.max()),
        mask_share=origin.get("mask_share"),
        mask_stored=origin.get("mask_stored"),
        whole=origin.get("mask") == WHOLE,
    )


def _same_pictures(rows: list[Row]) -> tuple[list[list[int]], list[str]]:
    """Return rows that show the same picture under several groups, and a sentence on each such set."""
    same: dict[str, list[int]] = {}
    for number, row in enumerate(rows):
        for key in filter(None, (row.file, row.cube)):
            same.setdefault(key, []).append(number)
    found = {tuple(numbers) for numbers in same.values() if len({rows[number].group for number in numbers}) > 1}
    said = []
    for numbers in sorted(found):
        names = " = ".join(rows[number].lesion_id for number in numbers)
        kinds = {str(rows[number].diagnosis) for number in numbers}
        odd = f", under several diagnoses: {', '.join(sorted(kinds))}" if len(kinds) > 1 else ""
        said.append(f"the same picture, now one group: {names}{odd}")
    return [list(numbers) for numbers in sorted(found)], said


def _regrouped(staging: Staging, reports: list[PartReport], groups: list[str]) -> tuple[Part, ...]:
    """Rewrite the parts whose lesions moved to another group, and return all parts.

    On S3 they get a new name, because another writer with the same job may make the original part again at any time.
    """
    parts, at = [], 0
    for report in reports:
        mine, at = groups[at : at + len(report.rows)], at + len(report.rows)
        if report.part is None:
            continue
        part = report.part
        if mine != [row.group for row in report.rows]:
            table = staging.place.read_table(part.path)
            place = table.schema.get_field_index("group")
            table = table.set_column(place, table.schema.field(place), pa.array(mine, pa.string()))
            path = part.path if staging.place.local else staging.name(report.number, REGROUPED)
            part = write_part(staging.place, path, table)
        parts.append(part)
    return tuple(parts)


def _check_alike(name: str, shape: Any, nm: Iterable[float], first: Any, first_nm: Iterable[float]) -> None:  # noqa: ANN401
    if tuple(shape) != tuple(first):
        sizes = " and ".join(" x ".join(map(str, each)) for each in (first, shape))
        raise StoreError(
            f"cubes of {sizes} (lesion {name}): a store has one shape", "Give --size, and --bands if bands differ."
        )
    if tuple(nm) != tuple(first_nm):
        raise StoreError(f"lesion {name} has other wavelengths than the first", "Give --bands: a store has one set.")


@contextmanager
def _held(staging: Staging, target: Location) -> Iterator[None]:
    """Hold the staging folder of a disk for this process; on S3 the first writer of the manifest wins."""
    if not target.local:
        yield
        return
    try:
        staging.place.fs.create_dir(staging.place.join(staging.folder), recursive=True)
        lock = _lock(staging).open("a+", encoding="utf-8")
    except OSError as error:
        raise unwritten(target, error) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreError(f"--store {target.uri} is being written by another process", "Wait for it.") from None
        try:
            yield
        finally:
            os.unlink(lock.name)  # noqa: PTH108 - while it is held: nobody else may think it theirs


def _lock(staging: Staging) -> Path:
    return Path(f"{staging.place.path}.lock")


def _discard(staging: Staging, target: Location, count: int) -> None:
    if target.local:
        shutil.rmtree(staging.place.path, ignore_errors=True)
    elif _published(staging, target):
        with suppress(StoreError):
            _tidy(staging, count, open_store(target.uri, verify=False).manifest)
    else:
        clear(target, staging.folder)
        time.sleep(LATE_S)
        clear(target, staging.folder)


def _published(staging: Staging, target: Location) -> bool:
    """Return whether another writer with the same job has made these parts a store; True if that cannot be found out."""
    try:
        if not target.exists(MANIFEST):
            return False
        return any(
            part.path.startswith(f"{staging.folder}/") for part in open_store(target.uri, verify=False).manifest.parts
        )
    except (OSError, StoreError):
        return True


def _forget_reports(staging: Staging, count: int) -> None:
    place = staging.place
    for number in range(count):
        name = staging.name(number, "json")
        if place.local:
            Path(place.join(name)).unlink()
        else:
            remove(place, f"{place.prefix}/{name}".lstrip("/"))


def _tidy(staging: Staging, count: int, manifest: Manifest) -> None:
    """Remove from S3 the reports, and the parts that regrouped parts replace."""
    _forget_reports(staging, count)
    named = {part.path for part in manifest.parts}
    for number in range(count):
        if staging.name(number, REGROUPED) in named:
            remove(staging.place, f"{staging.place.prefix}/{staging.name(number)}".lstrip("/"))
