"""The settings of cubes that an unmixing net makes from colours; raise VERSION with every change of the axes."""

from optuna.distributions import BaseDistribution, CategoricalDistribution

from hyperderm.config import Experiment

VERSION = 1


def space(experiment: Experiment) -> dict[str, BaseDistribution]:
    """Return configuration path to distribution: `residual`, the only choice that is left once the net is trained."""
    return {"learner.residual": CategoricalDistribution([True, False])}
