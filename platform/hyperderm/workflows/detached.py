"""Start, inspect and stop grids without a terminal: a local session of its own, or a Ray job on a cluster."""

import json
import shlex
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hyperderm.durable import write_whole
from hyperderm.errors import StudyError
from hyperderm.reports.leaderboard import duration
from hyperderm.strict import json_of
from hyperderm.studies.ablation.estimate import kind_of
from hyperderm.studies.ablation.jobs import STAGES, Job
from hyperderm.studies.ablation.records import GridFolder, failure_of, has_begun, result_of, with_larger_sets
from hyperderm.tags import GRID_TAG
from hyperderm.training.holder import current_holder, terminate
from hyperderm.training.run_folder import PAGE, REPORT
from hyperderm.training.storage import open_storage
from hyperderm.workflows.grid_identity import check_identity
from hyperderm.workflows.handover import FILE, hand_over
from hyperderm.workflows.run_ablation import known_grid, prepare
from hyperderm.workflows.workspace import GridRequest, Workspace

if TYPE_CHECKING:
    from hyperderm.cluster.ray_jobs import JobSubmissionClient

LOG, JOB = "driver.log", "ray_job.json"
STOP_WAIT_S = "600"
"""Seconds that Ray waits between asking a job's driver to end and killing it, so that it can write the report."""
GOING, ENDED = ("PENDING", "RUNNING"), ("STOPPED", "SUCCEEDED", "FAILED")
STARTED_S = 30.0
"""Seconds for which a detached driver is watched, so that an error at its start is seen."""
STOPPED_S = 120.0
"""Seconds for which a driver that was told to end is watched."""


