"""Put a sweep together: studies run it, tracking records it, reports print it."""

import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from optuna.distributions import BaseDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState
from rich.table import Table

from hyperderm.cluster.feed_choice import Feeding, choose
from hyperderm.cluster.observer import Observers
from hyperderm.cluster.session import Cluster, check_capacity, connect, described, workers_found
from hyperderm.config import Experiment
from hyperderm.errors import ConfigError, DiskFull, MachineTrouble
from hyperderm.registry import Space
from hyperderm.reports import leaderboard
from hyperderm.reports.progress import ProgressLine
from hyperderm.store.location import Location
from hyperderm.store.reader import Store
from hyperderm.studies.named_runs import find_inputs
from hyperderm.studies.search import Board
from hyperderm.studies.study_file import STUDY
from hyperderm.tracking.runs import Status
from hyperderm.tracking.server import check_server
from hyperderm.tracking.study_plots import study_figure, study_page
from hyperderm.tracking.sweep_tracker import SweepFacts, SweepTracker
from hyperderm.training.feed import check_batch
from hyperderm.training.inputs import RunInputs
from hyperderm.training.run_folder import claim, identity, run_folder, sweep_name
from hyperderm.training.selection import content, select
from hyperderm.training.storage import open_storage, recorded, storage_of_run, take
from hyperderm.trouble import trouble_of
from hyperderm.workflows.tracked_run import facts_of, finish_tracking, open_tracker, real_set, say_made_with
from hyperderm.workflows.workspace import Setting, find_store

T = TypeVar("T")
FEED = "feed"
"""Where a study remembers how its trials are fed."""
CLOSED = ".closed"
"""Marks a sweep's folder once its summary is in the journal."""
STATUS = {
    TrialState.COMPLETE: "finished",
    TrialState.PRUNED: "stopped early",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
}


def run_sweep(
    setting: Setting,
    experiment: Experiment,
    space: Space,
    store: str | None,
    data: Path | None,
    name: str | None,
    runs: Path | None,
    storage: str | None = None,
) -> int:
    """Run or continue a sweep and return the exit code.

    Raises:
        HyperdermError: whatever the user can mend, before any process starts.
    """
    bucket = open_storage(storage)
    check_server(setting.tracking_uri, say=setting.say)
    opened = find_store(setting, store, data)
    selection = select(opened, experiment)
    check_batches(experiment, space, len(selection.train))
    inputs = find_inputs(experiment, opened, runs or setting.root / "runs")
    folder = run_folder(runs or setting.root / "runs", name, sweep_name(experiment, space, opened.name))
    manifest = opened.manifest
    made_of = content(experiment, len(manifest.wavelengths_nm)) | inputs.content
    mine = identity(experiment, space, manifest.fingerprint, made_of)
    with claim(folder, mine | recorded(bucket)) as key:
        sweep = _Sweep(setting, experiment, space, opened, inputs, folder, key, storage_of_run(bucket, folder), mine)
        return _run(sweep)


@dataclass(frozen=True)
class _Sweep:
    """What a driver knows of its sweep.

    Attributes:
        inputs: other runs that it needs.
        storage: where trials write; None: into `folder`.
        identity: what it stands for.
    """

    setting: Setting
    experiment: Experiment
    space: Space
    store: Store
    inputs: RunInputs
    folder: Path
    key: str
    storage: Location | None
    identity: Mapping[str, Any]


