"""The records in a grid's folder: the results of its jobs, which cells are complete, and everything ever asked of the grid.

Each job has a folder of its own, in which `result.json` is written last, so that a job is either done or not begun.
plan.json grows with every command. A user who asks for fewer arms, models, seeds or folds after reading a report therefore
gets the same report again, with all finished jobs and all contrasts that were declared in Holm's family.
"""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.fs as pafs
from pydantic import TypeAdapter

from hyperderm.durable import write_whole
from hyperderm.errors import StudyError
from hyperderm.grid_config import Checkpoint
from hyperderm.statistics.predictions import CellKey, Predictions
from hyperderm.store.location import Location
from hyperderm.store.reader import Store
from hyperderm.store.run_location import RunLocation, address, below, content_of, forget, holds, put
from hyperderm.strict import json_of
from hyperderm.studies.ablation.arms import Arm
from hyperderm.studies.ablation.jobs import Job, job_from_json, job_to_json
from hyperderm.studies.ablation.plan import Plan
from hyperderm.studies.ablation.result_shapes import RESULT_FILES
from hyperderm.studies.ablation.shapes import FAILURE_FILE, FEEDS_FILE, PLAN_FILE, wrong
from hyperderm.training.run_folder import PLAN, PREDICTIONS, RESULT, Result
from hyperderm.training.selection import select

FAILURE = "failure.json"
SPENT = "spent.json"
"""Name of the file that records how long an unfinished job was worked on."""
STORE = "store"
"""Name of the folder of a synthetic set inside the folder of its job."""
LOST = "lost"
"""Stands for the digest of a file that is missing."""
TIME = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True)
class GridFolder:
    """The places where a grid keeps its files.

    Attributes:
        path: the driver's folder, with the plan, the report, the predictions, the log and Tune's records.
        storage: the part of `--storage` in which the jobs of the grid write; if None, they write into `path`.
    """

    path: Path
    storage: Location | None = None

    @property
    def name(self) -> str:
        """Return the name of the grid."""
        return self.path.name

    def place(self, job: Job) -> RunLocation:
        """Return the place of the files of a job."""
        return below(self.storage or self.path, *job.folder.split("/"))

    def address(self, job: Job, name: str = "") -> str:
        """Return the address by which a worker finds the place of a job, or a file in it."""
        place = self.place(job)
        return address(place.absolute() if isinstance(place, Path) else place, name)

    def sets(self, key: str = "") -> list[str]:
        """Return the addresses of the synthetic sets with this key, or of all; a set that grew has one for each size."""
        sets = below(self.storage or self.path, "synthetic")
        if isinstance(sets, Path):
            return [str(place) for place in sorted(sets.glob(f"{key}*-*/{STORE}"))]
        chosen = pafs.FileSelector(sets.path, allow_not_found=True)
        found = sets.patiently(lambda: sets.fs.get_file_info(chosen))
        return [f"{sets.uri}/{each.base_name}/{STORE}" for each in found if each.base_name.startswith(key)]


def write_result(place: RunLocation, facts: Result, *outputs: str) -> None:
    """Record that the job of `place` is done and which files it leaves; remove the record of an earlier failure."""
    _write(place, RESULT, {**facts, "outputs": {name: _digest(place, name) for name in outputs}, "ended": now()})
    forget(place, FAILURE)


def write_failure(place: RunLocation, reason: str) -> None:
    """Record why the job of `place` failed for good; the next driver tries the job again."""
    _write(place, FAILURE, {"reason": reason, "ended": now()})


def result_of(grid: GridFolder, job: Job) -> Result | None:
    """Return the result of a finished job; None for other jobs, or if its files or input checkpoints are lost or changed.

    Raises:
        StudyError: a file cannot be read.
    """
    place = grid.place(job)
    found: Result | None = _read(place, RESULT, RESULT_FILES[job.stage])
    if found is None:
        return None
    intact = all(_intact(place, name, digest) for name, digest in found.get("outputs", {}).items())
    return found if intact and _made_from_what_is_there(grid, job, found) else None


