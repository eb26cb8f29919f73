"""Run one training: one worker in this process, or a group on Ray, tracked and pictured like a trial of a sweep."""

import signal
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from hyperderm.cluster.feed_choice import FeedChoice, choose_feed
from hyperderm.cluster.observer import Observers
from hyperderm.cluster.session import check_capacity, connect, workers_found
from hyperderm.config import Experiment
from hyperderm.errors import NonFiniteLoss
from hyperderm.identity import named, searching
from hyperderm.reports.progress import RunLine
from hyperderm.store.reader import Store
from hyperderm.store.run_location import address
from hyperderm.studies.named_runs import find_inputs
from hyperderm.studies.single_run import RunParts, SingleRun, run_single
from hyperderm.tracking.server import check_server
from hyperderm.tracking.study_tracker import StudyTracker
from hyperderm.training.checkpoint import CheckpointFolder
from hyperderm.training.feed import check_batch
from hyperderm.training.run_folder import claim, run_folder, same_run
from hyperderm.training.selection import content, select
from hyperderm.training.storage import open_storage, recorded, storage_of_run, take, trial_place
from hyperderm.trouble import trouble_of
from hyperderm.workflows.find_store import find_store
from hyperderm.workflows.tracked_run import facts_of, finish_tracking, open_tracker, real_set, say_made_with
from hyperderm.workflows.workspace import Ended, Workspace


def run_one(
    workspace: Workspace,
    experiment: Experiment,
    store: str | None,
    data: Path | None,
    name: str | None,
    runs: Path | None,
    storage: str | None = None,
) -> Ended:
    """Train or continue a run, and return how it ended.

    Raises:
        HyperdermError: an error that the user can correct; raised before any process starts.
    """
    bucket = open_storage(storage)
    check_server(workspace.tracking_uri, say=workspace.say)
    opened = find_store(workspace, store, data)
    selection = select(opened, experiment)
    workers = experiment.sweep.workers_per_trial
    check_batch(experiment.training.batch_size, len(selection.train), workers)
    inputs = find_inputs(experiment, opened, workspace.runs(runs))
    held = content(experiment, len(opened.manifest.wavelengths_nm)) | inputs.content
    mine = {**searching(experiment), **held, "manifest": opened.manifest.fingerprint}
    folder = _folder(workspace.runs(runs), name, experiment, mine)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends like Ctrl-C
    mine |= recorded(bucket)  # after the name is made: the same run with another storage is refused, not begun anew
    at = storage_of_run(bucket, folder)
    with claim(folder, mine) as key, ExitStack() as stack:
        cluster = stack.enter_context(connect(workspace.ray_address)) if workers > 1 else None
        if cluster:
            check_capacity(experiment, cluster, at or folder)
            if workspace.ray_address:
                workspace.say(workers_found())
        take(at, folder, key)
        feeding = choose_feed(opened, selection, experiment, alone=not cluster)
        if feeding.streams:
            if not cluster:
                stack.enter_context(connect(None))  # for the readers; training stays in this process
            workspace.say(_reading(feeding, opened, experiment))
        facts = facts_of(workspace, key, folder, experiment, opened, inputs, feeding, at)
        say_made_with(workspace, experiment, inputs)
        tracker = open_tracker(workspace, experiment.name, folder)
        watched = StudyTracker(tracker, facts, real_set(opened, selection.validation, experiment.data.size))
        progress = RunLine(workspace.console, experiment)
        observers = Observers([watched, progress])
        place, job = trial_place(folder, 0, at), SingleRun(facts.name, experiment)
        parts = RunParts(experiment, opened, selection, place, facts.provenance(), feeding, inputs)
        try:
            with progress:
                observers.started(job, CheckpointFolder(place).resumable())
                reason = _outcome(lambda: run_single(parts, job, observers))
                observers.finished(job, "failed" if reason else "finished", reason)
        except BaseException as error:
            if not isinstance(error, Exception) or trouble_of(error):  # Ctrl-C or an end from outside is no result
                observers.interrupted(job)
            else:
                observers.finished(job, "failed", f"{type(error).__name__}: {error}")
            raise
        finally:
            watched.drain()
            finish_tracking(workspace, tracker, key)
    workspace.say(f"checkpoints and samples in {address(place)}")
    return Ended(1 if reason else 0, folder)


def _folder(runs: Path, name: str | None, experiment: Experiment, mine: Mapping[str, object]) -> Path:
    """Return the folder of a run: the named one, one that an earlier version named differently, or a new one."""
    start = f"train-{experiment.name}-"
    folder = run_folder(runs, name, f"{start}{named(mine, experiment)}")
    if name is None and not folder.exists():
        return same_run(runs, start, mine) or folder
    return folder


def _reading(feeding: FeedChoice, store: Store, experiment: Experiment) -> str:
    from hyperderm.cluster.stream_readers import reading_nodes

    return feeding.said(len(reading_nodes(store, experiment)))


def _outcome(train: Callable[[], None]) -> str:
    """Train, and return why the run failed for good; "" if it did not."""
    try:
        train()
    except NonFiniteLoss as error:
        return str(error)
    return ""
