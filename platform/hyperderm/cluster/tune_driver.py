"""The single driver of all work on Ray Tune: the trials of a sweep and the jobs of a grid.

A `Study` makes all decisions. It lives in the driver, and its own files survive the driver. Tune only runs the jobs that it
gets; the searcher, scheduler and callback are short classes that pass Tune's calls on to the study.
"""

import pickle
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

from ray import tune
from ray.tune import Callback
from ray.tune.execution import class_cache
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher
from ray.tune.stopper import Stopper

from hyperderm.cluster.leave_word import Process, tell_to_leave
from hyperderm.cluster.node_watch import NodeWatch
from hyperderm.cluster.session import Cluster
from hyperderm.cluster.start_watch import StartWatch
from hyperderm.cluster.study import J, Study
from hyperderm.cluster.trial import KEY, PARTS, RESOURCES, Perform, Trial
from hyperderm.errors import HyperdermError, MachineTrouble, OutOfMemory, StudyError, WorkerLost
from hyperderm.store.location import Location, waited
from hyperderm.training.in_parts import HALVES
from hyperderm.trouble import reason_of, said_by, trouble_of

KEYS = frozenset({"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SECURITY_TOKEN", "AWS_SESSION_TOKEN"})
"""Variables with S3 keys."""
LEAVE_S = 20.0
"""Seconds that a driver waits for its trials to save their state; batch systems usually give 30."""


def drive(
    study: Study[J],
    config: Callable[[J], dict[str, Any]],
    perform: Perform,
    shared: object,
    cluster: Cluster,
    folder: Path,
    *,
    jobs: int,
    at_once: int,
    max_failures: int,
    storage: Location | None = None,
) -> None:
    """Run jobs until `study` has no more; after an interrupt (Ctrl-C, SIGTERM), open jobs can be resumed.

    Args:
        study: the study that makes the decisions.
        config: turns a job into the configuration of its trial, with the fields `KEY` and `RESOURCES`; Tune shows it, so it
            holds no S3 settings.
        perform: the function that performs the trial of a configuration.
        shared: the data that all trials read by reference.
        cluster: the cluster that runs the trials.
        folder: the folder of the study, on the driver's disk; Tune keeps its records there.
        jobs: largest number of jobs that are left.
        at_once: number of jobs that run at the same time.
        max_failures: how often a job is started again after its process or node died.
        storage: access to the S3 places in configurations; None: these places are folders.

    Raises:
        StudyError: Tune itself failed; MachineTrouble: trouble of the machine stopped the driver. Trouble that stopped jobs
            is in `study.trouble`.
    """
    if jobs <= 0:
        return
    keep_keys()
    trainable = tune.with_parameters(Trial, perform=perform, shared=shared, storage=storage)
    with interruptible(study) as stopper:
        tuner = tune.Tuner(
            tune.with_resources(trainable, lambda config: config[RESOURCES].resources()),
            tune_config=tune.TuneConfig(
                search_alg=StudySearcher(study, config),
                scheduler=StudyScheduler(study),
                num_samples=jobs,
                max_concurrent_trials=at_once,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name=time.strftime("%Y%m%d-%H%M%S"),
                # On the driver's disk even where trials write to S3: Tune's trials persist nothing, and its records pickle
                # whatever file system it is given, access key included.
                storage_path=str(folder.absolute() / "tune"),
                failure_config=tune.FailureConfig(max_failures=max_failures),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # the loop writes its own
                callbacks=[
                    StudyCallback(study, stopper, cluster.logs),
                    NodeWatch(study.tell, at_once),
                    StartWatch(lambda trial, said: study.note(trial.config[KEY], said), cluster.logs),
                ],
                stop=stopper,
                verbose=0,
            ),
        )
        with tune_errors(cluster):
            try:
                tuner.fit()
            except Exception:
                if study.handed or not study.over:
                    raise
                # Every job has ended: only Tune's own summary failed, as it does on a full disk. The study knows better.
            finally:
                study.leave_open()


def keep_keys() -> None:
    """Keep Tune from putting S3 keys into the trials' environment, which Ray shows in `ps` and on its dashboard.

    Workers are given them in `storage`.
    """
    class_cache.ENV_VARS_TO_PROPAGATE.difference_update(KEYS)


