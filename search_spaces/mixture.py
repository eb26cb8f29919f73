"""The settings that the Gaussian mixture is sensitive to; raise VERSION with every change of the axes."""

from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution

from hyperderm.config import Experiment

VERSION = 1


def space(experiment: Experiment) -> dict[str, BaseDistribution]:
    """Return configuration path to distribution.

    - `components` from a single Gaussian to one for every ten of seventy lesions.
    - `dimensions`: few give smooth cubes, many let a few lesions fix a covariance.
    - `endmembers` from 3 to 8: the seed found 5 best.
    """
    return {
        "learner.components": IntDistribution(1, 8),
        "learner.dimensions": CategoricalDistribution([8, 16, 32, 64]),
        "learner.endmembers": IntDistribution(3, 8),
    }
