"""What one training step means: losses and optimizers around models."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hyperderm.config import Experiment
    from hyperderm.learners.base import Learner, Placement
    from hyperderm.learners.data import TrainData


def build(experiment: Experiment, data: TrainData, placement: Placement) -> Learner:
    """Return the learner that `experiment.learner` describes; a new learner joins the match."""
    match experiment.learner.kind:
        case "shsgan":
            from hyperderm.learners.shsgan import ShsGan

            return ShsGan(experiment, data, placement)
        case "classifier":
            from hyperderm.learners.classifier import Classifier

            return Classifier(experiment, data, placement)
        case "spectral":
            from hyperderm.learners.spectral_baseline import SpectralBaseline

            return SpectralBaseline(experiment, data, placement)