@contextmanager
def tune_errors(cluster: Cluster) -> Iterator[None]:
    """Turn Tune's errors into trouble of the machine, or into a StudyError that names the place of the logs."""
    try:
        yield
    except HyperdermError:
        raise
    except Exception as error:
        if trouble := trouble_of(error):
            raise trouble from error
        raise StudyError(f"Ray Tune stopped: {type(error).__name__}: {reason_of(error)}", f"See {cluster.logs}.") from error


class Interrupt(Stopper):
    """A stopper that ends Tune's work once the study is interrupted, and first lets running trials save their state.

    Trials that train save it between two steps. `LEAVE_S` seconds are waited for them, no more.
    """

    def __init__(self, study: Study[Any]) -> None:
        self._study = study
        self._running: dict[str, Process] = {}
        self._deadline: float | None = None

    def __reduce__(self) -> tuple[type[object], tuple[()]]:
        """Pickle to nothing: Tune saves its stoppers only for its own restore, which is not used."""
        return object, ()

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Return False: no trial is stopped by itself here."""
        return False

    def trains(self, trial: TuneTrial, result: Mapping[str, Any]) -> None:
        """Note after a report where a trial trains."""
        self._running[trial.trial_id] = result["node_ip"], result["pid"]

    def ended(self, trial: TuneTrial) -> None:
        """Note that a trial has ended, or that its process has."""
        self._running.pop(trial.trial_id, None)

    def stop_all(self) -> bool:
        """Return whether Tune ends now; the first call after an interrupt tells the trials to save their state."""
        if not self._study.interrupted:
            return False
        if self._deadline is None:
            self._deadline = time.monotonic() + LEAVE_S
            if self._running:
                self._study.observer.told("running trials save their state first; a second Ctrl-C ends at once")
            tell_to_leave(self._running.values())
        return not self._running or time.monotonic() > self._deadline


@contextmanager
def interruptible(study: Study[Any]) -> Iterator[Interrupt]:
    """Turn the first SIGINT or SIGTERM into an orderly end, and a second one into KeyboardInterrupt."""

    def handle(number: int, frame: FrameType | None) -> None:
        if study.interrupted:
            raise KeyboardInterrupt
        study.interrupted = True  # nothing else: a file of the study may be in the middle of a write

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield Interrupt(study)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class StudySearcher(Searcher):
    """A searcher that gives the study's jobs to Tune. It holds no S3 key, because Tune pickles it to a file."""

    def __init__(self, study: Study[J], config: Callable[[J], dict[str, Any]]) -> None:
        super().__init__(metric="images", mode="max")  # the study knows the objective; Tune wants one
        self._study, self._config = study, config

    def __reduce__(self) -> tuple[type[object], tuple[()]]:
        """Pickle to nothing: the study's own files are the state."""
        return object, ()

    def suggest(self, trial_id: str) -> Any:  # noqa: ANN401 - Tune's own annotation forgets FINISHED
        """Return the next configuration, None while none is ready, or FINISHED if there are no more."""
        job = self._study.ask()
        if job is not None:
            return self._config(job)
        return Searcher.FINISHED if self._study.over and not self._study.interrupted else None

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Do nothing: the callback closes the job."""

    def save(self, checkpoint_path: str) -> None:
        """Write an empty state: the study's own files are the state."""
        with Path(checkpoint_path).open("wb") as stream:
            pickle.dump(None, stream)

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: the study's own files are the state."""


