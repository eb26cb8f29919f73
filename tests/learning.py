"""Learners and what they are shown, from an experiment alone."""

from typing import Any

from hyperderm.config import Experiment
from hyperderm.learners.base import Compute
from hyperderm.learners.classifier.learner import Augment, augmentations
from hyperderm.learners.data import TrainData
from hyperderm.learners.sampling import Phase, phases


def built(experiment: Experiment, data: TrainData, compute: Compute) -> Any:
    """Return the learner of an experiment, untrained."""
    return experiment.learner.build(experiment, data, compute)


def shown(experiment: Experiment, data: TrainData) -> tuple[Phase, ...]:
    """Return the phases of a run."""
    return phases(experiment.learner, experiment, data)


def augmented(experiment: Experiment, data: TrainData) -> list[Augment]:
    """Return the augmentations of a classifier's run."""
    return augmentations(experiment.learner, experiment.data.size, data)
