"""The search of a sweep: an Optuna study that survives a stop of the driver, and every decision that is made from it.

Tune spreads these decisions over a searcher, a scheduler and callbacks; here one object makes them, and
`cluster.tune_driver` passes Tune's calls on to it. The study is an SQLite file in the folder of the sweep. A restarted
driver therefore knows the finished trials, resumes the interrupted ones with their values, and prunes at the same rungs.
"""

import hashlib
import math
import time
import warnings
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from hyperderm.cluster.observer import Observer, Outcome
from hyperderm.cluster.trial import KEY
from hyperderm.config import Experiment
from hyperderm.errors import MachineTrouble
from hyperderm.studies.study_file import open_study
from hyperderm.tags import TRIAL_TAG
from hyperderm.training.run_folder import trial_folder

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


@dataclass(frozen=True)
class SearchTrial:
    """One trial of a sweep, as observers know it (see `cluster.observer.Job`).

    Attributes:
        number: the number of the trial in its study.
        experiment: the whole configuration of the trial; None for a trial that an earlier driver ended.
        values: the swept values.
    """

    number: int
    experiment: Experiment | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    kind: ClassVar[str] = "trial"
    group: ClassVar[str] = ""

    @property
    def key(self) -> str:
        """Return the number of the trial as text."""
        return str(self.number)

    @property
    def label(self) -> str:
        """Return the name of the trial for people, such as `trial 003`."""
        return f"trial {self.number:03d}"

    @property
    def folder(self) -> str:
        """Return the folder with the files of the trial, relative to the folder of the sweep."""
        return trial_folder(Path(), self.number).as_posix()

    @property
    def params(self) -> Mapping[str, object]:
        """Return the swept values, or the whole configuration if no value is swept."""
        return self.values or (self.experiment.flat() if self.experiment else {})

    @property
    def tags(self) -> Mapping[str, str]:
        """Return the tag that holds the number of the trial."""
        return {TRIAL_TAG: self.key}


