"""The settings that the spectral autoencoder is sensitive to; raise VERSION with every change of the axes."""

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from hyperderm.config import Experiment

VERSION = 1


def space(experiment: Experiment) -> dict[str, BaseDistribution]:
    """Return configuration path to distribution. The weights of the loss are no axes: they would rank themselves.

    - `lr` from the seeds' 1e-3 down and up by ten.
    - `zdims`: skin has a handful of absorbers; more numbers than 16 bands say nothing.
    """
    return {
        "learner.lr": FloatDistribution(1e-4, 1e-2, log=True),
        "learner.zdims": CategoricalDistribution([2, 4, 8, 16]),
        "training.batch_size": CategoricalDistribution([4, 8, 16]),
    }
