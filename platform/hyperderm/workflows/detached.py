"""Grids without a terminal: start one, look at it, stop it. Locally a session of its own, on a cluster a Ray job."""

import fcntl
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from hyperderm.durable import write_whole
from hyperderm.errors import ClusterError, StudyError
from hyperderm.reports.leaderboard import duration
from hyperderm.strict import json_of
from hyperderm.studies.ablation.job import STAGES
from hyperderm.studies.ablation.results import failure_of, result_of, was_begun
from hyperderm.workflows.run_ablation import known_grid, prepare, without_schedule
from hyperderm.workflows.workspace import GridRequest, Setting

LOG, JOB = "driver.log", "ray_job.json"
STOP_WAIT_S = "600"
"""How long Ray waits between asking a job's driver to end and killing it: trials wind up, the report is written."""
GOING = ("PENDING", "RUNNING")
STARTED_S = 30.0
"""How long a detached driver is watched, so that an error at its start is seen."""


def detach(setting: Setting, asked: GridRequest) -> int:
    """Start the same command without this terminal, prove that it runs, and say where its log is.

    Raises:
        StudyError: a driver holds the grid already; ClusterError: the cluster takes no jobs.
    """
    _, folder = prepare(setting, asked)  # everything that may be refused is refused here
    if holder := _holder(folder):
        raise StudyError(f"{folder.name} is being run by process {holder}", "See --status, or end it with --stop.")
    words = without_schedule(sys.argv[1:])
    for option, time_meant in (("--at", asked.begin), ("--until", asked.end)):
        words += [option, time_meant.isoformat()] if time_meant else []
    folder.parent.mkdir(parents=True, exist_ok=True)
    if setting.ray_address:
        return _submit(setting, folder, words)
    log = folder.parent / f"{folder.name}.{LOG}"
    with log.open("ab") as out:
        driver = subprocess.Popen(  # noqa: S603 - this program again, with its own words
            [sys.executable, "-m", "hyperderm", *words],
            stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
    deadline = time.monotonic() + STARTED_S
    while time.monotonic() < deadline and driver.poll() is None and not _holds(folder, driver.pid):
        time.sleep(0.1)
    if driver.poll() not in (None, 0):
        raise StudyError(f"the driver ended at once: {_last_line(log)}", f"See {log}.")
    setting.say(f"process {driver.pid} runs {folder.name}; closing this terminal does not end it")
    setting.say(f"log: {log}")
    setting.say("how far it is: the same command with --status in place of --detach; to stop it: --stop")
    return 0


def tell(setting: Setting, asked: GridRequest) -> int:
    """Print how far the grid is."""
    plan, folder = prepare(setting, asked)
    if not folder.exists():
        setting.say(f"{folder.name} was never started")
        return 0
    grid = known_grid(folder)
    holder = _holder(folder)
    setting.say(f"{folder.name}: {f'running, process {holder}' if holder else 'not running'}{_job_state(setting, folder)}")
    for stage in STAGES:
        jobs = plan.stage(stage)
        done = [job for job in jobs if result_of(grid, job)]
        failed = [(job, reason) for job in jobs if (reason := failure_of(grid, job)) and job not in done]
        ended = {job.key for job in done} | {job.key for job, _ in failed}
        begun = [job for job in jobs if job.key not in ended and was_begun(grid, job)]
        if not jobs:
            continue
        seconds = [float((result_of(grid, job) or {})["seconds"]) for job in done]
        left = duration(sum(seconds) / len(seconds) * (len(jobs) - len(done))) if seconds else "unknown"
        setting.say(f"  {stage}: {len(done)} of {len(jobs)} done, {len(begun)} begun, {len(failed)} failed; left: {left}")
        for job, reason in failed:
            setting.say(f"    {job.label}: {reason}")
    report = folder / "report" / "report.html"
    if report.exists():
        setting.say(f"  report of {time.strftime('%Y-%m-%d %H:%M', time.localtime(report.stat().st_mtime))}: {report}")
    return 0


def stop(setting: Setting, asked: GridRequest) -> int:
    """End the driver in order, as Ctrl-C does; what is done stays done."""
    _, folder = prepare(setting, asked)
    holder = _holder(folder)
    job, state = _job(setting, folder)
    if state in GOING:
        _client(setting).stop_job(job)
        setting.say(f"Ray job {job} is asked to stop; it leaves a report of what is done")
        return 0
    if not holder:
        setting.say(f"{folder.name} is not running")
        return 0
    os.kill(int(holder), signal.SIGTERM)
    deadline = time.monotonic() + 120
    while _holder(folder) == holder and time.monotonic() < deadline:
        time.sleep(0.2)
    setting.say(f"{folder.name} has stopped" if _holder(folder) != holder else f"process {holder} is still ending")
    return 0


def _holder(folder: Path) -> str:
    """Return the process that holds the grid's lock, "" where nobody does."""
    lock = folder / ".lock"
    if not lock.exists():
        return ""
    with lock.open("r+") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return held.read().strip()
    return ""


def _job_file(folder: Path) -> Path:
    """Return where the Ray job's id is kept: beside the grid's folder, which only a driver may make."""
    return folder.with_name(f"{folder.name}.{JOB}")


def _holds(folder: Path, pid: int) -> bool:
    """Return whether process `pid` wrote itself into the grid's lock; the lock itself is not touched, it may be wanted."""
    lock = folder / ".lock"
    return lock.exists() and lock.read_text("utf-8").strip() == str(pid)


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "no output"


def _client(setting: Setting):  # type: ignore[no-untyped-def]  # noqa: ANN202 - Ray's client is imported late
    from ray.job_submission import JobSubmissionClient

    from hyperderm.cluster.session import dashboard_address

    address = dashboard_address(setting.ray_address)
    try:
        return JobSubmissionClient(address)
    except (ConnectionError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ClusterError(
            f"the Ray cluster takes no jobs at {address} ({reason})",
            "Start its head with the dashboard (ray[default]), or run without --detach in a terminal multiplexer.",
        ) from None


def _submit(setting: Setting, folder: Path, words: list[str]) -> int:
    client = _client(setting)
    job = _patiently(
        client.submit_job,
        entrypoint=shlex.join(["env", "-C", str(Path.cwd()), sys.executable, "-m", "hyperderm", *words]),
        runtime_env={"env_vars": {"MLFLOW_TRACKING_URI": setting.tracking_uri, "RAY_JOB_STOP_WAIT_TIME_S": STOP_WAIT_S}},
        metadata={"hyperderm.grid": folder.name},
    )
    write_whole(_job_file(folder), json.dumps({"job": job}))
    setting.say(f"Ray job {job} runs {folder.name}; log: ray job logs {job}")
    return 0


def _patiently(submit: Callable[..., str], **job: object) -> str:
    """Submit, and again while a young cluster answers that none of its agents is ready.

    Raises:
        ClusterError: it still says so after a while.
    """
    deadline = time.monotonic() + STARTED_S
    while True:
        try:
            return submit(**job)
        except RuntimeError as error:
            if time.monotonic() > deadline:
                reason = str(error).strip().splitlines()[0]
                raise ClusterError(f"the Ray cluster does not take the job ({reason})", "See `ray status`.") from None
            time.sleep(2)


def _job(setting: Setting, folder: Path) -> tuple[str, str]:
    """Return id and state of the grid's last Ray job; both empty where there is none."""
    if not _job_file(folder).exists() or not setting.ray_address:
        return "", ""
    job = str(json_of(_job_file(folder).read_text("utf-8"))["job"])
    try:
        return job, str(_client(setting).get_job_status(job).value)
    except RuntimeError:  # the cluster was started anew since
        return job, "unknown to this cluster"


def _job_state(setting: Setting, folder: Path) -> str:
    job, state = _job(setting, folder)
    return f"; Ray job {job}: {state}" if job else ""
