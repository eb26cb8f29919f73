"""One run of any learner: train it in the loop, fit it at once, or load it again from its checkpoint."""

import json
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

from hyperderm.config import Experiment
from hyperderm.errors import ConfigError, RemovedSetting, StudyError
from hyperderm.identity import read
from hyperderm.learners.base import Learner, MelanomaClassifier, Sampler
from hyperderm.learners.data import TrainData
from hyperderm.learners.sampling import relabelled
from hyperderm.training.context import Context, local
from hyperderm.training.data import release_rows
from hyperderm.training.loop import train
from hyperderm.training.report import Report
from hyperderm.training.resume import pack


def run(experiment: Experiment, data: TrainData, context: Context) -> Generator[Report, None, Learner]:
    """Fit or train any learner; reports, checkpoints and errors are those of `train`."""
    learn = fit if experiment.learner.fit_once else train
    return (yield from learn(experiment, data, context))


def fit(experiment: Experiment, data: TrainData, context: Context) -> Generator[Report, None, Learner]:
    """Fit a learner that uses all of train at once; yield its only report."""
    release_rows()
    data = experiment.learner.in_space(experiment, relabelled(experiment, data))
    learner = experiment.learner.build(experiment, data, context.compute(experiment.training.precision))
    images = experiment.training.images
    validation = learner.validate()
    state = {"images": images, "metrics": dict(validation.scores), "best": validation.scores[experiment.objective]}
    context.checkpoint.save(state | pack(learner, experiment, data, context), best=True)
    yield Report(images, validation.scores, validation.cubes, validation.rebuilt)
    return learner


REMEDY = "Give the best.pt or latest.pt that `hyperderm train` or `hyperderm sweep` of a generator left."


def load_sampler(checkpoint: Mapping[str, Any], device: str = "cpu") -> Sampler:
    """Rebuild a generator from the content of a checkpoint, as `training.resume.pack` made it.

    Raises:
        StudyError: the checkpoint is not of a generator, holds other networks, or was not written by hyperderm.
    """
    try:
        experiment = read(json.loads(checkpoint["experiment"]))
        if experiment.learner.role != "generator":
            raise StudyError(
                f"this checkpoint is of learner.kind = {experiment.learner.kind} ({experiment.learner.role}): it makes no "
                "cubes",
                REMEDY,
            )
        return experiment.learner.load_sampler(experiment, checkpoint, device)
    except RemovedSetting as error:
        raise StudyError(f"this checkpoint is of an earlier version of hyperderm: {error.what}", error.remedy) from error
    except (ConfigError, KeyError, ValueError, RuntimeError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200].rstrip(".")
        raise StudyError(f"this checkpoint is not a generator of this version of hyperderm ({reason})", REMEDY) from error


def load_classifier(checkpoint: Mapping[str, Any]) -> MelanomaClassifier:
    """Rebuild a classifier from the content of a checkpoint, in the precision and on the kind of device of its training.

    Raises:
        StudyError: the checkpoint is not of a classifier, holds no or other networks, or was not written by hyperderm.
    """
    try:
        experiment = read(json.loads(checkpoint["experiment"]))
        return experiment.learner.load_classifier(checkpoint, local(Path()).compute(experiment.training.precision))
    except RemovedSetting as error:
        raise StudyError(f"this checkpoint is of an earlier version of hyperderm: {error.what}", error.remedy) from error
    except ConfigError as error:
        raise StudyError(error.what, error.remedy) from error
    except (KeyError, ValueError, RuntimeError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200].rstrip(".")
        raise StudyError(
            f"this checkpoint is not a classifier of this version of hyperderm ({reason})",
            "Give the best.pt that `hyperderm train classifier` left, or train it anew.",
        ) from error
