"""The one driver of everything that runs on Ray Tune: a sweep hands it trials, a grid hands it jobs.

What decides (`Study`) lives on the driver and outlives it in files of its own; Tune only runs what it is handed. Tune's
searcher, scheduler and callback are a few lines each that pass its calls on.
"""

import pickle
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from ray import tune
from ray.tune import Callback
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher
from ray.tune.stopper import Stopper

from hyperderm.cluster.session import Cluster
from hyperderm.cluster.start_watch import StartWatch
from hyperderm.cluster.trial import KEY, TAKES, Perform, Trial
from hyperderm.errors import HyperdermError, MachineTrouble, StudyError, WorkerLost
from hyperderm.store.location import Location
from hyperderm.trouble import reason_of, said_by, trouble_of


class Study(Protocol):
    """What decides: which job comes next, and what its reports and its end mean."""

    interrupted: bool
    """Set by a signal, or by trouble of the machine: nothing is handed out or closed any more."""
    trouble: MachineTrouble | None
    """What the machine did last to a job that was left open."""

    @property
    def over(self) -> bool:
        """Whether nothing will be handed out any more."""

    @property
    def running(self) -> bool:
        """Whether a job that was handed out has not ended."""

    def ask(self) -> dict[str, Any] | None:
        """Return the configuration of a job to start now, with its `KEY` and what it `TAKES`; None where none is ready."""

    def report(self, key: str, images: int, metrics: Mapping[str, float]) -> bool:
        """Record a report, once, and return whether the job is stopped early."""

    def note(self, key: str, sentence: str) -> None:
        """Pass on what happened to a job that is not its end."""

    def finish(self, key: str, failure: str = "") -> None:
        """Record the end of a job, done or failed for good."""

    def leave(self, key: str, trouble: MachineTrouble) -> None:
        """Leave a job to the next driver because of what the machine did."""

    def leave_open(self) -> None:
        """Leave every job that has not ended to the next driver."""


def drive(
    study: Study,
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
    """Run jobs until `study` has no more; an interrupt (Ctrl-C, SIGTERM) leaves open ones to be resumed.

    Args:
        study: what decides.
        perform: what a trial does with a configuration.
        shared: what all trials read, by reference.
        cluster: where they run.
        folder: of the study, on the driver's disk; Tune keeps its records there.
        jobs: how many are left at most.
        at_once: how many run side by side.
        max_failures: times a job whose process or node died is started again.
        storage: how the places in configurations are spoken to; None: they are folders.

    Raises:
        StudyError: Tune itself failed; MachineTrouble: what the machine did to the driver. What it did to jobs is left in
            `study.trouble`.
    """
    if jobs <= 0:
        return
    trainable = tune.with_parameters(Trial, perform=perform, shared=shared, storage=storage)
    with interruptible(study) as stopper:
        tuner = tune.Tuner(
            tune.with_resources(trainable, lambda config: config[TAKES].resources()),
            tune_config=tune.TuneConfig(
                search_alg=StudySearcher(study),
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
                    StudyCallback(study, cluster.logs),
                    StartWatch(lambda trial, said: study.note(trial.config[KEY], said), cluster.logs),
                ],
                stop=stopper,
                verbose=0,
            ),
        )
        with told(cluster):
            try:
                tuner.fit()
            except Exception:
                if study.running or not study.over:
                    raise
                # Every job has ended: only Tune's own summary failed, as it does on a full disk. The study knows better.
            finally:
                study.leave_open()


@contextmanager
def told(cluster: Cluster) -> Iterator[None]:
    """Turn what Tune raises into trouble of the machine, or into a StudyError that says where the logs are."""
    try:
        yield
    except HyperdermError:
        raise
    except Exception as error:
        if trouble := trouble_of(error):
            raise trouble from error
        raise StudyError(f"Ray Tune stopped: {type(error).__name__}: {reason_of(error)}", f"See {cluster.logs}.") from error


class _Interrupt(Stopper):
    """Ends Tune's work once the study was interrupted."""

    def __init__(self, study: Study) -> None:
        self._study = study

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._study.interrupted


@contextmanager
def interruptible(study: Study) -> Iterator[_Interrupt]:
    """Turn the first SIGINT or SIGTERM into an orderly end, and a second one into KeyboardInterrupt."""

    def handle(number: int, frame: FrameType | None) -> None:
        if study.interrupted:
            raise KeyboardInterrupt
        study.interrupted = True  # nothing else: a file of the study may be in the middle of a write

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield _Interrupt(study)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class StudySearcher(Searcher):
    """Hands out the study's jobs as Tune configurations. Tune pickles it to a file: it holds no S3 key."""

    def __init__(self, study: Study) -> None:
        super().__init__(metric="images", mode="max")  # the study knows the objective; Tune wants one
        self._study = study

    def suggest(self, trial_id: str) -> Any:  # noqa: ANN401 - Tune's own annotation forgets FINISHED
        """Return the next configuration, None while none is ready, or that there are no more."""
        config = None if self._study.interrupted else self._study.ask()
        if config is None and self._study.over and not self._study.interrupted:
            return Searcher.FINISHED
        return config

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Do nothing: the callback closes the job."""

    def save(self, checkpoint_path: str) -> None:
        """Write an empty state: the study's own files are the state."""
        with Path(checkpoint_path).open("wb") as stream:
            pickle.dump(None, stream)

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: the study's own files are the state."""


