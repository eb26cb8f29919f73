"""The search of a sweep: an Optuna study that survives a stop of the driver, and every decision that is made from it.

Tune spreads these decisions over a searcher, a scheduler and callbacks; here one object makes them, and
`cluster.tune_driver` passes Tune's calls on to it. The study is an SQLite file in the folder of the sweep. A restarted
driver therefore knows the finished trials, resumes the interrupted ones with their values, and prunes at the same rungs.

A search by two objectives (`sweep.objective`) has a Pareto front in place of a best trial. Optuna offers it neither reports
nor pruning, so no trial is stopped early, and what trials reach is kept in their attributes (`studies.ranks`).
"""

import hashlib
import time
import warnings
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)
from optuna.trial import FrozenTrial, TrialState

from hyperderm.cluster.observer import Observer, Outcome
from hyperderm.cluster.study import Study
from hyperderm.config import Experiment
from hyperderm.errors import StudyError
from hyperderm.identity import searching
from hyperderm.registry import Space
from hyperderm.studies.ranks import SECONDS, SECONDS_AT, TrialScores, seconds_of
from hyperderm.studies.study_file import open_study
from hyperderm.studies.trial_job import TrialJob

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


@dataclass
class _Open:
    """What the search keeps of a trial that has not ended: Optuna's trial, its start, and what it has reached.

    Attributes:
        trial: Optuna's trial.
        scores: the scores of the checkpoint that the trial keeps.
        began: the time at which this driver handed the trial out.
        before: the seconds that earlier drivers recorded of the trial.
        at_reports: the seconds at each report, by number of images as text.
    """

    trial: optuna.Trial
    scores: TrialScores
    began: float = field(default_factory=time.monotonic)
    before: float = 0.0
    at_reports: dict[str, float] = field(default_factory=dict)

    @classmethod
    def again(cls, trial: optuna.Trial, scores: TrialScores, frozen: FrozenTrial) -> "_Open":
        """Return a trial that an earlier driver left, with what that driver recorded of it."""
        return cls(trial, scores, before=seconds_of(frozen), at_reports=dict(frozen.user_attrs.get(SECONDS_AT, {})))

    def stop_clock(self, images: int | None = None) -> None:
        """Write how many seconds the trial has taken under all drivers; at `images` if this is a report.

        One attribute is written: each is a transaction on the disk, while the worker waits.
        """
        seconds = self.before + time.monotonic() - self.began
        if images is None:
            self.trial.set_user_attr(SECONDS, seconds)
        else:
            self.at_reports = {str(images): seconds} | self.at_reports
            self.trial.set_user_attr(SECONDS_AT, self.at_reports)


