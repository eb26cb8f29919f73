"""The record of one training of an experiment: a trial of a sweep, or a run that is a study of its own."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from hyperderm.config import Experiment
from hyperderm.tags import TRIAL_TAG
from hyperderm.training.run_folder import trial_folder


@dataclass(frozen=True)
class TrialJob:
    """One training of an experiment, in a sweep or alone, as observers know it (see `cluster.observer.Job`).

    Attributes:
        number: the number of the trial in its study; 0 for a run that is a study of its own.
        experiment: the whole configuration of the trial; None for a trial that an earlier driver ended.
        values: the swept values.
        name: the name of a run that is a study of its own; "" for a trial of a sweep.
    """

    number: int = 0
    experiment: Experiment | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""
    group: ClassVar[str] = ""

    @property
    def kind(self) -> str:
        """Return what the job is called."""
        return "run" if self.name else "trial"

    @property
    def key(self) -> str:
        """Return the number of the trial as text; "" for a run that is a study of its own."""
        return "" if self.name else str(self.number)

    @property
    def label(self) -> str:
        """Return the name of the trial for people, such as `trial 003`."""
        return self.name or f"trial {self.number:03d}"

    @property
    def folder(self) -> str:
        """Return the folder with the files of the trial, relative to the folder of its study."""
        return trial_folder(Path(), self.number).as_posix()

    @property
    def params(self) -> Mapping[str, object]:
        """Return the swept values, or the whole configuration if no value is swept."""
        return self.values or (self.experiment.flat() if self.experiment else {})

    @property
    def tags(self) -> Mapping[str, str]:
        """Return the tag that holds the number of the trial."""
        return {TRIAL_TAG: str(self.number)}
