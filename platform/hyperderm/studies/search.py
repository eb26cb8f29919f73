"""The board of a sweep: an Optuna study that outlives the driver, and everything decided from it.

One object holds what Tune spreads over searcher, scheduler and callbacks; `tune_glue` hands Tune's calls to it. The study
lives in SQLite in the sweep's folder, so a restarted driver knows the finished trials, takes up the interrupted ones with
their values, and prunes by the same rungs.
"""

import hashlib
import math
import time
import warnings
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState

from hyperderm.cluster.observer import Observer
from hyperderm.config import Experiment
from hyperderm.errors import MachineTrouble
from hyperderm.studies.study_file import open_study

Outcome = Literal["finished", "stopped early", "failed"]
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


@dataclass(frozen=True)
class Assignment:
    """A trial to run: its number, the whole configuration, and whether an earlier driver began it."""

    number: int
    experiment: Experiment
    values: Mapping[str, Any]
    resumed: bool


class Board:
    """Asks and tells the study, decides who stops early, and tells the observer.

    Args:
        path: SQLite file of the study.
        name: of the study.
        base: the configuration that the swept values override.
        distributions: the space.
        observer: told of every start, report and end.
        say: told when another program has the file locked.

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
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.base, self.distributions, self.observer = base, dict(distributions), observer
        pruner = optuna.pruners.SuccessiveHalvingPruner(
            min_resource=base.sweep.grace_images, reduction_factor=base.sweep.reduction, min_early_stopping_rate=0
        )
        self.study = open_study(path, name, pruner, say)
        if "objective" not in self.study.user_attrs:
            self.study.set_user_attr("objective", base.learner.objective)
        self.interrupted = False
        """Set by a signal, or by trouble of the machine: nothing is handed out or closed any more."""
        self.trouble: MachineTrouble | None = None
        """What the machine did last to a trial that was left open."""
        self._in_a_row = 0
        self._open: dict[int, optuna.Trial] = {}
        self._started: dict[int, float] = {}
        self._pruned: set[int] = set()
        self._told: dict[int, int] = {}
        self._yardsticks = {name: v for name, v in self.study.user_attrs.items() if name in base.learner.yardsticks}
        self._resumable = deque(self.unfinished())
        if not self.study.trials:
            self._enqueue_declared_values()

    def __reduce__(self) -> tuple[type[object], tuple[()]]:
        """Pickle to nothing: Tune saves its callbacks for a restore of its own, but the study is the state here."""
        return object, ()

    def finished(self) -> list[FrozenTrial]:
        """Return the trials that ended: completed, stopped early or failed."""
        return self.study.get_trials(deepcopy=False, states=FINISHED)

    def unfinished(self) -> list[FrozenTrial]:
        """Return the trials that a driver began and did not end."""
        return self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))

    def ask(self) -> Assignment:
        """Return the next trial: an interrupted one first, then a new one."""
        if self._resumable:
            frozen = self._resumable.popleft()
            self.study.sampler = self._sampler(frozen.number)
            trial, resumed = optuna.Trial(self.study, frozen._trial_id), True
            # A kill may have come between two axes: those not drawn yet are drawn now.
            values = {path: trial._suggest(path, axis) for path, axis in self.distributions.items()}
            if frozen.user_attrs.get("pruned"):
                self._pruned.add(frozen.number)
        else:
            self.study.sampler = self._sampler(len(self.study.get_trials(deepcopy=False)))
            trial, resumed = self.study.ask(self.distributions), False
            values = dict(trial.params)
        self._open[trial.number] = trial
        self._started[trial.number] = time.monotonic()
        assignment = Assignment(trial.number, self.base.override(values), values, resumed)
        self.observer.started(assignment.number, assignment.experiment, values, resumed)
        return assignment

    def report(self, number: int, images: int, metrics: Mapping[str, float]) -> bool:
        """Record a report once; return True if successive halving stops the trial here."""
        trial = self._open.get(number)
        if trial is None or images <= self._told.get(number, -1):
            return number in self._pruned
        self._told[number] = images
        self.observer.reported(number, images, metrics)
        self._remember_yardsticks(metrics)
        known = self._frozen(trial).intermediate_values
        if images == 0 or images in known:  # the untrained generator is worth a point in a plot, not a rung
            return images > 0 and number in self._pruned
        value = metrics.get(self.base.learner.objective, math.nan)
        if not math.isfinite(value):
            return False
        if value < min(known.values(), default=math.inf):
            trial.set_user_attr("best_images", images)
        trial.report(min([value, *known.values()]), images)
        if images < self.base.training.images and trial.should_prune():
            self._pruned.add(number)
            trial.set_user_attr("pruned", True)
        return number in self._pruned

    def finish(self, number: int, failure: str = "") -> None:
        """Close a trial; does nothing when the sweep was interrupted, so that the next driver takes the trial up."""
        trial = self._open.get(number)
        if trial is None or self.interrupted:
            return
        del self._open[number]
        self._in_a_row = 0
        trial.set_user_attr("seconds", self._seconds(trial, number))
        reached = self._frozen(trial).intermediate_values
        outcome: Outcome = "failed" if failure else "stopped early" if number in self._pruned else "finished"
        if outcome == "finished" and not reached:
            outcome, failure = "failed", "no finite objective was reported"
        reason = failure or (f"successive halving at {max(reached)} images" if outcome == "stopped early" else "")
        trial.set_user_attr("reason", reason)
        if outcome == "finished":
            self.study.tell(trial, min(reached.values()))
        else:
            self.study.tell(trial, state=TrialState.PRUNED if outcome == "stopped early" else TrialState.FAIL)
        self.observer.finished(number, outcome, reason)

    def leave(self, number: int, trouble: MachineTrouble) -> None:
        """Leave a trial to the next driver because of what the machine did; other trials go on.

        Where the next one would meet the same, or the second in a row has met trouble, the sweep ends.
        """
        if number not in self._open or self.interrupted:
            return
        self.trouble = trouble
        self._in_a_row += 1
        self.interrupted = trouble.everywhere or self._in_a_row > 1
        self.observer.noted(number, f"left open: {trouble.what}")

    def leave_open(self) -> None:
        """At the end: leave every open trial as it is, for the next driver."""
        opened = dict(self._open)
        self._open.clear()
        for number, trial in opened.items():
            self.observer.interrupted(number)
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

    def _frozen(self, trial: optuna.Trial) -> FrozenTrial:
        return self.study._storage.get_trial(trial._trial_id)

    def _sampler(self, number: int) -> optuna.samplers.BaseSampler:
        """Return TPE seeded by (experiment seed, trial number): a restarted driver draws what the first would have."""
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
        """Make the experiment's own values the first trial, where the space holds them."""
        flat = self.base.flat()
        values = {path: flat[path] for path in self.distributions}
        if all(_holds(distribution, values[path]) for path, distribution in self.distributions.items()):
            self.study.enqueue_trial(values)


def _holds(distribution: BaseDistribution, value: Any) -> bool:  # noqa: ANN401 - whatever a configuration holds
    if isinstance(distribution, CategoricalDistribution):
        return value in distribution.choices
    return isinstance(value, (int, float)) and bool(distribution._contains(distribution.to_internal_repr(value)))
