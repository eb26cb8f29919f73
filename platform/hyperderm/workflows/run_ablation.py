"""Run one ablation grid: plan it, run its jobs until they have ended, then analyse and report."""

import json
import shlex
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from hyperderm.cluster.observer import Observers
from hyperderm.cluster.session import connect, described, this_machine, workers_found
from hyperderm.durable import write_whole
from hyperderm.errors import ConfigError
from hyperderm.grid_config import Ablation
from hyperderm.reports.plan import at_a_time, print_plan
from hyperderm.reports.progress import ProgressLine
from hyperderm.reports.run_notes import Compared, grid_note
from hyperderm.store.reader import open_store
from hyperderm.strict import fingerprint, json_of
from hyperderm.studies.ablation.estimate import capacity, estimate, report_s, with_feeds
from hyperderm.studies.ablation.jobs import GENERATORS
from hyperderm.studies.ablation.jobs import Job as GridJob
from hyperderm.studies.ablation.outlook import check_answerable, curve_sentence
from hyperderm.studies.ablation.plan import Plan, make_plan
from hyperderm.studies.ablation.queue import JobQueue
from hyperderm.studies.ablation.records import (
    GridFolder,
    commands,
    folds_asked,
    read_feeds,
    record_feeds,
    record_plan,
    result_of,
    with_larger_sets,
)
from hyperderm.tags import EXPERIMENT_TAG, MANIFEST_TAG, PROFILE_TAG, STORAGE_TAG, STORE_TAG
from hyperderm.tracking.datasets import DataSet, role_of_store, synthetic_set
from hyperderm.tracking.figures import RealSet
from hyperderm.tracking.provenance import provenance
from hyperderm.tracking.runs import Status
from hyperderm.tracking.server import check_server, redacted
from hyperderm.tracking.study_tracker import StudyFacts, StudyTracker
from hyperderm.training.run_folder import CLOSED, PAGE, PLAN, REPORT, claim, run_folder
from hyperderm.training.selection import select
from hyperderm.training.storage import claim_prefix, open_storage, recorded, storage_named, storage_of_run
from hyperderm.workflows.find_store import find_store
from hyperderm.workflows.first_description import describe_first
from hyperderm.workflows.grid_identity import check_identity, identity
from hyperderm.workflows.grid_power import power_of, powered
from hyperderm.workflows.run_tracking import finish_tracking, open_tracker, real_set
from hyperderm.workflows.workspace import Ended, GridRequest, Workspace

if TYPE_CHECKING:
    from hyperderm.reports.ablation.gather import Outcome
    from hyperderm.statistics.ablation_results import Analysis
    from hyperderm.store.reader import Store


def prepare(workspace: Workspace, asked: GridRequest) -> "tuple[Plan, Path]":
    """Return the plan on the requested store, and the folder of the grid.

    Raises:
        HyperdermError: an error that the user can correct.
    """
    opened = find_store(workspace, asked.store, asked.data, max(64, asked.grid.size))
    check_weights(asked.grid, len(opened.manifest.wavelengths_nm))
    folder = run_folder(workspace.runs(asked.runs), asked.name, default_name(asked.grid, opened))
    grid = asked.grid if asked.power is None else powered(workspace, asked, opened, folder)
    plan = make_plan(grid, opened, asked.generators)
    check_answerable(plan, folds_asked(folder, opened))
    return plan, folder


def check_weights(grid: Ablation, bands: int) -> None:
    """Prove that every network of the grid is known and that its weights are on this machine.

    Raises:
        ConfigError: the message names the first model without them, and the remedy, which leaves out all such models.
    """
    errors: dict[str, ConfigError] = {}
    for name in grid.models:
        try:
            if model := grid.classifiers.get(name):
                model.learner.weights_sha256(bands)
        except ConfigError as error:
            errors[name] = error
    if not errors:
        return
    name, first = next(iter(errors.items()))
    left = json.dumps([each for each in grid.models if each not in errors], separators=(",", ":"))
    without = "it" if len(errors) == 1 else ", ".join(errors)
    way = f" Without {without}: --set 'models={left}' (make: SET='models={left}')." if left != "[]" else ""
    raise ConfigError(f"model {name}: {first.what}", f"{first.remedy}{way}")


