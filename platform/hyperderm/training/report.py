"""A report of a run: what was measured at a validation, and how it is made."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

from torch import Tensor

from hyperderm.config import Experiment
from hyperderm.errors import NonFiniteLoss
from hyperderm.learners.base import Learner
from hyperderm.training.context import Context
from hyperderm.training.meter import REMEDY, Meter
from hyperderm.training.objective import Objective, with_objectives


@dataclass(frozen=True)
class Report:
    """The state of a run after `images` real images: scores, and means over the steps since the last report as `train/…`."""

    images: int
    metrics: Mapping[str, float]
    cubes: Tensor | None = None
    """The generated cubes that were scored, (n, B, H, W) reflectance. None for other learners, on ranks other than 0, and in
    a report that is repeated after a resume."""
    rebuilt: tuple[Tensor, Tensor] | None = None
    """See `Validation.rebuilt`."""
    note: str = ""
    """A note for the user on how the run was resumed."""


def measured(
    learner: Learner, meter: Meter, context: Context, images: int, experiment: Experiment, given: Sequence[Objective]
) -> Report:
    """Return the report of a run after `images` images; only rank 0 validates.

    Raises:
        NonFiniteLoss: a metric is not finite; the message names the step and the metric.
    """
    metrics = meter.means()
    if context.rank:
        return Report(images, metrics)
    validation = learner.validate()
    scores = with_objectives(given, validation.scores, validation.cubes, experiment)
    for objective in (experiment.objective, *experiment.objectives):
        if not isfinite(scores.get(objective, 0.0)):
            step = images // experiment.training.batch_size - 1
            raise NonFiniteLoss(f"{objective} is not finite after step {step}", REMEDY)
    return Report(images, metrics | scores, validation.cubes, validation.rebuilt)
