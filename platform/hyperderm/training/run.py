"""One run of any learner: trained by the loop, fitted at once, or loaded again from its checkpoint."""

import json
from collections.abc import Generator, Mapping
from typing import Any

from hyperderm.config import Experiment
from hyperderm.errors import ConfigError, Gone, StudyError
from hyperderm.identity import read
from hyperderm.learners.base import Learner, Sampler
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
    learner = experiment.learner.build(experiment, data, context.compute(experiment.training.precision))
    images = experiment.training.images
    validation = learner.validate()
    state = {"images": images, "metrics": dict(validation.scores), "best": validation.scores[experiment.learner.objective]}
    context.checkpoint.save(state | pack(learner, experiment, data, context), best=True)
    yield Report(images, validation.scores)
    return learner


REMEDY = "Give the best.pt or latest.pt that `hyperderm train` or `hyperderm sweep` of a generator left."


def load_sampler(checkpoint: Mapping[str, Any], device: str = "cpu") -> Sampler:
    """Rebuild a generator from what `training.resume.pack` saved.

    Raises:
        StudyError: a checkpoint of a classifier, of other networks, or not hyperderm's at all.
    """
    try:
        experiment = read(json.loads(checkpoint["experiment"]))
        if experiment.learner.role != "generator":
            raise StudyError(
                f"this checkpoint is of a {experiment.learner.role} (learner.kind = {experiment.learner.kind}): it makes no "
                "cubes",
                REMEDY,
            )
        return experiment.learner.load_sampler(experiment, checkpoint, device)
    except Gone as error:
        raise StudyError(f"this checkpoint is of an earlier version of hyperderm: {error.what}", error.remedy) from error
    except (ConfigError, KeyError, ValueError, RuntimeError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200].rstrip(".")
        raise StudyError(f"this checkpoint is not a generator of this version of hyperderm ({reason})", REMEDY) from error
