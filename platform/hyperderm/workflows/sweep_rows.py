"""The trials of a sweep as rows of a leaderboard, and its objectives with what gives them a scale."""

from collections.abc import Mapping

from optuna.trial import FrozenTrial, TrialState

from hyperderm.reports import leaderboard
from hyperderm.studies.ranks import BEST_IMAGES, front, in_words, reached, seconds_of, values_of
from hyperderm.studies.search import Search
from hyperderm.tracking.measure import Measure
from hyperderm.tracking.study_points import ENDED

STATUS: Mapping[TrialState, leaderboard.Status] = {**ENDED, TrialState.RUNNING: "running"}


def measures_of(search: Search) -> tuple[Measure, Measure | None]:
    """Return the one or two objectives with what gives them a scale."""
    marks, found = search.study.user_attrs, []
    for objective, name in zip(search.base.objectives, in_words(search.base.objectives), strict=True):
        scale = [marks.get(search.base.yardstick(each, objective)) for each in ("floor_real_vs_real", "score_of_mean_cube")]
        found.append(Measure(name, *scale))
    return found[0], found[1] if len(found) > 1 else None


def rows_of(search: Search) -> list[leaderboard.Row]:
    """Return the trials as rows of a leaderboard."""
    trials = search.study.get_trials(deepcopy=False)
    ends = {trial.number for trial in front(search.study)}
    return [_row(trial, trial.number in ends) for trial in trials if trial.state in STATUS]


def _row(trial: FrozenTrial, on_front: bool) -> leaderboard.Row:
    values = dict(enumerate(values_of(trial)))
    return leaderboard.Row(
        number=trial.number,
        status=STATUS[trial.state],
        best=values.get(0),
        best_images=trial.user_attrs.get(BEST_IMAGES),
        images=max(reached(trial), default=0),
        seconds=seconds_of(trial),
        values=trial.params,
        reason=trial.user_attrs.get("reason", ""),
        second=values.get(1),
        on_front=on_front,
    )
