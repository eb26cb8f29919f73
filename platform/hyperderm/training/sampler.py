"""A trained generator from its checkpoint."""

import json
from collections.abc import Mapping
from typing import Any

from hyperderm.errors import ConfigError, Gone, StudyError
from hyperderm.identity import read
from hyperderm.learners.base import Sampler

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