class StudyScheduler(FIFOScheduler):
    """A scheduler that lets the study stop jobs early."""

    def __init__(self, study: Study[Any]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._study = study

    def on_trial_result(self, tune_controller: object, trial: TuneTrial, result: dict[str, Any]) -> str:
        """Return STOP if the study stops the job early, otherwise CONTINUE."""
        metrics = {k.removeprefix("report/"): v for k, v in result.items() if k.startswith("report/")}
        stop = result["images"] >= 0 and self._study.report(trial.config[KEY], result["images"], metrics)
        return str(TrialScheduler.STOP if stop else TrialScheduler.CONTINUE)


class StudyCallback(Callback):
    """A callback that informs the study of last reports and of the end of jobs.

    Args:
        study: the study that makes the decisions.
        interrupt: is told which trials train, and where.
        logs: place of the workers' logs, for messages about unforeseen errors.
    """

    def __init__(self, study: Study[Any], interrupt: Interrupt, logs: str = "") -> None:
        self._study, self._interrupt, self._logs = study, interrupt, logs

    def __reduce__(self) -> tuple[type[object], tuple[()]]:
        """Pickle as an empty object: Tune saves its callbacks only for its own restore, which is not used."""
        return object, ()

    def on_trial_result(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, result: dict[str, Any], **info: object
    ) -> None:
        """Record a last report, which Tune does not show to the scheduler."""
        if not result["done"]:
            self._interrupt.trains(trial, result)
        if note := result.get("note"):
            self._study.note(trial.config[KEY], note)
        if result["images"] >= 0:
            self._study.report(trial.config[KEY], result["images"], result["report"])

    def on_step_end(self, iteration: int, trials: list[TuneTrial], **info: object) -> None:
        """Tell that the driver itself had to wait for a server."""
        if said := waited():
            self._study.tell(said)

    def on_trial_complete(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: object) -> None:
        """Close a job that ended by itself or was stopped early; trouble of the machine leaves it open."""
        self._interrupt.ended(trial)
        if trouble := trial.last_result.get("trouble"):
            self._study.leave(trial.config[KEY], trouble)
        else:
            self._study.finish(trial.config[KEY], trial.last_result.get("failure", ""))

    def on_trial_recover(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: object) -> None:
        """Tell the study why a job begins again from its checkpoint; one that ran out of memory begins in parts."""
        self._interrupt.ended(trial)
        trouble, reason = reason_to_resume(trial)
        if isinstance(trouble, OutOfMemory):
            trial.config[PARTS] = HALVES
        if not self._study.interrupted:
            self._study.note(trial.config[KEY], reason)

    def on_trial_error(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: object) -> None:
        """End a job that is not started again: trouble of the machine leaves it open, an unforeseen error is a failure."""
        self._interrupt.ended(trial)
        trouble, why = final_error(trial, self._logs)
        if trouble:
            self._study.leave(trial.config[KEY], trouble)
        else:
            self._study.finish(trial.config[KEY], why)


def final_error(trial: TuneTrial, logs: str) -> tuple[MachineTrouble | None, str]:
    """Return the trouble of the machine that ended a trial, or None and a sentence about the unforeseen error.

    The sentence names the place of the logs.
    """
    error = error_of(trial)
    trouble = trouble_of(error) if error else None
    said = said_by(error) if error else last_line(error_text(trial))
    return trouble, "" if trouble else f"{said} (unforeseen; worker logs: {logs})"


def reason_to_resume(trial: TuneTrial) -> tuple[MachineTrouble | None, str]:
    """Return the trouble, if it is one, for which a trial begins again, and the reason in words."""
    error = error_of(trial)
    trouble = trouble_of(error) if error else None
    node = (trial.last_result or {}).get("node_ip", "")
    if isinstance(trouble, WorkerLost):
        return trouble, f"a worker{f' on node {node}' if node else ''} was lost; it goes on from its checkpoint"
    why = trouble.what if trouble else said_by(error) if error else last_line(error_text(trial))
    return trouble, f"{why}; it goes on from its checkpoint"


def error_of(trial: TuneTrial) -> BaseException | None:
    """Return a trial's last error, once; None if Tune kept no error or the error cannot be unpickled here."""
    path = trial.pickled_error_file
    if path is None:
        return None
    with suppress(Exception):  # pickles run what they like
        error = pickle.loads(Path(path).read_bytes())  # noqa: S301 - written by Tune, in this process
        Path(path).unlink()  # the next failure may be one that Tune does not pickle
        return error if isinstance(error, BaseException) else None
    return None


def error_text(trial: TuneTrial) -> str:
    """Return Tune's text about a trial's last failure, only for people.

    `trial.get_error()` would read a copy that may not exist yet.
    """
    path = trial.error_file
    text = Path(path).read_text(encoding="utf-8", errors="replace") if path and Path(path).exists() else ""
    return text.rpartition("\nFailure # ")[2]  # the file holds earlier ones too, which the trial got over


def last_line(text: str) -> str:
    """Return the last line of a traceback that is not empty."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "the process ended without an error; see Ray's logs"
