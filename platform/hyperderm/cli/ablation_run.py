"""A claimed grid: run what is left, then analyse and report whatever is done."""

import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hyperderm.cli.ablating import Asked, end_like_ctrl_c, without_schedule
from hyperderm.cli.setting import Setting
from hyperderm.cli.tracked import finish_tracking, open_tracker
from hyperderm.durable import write_whole
from hyperderm.reports.grid_progress import GridProgress
from hyperderm.reports.plan import at_a_time
from hyperderm.strict import fingerprint, json_of
from hyperderm.studies.ablation.estimate import estimate, report_s
from hyperderm.studies.ablation.memory import PLAN, remember, with_larger_sets
from hyperderm.studies.ablation.plan import Plan
from hyperderm.studies.ablation.queue import Observer, Queue
from hyperderm.studies.ablation.results import result_of
from hyperderm.studies.ablation.room import room
from hyperderm.studies.cluster import connect, described, workers_found
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
    plan = with_larger_sets(folder, plan)
    whole = remember(folder, plan)
    left = [job for job in plan.jobs if not result_of(folder, job)]
    setting.say(f"grid {folder.name}: {len(plan.jobs) - len(left)} of {len(plan.jobs)} jobs done")
    for arm, model, reason in plan.left_out:
        setting.say(f"left out: {arm} with {model}: {reason}")
    report = folder / "report" / "report.html"
    if not left and report.exists() and _closed(folder) == _state(folder, whole):
        finish_tracking(setting, open_tracker(setting, plan.grid.name, folder), key)
        setting.say(f"nothing to do. The report, of all that this grid was ever asked: {report}")
        return 0
    (folder / CLOSED).unlink(missing_ok=True)
    real = real_set(plan)
    with _tracking(setting, whole, folder, facts, real) as tracker:
        queue = _run(setting, asked, plan, folder, facts, tracker) if left else Queue(folder, plan.jobs, [], _no_time)
        from hyperderm.reports.ablation.gather import conclude

        late = {job.key for job in queue.late}
        outcome = conclude(whole, folder, facts.tags, queue.failed, late, real, _command())
        if outcome:
            setting.console.print(outcome.table)
            for sentence in outcome.sentences:
                setting.say(sentence)
        _close(tracker, queue, outcome)
    if not queue.interrupted and not queue.late and not queue.open and outcome:
        write_whole(folder / CLOSED, _state(folder, whole))
    return _say(setting, queue, outcome)


def _state(folder: Path, plan: Plan) -> str:
    """Return a digest of what a report is made of: results and declarations."""
    ended = {job.folder: str(result["ended"]) for job in plan.jobs if (result := result_of(folder, job))}
    return fingerprint([ended, plan.contrasts])


def _closed(folder: Path) -> str:
    return (folder / CLOSED).read_text("utf-8") if (folder / CLOSED).exists() else ""


def _command() -> str:
    """Return this command without what says when and how it runs."""
    return shlex.join(["hyperderm", *without_schedule(sys.argv[1:])])


def _run(setting: Setting, asked: Asked, plan: Plan, folder: Path, facts: GridFacts, tracker: GridTracker) -> Queue:
    setting.say(f"connecting to Ray at {setting.ray_address}" if setting.ray_address else "starting Ray")
    with connect(setting.ray_address) as cluster:
        from hyperderm.store.ray_reader import shared_store
        from hyperderm.studies.ablation.grid import measure_there, places, run_grid

        at_once = places(plan, cluster, folder)
        setting.say(f"{described(cluster)}, {at_a_time(at_once)}; worker logs in {cluster.logs}")
        if limit := room(plan, cluster).said:
            setting.say(limit)
        if setting.ray_address:
            setting.say(workers_found())
        costs = estimate(plan, folder, measure_there(plan.grid.resources.cpus) if cluster.gpus else None)
        progress = GridProgress(setting.console, len(plan.jobs), len(costs.done), max(at_once.values()))
        observers: list[Observer] = [tracker, progress]
        end = asked.end.timestamp() - report_s(plan) if asked.end else None
        queue = Queue(folder, plan.jobs, observers, lambda job: costs.seconds[job.key], end, at_once)
        progress.watch(queue)
        end_like_ctrl_c()  # Ray has put a handler of its own in its place
        with progress:
            run_grid(plan, queue, shared_store(plan.store), cluster, folder, {"run": facts.key, **facts.tags})
        end_like_ctrl_c()
    return queue


@contextmanager
def _tracking(setting: Setting, plan: Plan, folder: Path, facts: GridFacts, real: RealSet) -> Iterator[GridTracker]:
    """Open the grid's runs; deliver what is owed at the end, whatever that end is."""
    tracker = open_tracker(setting, plan.grid.name, folder)
    watched = GridTracker(tracker, facts, real)
    arms = {arm.name: arm.description for arm in plan.arms}
    if plan.stage("generator"):
        arms[GENERATORS] = "generators and their synthetic sets, one of each per fold"
    params = {"models": ", ".join(plan.grid.models), "folds": len(plan.folds), "seeds": len(plan.grid.seeds)}
    watched.open(params, arms, {PLAN: json_of((folder / PLAN).read_text("utf-8"))})
    watched.catch_up((job, "") for job in plan.jobs if result_of(folder, job))
    try:
        yield watched
    except BaseException as error:
        watched.close("KILLED", {}, {}, f"{type(error).__name__}: {error}")
        raise
    finally:
        finish_tracking(setting, tracker, facts.key)


def _close(tracker: GridTracker, queue: Queue, outcome: "Outcome | None") -> None:
    status: Status = (
        "KILLED" if queue.interrupted or queue.open else "FAILED" if queue.failed or outcome is None else "FINISHED"
    )
    reasons = [f"{queue.jobs[key].label}: {reason}" for key, reason in queue.failed.items()]
    reasons += [f"{queue.jobs[key].label} left open: {why}" for key, why in queue.open.items()]
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


def _say(setting: Setting, queue: Queue, outcome: "Outcome | None") -> int:
    for key, reason in queue.failed.items():
        setting.say(f"failed: {queue.jobs[key].label}: {reason}")
    for key, why in queue.open.items():
        setting.say(f"left open: {queue.jobs[key].label}: {why}")
    if queue.late:
        setting.say(f"{len(queue.late)} jobs did not fit before --until; the same command goes on with them")
    if outcome:
        setting.say(
            f"report: {outcome.folder / 'report.html'}; every number comes from {outcome.folder / outcome.predictions.name}"
        )
    if queue.interrupted:
        setting.say("interrupted: the same command goes on where this one stood")
        return 130
    if queue.trouble:
        setting.say(f"{queue.trouble} The same command goes on with what is left open.")
        return queue.trouble.exit_code
    if not outcome:
        setting.say("no report: not one comparison has finished cells in every arm")
        return 1
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