class Search:
    """Asks the study for trials, tells it their results, decides which trials stop early, and informs the observer.

    Args:
        path: the SQLite file of the study.
        name: the name of the study.
        base: the configuration that the swept values override.
        distributions: the search space: configuration path to the distribution of its values.
        observer: is told of every start, report and end of a trial.
        say: is called with a sentence when another program has locked the file.
        config: turns a trial into the configuration that Tune receives.

    Raises:
        StudyError: the file stays locked, is damaged, or cannot be written.
    """

    def __init__(
        self,
        path: Path,
        name: str,
        base: Experiment,
        distributions: Mapping[str, BaseDistribution],
        observer: Observer,
        say: Callable[[str], None] = lambda text: None,
        config: Callable[[SearchTrial], dict[str, Any]] = lambda trial: {KEY: trial.key},
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.base, self.distributions, self.observer, self.config = base, dict(distributions), observer, config
        pruner = optuna.pruners.SuccessiveHalvingPruner(
            min_resource=base.sweep.grace_images, reduction_factor=base.sweep.reduction, min_early_stopping_rate=0
        )
        self.study = open_study(path, name, pruner, say)
        if "objective" not in self.study.user_attrs:
            self.study.set_user_attr("objective", base.learner.objective)
        self.interrupted = False
        """True after a signal or after trouble of the machine; from then on no trial is handed out or closed."""
        self.trouble: MachineTrouble | None = None
        """The last trouble of the machine that left a trial open."""
        self._in_a_row = 0
        self._open: dict[int, optuna.Trial] = {}
        self.handed: dict[int, SearchTrial] = {}
        self._started: dict[int, float] = {}
        self._scores: dict[int, dict[int, float]] = {}
        self._pruned: set[int] = set()
        self._told: dict[int, int] = {}
        self._yardsticks = {name: v for name, v in self.study.user_attrs.items() if name in base.learner.yardsticks}
        self._resumable = deque(self.unfinished())
        if not self.study.trials:
            self._enqueue_declared_values()

    def __reduce__(self) -> tuple[type[object], tuple[()]]:
        """Pickle to nothing: Tune saves its callbacks in order to restore them, but here the study holds the state."""
        return object, ()

    def finished(self) -> list[FrozenTrial]:
        """Return the trials that ended: completed, stopped early or failed."""
        return self.study.get_trials(deepcopy=False, states=FINISHED)

    def unfinished(self) -> list[FrozenTrial]:
        """Return the trials that a driver started but did not end."""
        return self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))

    @property
    def over(self) -> bool:
        """Return False, because an Optuna study can always give one more trial; Tune is told how many trials are wanted."""
        return False

    @property
    def running(self) -> bool:
        """Return whether a trial that was handed out is still open."""
        return bool(self._open)

    def ask(self) -> dict[str, Any]:
        """Return the configuration of the next trial: an interrupted one first, then a new one."""
        if self._resumable:
            frozen = self._resumable.popleft()
            self.study.sampler = self._sampler(frozen.number)
            trial, resumed = optuna.Trial(self.study, frozen._trial_id), True
            # A kill may have come between two axes: those not drawn yet are drawn now.
            values = {path: _value(trial, path, axis) for path, axis in self.distributions.items()}
            self._scores[trial.number] = dict(frozen.intermediate_values)
            if frozen.user_attrs.get("pruned"):
                self._pruned.add(frozen.number)
        else:
            self.study.sampler = self._sampler(len(self.study.get_trials(deepcopy=False)))
            trial, resumed = self.study.ask(self.distributions), False
            values, self._scores[trial.number] = dict(trial.params), {}
        self._open[trial.number] = trial
        self._started[trial.number] = time.monotonic()
        handed = self.handed[trial.number] = SearchTrial(trial.number, self.base.override(values), values)
        self.observer.started(handed, resumed)
        return self.config(handed)

    def report(self, key: str, images: int, metrics: Mapping[str, float]) -> bool:
        """Record each report only once, and return whether successive halving stops the trial here."""
        number = int(key)
        trial = self._open.get(number)
        if trial is None or images <= self._told.get(number, -1):
            return number in self._pruned
        self._told[number] = images
        self.observer.reported(self.handed[number], images, metrics)
        self._remember_yardsticks(metrics)
        known = self._scores[number]
        if images == 0 or images in known:  # the untrained generator is worth a point in a plot, not a rung
            return images > 0 and number in self._pruned
        value = metrics.get(self.base.learner.objective, math.nan)
        if not math.isfinite(value):
            return False
        if value < min(known.values(), default=math.inf):
            trial.set_user_attr("best_images", images)
        best = min([value, *known.values()])
        trial.report(best, images)
        known[images] = best
        if images < self.base.training.images and trial.should_prune():
            self._pruned.add(number)
            trial.set_user_attr("pruned", True)
        return number in self._pruned

    def note(self, key: str, sentence: str) -> None:
        """Pass on to the observer something that happened to a trial but did not end it."""
        if int(key) in self._open and not self.interrupted:
            self.observer.noted(self.handed[int(key)], sentence)

    def finish(self, key: str, failure: str = "") -> None:
        """Close a trial; do nothing if the sweep was interrupted, so that the next driver resumes the trial."""
        number = int(key)
        trial = self._open.get(number)
        if trial is None or self.interrupted:
            return
        del self._open[number]
        self._in_a_row = 0
        trial.set_user_attr("seconds", self._seconds(trial, number))
        reached = self._scores.pop(number)
        outcome: Outcome = "failed" if failure else "stopped early" if number in self._pruned else "finished"
        if outcome == "finished" and not reached:
            outcome, failure = "failed", "no finite objective was reported"
        reason = failure or (f"successive halving at {max(reached)} images" if outcome == "stopped early" else "")
        trial.set_user_attr("reason", reason)
        if outcome == "finished":
            self.study.tell(trial, min(reached.values()))
        else:
            self.study.tell(trial, state=TrialState.PRUNED if outcome == "stopped early" else TrialState.FAIL)
        self.observer.finished(self.handed[number], outcome, reason)

    def leave(self, key: str, trouble: MachineTrouble) -> None:
        """Leave a trial to the next driver after trouble of the machine; other trials go on.

        End the sweep if the next trial would meet the same trouble, or if this is the second trial in a row that met
        trouble.
        """
        number = int(key)
        if number not in self._open or self.interrupted:
            return
        self.trouble = trouble
        self._in_a_row += 1
        self.interrupted = trouble.everywhere or self._in_a_row > 1
        self.observer.noted(self.handed[number], f"left open: {trouble.what}")

    def leave_open(self) -> None:
        """At the end of the sweep, leave every open trial unchanged for the next driver."""
        opened = dict(self._open)
        self._open.clear()
        for number, trial in opened.items():
            self.observer.interrupted(self.handed[number])
            try:
                trial.set_user_attr("seconds", self._seconds(trial, number))
            except Exception:
                if self.trouble is None:
                    raise  # otherwise what broke the sweep is what a user must read, not that it breaks this as well

    def _remember_yardsticks(self, metrics: Mapping[str, float]) -> None:
        for name in self.base.learner.yardsticks:  # kept on the study, printed under the leaderboard
            if name in metrics and name not in self._yardsticks:
                self._yardsticks[name] = float(metrics[name])
                self.study.set_user_attr(name, float(metrics[name]))

    def _seconds(self, trial: optuna.Trial, number: int) -> float:
        return float(trial.user_attrs.get("seconds", 0.0)) + time.monotonic() - self._started[number]

    def _sampler(self, number: int) -> optuna.samplers.BaseSampler:
        """Return a TPE sampler seeded by (experiment seed, trial number): a restarted driver draws the same values."""
        key = hashlib.blake2b(f"{self.base.seed}/tpe/{number}".encode(), digest_size=4).digest()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # multivariate, constant_liar
            return optuna.samplers.TPESampler(
                multivariate=True,
                constant_liar=True,  # trials that run side by side must not be the same
                n_startup_trials=self.base.sweep.startup_trials,
                seed=int.from_bytes(key, "big"),
            )

    def _enqueue_declared_values(self) -> None:
        """Make the values of the experiment itself the first trial, provided that the search space contains them."""
        flat = self.base.flat()
        values = {path: flat[path] for path in self.distributions}
        try:
            optuna.trial.create_trial(params=values, distributions=self.distributions, value=0.0)
        except (TypeError, ValueError):  # one lies outside its range, between its steps, or is no choice
            return
        self.study.enqueue_trial(values)


def _value(trial: optuna.Trial, path: str, axis: BaseDistribution) -> Any:  # noqa: ANN401 - whatever a configuration holds
    """Return the value of one parameter of a trial; draw the value if the trial does not have one yet."""
    if isinstance(axis, CategoricalDistribution):
        return trial.suggest_categorical(path, axis.choices)
    if isinstance(axis, IntDistribution):
        return trial.suggest_int(path, axis.low, axis.high, step=axis.step, log=axis.log)
    assert isinstance(axis, FloatDistribution), axis
    return trial.suggest_float(path, axis.low, axis.high, step=axis.step, log=axis.log)