def _made_from_what_is_there(grid: GridFolder, job: Job, found: Result) -> bool:
    """Return whether the checkpoints that a job began from, or drew from, are the ones that exist today.

    A synthetic set stays valid after its generator is gone, if nothing more is asked of the generator.
    """
    said = found.get("inputs", {})
    if any(said.get(name) != _checkpoint(grid, key) for name, key in job.inputs.items()):
        return False
    if job.stage != "synthetic":
        return True
    drawn, there = found.get("origin", {}).get("checkpoint"), [_checkpoint(grid, need, job.checkpoint) for need in job.needs]
    return drawn is None or all(each in (None, drawn) for each in there)


def _checkpoint(grid: GridFolder, key: str, state: Checkpoint = "best") -> str | None:
    """Return the hash of the checkpoint of the generator with this key; None if the generator is not done.

    It is None too for the last state of a generator that a version before `Ablation.checkpoints` trained.
    """
    found: Result | None = _read(below(grid.storage or grid.path, "generator", key), RESULT, RESULT_FILES["generator"])
    if found is None:
        return None
    return found.get("checkpoint") if state == "best" else found.get("latest")


def has_begun(grid: GridFolder, job: Job) -> bool:
    """Return whether a worker has written any file of the job."""
    place = grid.place(job)
    return place.exists() if isinstance(place, Path) else any(holds(place, name) for name in (SPENT, RESULT, FAILURE))


def failure_of(grid: GridFolder, job: Job) -> str | None:
    """Return why the job failed the last time; None if it did not fail."""
    found = _read(grid.place(job), FAILURE, FAILURE_FILE)
    return None if found is None else str(found["reason"])


def predictions(grid: GridFolder, plan: Plan) -> Predictions:
    """Return the test predictions of all finished cells of the plan as one table; each row names its arm.

    A cell that has the same configuration in two arms was run once and appears in both.
    """
    done = [job for job in plan.stage("cell") if result_of(grid, job)]
    return Predictions.concatenate(cell_predictions(grid, job) for job in done)


def cell_predictions(grid: GridFolder, job: Job) -> Predictions:
    """Return the predictions of a finished cell, labelled with the arm and model of `job`."""
    content = content_of(grid.place(job), PREDICTIONS)
    held = Predictions.from_bytes(content or b"", grid.address(job, PREDICTIONS))
    return replace(held, arm=np.full(len(held), job.arm), model=np.full(len(held), job.model))


def now() -> str:
    """Return the present time in UTC as text."""
    return time.strftime(TIME, time.gmtime())


def _intact(place: RunLocation, name: str, digest: str) -> bool:
    """Return whether an output is unchanged; on S3, only whether the object exists, since it is never partly written."""
    return digest != LOST and (_digest(place, name) == digest if isinstance(place, Path) else holds(place, name))


