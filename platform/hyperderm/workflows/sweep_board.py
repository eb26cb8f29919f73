"""What the page of a sweep's run says in MLflow while the trials end: its note, and numbers over trials."""

from collections.abc import Mapping

from hyperderm.cluster.observer import Job, Outcome
from hyperderm.reports.leaderboard import Row, ranked
from hyperderm.reports.run_notes import Searched, counts_of, ended_note, sweep_note
from hyperderm.studies.search import Search
from hyperderm.tags import BEST_TRIAL_TAG
from hyperderm.tracking.short_texts import SHORTER, short_names, trial_name
from hyperderm.tracking.study_tracker import TRIAL, StudyTracker
from hyperderm.workflows.prepared import Prepared
from hyperderm.workflows.run_tracking import trained_of
from hyperderm.workflows.sweep_rows import measures_of, rows_of


class SweepBoard:
    """Keeps the page of a sweep's run up to date; an observer of the sweep (`cluster.observer.Observer`).

    Args:
        found: what was found and proven before the sweep.
        space: name and version of the search space.
        search: the search.
        watched: records the sweep.
    """

    def __init__(self, found: Prepared, space: str, search: Search, watched: StudyTracker) -> None:
        self._found, self._space, self._search, self._watched = found, space, search, watched
        self._watched.describe(sweep_note(self._searched(), rows_of(search)))

    def started(self, job: Job, resumed: bool) -> None:
        """Do nothing."""

    def reported(self, job: Job, images: int, metrics: Mapping[str, float]) -> None:
        """Do nothing."""

    def noted(self, job: Job, sentence: str) -> None:
        """Do nothing."""

    def told(self, sentence: str) -> None:
        """Do nothing."""

    def interrupted(self, job: Job) -> None:
        """Do nothing."""

    def finished(self, job: Job, outcome: Outcome, reason: str) -> None:
        """Count the trial, and put the leaderboard with it at the top of the page."""
        if job.kind != TRIAL:
            return
        rows = rows_of(self._search)
        counts = counts_of(rows)
        numbers = {f"trials/{name.replace(' ', '_')}": float(count) for name, count in counts.items()}
        self._watched.count(numbers | _of_best(rows), sum(counts.values()))
        self._watched.describe(sweep_note(self._searched(), rows))

    def close(self, broken: str = "") -> dict[str, str]:
        """Write the note of the end, and return the tags of the best trial."""
        rows = rows_of(self._search)
        self._watched.describe(sweep_note(self._searched(), rows, ended_note(rows, self._search.interrupted, broken)))
        best = _best(rows)
        return {} if best is None else {BEST_TRIAL_TAG: trial_name(best.number, best.values)}

    def _searched(self) -> Searched:
        base = self._search.base
        first, second = measures_of(self._search)
        return Searched(
            trained=trained_of(self._found),
            space=f"the space `{self._space}`",
            axes=self._search.distributions,
            trials=base.sweep.trials,
            first=first,
            second=second,
            charts=self._watched.charts(base.objectives[0]),
        )


def _best(rows: list[Row]) -> Row | None:
    """Return the best trial that has a score and did not fail."""
    first = next(iter(ranked([row for row in rows if row.status not in ("failed", "running")])), None)
    return first if first is not None and first.best is not None else None


def _of_best(rows: list[Row]) -> dict[str, float]:
    """Return the score of the best trial so far and its values, as far as they are numbers."""
    best = _best(rows)
    if best is None or best.best is None:
        return {}
    names = short_names(best.values)
    values = {
        f"best/{SHORTER.get(names[path], names[path])}": float(value)
        for path, value in best.values.items()
        if isinstance(value, int | float)
    }
    return {"best/score": best.best, "best/trial": float(best.number), **values}
