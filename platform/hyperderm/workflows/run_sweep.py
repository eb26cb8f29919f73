"""Run a sweep: studies run it, tracking records it, and reports print it."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution, IntDistribution
from rich.table import Table

from hyperderm.cluster.feed_choice import FeedChoice, choose_feed
from hyperderm.cluster.observer import Observers
from hyperderm.cluster.session import Cluster, check_capacity, connect, described, workers_found
from hyperderm.config import Experiment
from hyperderm.errors import ConfigError, DiskFull, MachineTrouble
from hyperderm.registry import Space
from hyperderm.reports import leaderboard
from hyperderm.reports import repeats as words
from hyperderm.reports.progress import ProgressLine
from hyperderm.store.location import Location
from hyperderm.store.reader import Store
from hyperderm.studies.ranks import front, in_words, values_of
from hyperderm.studies.repeats import Repeated, ended_in_all
from hyperderm.studies.search import Search, sweep_identity, sweep_name
from hyperderm.studies.trial_job import TrialJob
from hyperderm.tags import BEST_TAG, FRONT_TAG
from hyperderm.tracking.pareto import one_objective, pareto_figure
from hyperderm.tracking.runs import Status
from hyperderm.tracking.server import redacted
from hyperderm.tracking.study_plots import study_figure, study_page
from hyperderm.tracking.study_points import ENDED
from hyperderm.tracking.study_tracker import StudyFacts, StudyTracker
from hyperderm.training.feed import check_batch
from hyperderm.training.run_folder import CLOSED, CONFIG, IDENTITY, STUDY, claim, run_folder
from hyperderm.training.selection import select
from hyperderm.training.storage import claim_prefix, recorded, storage_of_run
from hyperderm.trouble import trouble_of
from hyperderm.workflows.first_description import describe_first
from hyperderm.workflows.prepared import Prepared, RunRequest, prepare
from hyperderm.workflows.run_repeats import (
    catch_up,
    exit_code,
    log_numbers,
    missing,
    repeats_of,
    run_repeats,
    tags_of,
)
from hyperderm.workflows.run_tracking import facts_of, finish_tracking, open_tracker, real_set, say_made_with
from hyperderm.workflows.sweep_board import SweepBoard
from hyperderm.workflows.sweep_rows import measures_of, rows_of
from hyperderm.workflows.workspace import Ended, Workspace

FEED = "feed"
"""The attribute in which a study records how its trials are fed."""
VIEWS = ("search", "search_second")
"""Names of the plots of a search by two objectives, each of which is drawn alone beside the Pareto front."""


def run_sweep(workspace: Workspace, request: RunRequest, space: Space, repeat: int = 0) -> Ended:
    """Run or continue a sweep, repeat its best trial `repeat` times with other seeds, and return how it ended.

    Raises:
        HyperdermError: an error that the user can correct; raised before any process starts.
    """
    found = prepare(workspace, request, lambda experiment, cubes: check_batches(experiment, space, cubes))
    experiment, store = found.experiment, found.store
    folder = run_folder(request.runs, request.name, sweep_name(experiment, space, store.name))
    mine = sweep_identity(experiment, space, store.manifest.fingerprint, found.content)
    with claim(folder, mine | recorded(found.bucket)) as key:
        return _run(_Sweep(found, space, folder, key, storage_of_run(found.bucket, folder), mine, repeat))


@dataclass(frozen=True)
class _Sweep:
    """The facts that a driver knows of its sweep.

    Attributes:
        found: what was found and proven before the sweep was claimed.
        space: the search space.
        folder: the folder of the sweep on the driver's disk.
        key: the key of the sweep on the tracking server.
        storage: where trials write; None means into `folder`.
        identity: the facts that may not change between drivers of the same sweep.
        repeat: how many repeats of the best trial are wanted in all.
    """

    found: Prepared
    space: Space
    folder: Path
    key: str
    storage: Location | None
    identity: Mapping[str, Any]
    repeat: int = 0


def check_batches(experiment: Experiment, space: Space, cubes: int) -> None:
    """Refuse a batch size of the experiment or the space that the train role cannot serve.

    Raises:
        ConfigError: the message names the value and the remedy.
    """
    workers = experiment.sweep.workers_per_trial
    axis = space.distributions.get("training.batch_size")
    for size in getattr(axis, "choices", None) or ([axis.low, axis.high] if isinstance(axis, IntDistribution) else []):
        try:
            check_batch(int(size), cubes, workers)
        except ConfigError as error:
            raise ConfigError(
                f"search space {space.name!r}: {error.what}",
                "Give more data.diagnoses or data, or a --space with other batches.",
            ) from None
    check_batch(experiment.training.batch_size, cubes, workers)


def _run(sweep: _Sweep) -> Ended:
    workspace, experiment, folder, storage = sweep.found.workspace, sweep.found.experiment, sweep.folder, sweep.storage
    observers = Observers([])
    search = Search(folder / STUDY, folder.name, experiment, sweep.space.distributions, observers, workspace.say)
    ended, wanted = search.finished(), experiment.sweep.trials
    workspace.say(f"sweep {folder.name}: {len(ended)} of {wanted} trials done, fold {experiment.data.fold}")
    if len(search.base.objectives) > 1:
        workspace.say(_about_two(search))
    before = ended_in_all(folder)
    if len(ended) < wanted or missing(search, folder, sweep.repeat):
        workspace.say(f"connecting to Ray at {workspace.ray_address}" if workspace.ray_address else "starting Ray")
        with connect(workspace.ray_address) as cluster:
            check_capacity(experiment, cluster, storage or folder)
            claim_prefix(storage, folder, sweep.key)
            workspace.say(f"{described(cluster)}; worker logs in {cluster.logs}")
            if workspace.ray_address:
                workspace.say(workers_found())
            try:
                _record(sweep, search, observers, cluster)
            except MachineTrouble:
                with suppress(Exception):
                    leaderboard.show(workspace.console, _table(search))
                raise
    elif not (folder / CLOSED).exists():  # a driver was killed between the last trial and the summary
        _record(sweep, search, observers, None)
    else:
        tracker = open_tracker(workspace, experiment.name, folder)
        finish_tracking(workspace, tracker, sweep.key)  # delivers the entries that an earlier driver left
    new, place = len(search.finished()) - len(ended), storage.uri if storage else str(folder)
    found = repeats_of(search, folder)
    code = _conclude(workspace, search, place, new + ended_in_all(folder) - before, found)
    if not search.interrupted:
        code = max(code, exit_code(found, sweep.repeat))
    return Ended(code, folder, tuple(rows_of(search)), found)


def _record(sweep: _Sweep, search: Search, observers: Observers, cluster: Cluster | None) -> None:
    """Run the remaining trials on `cluster` (None if none remain), and record everything in MLflow."""
    found, workspace, folder, key = sweep.found, sweep.found.workspace, sweep.folder, sweep.key
    experiment, ended = search.base, search.finished()
    wanted = experiment.sweep.trials
    feed_choice = _choose_feed(workspace, search, found.store) if cluster else None
    facts = facts_of(found, key, folder, feed_choice, sweep.storage)
    say_made_with(found)
    tracker = open_tracker(workspace, experiment.name, folder)
    watched = StudyTracker(tracker, facts, real_set(found.store, found.selection.validation, experiment.data.size))
    (folder / CLOSED).unlink(missing_ok=True)
    watched.open(
        {"space": f"{sweep.space.name} v{sweep.space.version}", "profile": experiment.profile},
        {CONFIG: experiment.model_dump(mode="json"), IDENTITY: sweep.identity},
    )
    board = SweepBoard(found, f"{sweep.space.name} v{sweep.space.version}", search, watched)
    describe_first(workspace, watched, tracker, facts, found.store)
    for trial in search.unfinished():  # a killed driver left them RUNNING; one that is taken up opens its run again
        watched.interrupted(TrialJob(trial.number))
    watched.catch_up((TrialJob(t.number), ENDED[t.state], t.user_attrs.get("reason", "")) for t in ended)
    catch_up(repeats_of(search, folder), watched)
    try:
        if cluster and feed_choice:
            first = experiment.objectives[0]
            objective = first if first == experiment.objective else ""  # else a lower score may belong to no checkpoint
            progress = ProgressLine(
                workspace.console,
                "sweep",
                wanted,
                images=experiment.training.images,
                objective=objective,
                done=len(ended),
                best=_best(search),
            )
            observers.add(watched, board, progress)
            _train(search, sweep, cluster, facts, feed_choice, watched, progress)
    except BaseException as error:
        with suppress(Exception):  # the summary may fail for the same reason; the user must read the first error
            if isinstance(trouble_of(error), DiskFull):  # pictures and tables would fail with the same error
                watched.close("KILLED", tags=_tags(search), reason=f"{type(error).__name__}: {error}")
            else:
                _close(search, watched, board, f"{type(error).__name__}: {error}", repeats_of(search, folder))
            finish_tracking(workspace, tracker, key)
        raise
    repeated_now = repeats_of(search, folder)
    log_numbers(tracker, key, folder, repeated_now)
    _close(search, watched, board, repeats=repeated_now)
    if not search.interrupted:
        (folder / CLOSED).touch()
    finish_tracking(workspace, tracker, key)


def _choose_feed(workspace: Workspace, search: Search, store: Store) -> FeedChoice:
    """Choose how trials are fed and print it; a sweep keeps the feed with which it began, on every cluster."""
    from hyperderm.cluster.stream_readers import reading_nodes

    begun = search.study.user_attrs.get(FEED)
    asked = search.base.override({"data.feed": begun}) if begun and search.base.data.feed == "auto" else search.base
    feed_choice = choose_feed(store, select(store, asked), largest(asked, search.distributions))
    search.study.set_user_attr(FEED, feed_choice.mode)
    if feed_choice.streams:
        workspace.say(feed_choice.said(len(reading_nodes(store, asked))))
    if feed_choice.limit:
        workspace.say(feed_choice.limit)
    return feed_choice


def largest(experiment: Experiment, axes: Mapping[str, BaseDistribution]) -> Experiment:
    """Return `experiment` with the largest cube size that a search over `axes` can choose."""
    axis = axes.get("data.size")
    sizes = getattr(axis, "choices", None) or ([axis.high] if isinstance(axis, IntDistribution) else [])
    if not sizes:
        return experiment
    return experiment.model_copy(update={"data": experiment.data.model_copy(update={"size": max(sizes)})})


def _train(
    search: Search,
    sweep: _Sweep,
    cluster: Cluster,
    facts: StudyFacts,
    feed_choice: FeedChoice,
    watched: StudyTracker,
    progress: ProgressLine,
) -> None:
    """Run the trials that are left, and then the repeats of the best one, on the same shared data."""
    from hyperderm.cluster.shared_data import share
    from hyperderm.studies.sweep import run

    found = sweep.found
    try:
        shared = share(found.store, found.selection, found.experiment, feed_choice, found.inputs)
    except KeyboardInterrupt:
        search.interrupted = True
        return
    try:
        with progress:
            run(search, shared, cluster, facts.folder, facts.provenance(), facts.storage)
        if not search.interrupted and missing(search, facts.folder, sweep.repeat):
            run_repeats(found.workspace, search, sweep.repeat, shared, cluster, facts, watched)
    finally:
        shared.close()


def _close(
    search: Search, watched: StudyTracker, board: SweepBoard, broken: str = "", repeats: Repeated | None = None
) -> None:
    rows = rows_of(search)
    scored = [row for row in rows if row.status in ("finished", "stopped early")]
    status: Status = "KILLED" if search.interrupted or broken else "FINISHED" if scored else "FAILED"
    first, second = measures_of(search)
    texts = {
        "leaderboard.md": leaderboard.markdown(rows, first.floor, first.mean_cube, first.name, second),
        "leaderboard.csv": leaderboard.csv(rows, first.name, second),
    }
    if repeats:
        texts["leaderboard.md"] += words.markdown(repeats)
    if repeats and repeats.records:
        texts["repeats.csv"] = words.csv(repeats)
    figures, metrics = {}, {}
    if second is None:
        views = {"search": search.study}
    else:
        ends = [row for row in rows if row.on_front]
        views = {name: one_objective(search.study, at, search.base.objectives[at]) for at, name in enumerate(VIEWS)}
        texts["pareto.md"] = leaderboard.markdown(ends, first.floor, first.mean_cube, first.name, second)
        figures["pareto.png"] = pareto_figure(search.study, (first, second))
        metrics[""] = {"front_trials": float(len(ends))}
    texts |= {f"{name}.html": study_page(study) for name, study in views.items()}
    figures |= {f"{name}.png": study_figure(study) for name, study in views.items()}
    tags = _tags(search) | tags_of(repeats) | board.close(broken)
    watched.close(status, figures=figures, texts=texts, metrics=metrics, tags=tags, reason=broken)


def _conclude(workspace: Workspace, search: Search, place: str, new: int, repeats: Repeated | None) -> int:
    leaderboard.show(workspace.console, _table(search))
    if repeats:
        workspace.say(*words.sentences(repeats))
    if search.interrupted:
        workspace.say("interrupted: the same command goes on where this one stood")
        return 130
    if new == 0:
        workspace.say(
            f"nothing to do: {len(search.finished())} trials ended before. More: --trials {2 * len(search.finished())} "
            "(make: TRIALS=…); "
            "a new sweep: --name NAME (make: NAME=…)"
        )
    workspace.say(
        f"checkpoints and samples in {place}; compare the trials with `make ui`"
        if workspace.tracking_uri.startswith("sqlite:")
        else f"checkpoints and samples in {place}; trials at {redacted(workspace.tracking_uri)}"
    )
    return 0 if any(row.status in ("finished", "stopped early") for row in rows_of(search)) else 1


def _table(search: Search) -> Table:
    first, second = measures_of(search)
    return leaderboard.table(rows_of(search), first.floor, first.mean_cube, first.name, second)


def _about_two(search: Search) -> str:
    """Return what a user must know of a search by two objectives."""
    first, second = in_words(search.base.objectives)
    (chosen,) = in_words([search.base.objective])
    return (
        f"two objectives, {first} and {second}: all trials run to their end, since successive halving ranks by one number; "
        f"a trial keeps the checkpoint with the lowest {chosen}"
    )


def _tags(search: Search) -> dict[str, str]:
    best, ends = _best(search), [str(trial.number) for trial in front(search.study)]
    return ({} if best is None else {BEST_TAG: f"{best:.6g}"}) | ({FRONT_TAG: ", ".join(ends)} if ends else {})


def _best(search: Search) -> float | None:
    """Return the lowest value of the first objective; that of trials that were stopped or failed counts too."""
    return min((values[0] for trial in search.finished() if (values := values_of(trial))), default=None)
