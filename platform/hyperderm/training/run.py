"""One run of any learner: trained by the loop, or fitted at once."""

from collections.abc import Generator

from hyperderm.config import Experiment
from hyperderm.learners.base import Learner
from hyperderm.learners.data import TrainData
from hyperderm.training.context import Context
from hyperderm.training.data import release_rows
from hyperderm.training.loop import Report, train
from hyperderm.training.resume import pack


def run(experiment: Experiment, data: TrainData, context: Context) -> Generator[Report, None, Learner]:
    """Fit or train whatever the learner is; reports, checkpoints and errors are those of `train`."""
    learn = fit if experiment.learner.fit_once else train
    return (yield from learn(experiment, data, context))


def fit(experiment: Experiment, data: TrainData, context: Context) -> Generator[Report, None, Learner]:
    """Fit a learner that sees everything at once: its only step comes before its only report."""
    release_rows()
    learner = experiment.learner.build(experiment, data, context.placement(experiment.training.precision))
    images = experiment.training.images
    validation = learner.validate()
    state = {"images": images, "metrics": dict(validation.scores), "best": validation.scores[experiment.learner.objective]}
    context.checkpoint.save(state | pack(learner, experiment, data, context), best=True)
    yield Report(images, validation.scores)
    return learner
