"""The whole configuration of a run: one frozen `Experiment`, which is a `Run` together with its learner."""

import json
from typing import Self

from pydantic import model_validator

from hyperderm.errors import nearest
from hyperderm.learners import AnyLearner
from hyperderm.metrics.evaluation.names import OBJECTIVES
from hyperderm.settings import (
    PRETRAINS,
    STREAM_SETTINGS,
    DataConfig,
    Run,
    SweepConfig,
    SyntheticConfig,
    TaskConfig,
    TrainingConfig,
)

LOSS = "loss"
"""Before the key of a score that is an objective: its name as a metric."""

__all__ = [
    "STREAM_SETTINGS", "DataConfig", "Experiment", "Run", "SweepConfig", "SyntheticConfig", "TaskConfig",
    "TrainingConfig",
]  # fmt: skip


class Experiment(Run):
    """Everything that defines a run: its data, learner, training and search."""

    learner: AnyLearner

    @property
    def objective(self) -> str:
        """The name of the score that chooses checkpoints; lower is better."""
        asked = self.training.objective
        return f"{LOSS}/{asked}" if asked else self.learner.objective

    @property
    def objectives(self) -> tuple[str, ...]:
        """The names of the one or two scores that rank the trials of a sweep; lower is better."""
        own = self.learner.objective
        return tuple(each if each == own else f"{LOSS}/{each}" for each in self._ranking) or (self.objective,)

    @property
    def _ranking(self) -> tuple[str, ...]:
        asked = self.sweep.objective
        return () if asked is None else (asked,) if isinstance(asked, str) else asked

    def as_trial(self) -> Self:
        """Return the configuration that the trials of a sweep over this experiment begin with.

        Where `training.objective` is None, the first name of `sweep.objective` chooses the checkpoints of trials too. So a
        trial keeps the checkpoint that its rank is for, and its own configuration says by what that was chosen.
        """
        first = next(iter(self._ranking), self.learner.objective)
        if self.training.objective or first == self.learner.objective:
            return self
        return self.override({"training.objective": first})

    def yardstick(self, name: str, objective: str) -> str:
        """Return the name under which the reports of a run hold a yardstick of one of its objectives.

        Args:
            name: one of `learner.yardsticks`.
            objective: `objective`, or one of `objectives`. The first has the plain name; others stand behind a slash.
        """
        return name if objective == self.objective else f"{name}/{objective.removeprefix(f'{LOSS}/')}"

    @model_validator(mode="after")
    def _objective_fits(self) -> Self:
        asked = self.training.objective
        if asked is None:
            return self
        if self.learner.role != "generator":
            raise ValueError(
                f"training.objective = {asked} is a score of generated cubes, but learner.kind = {self.learner.kind} is a "
                f"{self.learner.role}. Leave it out"
            )
        if self.learner.fit_once:
            raise ValueError(
                f"training.objective = {asked} with learner.kind = {self.learner.kind} is refused: it is fitted at once, so "
                "there is no checkpoint to choose. Leave it out"
            )
        if asked not in OBJECTIVES:
            raise ValueError(
                f"training.objective = {asked} is no score of `hyperderm evaluate`. {nearest(asked, OBJECTIVES)}"
            )
        return self

    @model_validator(mode="after")
    def _ranking_fits(self) -> Self:
        """Refuse a name that no validation of this learner reports, and a sampler that one name cannot use."""
        names, own = self._ranking, self.learner.objective
        said = f"sweep.objective = {json.dumps(self.sweep.objective)}"
        for name in names:
            if name != own and self.learner.role != "generator":
                raise ValueError(
                    f"{said}: learner.kind = {self.learner.kind} is a {self.learner.role}, whose only score for searches is "
                    f"{own}. Name that, or leave it out"
                )
            if name != own and self.learner.fit_once:
                raise ValueError(
                    f"{said}: learner.kind = {self.learner.kind} is fitted at once, and its only score for searches is "
                    f"{own}. Name that, or leave it out"
                )
            if name != own and name not in OBJECTIVES:
                raise ValueError(
                    f"{said}: {name} is neither the learner's own score, {own}, nor one of `hyperderm evaluate` against "
                    f"held-out cubes. {nearest(name, (own, *OBJECTIVES))}"
                )
        if self.sweep.sampler == "nsga2" and len(names) < 2:
            raise ValueError("sweep.sampler = nsga2 needs two names in sweep.objective. Give two, or take tpe")
        return self

    @model_validator(mode="after")
    def _workers_fit(self) -> Self:
        workers, batch = self.sweep.workers_per_trial, self.training.batch_size
        if batch % workers:
            raise ValueError(
                f"training.batch_size = {batch} is not divisible by {workers} workers. "
                f"Choose a multiple of {workers}, or fewer workers"
            )
        if workers > 1 and self.sweep.gpus_per_worker % 1:
            raise ValueError(
                f"sweep.gpus_per_worker = {self.sweep.gpus_per_worker} with {workers} workers is refused: two workers of a "
                "trial on one GPU cannot talk over NCCL. Use whole GPUs, or one worker"
            )
        if workers > 1 and self.learner.fit_once:
            raise ValueError(
                f"learner.kind = {self.learner.kind} with {workers} workers is refused: it is fitted at once. Use one worker"
            )
        return self

    @model_validator(mode="after")
    def _learner_fits(self) -> Self:
        self.learner.check(self)
        return self

    @model_validator(mode="after")
    def _role_fits(self) -> Self:
        """Refuse settings of a generator on a classifier, and settings of a classifier on a generator."""
        kind = self.learner.kind
        if self.data.photographs is not None and self.learner.role != "generator":
            raise ValueError(
                f"data.photographs is set, but learner.kind = {kind} is a {self.learner.role}: only generators learn "
                "photographs. Leave it out"
            )
        if self.learner.role == "classifier":
            if self.task is None:
                raise ValueError(f"learner.kind = {kind} needs a task. Give task=TaskConfig()")
            if self.data.diagnoses != ("melanoma",):
                raise ValueError("data.diagnoses is a generator's; a classifier reads those of task.negatives. Leave it out")
        else:
            for name, value in (("task", self.task), ("synthetic", self.synthetic)):
                if value is not None:
                    raise ValueError(f"{name} is set, but learner.kind = {kind} is a {self.learner.role}. Leave it out")
        use = "" if self.synthetic is None else self.synthetic.use
        if use in PRETRAINS and self.learner.fit_once:
            raise ValueError(
                f"synthetic.use = {use} with learner.kind = {kind} is refused: it is fitted at once. Use add or only"
            )
        return self

    @model_validator(mode="after")
    def _phases_fit(self) -> Self:
        training = self.training
        pretrains = self.synthetic is not None and self.synthetic.use in PRETRAINS
        if pretrains != (training.pretrain_images > 0):
            raise ValueError(
                f"training.pretrain_images = {training.pretrain_images} is refused: it goes together with "
                "synthetic.use = pretrain or pretrain_head. Set both or none"
            )
        if training.pretrain_images >= training.images:
            raise ValueError(
                f"training.pretrain_images = {training.pretrain_images} leaves nothing of training.images = "
                f"{training.images}. Give fewer"
            )
        return self
