"""A sweep: Tune runs the trials, the board decides, and repeating the command goes on where it stood."""

import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from ray import tune
from ray.tune.stopper import Stopper

from hyperderm.cluster.session import Cluster, check_capacity
from hyperderm.cluster.start_watch import StartWatch
from hyperderm.cluster.trial import InProcessTrial, Shared
from hyperderm.cluster.worker_group import GroupTrial, Workers
from hyperderm.errors import HyperdermError, StudyError
from hyperderm.store.location import Location
from hyperderm.studies.search import Board
from hyperderm.studies.tune_glue import BoardCallback, BoardScheduler, BoardSearcher
from hyperderm.trouble import reason_of, trouble_of


def run(
    board: Board,
    shared: Shared,
    cluster: Cluster,
    folder: Path,
    provenance: Mapping[str, str],
    storage: Location | None = None,
) -> None:
    """Run trials until the experiment's number of them ended; an interrupt (Ctrl-C, SIGTERM) leaves open ones to be resumed.

    Args:
        board: what decides.
        shared: what the trials read.
        cluster: where they run.
        folder: of the sweep.
        provenance: goes into their checkpoints.
        storage: the sweep's part of `--storage`, where they write; None: into `folder`.

    Raises:
        ClusterError: a trial that does not fit the cluster, or storage that not every node sees.
        StudyError: Tune itself failed.
        MachineTrouble: what the machine did to trials that are left open; the others have ended, unless they would meet it
            too.
    """
    wanted = board.base.sweep.trials - len(board.finished())
    if wanted <= 0:
        return
    settings = board.base.sweep
    workers = Workers(settings.workers_per_trial, settings.cpus_per_worker, settings.gpus_per_worker)
    at_once = check_capacity(board.base, shared.left(cluster), storage or folder)
    at_once = min(at_once, shared.at_most or at_once)
    with interruptible(board) as stopper:
        tuner = tune.Tuner(
            _trainable(shared, workers, storage),
            tune_config=tune.TuneConfig(
                search_alg=BoardSearcher(board, folder, provenance, storage.uri if storage else ""),
                scheduler=BoardScheduler(board),
                num_samples=wanted,
                max_concurrent_trials=at_once,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name=time.strftime("%Y%m%d-%H%M%S"),
                # On the driver's disk even where trials write to S3: Tune's trials persist nothing, and its records pickle
                # whatever file system it is given, access key included.
                storage_path=str(folder.absolute() / "tune"),
                failure_config=tune.FailureConfig(max_failures=settings.max_failures),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # the loop writes its own
                callbacks=[
                    BoardCallback(board, cluster.logs),
                    StartWatch(lambda trial, said: board.observer.noted(trial.config["number"], said), cluster.logs),
                ],
                stop=stopper,
                verbose=0,
            ),
        )
        with told(cluster):
            try:
                tuner.fit()
            finally:
                board.leave_open()
        if board.trouble:
            raise board.trouble


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


def _trainable(shared: Shared, workers: Workers, storage: Location | None) -> Any:  # noqa: ANN401 - Tune's wrapped class
    if workers.count == 1:
        wrapped = tune.with_parameters(InProcessTrial, shared=shared, threads=max(1, int(workers.cpus)), bucket=storage)
        held: dict[str, float] = {"memory": shared.each} if shared.each else {}
        return tune.with_resources(wrapped, {"cpu": workers.cpus, "gpu": workers.gpus} | held)
    wrapped = tune.with_parameters(GroupTrial, shared=shared, workers=workers, bucket=storage)
    # The workers hold the CPUs and GPUs; Tune wants the actor that waits for them to hold something.
    return tune.with_resources(wrapped, tune.PlacementGroupFactory([{"memory": 2**20}]))


class Interruptible(Protocol):
    """What a signal may stop."""

    interrupted: bool


class _Interrupt(Stopper):
    """Ends the experiment once the board was interrupted."""

    def __init__(self, board: Interruptible) -> None:
        self._board = board

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._board.interrupted


@contextmanager
def interruptible(board: Interruptible) -> Iterator[_Interrupt]:
    """Turn the first SIGINT or SIGTERM into an orderly end, a second one into KeyboardInterrupt."""

    def handle(number: int, frame: FrameType | None) -> None:
        if board.interrupted:
            raise KeyboardInterrupt
        board.interrupted = True  # nothing else: the study may be in the middle of a write

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield _Interrupt(board)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