class Search(Study[TrialJob]):
    """Asks the study for trials, tells it their results, decides which trials stop early, and informs the observer.

    Args:
        path: the SQLite file of the study.
        name: the name of the study.
        base: the configuration that the swept values override; trials get it as `Experiment.as_trial` gives it.
        distributions: the search space: configuration path to the distribution of its values.
        observer: is told of every start, report and end of a trial.
        say: is called with a sentence when another program has locked the file.

    Raises:
        StudyError: the file stays locked, is damaged, cannot be written, or has another number of objectives.
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
        super().__init__(observer)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.base, self.distributions = base.as_trial(), dict(distributions)
        pruner = optuna.pruners.SuccessiveHalvingPruner(
            min_resource=base.sweep.grace_images, reduction_factor=base.sweep.reduction, min_early_stopping_rate=0
        )
        names = self.base.objectives
        self.study = open_study(path, name, pruner, say, objectives=len(names))
        if len(self.study.directions) != len(names):
            raise StudyError(
                f"the study in {path} has {len(self.study.directions)} objectives, sweep.objective names {len(names)}",
                "Begin a new search beside it: --name NAME (make: NAME=…).",
            )
        if "objective" not in self.study.user_attrs:
            self.study.set_user_attr("objective", names[0])
        self._open: dict[str, _Open] = {}
        self._pruned: set[str] = set()
        wanted = {self.base.yardstick(name, objective) for name in base.learner.yardsticks for objective in names}
        self._yardsticks = {name: self.study.user_attrs.get(name) for name in sorted(wanted)}
        self._resumable = deque(self.unfinished())
        if not self.study.trials:
            self._enqueue_declared_values()

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

    def ask(self) -> TrialJob | None:
        """Return the next trial: an interrupted one first, then a new one; None if the sweep was interrupted."""
        if self.interrupted:
            return None
        if self._resumable:
            frozen = self._resumable.popleft()
            self.study.sampler = self._sampler(frozen.number)
            trial, resumed = optuna.Trial(self.study, frozen._trial_id), True
            opened = _Open.again(trial, TrialScores(self.base, frozen), frozen)
            # A kill may have come between two axes: those not drawn yet are drawn now.
            values = {path: _value(trial, path, axis) for path, axis in self.distributions.items()}
            if frozen.user_attrs.get("pruned"):
                self._pruned.add(str(frozen.number))
        else:
            self.study.sampler = self._sampler(len(self.study.get_trials(deepcopy=False)))
            trial, resumed = self.study.ask(self.distributions), False
            opened = _Open(trial, TrialScores(self.base))
            values = dict(trial.params)
        job = TrialJob(trial.number, self.base.override(values), values)
        self._open[job.key] = opened
        return self._hand_out(job, resumed)

    def _record_report(self, job: TrialJob, images: int, metrics: Mapping[str, float]) -> None:
        """Give the scores of the kept checkpoint to the study; successive halving may stop the trial at this rung."""
        self._remember_yardsticks(metrics)
        trial, scores = self._open[job.key].trial, self._open[job.key].scores
        attributes = scores.follow(images, metrics)
        if attributes is None:
            return
        self._open[job.key].stop_clock(images)
        for name, value in attributes.items():
            trial.set_user_attr(name, value)
        if len(self.base.objectives) > 1:  # Optuna reports and prunes by one number
            return
        trial.report(scores.values[0], images)
        if images < self.base.training.images and trial.should_prune():
            self._pruned.add(job.key)
            trial.set_user_attr("pruned", True)

    def _stopped(self, key: str) -> bool:
        return key in self._pruned

    def _closed(self, job: TrialJob, failure: str) -> tuple[Outcome, str]:
        opened = self._open.pop(job.key)
        opened.stop_clock()
        outcome: Outcome = "failed" if failure else "stopped early" if self._stopped(job.key) else "finished"
        if outcome == "finished" and not opened.scores:
            outcome, failure = "failed", "no finite objective was reported"
        reason = failure or (f"successive halving at {opened.scores.images} images" if outcome == "stopped early" else "")
        if reason:
            opened.trial.set_user_attr("reason", reason)
        if outcome == "finished":
            self.study.tell(opened.trial, list(opened.scores.values))
        else:
            self.study.tell(opened.trial, state=TrialState.PRUNED if outcome == "stopped early" else TrialState.FAIL)
        return outcome, reason

    def _left(self, job: TrialJob, why: str) -> None:
        try:
            self._open.pop(job.key).stop_clock()
        except Exception:
            if self.trouble is None:
                raise  # otherwise what broke the sweep is what a user must read, not that it breaks this as well

    def _remember_yardsticks(self, metrics: Mapping[str, float]) -> None:
        for name, known in self._yardsticks.items():  # kept on the study, printed under the leaderboard
            if name in metrics and known is None:
                self._yardsticks[name] = float(metrics[name])
                self.study.set_user_attr(name, float(metrics[name]))

    def _sampler(self, number: int) -> optuna.samplers.BaseSampler:
        """Return a sampler seeded by (experiment seed, trial number): a restarted driver draws the same values."""
        settings = self.base.sweep
        key = hashlib.blake2b(f"{self.base.seed}/{settings.sampler}/{number}".encode(), digest_size=4).digest()
        seed = int.from_bytes(key, "big")
        if settings.sampler == "nsga2":  # its generations stand in the study
            return optuna.samplers.NSGAIISampler(population_size=max(settings.startup_trials, 2), seed=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # multivariate, constant_liar
            return optuna.samplers.TPESampler(
                multivariate=True,
                constant_liar=True,  # trials that run side by side must not be the same
                n_startup_trials=settings.startup_trials,
                seed=seed,
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


def sweep_name(experiment: Experiment, space: Space, store: str) -> str:
    """Return the name of a sweep.

    It consists of experiment, profile (unless it is full), space with its version, the first digits of the manifest's
    fingerprint (`store`) and the fold (unless it is 0).
    """
    profile = "" if experiment.profile == "full" else f"-{experiment.profile}"
    fold = f"-fold{experiment.data.fold}" if experiment.data.fold else ""
    return f"{experiment.name}{profile}-{space.name}-v{space.version}-{store}{fold}"


def sweep_identity(
    experiment: Experiment, space: Space, fingerprint: str, content: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return a sweep's identity, a flat mapping of JSON values; two sweeps are the same if their identities are equal.

    `content` is the result of `selection.content`.
    """
    axes = {f"space.{path}": str(distribution_to_json(axis)) for path, axis in space.distributions.items()}
    return {
        **searching(experiment),
        **axes,
        **(content or {}),
        "space.name": space.name,
        "space.version": space.version,
        "manifest": fingerprint,
    }
