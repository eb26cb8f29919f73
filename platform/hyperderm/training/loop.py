"""The training loop, short enough for one screen: it counts images, asks the learner to step, and reports validations."""

from collections.abc import Generator
from dataclasses import replace
from math import inf, isfinite

from hyperderm.config import Experiment
from hyperderm.learners.base import Learner
from hyperderm.learners.data import TrainData
from hyperderm.learners.sampling import relabelled
from hyperderm.training.context import Context
from hyperderm.training.data import release_rows
from hyperderm.training.meter import Meter
from hyperderm.training.objective import objectives_of
from hyperderm.training.preemption import preempted
from hyperderm.training.report import Report, measured
from hyperderm.training.resume import pack, restore, saved_space
from hyperderm.training.stream import feed_of


def train(experiment: Experiment, data: TrainData, context: Context) -> Generator[Report, None, Learner]:
    """Train until `training.images` images have been shown; yield a report at image 0 and at every validation.

    The best checkpoint is the one with the lowest `Experiment.objective`. The learner that is returned is in its last state.

    If the context has a checkpoint, training continues from the latest one. The random draws are keyed, so the result equals
    that of an undisturbed run. The last batch may raise the count above `training.images`.

    Raises:
        NonFiniteLoss: a metric is not finite; the message names the step and the metric.
        CheckpointError: a checkpoint cannot be read, or belongs to another run.
        Preempted: this process was told to leave its machine; the present state is saved as the latest checkpoint.
    """
    release_rows()
    training = experiment.training
    objective = experiment.objective
    compute = context.compute(training.precision)
    data = experiment.learner.in_space(experiment, saved_space(relabelled(experiment, data), context))
    learner = experiment.learner.build(experiment, data, compute)
    given = objectives_of(experiment, data, str(compute.device))
    images, best = 0, inf
    if saved := restore(learner, experiment, data, context):
        images, best = saved["images"], saved["best"]
        if isfinite(best):
            context.checkpoint.check_best()
        last = Report(
            saved.get("reported", images), saved["metrics"], note=context.checkpoint.told()
        )  # repeated, because the run may have been killed between the save and the delivery
    else:
        last = measured(learner, Meter(context), context, images, experiment, given)
    yield last
    feed = feed_of(experiment, data, context)
    meter = Meter(context, saved.get("meter") if saved else None)
    while images < training.images:
        meter.add(learner.step(feed.batch(images)), images // training.batch_size)
        before, images = images, images + training.batch_size
        if crossed(before, images, training.validate_every) or images >= training.images:
            last = measured(learner, meter, context, images, experiment, given)
            if context.rank == 0:
                score = last.metrics[objective]
                trained = images > training.pretrain_images  # a state that never saw the data themselves is no candidate
                better = trained and score < best
                told, best = min(best, score), min(best, score) if trained else best
                last = replace(last, metrics={**last.metrics, f"best_{objective}": told})
                state = {"images": images, "metrics": dict(last.metrics), "best": best}
                context.checkpoint.save(state | pack(learner, experiment, data, context), best=better)
            yield last
            if meter.leaving and images < training.images:
                raise preempted(images)
            meter = Meter(context)  # made after the yield, so that its clock counts only steps
        elif meter.leaving:
            state = {"images": images, "metrics": dict(last.metrics), "best": best}
            state |= {"reported": last.images, "meter": meter.state_dict()}  # made by all workers together
            if context.rank == 0:
                context.checkpoint.save(state | pack(learner, experiment, data, context))
            raise preempted(images)
    return learner


def crossed(before: int, after: int, every: int) -> bool:
    """Return whether a multiple of `every` lies in (before, after]."""
    return after // every > before // every