def default_name(grid: Ablation, store: "Store") -> str:
    """Return the default name: ablation + grid + profile + first digits of the manifest's fingerprint."""
    profile = "" if grid.profile == "full" else f"-{grid.profile}"
    return f"ablation-{grid.name}{profile}-{store.name}"


def show_plan(workspace: Workspace, asked: GridRequest) -> Plan:
    """Print the plan and return it, without starting anything that lasts."""
    open_storage(asked.storage)
    plan, folder = prepare(workspace, asked)
    check_identity(plan, folder)
    power = power_of(workspace, asked, plan, folder)
    with connect(workspace.ray_address) if workspace.ray_address else nullcontext(this_machine()) as cluster:
        plan = with_feeds(plan, cluster, read_feeds(folder))
        there = None
        if workspace.ray_address and cluster.gpus:
            from hyperderm.studies.ablation.grid import measure_there

            there = measure_there(plan.grid.resources.cpus)
        workspace.say(f"measuring step times {'on the cluster' if there else 'on this machine'}")
        costs = estimate(plan, known_grid(folder), there)
        print_plan(workspace.console, plan, costs, cluster, asked.end, asked.begin, power)
        if few := curve_sentence(plan):
            workspace.say(few)
    return plan


def run(workspace: Workspace, asked: GridRequest) -> Ended:
    """Run or continue the grid, report, and return how it ended.

    Raises:
        HyperdermError: an error that the user can correct; raised before any process starts.
    """
    check_server(workspace.tracking_uri, say=workspace.say)
    bucket = open_storage(asked.storage)
    plan, folder = prepare(workspace, asked)
    check_identity(plan, folder)
    with claim(folder, identity(plan) | recorded(bucket), grows=True) as key:
        grid = GridFolder(folder, storage_of_run(bucket, folder))
        claim_prefix(grid.storage, folder, key)
        _wait(workspace, asked.begin)
        return Ended(run_claimed(workspace, asked, plan, grid, key), folder)


def _wait(workspace: Workspace, begin: datetime | None) -> None:
    if begin is None:
        return
    workspace.say(f"starting at {begin:%Y-%m-%d %H:%M}; Ctrl-C gives up")
    while (left := begin.timestamp() - time.time()) > 0:
        time.sleep(min(left, 30.0))


def known_grid(folder: Path) -> GridFolder:
    """Return the places of a grid that may have run before, for commands that only inspect it.

    Raises:
        StoreError: the storage of the grid is not there.
    """
    return GridFolder(folder, storage_of_run(open_storage(storage_named(folder)), folder))


def run_claimed(workspace: Workspace, asked: GridRequest, plan: Plan, grid: GridFolder, key: str) -> int:
    """Run the remaining jobs of the grid, whose folder this driver holds, and return the exit code."""
    folder = grid.path
    facts = _facts(workspace, plan, grid, key)
    plan = with_larger_sets(grid, plan)
    command = shlex.join(["hyperderm", *map(redacted, asked.words)])
    whole = record_plan(folder, plan, command)
    left = [job for job in plan.jobs if not result_of(grid, job)]
    workspace.say(
        f"grid {folder.name}: {len(plan.jobs) - len(left)} of {len(plan.jobs)} jobs done",
        *(f"left out: {arm} with {model}: {reason}" for arm, model, reason in plan.left_out),
    )
    report = folder / REPORT / PAGE
    if not left and report.exists() and _closed(folder) == _state(grid, whole):
        finish_tracking(workspace, open_tracker(workspace, plan.grid.name, folder), key)
        workspace.say(
            f"nothing to do. The report, of all that this grid was ever asked: {report}",
            "(delete its folder, and this command computes it anew)",
        )
        return 0
    (folder / CLOSED).unlink(missing_ok=True)
    real = real_set(plan.store, plan.selections[plan.folds[0]].validation, plan.grid.size)
    note = partial(grid_note, _compared(whole, command))
    with _tracking(workspace, whole, grid, facts, real) as tracker:
        tracker.describe(note())
        queue = _run(workspace, asked, plan, grid, facts, tracker) if left else JobQueue(grid, plan.jobs, Observers())
        from hyperderm.reports.ablation.gather import conclude

        late = {job.key for job in queue.late}
        outcome = conclude(whole, grid, facts.tags, queue.failed, late, real, commands(folder))
        if outcome:
            workspace.console.print(outcome.table)
            workspace.say(*(f"{question} {' '.join(said)}" for question, said in outcome.lines))
            tracker.describe(note(outcome.sentences))
        _close(tracker, queue, outcome)
    if not queue.interrupted and not queue.late and not queue.open and outcome:
        write_whole(folder / CLOSED, _state(grid, whole))
    return _say(workspace, queue, outcome)


