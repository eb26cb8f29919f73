"""A claimed grid: run what is left, then analyse and report whatever is done."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hyperderm.cli.ablating import REPORT_S, Asked, write_plan
from hyperderm.cli.setting import Setting
from hyperderm.cli.tracked import finish_tracking, open_tracker
from hyperderm.reports.grid_progress import GridProgress
from hyperderm.studies.ablation.estimate import estimate
from hyperderm.studies.ablation.plan import Plan
from hyperderm.studies.ablation.queue import Observer, Queue
from hyperderm.studies.ablation.results import RESULT, failure_of
from hyperderm.studies.cluster import connect, described
from hyperderm.tracking.figures import RealSet
from hyperderm.tracking.grid_tracker import GENERATORS, GridFacts, GridTracker
from hyperderm.tracking.provenance import provenance
from hyperderm.tracking.runs import Status
from hyperderm.training.data import cube_set

if TYPE_CHECKING:
    from hyperderm.reports.ablation.analysis_types import Analysis
    from hyperderm.reports.ablation.gather import Outcome

CLOSED = ".closed"
"""Marks a grid's folder once its report is in the journal."""


def run_claimed(setting: Setting, asked: Asked, plan: Plan, folder: Path, key: str) -> int:
    """Run what is left of the grid in `folder`, which this driver holds, and return the exit code."""
    facts = _facts(setting, plan, folder, key)
    plan_file = write_plan(folder, plan)
    left = [job for job in plan.jobs if not (folder / job.folder / RESULT).exists()]
    setting.say(f"grid {folder.name}: {len(plan.jobs) - len(left)} of {len(plan.jobs)} jobs done")
    for arm, model, reason in plan.left_out:
        setting.say(f"left out: {arm} with {model}: {reason}")
    if not left and (folder / CLOSED).exists():
        finish_tracking(setting, open_tracker(setting, plan.grid.name, folder), key)
        setting.say(f"nothing to do. The report: {folder / 'report' / 'report.html'}")
        return 0
    (folder / CLOSED).unlink(missing_ok=True)
    real = real_set(plan)
    with _tracking(setting, plan, folder, facts, plan_file, real) as tracker:
        queue = _run(setting, asked, plan, folder, facts, tracker) if left else Queue(folder, plan.jobs, [], _no_time)
        from hyperderm.reports.ablation.gather import conclude

        outcome = conclude(plan, folder, facts.tags, queue.failed, {job.key for job in queue.late}, real)
        if outcome:
            setting.console.print(outcome.table)
            for sentence in outcome.sentences:
                setting.say(sentence)
        _close(tracker, queue, outcome, plan)
    if not queue.interrupted and not queue.late:
        (folder / CLOSED).touch()
    return _say(setting, queue, outcome, folder)


def _run(setting: Setting, asked: Asked, plan: Plan, folder: Path, facts: GridFacts, tracker: GridTracker) -> Queue:
    setting.say(f"connecting to Ray at {setting.ray_address}" if setting.ray_address else "starting Ray")
    with connect(setting.ray_address) as cluster:
        from hyperderm.store.ray_reader import shared_store
        from hyperderm.studies.ablation.grid import measure_there, places, run_grid

        at_once = places(plan, cluster, folder)
        setting.say(f"{described(cluster)}, {at_once} jobs at a time; worker logs in {cluster.logs}")
        costs = estimate(plan, folder, measure_there(plan.grid.resources.cpus) if cluster.gpus else None)
        progress = GridProgress(setting.console, len(plan.jobs), len(costs.done), at_once)
        observers: list[Observer] = [tracker, progress]
        end = asked.end.timestamp() - REPORT_S if asked.end else None
        queue = Queue(folder, plan.jobs, observers, lambda job: costs.seconds[job.key], end)
        progress.watch(queue)
        with progress:
            run_grid(plan, queue, shared_store(plan.store), cluster, folder, {"run": facts.key, **facts.tags})
    return queue


