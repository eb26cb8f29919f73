"""What the jobs of a grid leave behind: one folder a job, `result.json` last, so that a job is done or not begun."""

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from hyperderm.durable import write_whole
from hyperderm.errors import StudyError
from hyperderm.statistics.predictions import Predictions
from hyperderm.strict import json_of
from hyperderm.studies.ablation.job import Job
from hyperderm.studies.ablation.plan import Plan

RESULT, FAILURE = "result.json", "failure.json"
PREDICTIONS = "predictions.parquet"
LOST = "lost"
"""What stands for the digest of a file that is not there."""
TIME = "%Y-%m-%dT%H:%M:%SZ"


def write_result(folder: Path, facts: Mapping[str, Any], *outputs: str) -> None:
    """Write down that the job of `folder` is done, and which files it leaves; a failure noted earlier is over."""
    _write(folder / RESULT, {**facts, "outputs": {name: _digest(folder / name) for name in outputs}, "ended": now()})
    (folder / FAILURE).unlink(missing_ok=True)


def write_failure(folder: Path, reason: str) -> None:
    """Write down why the job of `folder` failed for good; the next driver tries it again."""
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / FAILURE, {"reason": reason, "ended": now()})


def result_of(grid: Path, job: Job) -> dict[str, Any] | None:
    """Return what a finished job wrote, None where it is not done, or where one of its files, or what it was made from, is
    lost or changed.

    Raises:
        StudyError: a file that cannot be read.
    """
    found = _read(grid / job.folder / RESULT)
    if found is None:
        return None
    outputs: dict[str, str] = found.get("outputs", {})
    intact = all(_intact(grid / job.folder / name, digest) for name, digest in outputs.items())
    return found if intact and _made_from_what_is_there(grid, job, found) else None


def _made_from_what_is_there(grid: Path, job: Job, found: Mapping[str, Any]) -> bool:
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


def _checkpoint(grid: Path, key: str) -> str | None:
    """Return the hash of what the generator of that key left, None where it is not done."""
    return (_read(grid / "generator" / key / RESULT) or {}).get("checkpoint")


def failure_of(grid: Path, job: Job) -> str | None:
    """Return why the job failed the last time, None where it did not."""
    found = _read(grid / job.folder / FAILURE)
    return None if found is None else str(found["reason"])


def predictions(grid: Path, plan: Plan) -> Predictions:
    """Return the test predictions of all finished cells of the plan, one table, each row naming its arm.

    Cells whose configuration is the same in two arms were run once and appear in both.
    """
    done = [job for job in plan.stage("cell") if result_of(grid, job)]
    return Predictions.concatenate(cell_predictions(grid, job) for job in done)


def cell_predictions(grid: Path, job: Job) -> Predictions:
    """Return the predictions of a finished cell, under the arm and model of `job`."""
    held = Predictions.from_parquet(grid / job.folder / PREDICTIONS)
    return replace(held, arm=np.full(len(held), job.arm), model=np.full(len(held), job.model))


def now() -> str:
    """Return the time as text, in UTC."""
    return time.strftime(TIME, time.gmtime())


def _intact(path: Path, digest: str) -> bool:
    return _digest(path) == digest


def _digest(path: Path) -> str:
    """Return the sha256 of a file."""
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


def _write(path: Path, content: Mapping[str, Any]) -> None:
    write_whole(path, json.dumps(content, indent=1, sort_keys=True))


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content: dict[str, Any] = json_of(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise StudyError(f"{path} cannot be read ({error})", "Remove its folder; the job is then run again.") from error
    return content