def check_batches(experiment: Experiment, space: Space, cubes: int) -> None:
    """Refuse a batch of the experiment or the space that the train role cannot serve.

    Raises:
        ConfigError: naming the value and the remedy.
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


def _run(sweep: _Sweep) -> int:
    setting, experiment, folder, storage = sweep.setting, sweep.experiment, sweep.folder, sweep.storage
    observers = Observers([])
    board = Board(folder / STUDY, folder.name, experiment, sweep.space.distributions, observers, setting.say)
    ended, wanted = board.finished(), experiment.sweep.trials
    setting.say(f"sweep {folder.name}: {len(ended)} of {wanted} trials done, fold {experiment.data.fold}")
    if len(ended) < wanted:
        setting.say(f"connecting to Ray at {setting.ray_address}" if setting.ray_address else "starting Ray")
        with connect(setting.ray_address) as cluster:
            check_capacity(experiment, cluster, storage or folder)
            take(storage, folder, sweep.key)
            setting.say(f"{described(cluster)}; worker logs in {cluster.logs}")
            if setting.ray_address:
                setting.say(workers_found())
            try:
                _record(sweep, board, observers, cluster)
            except MachineTrouble:
                with suppress(Exception):
                    setting.console.print(_table(board))
                raise
    elif not (folder / CLOSED).exists():  # a driver was killed between the last trial and the summary
        _record(sweep, board, observers, None)
    else:
        tracker = open_tracker(setting, experiment.name, folder)
        finish_tracking(setting, tracker, sweep.key)  # delivers what an earlier driver still owed
    return _conclude(setting, board, storage.uri if storage else str(folder), new=len(board.finished()) - len(ended))


def _record(sweep: _Sweep, board: Board, observers: Observers, cluster: Cluster | None) -> None:
    """Run what is left of the trials on `cluster` (None: nothing is left) and keep it all in MLflow."""
    setting, store, folder, key = sweep.setting, sweep.store, sweep.folder, sweep.key
    experiment, ended = board.base, board.finished()
    wanted = experiment.sweep.trials
    feeding = _feeding(setting, board, store) if cluster else None
    facts = facts_of(setting, key, folder, experiment, store, sweep.inputs, feeding, sweep.storage)
    say_made_with(setting, experiment, sweep.inputs)
    tracker = open_tracker(setting, experiment.name, folder)
    watched = SweepTracker(tracker, facts, real_set(store, experiment))
    (folder / CLOSED).unlink(missing_ok=True)
    watched.open(
        {"space": f"{sweep.space.name} v{sweep.space.version}", "profile": experiment.profile},
        {"config.json": experiment.model_dump(mode="json"), "identity.json": sweep.identity},
    )
    for trial in board.unfinished():  # a killed driver left them RUNNING; one that is taken up opens its run again
        watched.interrupted(trial.number)
    watched.catch_up((t.number, STATUS[t.state], t.user_attrs.get("reason", "")) for t in ended)
    try:
        if cluster and feeding:
            objective = experiment.learner.objective
            progress = ProgressLine(
                setting.console, "sweep", wanted, experiment.training.images, objective, len(ended), best=_best(board)
            )
            observers.add(watched, progress)
            with progress:
                _train(board, sweep, cluster, facts, feeding)
    except BaseException as error:
        with suppress(Exception):  # what broke the sweep may break its summary too, and is what a user must read
            if isinstance(trouble_of(error), DiskFull):  # pictures and tables would only say so again
                watched.close("KILLED", {}, {}, _best(board), f"{type(error).__name__}: {error}")
            else:
                _close(board, watched, f"{type(error).__name__}: {error}")
            finish_tracking(setting, tracker, key)
        raise
    _close(board, watched)
    if not board.interrupted:
        (folder / CLOSED).touch()
    finish_tracking(setting, tracker, key)


def _feeding(setting: Setting, board: Board, store: Store) -> Feeding:
    """Choose how trials are fed and say so; a sweep that began one way goes on that way, on whatever cluster."""
    from hyperderm.cluster.stream_readers import reading_nodes

    begun = board.study.user_attrs.get(FEED)
    asked = board.base.override({"data.feed": begun}) if begun and board.base.data.feed == "auto" else board.base
    feeding = choose(store, select(store, asked), largest(asked, board.distributions))
    board.study.set_user_attr(FEED, feeding.mode)
    if feeding.streams:
        setting.say(feeding.said(len(reading_nodes(store, asked))))
    if feeding.limit:
        setting.say(feeding.limit)
    return feeding


def largest(experiment: Experiment, axes: Mapping[str, BaseDistribution]) -> Experiment:
    """Return the trial of a search over `axes` whose cubes are the largest."""
    axis = axes.get("data.size")
    sizes = getattr(axis, "choices", None) or ([axis.high] if isinstance(axis, IntDistribution) else [])
    if not sizes:
        return experiment
    return experiment.model_copy(update={"data": experiment.data.model_copy(update={"size": max(sizes)})})


def _train(board: Board, sweep: _Sweep, cluster: Cluster, facts: SweepFacts, feeding: Feeding) -> None:
    from hyperderm.cluster.trial import share
    from hyperderm.studies.sweep import run

    try:
        selection = select(sweep.store, board.base)
        shared = _at_once(lambda: share(sweep.store, selection, board.base, feeding, sweep.inputs))
    except KeyboardInterrupt:
        board.interrupted = True
        return
    try:
        run(board, shared, cluster, facts.folder, facts.provenance(), facts.storage)
    finally:
        shared.close()


def _at_once(call: Callable[[], T]) -> T:
    """Return `call()`; SIGINT and SIGTERM end it as KeyboardInterrupt."""
    before = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        return call()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _close(board: Board, watched: SweepTracker, broken: str = "") -> None:
    rows, marks = rows_of(board), board.study.user_attrs
    floor, mean_cube = marks.get("floor_real_vs_real"), marks.get("score_of_mean_cube")
    scored = [row for row in rows if row.status in ("finished", "stopped early")]
    status: Status = "KILLED" if board.interrupted or broken else "FINISHED" if scored else "FAILED"
    named = objective_name(board)
    texts = {
        "leaderboard.md": leaderboard.markdown(rows, floor, mean_cube, named),
        "leaderboard.csv": leaderboard.csv(rows, named),
        "search.html": study_page(board.study),
    }
    watched.close(status, {"search.png": study_figure(board.study)}, texts, _best(board), broken)


def _conclude(setting: Setting, board: Board, place: str, new: int) -> int:
    setting.console.print(_table(board))
    if board.interrupted:
        setting.say("interrupted: the same command goes on where this one stood")
        return 130
    if new == 0:
        setting.say(
            f"nothing to do: {len(board.finished())} trials ended before. More: --trials {2 * len(board.finished())} "
            "(make: TRIALS=…); "
            "a new sweep: --name NAME (make: NAME=…)"
        )
    setting.say(
        f"checkpoints and samples in {place}; compare the trials with `make ui`"
        if setting.tracking_uri.startswith("sqlite:")
        else f"checkpoints and samples in {place}; trials at {setting.tracking_uri}"
    )
    return 0 if any(row.status in ("finished", "stopped early") for row in rows_of(board)) else 1


def _table(board: Board) -> Table:
    marks = board.study.user_attrs
    floor, mean_cube = marks.get("floor_real_vs_real"), marks.get("score_of_mean_cube")
    return leaderboard.table(rows_of(board), floor, mean_cube, objective_name(board))


def objective_name(board: Board) -> str:
    """Return what the trials are scored by, in words."""
    return board.base.learner.objective.replace("_", " ")


def rows_of(board: Board) -> list[leaderboard.Row]:
    """Return the trials as rows of a leaderboard."""
    trials = board.study.get_trials(deepcopy=False)
    return [_row(trial) for trial in trials if trial.state in STATUS]


def _row(trial: FrozenTrial) -> leaderboard.Row:
    reached = trial.intermediate_values
    return leaderboard.Row(
        number=trial.number,
        status=STATUS[trial.state],
        best=min(reached.values(), default=None),
        best_images=trial.user_attrs.get("best_images"),
        images=max(reached, default=0),
        seconds=float(trial.user_attrs.get("seconds", 0.0)),
        values=trial.params,
        reason=trial.user_attrs.get("reason", ""),
    )


def _best(board: Board) -> float | None:
    scores = [value for trial in board.finished() for value in trial.intermediate_values.values()]
    return min(scores, default=None)