def _state(grid: GridFolder, plan: Plan) -> str:
    """Return a digest of the input of a report: the results and the declarations."""
    ended = {job.folder: str(result["ended"]) for job in plan.jobs if (result := result_of(grid, job))}
    return fingerprint([ended, plan.contrasts])


def _closed(folder: Path) -> str:
    return (folder / CLOSED).read_text("utf-8") if (folder / CLOSED).exists() else ""


def _run(
    workspace: Workspace, asked: GridRequest, plan: Plan, grid: GridFolder, facts: StudyFacts, tracker: StudyTracker
) -> JobQueue:
    workspace.say(f"connecting to Ray at {workspace.ray_address}" if workspace.ray_address else "starting Ray")
    with connect(workspace.ray_address) as cluster:
        from hyperderm.cluster.shared_store import shared_store
        from hyperderm.studies.ablation.grid import jobs_at_once, measure_there, run_grid

        plan = with_feeds(plan, cluster, read_feeds(grid.path))
        record_feeds(grid.path, plan)
        at_once, taken = jobs_at_once(plan, cluster, grid), capacity(plan, cluster)
        workspace.say(f"{described(cluster)}, {at_a_time(at_once)}; worker logs in {cluster.logs}")
        if streamed := sum(feed == "stream" for feed in plan.feeds.values()):
            workspace.say(f"the train roles of {streamed} jobs are streamed; each keeps CPUs for reading while it runs")
        if taken.said:
            workspace.say(taken.said)
        if workspace.ray_address:
            workspace.say(workers_found())
        costs = estimate(plan, grid, measure_there(plan.grid.resources.cpus) if cluster.gpus else None)
        end = asked.end.timestamp() - report_s(plan) if asked.end else None
        observers = Observers([tracker])
        queue = JobQueue(grid, plan.jobs, observers, lambda job: costs.seconds[job.key], end, at_once)
        side_by_side = max(at_once.values())
        progress = ProgressLine(
            workspace.console,
            "ablation",
            len(plan.jobs),
            unit="jobs",
            done=len(costs.done),
            quiet=("cell",),
            seconds_left=lambda: sum(map(queue.seconds, queue.waiting)) / side_by_side,
        )
        observers.add(progress)
        with progress:
            store = shared_store(plan.store) if taken.shares else plan.store
            run_grid(plan, queue, store, cluster, grid, {"run": facts.key, **facts.tags})
    return queue


@contextmanager
def _tracking(
    workspace: Workspace, plan: Plan, grid: GridFolder, facts: StudyFacts, real: RealSet
) -> Iterator[StudyTracker]:
    """Open the runs of the grid, and deliver all undelivered entries at the end, however the grid ends."""
    folder = grid.path
    tracker = open_tracker(workspace, plan.grid.name, folder)
    watched = StudyTracker(tracker, facts, real, partial(_data_of, plan, grid))
    arms = {arm.name: arm.description for arm in plan.arms}
    if plan.stage("generator"):
        arms[GENERATORS] = "generators and their synthetic sets, one of each per fold"
    params = {"models": ", ".join(plan.grid.models), "folds": len(plan.folds), "seeds": len(plan.grid.seeds)}
    watched.open(params, {PLAN: json_of((folder / PLAN).read_text("utf-8"))}, arms)
    describe_first(workspace, watched, tracker, facts, plan.store)
    watched.catch_up((job, "finished", "") for job in plan.jobs if result_of(grid, job))
    try:
        yield watched
    except BaseException as error:
        watched.close("KILLED", reason=f"{type(error).__name__}: {error}")
        raise
    finally:
        finish_tracking(workspace, tracker, facts.key)


