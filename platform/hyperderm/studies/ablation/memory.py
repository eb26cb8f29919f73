"""What a grid was ever asked: plan.json grows with every command, so that nothing declared is forgotten in a report.

Whoever asks for fewer arms, models, seeds or folds after having seen a report gets the same report again, with all that was
finished in it and all that was declared in Holm's family.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from hyperderm.durable import write_whole
from hyperderm.errors import StudyError
from hyperderm.strict import json_of
from hyperderm.studies.ablation.arms import Arm
from hyperderm.studies.ablation.job import Job, job_from_json, job_to_json
from hyperderm.studies.ablation.plan import Plan
from hyperderm.studies.ablation.results import GridFolder, result_of
from hyperderm.training.selection import select

PLAN, FEEDS = "plan.json", "feeds.json"
Contrast = tuple[str, str, str]


def remember(folder: Path, plan: Plan) -> Plan:
    """Write down what `plan` asks, and return it joined with everything that was asked in `folder` before.

    Raises:
        StudyError: a plan.json that cannot be read.
    """
    known = _read(folder)
    declared: list[dict[str, Any]] = known.get("declared", [])
    held = {tuple(each["contrast"]) for each in declared}
    at = datetime.now().astimezone().isoformat(timespec="seconds")
    declared += [{"contrast": list(each), "at": at} for each in plan.contrasts if each not in held]
    jobs = {(job["key"], job["arm"]): job for job in [*known.get("jobs", []), *map(job_to_json, plan.jobs)]}
    arms = {arm["name"]: arm for arm in known.get("arms", [])} | {arm.name: asdict(arm) for arm in plan.arms}
    content = {
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
    write_whole(folder / PLAN, json.dumps(content, indent=1))
    return _joined_plan(plan, content)


def with_larger_sets(grid: GridFolder, plan: Plan) -> Plan:
    """Return `plan` with each synthetic set replaced by a larger finished one of the same key: fewer ratios make none."""
    held: dict[str, Job] = {}
    for each in _read(grid.path).get("jobs", []):
        if each["stage"] == "synthetic":
            job = job_from_json(each)
            known = held.get(job.key)
            if (known is None or sum(job.counts.values()) > sum(known.counts.values())) and result_of(grid, job):
                held[job.key] = job
    jobs = [held[job.key] if job.key in held and _covers(held[job.key], job) else job for job in plan.jobs]
    return replace(plan, jobs=tuple(jobs))


def _covers(larger: Job, job: Job) -> bool:
    return all(larger.counts.get(diagnosis, 0) >= count for diagnosis, count in job.counts.items())


def known_feeds(folder: Path) -> dict[str, str]:
    """Return how jobs of the grid in `folder` were fed (key -> "memory" or "stream"); a job goes on as it began."""
    return dict(json_of((folder / FEEDS).read_text("utf-8"))) if (folder / FEEDS).exists() else {}


def remember_feeds(folder: Path, plan: Plan) -> None:
    """Write down how the jobs of `plan` are fed."""
    write_whole(folder / FEEDS, json.dumps({**known_feeds(folder), **plan.feeds}, indent=1))


def declarations(folder: Path) -> list[tuple[Contrast, datetime]]:
    """Return every contrast that was ever declared, with the time of its declaration."""
    found = _read(folder).get("declared", [])
    return [((*each["contrast"],), datetime.fromisoformat(each["at"])) for each in found]


def _joined_plan(plan: Plan, content: Mapping[str, Any]) -> Plan:
    names = {field.name for field in fields(Arm)}
    mine = {(job.key, job.arm): job for job in plan.jobs}
    jobs = [mine.get((job["key"], job["arm"])) or job_from_json(job) for job in content["jobs"]]
    classifiers = plan.grid.classifiers
    selections = dict(plan.selections)
    for job in jobs:
        if job.experiment is not None and job.stage == "cell" and job.fold not in selections:
            selections[job.fold] = select(plan.store, job.experiment.model_copy(update={"synthetic": None}))
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
        arms=tuple(Arm(**{k: v for k, v in arm.items() if k in names}) for arm in content["arms"]),
        jobs=tuple(jobs),
        left_out=tuple((arm, model, reason) for arm, model, reason in content["left_out"]),
        declared=tuple((*each["contrast"],) for each in content["declared"]),
    )


def _joined(known: Sequence[Any], new: Sequence[Any]) -> list[Any]:
    return list(dict.fromkeys([*known, *new]))


def _read(folder: Path) -> dict[str, Any]:
    path = folder / PLAN
    try:
        found: dict[str, Any] = json_of(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise StudyError(f"{path} cannot be read ({error})", "Restore it: it says what was declared before.") from error
    return found
