"""Repeat the best trial of a sweep with other seeds, as `sweep --repeat K` does, and say what came of it."""

from pathlib import Path
from typing import TYPE_CHECKING

from hyperderm.cluster.observer import Observer, Observers
from hyperderm.cluster.session import Cluster
from hyperderm.errors import StudyError
from hyperderm.reports import repeats as words
from hyperderm.reports.progress import ProgressLine
from hyperderm.studies.repeats import Repeated, Repeats, ended_in_all, job_of, repeated, winner_of
from hyperderm.studies.search import Search
from hyperderm.tags import REPEATS_TAG
from hyperderm.tracking.runs import Tracker
from hyperderm.tracking.study_tracker import StudyFacts, StudyTracker
from hyperderm.workflows.workspace import Workspace

if TYPE_CHECKING:
    from hyperderm.cluster.shared_data import Shared


def repeats_of(search: Search, folder: Path) -> Repeated | None:
    """Return what is known of the repeats of the search's best trial; None if no trial has finished.

    Raises:
        StudyError: a record is damaged.
    """
    best = winner_of(search.study, search.base)
    return None if best is None else repeated(folder, best)


def missing(search: Search, folder: Path, count: int) -> int:
    """Return how many of `count` repeats of the search's present best trial have not ended; 0 if no trial has finished."""
    best = winner_of(search.study, search.base) if count else None
    return 0 if best is None else Repeats(folder, best, count, Observers()).wanted


def run_repeats(
    workspace: Workspace,
    search: Search,
    count: int,
    shared: "Shared",
    cluster: Cluster,
    facts: StudyFacts,
    watched: Observer,
) -> None:
    """Run the repeats that have not ended; an interrupt of them interrupts the search, so that it stays open.

    Args:
        workspace: what the progress is printed on.
        search: a search that has its trials.
        count: how many repeats of its best trial are wanted in all.
        shared: the data that the trials read.
        cluster: the cluster that ran the trials.
        facts: the facts of the sweep.
        watched: the observer that records in MLflow.

    Raises:
        StudyError, MachineTrouble: for the same reasons as the trials of a sweep.
    """
    from hyperderm.studies.sweep import run_jobs

    best = winner_of(search.study, search.base)
    if best is None:
        return
    seeds = f"{best.experiment.seed + 1} to {best.experiment.seed + count}"
    workspace.say(f"repeating trial {best.number}, the best one, with the seeds {seeds}; none is stopped early")
    observers = Observers([watched])
    repeats = Repeats(facts.folder, best, count, observers)
    progress = ProgressLine(
        workspace.console,
        "repeats",
        count,
        unit="repeats",
        images=best.experiment.training.images,
        done=count - repeats.wanted,
    )
    observers.add(progress)
    try:
        with progress:
            run_jobs(repeats, repeats.wanted, search.base, shared, cluster, facts.folder, facts.provenance(), facts.storage)
    finally:
        search.interrupted = search.interrupted or repeats.interrupted


def catch_up(found: Repeated | None, watched: StudyTracker) -> None:
    """Close the runs of repeats that ended, or were left open, when a driver was killed."""
    if found is None:
        return
    for record in found.records:
        job = job_of(found.winner, record)
        if record.outcome:
            watched.catch_up([(job, record.outcome, record.reason)])
        else:
            watched.interrupted(job)


def log_numbers(tracker: Tracker, key: str, folder: Path, found: Repeated | None) -> None:
    """Log the numbers of the repeats as metrics of the sweep's run; the step is how many repeats have ended in all."""
    if found and (numbers := words.metrics(found)):
        tracker.log_metrics(key, numbers, ended_in_all(folder))


def tags_of(found: Repeated | None) -> dict[str, str]:
    """Return the tag of the sweep's run that says in words what the repeats came to; {} if there is none."""
    if found is None or not (found.records or found.others):
        return {}
    return {REPEATS_TAG: f"trial {found.winner.number}: {words.summary(found)}"}


def exit_code(found: Repeated | None, wanted: int) -> int:
    """Return 1 if repeats were asked for and none has finished, otherwise 0.

    Raises:
        StudyError: repeats were asked for, and the search has no finished trial to repeat.
    """
    if not wanted:
        return 0
    if found is None:
        raise StudyError(
            f"--repeat {wanted}: no trial of this sweep has finished, so there is no best one to repeat",
            "See why trials failed, above; more trials: --trials N (make: TRIALS=…).",
        )
    return 0 if found.scores else 1