@contextmanager
def _tracking(
    setting: Setting, plan: Plan, folder: Path, facts: GridFacts, plan_file: Path, real: RealSet
) -> Iterator[GridTracker]:
    """Open the grid's runs; deliver what is owed at the end, whatever that end is."""
    tracker = open_tracker(setting, plan.grid.name, folder)
    watched = GridTracker(tracker, facts, real)
    arms = {arm.name: arm.description for arm in plan.arms}
    if plan.stage("generator"):
        arms[GENERATORS] = "generators and their synthetic sets, one of each per fold"
    params = {"models": ", ".join(plan.grid.models), "folds": len(plan.folds), "seeds": len(plan.grid.seeds)}
    watched.open(params, arms, {"plan.json": json.loads(plan_file.read_text())})
    ended = [(job, failure_of(folder, job) or "") for job in plan.jobs if (folder / job.folder / RESULT).exists()]
    watched.catch_up(ended)
    try:
        yield watched
    except BaseException as error:
        watched.close("KILLED", {}, {}, f"{type(error).__name__}: {error}")
        raise
    finally:
        finish_tracking(setting, tracker, facts.key)


def _close(tracker: GridTracker, queue: Queue, outcome: "Outcome | None", plan: Plan) -> None:
    status: Status = "KILLED" if queue.interrupted else "FAILED" if queue.failed or outcome is None else "FINISHED"
    reasons = [f"{queue.jobs[key].label}: {reason}" for key, reason in queue.failed.items()]
    if queue.late:
        reasons.append(f"{len(queue.late)} jobs did not fit before --until")
    metrics: dict[str, Mapping[str, float]] = {}
    files: dict[str, list[Path]] = {}
    if outcome:
        metrics = arm_metrics(outcome.analysis)
        files = {"": [outcome.predictions], "report": sorted(outcome.folder.iterdir())}
    tracker.close(status, metrics, files, "; ".join(reasons))


def arm_metrics(analysis: "Analysis") -> dict[str, Mapping[str, float]]:
    """Return arm to its numbers, each under `<model>.<metric>`."""
    found: dict[str, dict[str, float]] = {}
    for result in analysis.arms:
        values = {f"{result.model}.{name}": e.value for name, e in result.metrics.items() if e.value is not None}
        found.setdefault(result.arm, {}).update(values)
    return dict(found)


def _say(setting: Setting, queue: Queue, outcome: "Outcome | None", folder: Path) -> int:
    for key, reason in queue.failed.items():
        setting.say(f"failed: {queue.jobs[key].label}: {reason}")
    if queue.late:
        setting.say(f"{len(queue.late)} jobs did not fit before --until; the same command goes on with them")
    if outcome:
        setting.say(f"report: {outcome.folder / 'report.html'}; every number comes from {outcome.predictions}")
    if queue.interrupted:
        setting.say("interrupted: the same command goes on where this one stood")
        return 130
    return 1 if queue.failed else 0


def _facts(setting: Setting, plan: Plan, folder: Path, key: str) -> GridFacts:
    tags = {
        **provenance(setting.root),
        "hyperderm.manifest": plan.store.manifest.fingerprint,
        "hyperderm.store": plan.store.location.uri,
        "hyperderm.profile": plan.grid.profile,
        "hyperderm.experiment": plan.grid.name,
    }
    return GridFacts(key, folder.name, folder, tags)


def real_set(plan: Plan) -> RealSet:
    """Return the validation cubes of the first fold, for pictures of generators."""
    cubes = cube_set(plan.store.read(plan.selections[plan.folds[0]].validation), plan.grid.size)
    reflectance = np.ascontiguousarray(cubes.reflectance.movedim(1, 3).numpy())
    name = "phantom" if plan.store.manifest.source.get("verb") == "phantom" else "real"
    return RealSet(reflectance, cubes.diagnoses, np.array(plan.store.manifest.wavelengths_nm), name)


def _no_time(job: object) -> float:
    return 0.0
