"""Read a whole source without writing anything, to report what an ingest would make of it or why it would refuse it."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hyperderm.errors import HyperdermError, StoreError
from hyperderm.ingest.pipeline import PartReport, Row, check_part, files_of, free_place, join, prove_place, read_part
from hyperderm.ingest.source import Job
from hyperderm.ingest.units import unit_groups
from hyperderm.store.folds import check_count
from hyperderm.store.manifest import Manifest, SetAsideFile


@dataclass(frozen=True)
class Checked:
    """The result of a dry run.

    Attributes:
        rows: the row of every lesion.
        shapes: each shape (H, W, B) of the cubes and the number of cubes that have it.
        set_aside: the files that would be set aside.
        manifest: the manifest of the store that would be made, without parts; None if the ingest would refuse.
        error: the error with which the ingest would refuse.
    """

    rows: tuple[Row, ...]
    shapes: Counter[tuple[int, int, int]]
    set_aside: tuple[SetAsideFile, ...]
    manifest: Manifest | None
    error: HyperdermError | None


def check(job: Job, uri: str, folds: int, seed: int, progress: Callable[[int, int], None]) -> Checked:
    """Read everything that `ingest.pipeline.ingest` would read, and join it in the same way.

    Args:
        job: as for `ingest`.
        uri: the place of the store; "" if none was given.
        folds: as for `ingest`.
        seed: as for `ingest`.
        progress: called with the number of files read and the total number of files.

    Raises:
        StoreError: the ingest would refuse the number of folds or the place of the store before it reads.
    """
    if folds:
        check_count(folds)
    if uri:
        prove_place(free_place(job, uri), job)
    reports: list[PartReport] = []
    shapes: Counter[tuple[int, int, int]] = Counter()
    error: HyperdermError | None = None
    read = 0
    for part in range(job.parts):  # as the ingest divides the files, so that it stops at the same lesion
        lesions, report = read_part(job, part)
        reports.append(report)
        shapes.update(lesion.cube.shape for lesion in lesions)
        try:
            check_part(report, lesions)
        except StoreError as refused:
            error = error or refused
        read += len(job.of_part(part))
        progress(read, len(job.sources))
    manifest = None
    if error is None:
        try:
            manifest = join(job, None, reports, folds, seed)
        except HyperdermError as refused:
            error = refused
    rows = tuple(row for report in reports for row in report.rows)
    aside = tuple(SetAsideFile(file=one.file, reason=one.reason) for one in job.set_aside)
    return Checked(rows, shapes, aside + tuple(one for each in reports for one in each.set_aside), manifest, error)


def described(rows: tuple[Row, ...]) -> list[str]:
    """Return one sentence per kind of file: how many there are, their numbers and diagnoses, and the share of masks."""
    known = [file for file in files_of(rows) if file.median > 0]
    units = {file.name: unit for unit, files in enumerate(unit_groups(known)) for file in files} if known else {}
    kinds: dict[tuple[str, int | None], list[Row]] = {}
    for row in rows:
        kinds.setdefault((row.alike, units.get(row.path)), []).append(row)
    return [_kind(alike, held) for (alike, _), held in kinds.items()]


def _kind(alike: str, rows: list[Row]) -> str:
    files = len({row.path for row in rows})
    medians = [row.median for row in rows]
    low, middle, high = min(row.low for row in rows), float(np.median(medians)), max(row.high for row in rows)
    said = f"{files} file{'s' * (files > 1)}: {alike}; values {low:.4g} … {high:.4g}, median {middle:.4g}"
    counts = sorted(Counter(row.diagnosis or "unknown" for row in rows).items())
    said += f"; {', '.join(f'{name} {count}' for name, count in counts)}"
    shares = [row.mask_share for row in rows if row.mask_share is not None]
    if not shares:
        return f"{said}; no masks"
    share = f"{min(shares):.2%} … {max(shares):.2%} of the frame, median {float(np.median(shares)):.2%}"
    said += f"; {len(shares)} mask{'s' * (len(shares) > 1)}, {share}"
    whole = sum(row.whole for row in rows)
    return f"{said}; {whole} without a mask, whole" if whole else said
