"""The training loop, short enough for one screen: it counts images, asks the learner to step, and reports validations."""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite

from torch import Tensor

from hyperderm.config import Experiment
from hyperderm.errors import NonFiniteLoss
from hyperderm.learners.base import Learner
from hyperderm.learners.data import TrainData
from hyperderm.training.context import Context
from hyperderm.training.data import release_rows
from hyperderm.training.meter import REMEDY, Meter
from hyperderm.training.objective import Objective, objectives_of, with_objectives
from hyperderm.training.resume import pack, restore, saved_space
from hyperderm.training.stream import feed_of


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


def train(experiment: Experiment, data: TrainData, context: Context) -> Generator[Report, None, Learner]:
    """Train until `training.images` images have been shown; yield a report at image 0 and at every validation.

    The best checkpoint is the one with the lowest `Experiment.objective`. The learner that is returned is in its last state.

    If the context has a checkpoint, training continues from the latest one. The random draws are keyed, so the result equals
    that of an undisturbed run. The last batch may raise the count above `training.images`.

    Raises:
        NonFiniteLoss: a metric is not finite; the message names the step and the metric.
        CheckpointError: a checkpoint cannot be read, or belongs to another run.
    """
    release_rows()
    training = experiment.training
    objective = experiment.objective
    compute = context.compute(training.precision)
    data = experiment.learner.in_space(experiment, saved_space(data, context))
    learner = experiment.learner.build(experiment, data, compute)
    given = objectives_of(experiment, data, str(compute.device))
    images, best = 0, float("inf")
    if saved := restore(learner, experiment, data, context):
        context.checkpoint.check_best()
        images, best = saved["images"], saved["best"]
        yield Report(
            images, saved["metrics"], note=context.checkpoint.told()
        )  # repeated, because the run may have been killed between the save and the delivery
    else:
        yield _report(learner, Meter(context), context, images, experiment, given)
    feed = feed_of(experiment, data, context)
    meter = Meter(context)
    while images < training.images:
        meter.add(learner.step(feed.batch(images)), images // training.batch_size)
        before, images = images, images + training.batch_size
        if crossed(before, images, training.validate_every) or images >= training.images:
            report = _report(learner, meter, context, images, experiment, given)
            if context.rank == 0:
                score = report.metrics[objective]
                better, best = score < best, min(best, score)
                report = replace(report, metrics={**report.metrics, f"best_{objective}": best})
                state = {"images": images, "metrics": dict(report.metrics), "best": best}
                context.checkpoint.save(state | pack(learner, experiment, data, context), best=better)
            yield report
            meter = Meter(context)  # made after the yield, so that its clock counts only steps
    return learner


def crossed(before: int, after: int, every: int) -> bool:
    """Return whether a multiple of `every` lies in (before, after]."""
    return after // every > before // every


def _report(
    learner: Learner, meter: Meter, context: Context, images: int, experiment: Experiment, given: Sequence[Objective]
) -> Report:
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