def _compared(plan: Plan, command: str) -> Compared:
    grid = plan.grid
    return Compared(
        grid=f"`{grid.name}` (profile {grid.profile})",
        arms={arm.name: arm.description for arm in plan.arms},
        cells=len(plan.stage("cell")),
        folds=len(plan.folds),
        seeds=len(grid.seeds),
        models=grid.models,
        store=plan.store.location.uri,
        fingerprint=plan.store.manifest.fingerprint,
        command=command,
    )


def _data_of(plan: Plan, grid: GridFolder, job: GridJob) -> list[DataSet]:
    """Return the data sets of a job: roles of its fold, and for a cell the synthetic set that its cubes are from."""
    roles = plan.selections[job.fold]
    if job.experiment is not None and job.experiment.task is not None and job.experiment.task.melanomas < 1:
        roles = select(plan.store, job.experiment)
    found = [role_of_store(plan.store, job.fold, "train", len(roles.train))]
    found.append(role_of_store(plan.store, job.fold, "validation", len(roles.validation)))
    if job.stage == "cell":
        found.append(role_of_store(plan.store, job.fold, "test"))
        places = [job.store] if job.store else [place for need in job.needs for place in grid.sets(need)][-1:]
        found += [synthetic_set(open_store(place, verify=False)) for place in places]
    return found


def _close(tracker: StudyTracker, queue: JobQueue, outcome: "Outcome | None") -> None:
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
        files = {"": [outcome.predictions], REPORT: sorted(outcome.folder.iterdir())}
    tracker.close(status, metrics=metrics, files=files, reason="; ".join(reasons))


def arm_metrics(analysis: "Analysis") -> dict[str, Mapping[str, float]]:
    """Return arm to its metrics, each named `<model>.<metric>`."""
    found: dict[str, dict[str, float]] = {}
    for result in analysis.arms:
        values = {f"{result.model}.{name}": e.value for name, e in result.metrics.items() if e.value is not None}
        found.setdefault(result.arm, {}).update(values)
    return dict(found)


def _say(workspace: Workspace, queue: JobQueue, outcome: "Outcome | None") -> int:
    workspace.say(
        *(f"failed: {queue.jobs[key].label}: {reason}" for key, reason in queue.failed.items()),
        *(f"left open: {queue.jobs[key].label}: {why}" for key, why in queue.open.items()),
    )
    if queue.late:
        workspace.say(f"{len(queue.late)} jobs did not fit before --until; the same command goes on with them")
    if outcome:
        workspace.say(
            f"report: {outcome.folder / PAGE}; every number comes from {outcome.folder / outcome.predictions.name}"
        )
    if queue.interrupted:
        workspace.say("interrupted: the same command goes on where this one stood")
        return 130
    if queue.trouble:
        workspace.say(f"{queue.trouble} The same command goes on with what is left open.")
        return queue.trouble.exit_code
    if not outcome:
        workspace.say("no report: not one comparison has finished cells in every arm")
        return 1
    return 1 if queue.failed else 0


def _facts(workspace: Workspace, plan: Plan, grid: GridFolder, key: str) -> StudyFacts:
    tags = {
        **provenance(workspace.root),
        MANIFEST_TAG: plan.store.manifest.fingerprint,
        STORE_TAG: plan.store.location.uri,
        PROFILE_TAG: plan.grid.profile,
        EXPERIMENT_TAG: plan.grid.name,
    }
    if grid.storage:
        tags[STORAGE_TAG] = grid.storage.uri
    return StudyFacts(key, grid.name, grid.path, tags, grid.storage)