class StudyScheduler(FIFOScheduler):
    """Lets the study stop jobs early."""

    def __init__(self, study: Study) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._study = study

    def on_trial_result(self, tune_controller: object, trial: TuneTrial, result: dict[str, Any]) -> str:
        """Return STOP where the study says so."""
        metrics = {k.removeprefix("report/"): v for k, v in result.items() if k.startswith("report/")}
        stop = result["images"] >= 0 and self._study.report(trial.config[KEY], result["images"], metrics)
        return str(TrialScheduler.STOP if stop else TrialScheduler.CONTINUE)


class StudyCallback(Callback):
    """Tells the study of last reports and ends.

    Args:
        study: what decides.
        logs: where the workers' logs are, for what nobody foresaw.
    """

    def __init__(self, study: Study, logs: str = "") -> None:
        self._study, self._logs = study, logs

    def __reduce__(self) -> tuple[type[object], tuple[()]]:
        """Pickle to nothing: Tune saves its callbacks for a restore of its own."""
        return object, ()

    def on_trial_result(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, result: dict[str, Any], **info: object
    ) -> None:
        """Record a last report, which Tune does not show to the scheduler."""
        if note := result.get("note"):
            self._study.note(trial.config[KEY], note)
        if result["images"] >= 0:
            self._study.report(trial.config[KEY], result["images"], result["report"])

    def on_trial_complete(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: object) -> None:
        """Close a job that ended by itself or was stopped early; trouble of the machine leaves it open."""
        if trouble := trial.last_result.get("trouble"):
            self._study.leave(trial.config[KEY], trouble)
        else:
            self._study.finish(trial.config[KEY], trial.last_result.get("failure", ""))

    def on_trial_recover(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: object) -> None:
        """Say why a job begins again from its checkpoint."""
        if not self._study.interrupted:
            self._study.note(trial.config[KEY], recovered(trial))

    def on_trial_error(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: object) -> None:
        """End a job that met trouble more often than it is started again; the unforeseen is a failure."""
        trouble, why = final(trial, self._logs)
        if trouble:
            self._study.leave(trial.config[KEY], trouble)
        else:
            self._study.finish(trial.config[KEY], why)


def final(trial: TuneTrial, logs: str) -> tuple[MachineTrouble | None, str]:
    """Return what the machine did to a trial that Tune gave up, or None and what nobody foresaw, with where to look."""
    error = error_of(trial)
    trouble = trouble_of(error) if error else None
    said = said_by(error) if error else last_line(error_text(trial))
    return trouble, "" if trouble else f"{said} (unforeseen; worker logs: {logs})"


def recovered(trial: TuneTrial) -> str:
    """Return why a trial begins again, in words."""
    error = error_of(trial)
    trouble = trouble_of(error) if error else None
    node = (trial.last_result or {}).get("node_ip", "")
    if isinstance(trouble, WorkerLost):
        return f"a worker{f' on node {node}' if node else ''} was lost; it goes on from its checkpoint"
    why = trouble.what if trouble else said_by(error) if error else last_line(error_text(trial))
    return f"{why}; it goes on from its checkpoint"


def error_of(trial: TuneTrial) -> BaseException | None:
    """Return a trial's last failure, once; None where Tune kept none, or one that cannot be made again here."""
    path = trial.pickled_error_file
    if path is None:
        return None
    with suppress(Exception):  # pickles run what they like
        error = pickle.loads(Path(path).read_bytes())  # noqa: S301 - written by Tune, in this process
        Path(path).unlink()  # the next failure may be one that Tune does not pickle
        return error if isinstance(error, BaseException) else None
    return None


def error_text(trial: TuneTrial) -> str:
    """Return what Tune wrote of a trial's last failure, for people alone.

    `trial.get_error()` reads a copy that may not be there yet.
    """
    path = trial.error_file
    text = Path(path).read_text(encoding="utf-8", errors="replace") if path and Path(path).exists() else ""
    return text.rpartition("\nFailure # ")[2]  # the file holds earlier ones too, which the trial got over


def last_line(text: str) -> str:
    """Return what a traceback ends in."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "the process ended without an error; see Ray's logs"
