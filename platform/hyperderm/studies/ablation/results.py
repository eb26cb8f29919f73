"""What the jobs of a grid leave behind: one folder a job, `result.json` last, so that a job is done or not begun."""

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.fs as pafs

from hyperderm.errors import StudyError
from hyperderm.statistics.predictions import Predictions
from hyperderm.store.location import Location
from hyperderm.store.run_location import Place, address, below, content_of, forget, holds, put
from hyperderm.strict import json_of
from hyperderm.studies.ablation.job import Job
from hyperderm.studies.ablation.plan import Plan

RESULT, FAILURE = "result.json", "failure.json"
SPENT = "spent.json"
"""How long a job that has not ended was worked on."""
STORE = "store"
"""Folder of a synthetic set inside its job's."""
PREDICTIONS = "predictions.parquet"
LOST = "lost"
"""What stands for the digest of a file that is not there."""
TIME = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True)
class GridFolder:
    """Where a grid keeps what it has.

    Attributes:
        path: the driver's folder: plan, report, predictions, log, Tune's records.
        storage: the grid's part of `--storage`, where jobs write; None: into `path`.
    """

    path: Path
    storage: Location | None = None

    @property
    def name(self) -> str:
        """Return the name of the grid."""
        return self.path.name

    def place(self, job: Job) -> Place:
        """Return where the files of a job lie."""
        return below(self.storage or self.path, *job.folder.split("/"))

    def address(self, job: Job, name: str = "") -> str:
        """Return how a worker is told of the job's place, or of a file in it."""
        place = self.place(job)
        return address(place.absolute() if isinstance(place, Path) else place, name)

    def sets(self, key: str) -> list[str]:
        """Return the addresses of the synthetic sets of that key; one that grew has several sizes."""
        sets = below(self.storage or self.path, "synthetic")
        if isinstance(sets, Path):
            return [str(place) for place in sorted(sets.glob(f"{key}-*/{STORE}"))]
        chosen = pafs.FileSelector(sets.path, allow_not_found=True)
        found = sets.patiently(lambda: sets.fs.get_file_info(chosen))
        return [f"{sets.uri}/{each.base_name}/{STORE}" for each in found if each.base_name.startswith(f"{key}-")]


def write_result(place: Place, facts: Mapping[str, Any], *outputs: str) -> None:
    """Write down that the job of `place` is done, and which files it leaves; a failure noted earlier is over."""
    _write(place, RESULT, {**facts, "outputs": {name: _digest(place, name) for name in outputs}, "ended": now()})
    forget(place, FAILURE)


def write_failure(place: Place, reason: str) -> None:
    """Write down why the job of `place` failed for good; the next driver tries it again."""
    _write(place, FAILURE, {"reason": reason, "ended": now()})


def result_of(grid: GridFolder, job: Job) -> dict[str, Any] | None:
    """Return what a finished job wrote, None where it is not done, or where one of its files, or what it was made from, is
    lost or changed.

    Raises:
        StudyError: a file that cannot be read.
    """
    place = grid.place(job)
    found = _read(place, RESULT)
    if found is None:
        return None
    outputs: dict[str, str] = found.get("outputs", {})
    intact = all(_intact(place, name, digest) for name, digest in outputs.items())
    return found if intact and _made_from_what_is_there(grid, job, found) else None


def _made_from_what_is_there(grid: GridFolder, job: Job, found: Mapping[str, Any]) -> bool:
    """Return whether the checkpoints that a job began from, or drew from, are those that lie there today.

    A set may outlive its generator, of which nothing is asked any more.
    """
    said = found.get("inputs", {})
    if any(said.get(name) != _checkpoint(grid, key) for name, key in job.inputs.items()):
        return False
    if job.stage != "synthetic":
        return True
    drawn, there = found.get("origin", {}).get("checkpoint"), [_checkpoint(grid, need) for need in job.needs]
    return drawn is None or all(each in (None, drawn) for each in there)


def _checkpoint(grid: GridFolder, key: str) -> str | None:
    """Return the hash of what the generator of that key left, None where it is not done."""
    return (_read(below(grid.storage or grid.path, "generator", key), RESULT) or {}).get("checkpoint")


def was_begun(grid: GridFolder, job: Job) -> bool:
    """Return whether a worker has written anything of the job."""
    place = grid.place(job)
    return place.exists() if isinstance(place, Path) else any(holds(place, name) for name in (SPENT, RESULT, FAILURE))


def failure_of(grid: GridFolder, job: Job) -> str | None:
    """Return why the job failed the last time, None where it did not."""
    found = _read(grid.place(job), FAILURE)
    return None if found is None else str(found["reason"])


def predictions(grid: GridFolder, plan: Plan) -> Predictions:
    """Return the test predictions of all finished cells of the plan, one table, each row naming its arm.

    Cells whose configuration is the same in two arms were run once and appear in both.
    """
    done = [job for job in plan.stage("cell") if result_of(grid, job)]
    return Predictions.concatenate(cell_predictions(grid, job) for job in done)


def cell_predictions(grid: GridFolder, job: Job) -> Predictions:
    """Return the predictions of a finished cell, under the arm and model of `job`."""
    content = content_of(grid.place(job), PREDICTIONS)
    held = Predictions.from_bytes(content or b"", grid.address(job, PREDICTIONS))
    return replace(held, arm=np.full(len(held), job.arm), model=np.full(len(held), job.model))


def now() -> str:
    """Return the time as text, in UTC."""
    return time.strftime(TIME, time.gmtime())


def _intact(place: Place, name: str, digest: str) -> bool:
    """Return whether an output is as it was; of an object on S3, which is whole or none, only that it is there."""
    return _digest(place, name) == digest if isinstance(place, Path) else holds(place, name)


def _digest(place: Place, name: str) -> str:
    """Return the sha256 of a file."""
    if not isinstance(place, Path):
        content = content_of(place, name)
        return LOST if content is None else hashlib.sha256(content).hexdigest()
    path = place / name
    try:
        facts = path.stat()
    except FileNotFoundError:
        return LOST
    return _sha256(path, facts.st_size, facts.st_mtime_ns, facts.st_ino)


@lru_cache(maxsize=4096)
def _sha256(path: Path, size: int, changed_ns: int, number: int) -> str:
    """Hash a file once for as long as it stays the same: a driver asks after every job for all of them."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _write(place: Place, name: str, content: Mapping[str, Any]) -> None:
    put(place, name, json.dumps(content, indent=1, sort_keys=True).encode())


def _read(place: Place, name: str) -> dict[str, Any] | None:
    found = content_of(place, name)
    if found is None:
        return None
    try:
        content: dict[str, Any] = json_of(found.decode())
    except ValueError as error:
        raise StudyError(
            f"{address(place, name)} cannot be read ({error})", "Remove its folder; the job is then run again."
        ) from error
    return content