def detach(workspace: Workspace, asked: GridRequest) -> None:
    """Start the command with the arguments `words` without this terminal, prove that it runs, and print where its log is.

    Raises:
        StudyError: a driver already runs the grid. ClusterError: the cluster accepts no jobs.
    """
    open_storage(asked.storage)  # errors of the user are raised before the driver starts
    plan, folder = prepare(workspace, asked)
    if holder := current_holder(folder):
        raise StudyError(f"{folder.name} is being run by {holder}", "See --status, or end it with --stop.")
    check_identity(plan, folder)
    again = list(asked.words)
    for option, time_meant in (("--at", asked.begin), ("--until", asked.end)):
        again += [option, time_meant.isoformat()] if time_meant else []
    folder.parent.mkdir(parents=True, exist_ok=True)
    if workspace.ray_address:
        _submit(workspace, folder, again)
        return
    log = folder.parent / f"{folder.name}.{LOG}"
    with log.open("ab") as out:
        driver = subprocess.Popen(  # noqa: S603 - this program again, with its own words
            [sys.executable, "-m", "hyperderm", *again],
            stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
    deadline = time.monotonic() + STARTED_S
    while time.monotonic() < deadline and driver.poll() is None and not _begun(folder, driver.pid):
        time.sleep(0.1)
    if driver.poll() not in (None, 0):
        raise StudyError(f"the driver ended at once: {_last_line(log)}", f"See {log}.")
    workspace.say(
        f"process {driver.pid} runs {folder.name}; closing this terminal does not end it",
        f"log: {log}",
        "how far it is: the same command with --status in place of --detach; to stop it: --stop",
    )


def tell(workspace: Workspace, asked: GridRequest) -> None:
    """Print how far the grid has come."""
    plan, folder = prepare(workspace, asked)
    if not folder.exists():
        workspace.say(f"{folder.name} was never started")
        return
    check_identity(plan, folder)
    grid = known_grid(folder)
    plan = with_larger_sets(grid, plan)
    holder = current_holder(folder)
    workspace.say(f"{folder.name}: {f'running, {holder}' if holder else 'not running'}{_job_state(workspace, folder)}")
    for stage in STAGES:
        jobs = plan.stage(stage)
        done = [job for job in jobs if result_of(grid, job)]
        failed = [(job, reason) for job in jobs if (reason := failure_of(grid, job)) and job not in done]
        ended = {job.key for job in done} | {job.key for job, _ in failed}
        begun = [job for job in jobs if job.key not in ended and has_begun(grid, job)]
        if not jobs:
            continue
        left = _left(grid, jobs, done)
        workspace.say(f"  {stage}: {len(done)} of {len(jobs)} done, {len(begun)} begun, {len(failed)} failed; left: {left}")
        workspace.say(*(f"    {job.label}: {reason}" for job, reason in failed))
    report = folder / REPORT / PAGE
    if report.exists():
        workspace.say(f"  report of {time.strftime('%Y-%m-%d %H:%M', time.localtime(report.stat().st_mtime))}: {report}")


def _left(grid: GridFolder, jobs: Sequence[Job], done: Sequence[Job]) -> str:
    """Return how much work the open jobs of a stage are, one after the other, by the finished ones of their kind."""
    seconds, amounts = defaultdict[str, float](float), defaultdict[str, int](int)
    for job in done:
        seconds[_kind(job)] += float((result_of(grid, job) or {})["seconds"])
        amounts[_kind(job)] += _amount(job)
    ended = {job.key for job in done}
    todo = [job for job in jobs if job.key not in ended]
    unknown = [job for job in todo if _kind(job) not in amounts]
    known = [seconds[kind] / amounts[kind] * _amount(job) for job in todo if (kind := _kind(job)) in amounts]
    told = [f"{duration(sum(known))} of work"] if known or not todo else []
    if unknown:
        names = ", ".join(dict.fromkeys(job.model for job in unknown))
        told.append(f"{len(unknown)} job{'s' * (len(unknown) > 1)} of unknown length ({names})")
    return " and ".join(told)


def _kind(job: Job) -> str:
    """Return the name of the jobs that take equally long for an equal amount; the sets of folds differ in size."""
    return job.model if job.experiment is None else kind_of(job)


def _amount(job: Job) -> int:
    return sum(job.counts.values()) if job.experiment is None else 1


def stop(workspace: Workspace, asked: GridRequest) -> None:
    """End the driver in order, as Ctrl-C does; finished jobs stay finished.

    Raises:
        StudyError: the driver runs on another machine, or its process cannot be identified; no process is signalled.
    """
    _, folder = prepare(workspace, asked)
    holder = current_holder(folder)
    job, state = _job(workspace, folder)
    if state in GOING:
        _client(workspace).stop_job(job)
        workspace.say(f"Ray job {job} is asked to stop; it leaves a report of what is done")
        return
    if holder is None:
        workspace.say(f"{folder.name} is not running")
        return
    as_job = " It may be a Ray job: set RAY_ADDRESS as it was, and --stop ends it from here."
    terminate(folder, holder, as_job if _job_file(folder).exists() and not workspace.ray_address else "")
    deadline = time.monotonic() + STOPPED_S
    while current_holder(folder) == holder and time.monotonic() < deadline:
        time.sleep(0.2)
    workspace.say(f"{folder.name} has stopped" if current_holder(folder) != holder else f"{holder} is still ending")


def _job_file(folder: Path) -> Path:
    """Return the file with the id of the Ray job; it lies beside the grid's folder, which only a driver may create."""
    return folder.with_name(f"{folder.name}.{JOB}")


def _begun(folder: Path, pid: int) -> bool:
    """Return whether process `pid` of this machine runs the grid."""
    holder = current_holder(folder)
    return holder is not None and holder.here and holder.pid == pid


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "no output"


def _client(workspace: Workspace) -> "JobSubmissionClient":
    from hyperderm.cluster.ray_jobs import job_client

    return job_client(workspace.ray_address)


def _submit(workspace: Workspace, folder: Path, words: Sequence[str]) -> None:
    from hyperderm.cluster.ray_jobs import submit

    client = _client(workspace)
    given = hand_over(folder, workspace.tracking_uri)
    command = shlex.join(["env", "-C", str(Path.cwd()), sys.executable, "-m", "hyperderm", *words])
    shown = {FILE: str(given), "RAY_JOB_STOP_WAIT_TIME_S": STOP_WAIT_S}  # readable for every user
    try:
        job = submit(client, command, shown, {GRID_TAG: folder.name})
    except BaseException:
        given.unlink(missing_ok=True)
        raise
    write_whole(_job_file(folder), json.dumps({"job": job, "given": given.name}))
    workspace.say(f"Ray job {job} runs {folder.name}; log: ray job logs {job}")


def _job(workspace: Workspace, folder: Path) -> tuple[str, str]:
    """Return the id and the state of the grid's last Ray job; both are empty if there is none."""
    if not _job_file(folder).exists() or not workspace.ray_address:
        return "", ""
    known = json_of(_job_file(folder).read_text("utf-8"))
    job = str(known["job"])
    try:
        state = str(_client(workspace).get_job_status(job).value)
    except RuntimeError:  # the cluster was started anew since
        state = "unknown to this cluster"
    if state in ENDED and known.get("given"):  # it ended before it read the file
        folder.with_name(str(known["given"])).unlink(missing_ok=True)
    return job, state


def _job_state(workspace: Workspace, folder: Path) -> str:
    job, state = _job(workspace, folder)
    return f"; Ray job {job}: {state}" if job else ""
