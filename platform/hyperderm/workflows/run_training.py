"""Run one training: one worker in this process, or a group on Ray, tracked and pictured like a trial of a sweep."""

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
from hyperderm.reports.run_notes import run_note
from hyperderm.store.reader import Store
from hyperderm.store.run_location import address
from hyperderm.studies.single_run import RunParts, run_single
from hyperderm.studies.trial_job import TrialJob
from hyperderm.tracking.study_tracker import StudyTracker
from hyperderm.training.checkpoint import CheckpointFolder
from hyperderm.training.feed import check_batch
from hyperderm.training.run_folder import claim, run_folder, same_run
from hyperderm.training.storage import claim_prefix, recorded, storage_of_run, trial_place
from hyperderm.trouble import trouble_of
from hyperderm.workflows.first_description import describe_first
from hyperderm.workflows.prepared import RunRequest, prepare
from hyperderm.workflows.run_tracking import facts_of, finish_tracking, open_tracker, real_set, say_made_with, trained_of
from hyperderm.workflows.workspace import Ended, Workspace


def run_one(workspace: Workspace, request: RunRequest) -> Ended:
    """Train or continue a run, and return how it ended.

    Raises:
        HyperdermError: an error that the user can correct; raised before any process starts.
    """
    experiment = request.experiment
    workers = experiment.sweep.workers_per_trial
    found = prepare(workspace, request, lambda each, cubes: check_batch(each.training.batch_size, cubes, workers))
    store, selection = found.store, found.selection
    mine = {**searching(experiment), **found.content, "manifest": store.manifest.fingerprint}
    folder = _folder(request, mine)
    mine |= recorded(found.bucket)  # after the name is made: the same run with another storage is refused, not begun anew
    at = storage_of_run(found.bucket, folder)
    with claim(folder, mine) as key, ExitStack() as stack:
        cluster = stack.enter_context(connect(workspace.ray_address)) if workers > 1 else None
        if cluster:
            check_capacity(experiment, cluster, at or folder)
            if workspace.ray_address:
                workspace.say(workers_found())
        claim_prefix(at, folder, key)
        feed_choice = choose_feed(store, selection, experiment, alone=not cluster)
        if feed_choice.streams:
            if not cluster:
                stack.enter_context(connect(None))  # for the readers; training stays in this process
            workspace.say(_reading(feed_choice, store, experiment))
        facts = facts_of(found, key, folder, feed_choice, at)
        say_made_with(found)
        tracker = open_tracker(workspace, experiment.name, folder)
        watched = StudyTracker(tracker, facts, real_set(store, selection.validation, experiment.data.size))
        progress = RunLine(workspace.console, experiment)
        observers = Observers([watched, progress])
        place, job = trial_place(folder, 0, at), TrialJob(experiment=experiment, name=facts.name)
        parts = RunParts(experiment, store, selection, place, facts.provenance(), feed_choice, found.inputs)
        try:
            with progress:
                observers.started(job, CheckpointFolder(place).resumable())
                watched.describe(run_note(trained_of(found)))
                describe_first(workspace, watched, tracker, facts, store)
                reason = _outcome(lambda: run_single(parts, job, observers))
                observers.finished(job, "failed" if reason else "finished", reason)
                watched.describe(run_note(trained_of(found), progress.conclusion))
        except BaseException as error:
            if not isinstance(error, Exception) or trouble_of(error):  # an interrupt is no result
                observers.interrupted(job)
                watched.describe(run_note(trained_of(found), "been interrupted; the same command goes on"))
            else:
                observers.finished(job, "failed", f"{type(error).__name__}: {error}")
            raise
        finally:
            watched.drain()
            finish_tracking(workspace, tracker, key)
    workspace.say(f"checkpoints and samples in {address(place)}")
    return Ended(1 if reason else 0, folder)


def _folder(request: RunRequest, mine: Mapping[str, object]) -> Path:
    """Return the folder of a run: the named one, one that an earlier version named differently, or a new one."""
    start = f"train-{request.experiment.name}-"
    folder = run_folder(request.runs, request.name, f"{start}{named(mine, request.experiment)}")
    if request.name is None and not folder.exists():
        return same_run(request.runs, start, mine) or folder
    return folder


def _reading(feed_choice: FeedChoice, store: Store, experiment: Experiment) -> str:
    from hyperderm.cluster.stream_readers import reading_nodes

    return feed_choice.said(len(reading_nodes(store, experiment)))


def _outcome(train: Callable[[], None]) -> str:
    """Train, and return why the run failed for good; "" if it did not."""
    try:
        train()
    except NonFiniteLoss as error:
        return str(error)
    return ""