def _digest(place: RunLocation, name: str) -> str:
    """Return the sha256 of a file, or `LOST` if the file is missing."""
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
    """Hash a file once as long as it does not change, because the driver asks for all hashes after every job."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _write(place: RunLocation, name: str, content: Mapping[str, Any]) -> None:
    put(place, name, json.dumps(content, indent=1, sort_keys=True).encode())


def _read(place: RunLocation, name: str, shape: TypeAdapter[Any]) -> Any:  # noqa: ANN401 - the JSON, None if it is missing
    content = content_of(place, name)
    if content is None:
        return None
    try:
        found = json_of(content.decode())
        reason = wrong(shape, found)
    except ValueError as error:
        reason = str(error)
    if reason:
        raise StudyError(
            f"{address(place, name)} cannot be read ({reason})", "Remove its folder; the job is then run again."
        )
    return found


def unfinished(table: Predictions, planned: Sequence[CellKey]) -> list[str]:
    """Return a sentence on each model and arm whose planned cells were not all finished."""
    held = set(table.cells())
    said: list[str] = []
    for model in dict.fromkeys(key.model for key in planned):
        mine = [key for key in planned if key.model == model]
        if not held & set(mine):
            said.append(f"model {model}: no cell was finished.")
            continue
        for arm in dict.fromkeys(key.arm for key in mine):
            own = {key for key in mine if key.arm == arm}
            if lost := sorted((key.fold, key.seed) for key in own - held):
                names = ", ".join(f"fold {fold} seed {seed}" for fold, seed in lost)
                said.append(
                    f"arm {arm} with {model}: {len(own & held)} of {len(own)} cells were finished; missing: {names}."
                )
    return said


FEEDS = "feeds.json"
Contrast = tuple[str, str, str]


def record_plan(folder: Path, plan: Plan, command: str = "") -> Plan:
    """Record the request of `plan`, and return the plan joined with everything that was requested in `folder` before.

    Args:
        folder: the folder of the grid.
        plan: what is asked for now.
        command: the command that asks for it, which is recorded too.

    Raises:
        StudyError: the file plan.json cannot be read, or a cell was asked for with other settings before.
    """
    content = _joined_content(folder, plan)
    content["commands"] = list(dict.fromkeys([*commands(folder), *([command] if command else [])]))
    write_whole(folder / PLAN, json.dumps(content, indent=1))
    return _joined_plan(plan, content)


def joined(folder: Path, plan: Plan) -> Plan:
    """Return the plan joined with everything that was requested in `folder` before; nothing is written.

    Raises:
        StudyError: as `record_plan`.
    """
    return _joined_plan(plan, _joined_content(folder, plan))


def _joined_content(folder: Path, plan: Plan) -> dict[str, Any]:
    known = _read_plan(folder, plan.store)
    declared: list[dict[str, Any]] = known.get("declared", [])
    held = {tuple(each["contrast"]) for each in declared}
    at = datetime.now().astimezone().isoformat(timespec="seconds")
    declared += [{"contrast": list(each), "at": at} for each in plan.contrasts if each not in held]
    _check_cells(known.get("jobs", []), plan.stage("cell"))
    every = [*known.get("jobs", []), *map(job_to_json, plan.jobs)]
    jobs = {(job["key"], job["arm"], job["model"]): job for job in every}
    arms = {arm["name"]: arm for arm in known.get("arms", [])} | {arm.name: asdict(arm) for arm in plan.arms}
    return {
        "grid": plan.grid.model_dump(mode="json"),
        "manifest": plan.store.manifest.fingerprint,
        "declared": declared,
        "arms": list(arms.values()),
        "left_out": sorted({*map(tuple, known.get("left_out", [])), *plan.left_out}),
        "models": _joined(known.get("models", []), plan.grid.models),
        "seeds": _joined(known.get("seeds", []), plan.grid.seeds),
        "folds": sorted({*known.get("folds", []), *plan.folds}),
        "jobs": list(jobs.values()),
    }


def _check_cells(known: Sequence[Mapping[str, Any]], cells: Sequence[Job]) -> None:
    """Refuse a cell whose place in the grid was asked for before with other settings: a report could not hold both."""
    before = {(job["arm"], job["model"], job["fold"], job["seed"]): job["key"] for job in known if job["stage"] == "cell"}
    for job in cells:
        if before.get((job.arm, job.model, job.fold, job.seed), job.key) != job.key:
            raise StudyError(
                f"cell {job.label} was asked for with other settings before",
                "Ask for the same settings again, or give the new grid a name of its own: --name NAME (make: NAME=…).",
            )


def with_larger_sets(grid: GridFolder, plan: Plan) -> Plan:
    """Return `plan` with a finished larger set of the same key for each synthetic set: fewer ratios need no new set."""
    held: dict[str, Job] = {}
    for each in _read_plan(grid.path, plan.store).get("jobs", []):
        if each["stage"] == "synthetic":
            job = job_from_json(each)
            known = held.get(job.key)
            if (known is None or sum(job.counts.values()) > sum(known.counts.values())) and result_of(grid, job):
                held[job.key] = job
    jobs = [held[job.key] if job.key in held and _covers(held[job.key], job) else job for job in plan.jobs]
    return replace(plan, jobs=tuple(jobs))


def _covers(larger: Job, job: Job) -> bool:
    return all(larger.counts.get(diagnosis, 0) >= count for diagnosis, count in job.counts.items())


def read_feeds(folder: Path) -> dict[str, str]:
    """Return key to the recorded feed ("memory" or "stream") of the jobs in `folder`; a job keeps its first feed."""
    return dict(_read_whole(folder / FEEDS, FEEDS_FILE, "Delete it: jobs that are not done yet are then fed anew."))


def record_feeds(folder: Path, plan: Plan) -> None:
    """Record the feeds of the jobs of `plan`."""
    write_whole(folder / FEEDS, json.dumps({**read_feeds(folder), **plan.feeds}, indent=1))


def commands(folder: Path) -> list[str]:
    """Return every command that asked something of the grid in `folder`, as far as they were recorded."""
    return list(_read_plan(folder).get("commands", []))


def folds_asked(folder: Path, store: Store) -> tuple[int, ...]:
    """Return every fold that was ever asked of the grid in `folder`.

    Raises:
        StudyError: the file plan.json cannot be read, or names a fold that `store` does not have.
    """
    return tuple(_read_plan(folder, store).get("folds", ()))


def declarations(folder: Path) -> list[tuple[Contrast, datetime]]:
    """Return every contrast that was ever declared, with the time of its declaration."""
    found = _read_plan(folder).get("declared", [])
    return [((*each["contrast"],), datetime.fromisoformat(each["at"])) for each in found]


def _joined_plan(plan: Plan, content: Mapping[str, Any]) -> Plan:
    names = {field.name for field in fields(Arm)}
    mine = {(job.key, job.arm, job.model): job for job in plan.jobs}
    jobs = [mine.get((job["key"], job["arm"], job["model"])) or job_from_json(job) for job in content["jobs"]]
    classifiers = plan.grid.classifiers
    selections = dict(plan.selections)
    for job in jobs:
        if job.experiment is not None and job.stage == "cell" and job.fold not in selections:
            whole = job.experiment.override({"task.melanomas": 1.0}).model_copy(update={"synthetic": None})
            selections[job.fold] = select(plan.store, whole)
    return replace(
        plan,
        selections=selections,
        grid=plan.grid.model_copy(
            update={
                "models": tuple(name for name in content["models"] if name in classifiers),
                "seeds": tuple(content["seeds"]),
            }
        ),
        folds=tuple(content["folds"]),
        arms=tuple(_arm({k: v for k, v in arm.items() if k in names}) for arm in content["arms"]),
        jobs=tuple(jobs),
        left_out=tuple((arm, model, reason) for arm, model, reason in content["left_out"]),
        declared=tuple((*each["contrast"],) for each in content["declared"]),
    )


def _arm(facts: Mapping[str, Any]) -> Arm:
    return Arm(**{**facts, "chosen_from": tuple(facts.get("chosen_from", ()))})


def _joined(known: Sequence[Any], new: Sequence[Any]) -> list[Any]:
    return list(dict.fromkeys([*known, *new]))


def _read_plan(folder: Path, store: Store | None = None) -> dict[str, Any]:
    """Return what plan.json records; where the store is given, its folds must be folds of that store."""
    remedy = "Restore it: it says what was declared before."
    found = _read_whole(folder / PLAN, PLAN_FILE, remedy)
    named = {*found.get("folds", []), *(job["fold"] for job in found.get("jobs", []))}
    if store is None or not named or max(named) < (count := store.folds().count):
        return found
    if found.get("manifest", store.manifest.fingerprint) != store.manifest.fingerprint:
        remedy = "It is of another store: name that one, or give the new grid a name of its own: --name NAME (make: NAME=…)."
    raise StudyError(
        f"{folder / PLAN} cannot be read (folds: it names fold {max(named)}, and the store has folds 0 … {count - 1})",
        remedy,
    )


def _read_whole(path: Path, shape: TypeAdapter[Any], remedy: str) -> dict[str, Any]:
    """Return the JSON of a file in the driver's folder; {} if there is none."""
    try:
        found: dict[str, Any] = json_of(path.read_text("utf-8"))
        reason = wrong(shape, found)
    except FileNotFoundError:
        return {}
    except ValueError as error:
        reason = str(error)
    if reason:
        raise StudyError(f"{path} cannot be read ({reason})", remedy)
    return found
