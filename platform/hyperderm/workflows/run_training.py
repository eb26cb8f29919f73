"""Put a single run together: one worker here, or a group on Ray; the same tracking and pictures as a sweep's trial."""

import signal
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from hyperderm.cluster.feed_choice import Feeding, choose
from hyperderm.cluster.observer import Observers
from hyperderm.cluster.session import check_capacity, connect, workers_found
from hyperderm.config import Experiment
from hyperderm.errors import NonFiniteLoss
from hyperderm.identity import named, searching
from hyperderm.reports.progress import RunLine
from hyperderm.store.reader import Store
from hyperderm.store.run_location import address
from hyperderm.studies.named_runs import find_inputs
from hyperderm.studies.single_run import run_group, run_here
from hyperderm.tracking.server import check_server
from hyperderm.tracking.sweep_tracker import SweepTracker
from hyperderm.training.checkpoint import CheckpointFolder
from hyperderm.training.feed import check_batch
from hyperderm.training.run_folder import claim, run_folder, same_run
from hyperderm.training.selection import content, select
from hyperderm.training.storage import open_storage, recorded, storage_of_run, take, trial_place
from hyperderm.trouble import trouble_of
from hyperderm.workflows.tracked_run import facts_of, finish_tracking, open_tracker, real_set, say_made_with
from hyperderm.workflows.workspace import Setting, find_store


def run_one(
    setting: Setting,
    experiment: Experiment,
    store: str | None,
    data: Path | None,
    name: str | None,
    runs: Path | None,
    storage: str | None = None,
) -> int:
    """Train or continue a run and return the exit code.

    Raises:
        HyperdermError: whatever the user can mend, before any process starts.
    """
    bucket = open_storage(storage)
    check_server(setting.tracking_uri, say=setting.say)
    opened = find_store(setting, store, data)
    selection = select(opened, experiment)
    workers = experiment.sweep.workers_per_trial
    check_batch(experiment.training.batch_size, len(selection.train), workers)
    inputs = find_inputs(experiment, opened, runs or setting.root / "runs")
    held = content(experiment, len(opened.manifest.wavelengths_nm)) | inputs.content
    mine = {**searching(experiment), **held, "manifest": opened.manifest.fingerprint}
    folder = _folder(runs or setting.root / "runs", name, experiment, mine)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends like Ctrl-C
    mine |= recorded(bucket)  # after the name is made: the same run with another storage is refused, not begun anew
    at = storage_of_run(bucket, folder)
    with claim(folder, mine) as key, ExitStack() as stack:
        cluster = stack.enter_context(connect(setting.ray_address)) if workers > 1 else None
        if cluster:
            check_capacity(experiment, cluster, at or folder)
            if setting.ray_address:
                setting.say(workers_found())
        take(at, folder, key)
        feeding = choose(opened, selection, experiment, alone=not cluster)
        if feeding.streams:
            if not cluster:
                stack.enter_context(connect(None))  # for the readers; training stays in this process
            setting.say(_reading(feeding, opened, experiment))
        facts = facts_of(setting, key, folder, experiment, opened, inputs, feeding, at)
        say_made_with(setting, experiment, inputs)
        tracker = open_tracker(setting, experiment.name, folder)
        watched = SweepTracker(tracker, facts, real_set(opened, experiment), single=True)
        progress = RunLine(setting.console, experiment)
        observers = Observers([watched, progress])
        place, origin = trial_place(folder, 0, at), facts.provenance()
        try:
            with progress:
                observers.started(0, experiment, {}, CheckpointFolder(place).resumable())
                train = run_group if cluster else run_here
                reason = _outcome(lambda: train(experiment, opened, selection, place, origin, observers, feeding, inputs))
                observers.finished(0, "failed" if reason else "finished", reason)
        except BaseException as error:
            if not isinstance(error, Exception) or trouble_of(error):  # Ctrl-C or an end from outside is no result
                observers.interrupted(0)
            else:
                observers.finished(0, "failed", f"{type(error).__name__}: {error}")
            raise
        finally:
            watched.drain()
            finish_tracking(setting, tracker, key)
    setting.say(f"checkpoints and samples in {address(place)}")
    return 1 if reason else 0


def _folder(runs: Path, name: str | None, experiment: Experiment, mine: Mapping[str, object]) -> Path:
    """Return the folder of a run: the one called so, one that an earlier version named otherwise, or a new name."""
    start = f"train-{experiment.name}-"
    folder = run_folder(runs, name, f"{start}{named(mine, experiment)}")
    if name is None and not folder.exists():
        return same_run(runs, start, mine) or folder
    return folder


def _reading(feeding: Feeding, store: Store, experiment: Experiment) -> str:
    from hyperderm.cluster.stream_readers import reading_nodes

    return feeding.said(len(reading_nodes(store, experiment)))


def _outcome(train: Callable[[], None]) -> str:
    """Train, and return why the run failed for good, or ""."""
    try:
        train()
    except NonFiniteLoss as error:
        return str(error)
    return ""
