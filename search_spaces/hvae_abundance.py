"""The settings that the hierarchical VAE in abundance space is sensitive to; raise VERSION with every change of the axes."""

from optuna.distributions import BaseDistribution, IntDistribution

from hyperderm.config import Experiment
from search_spaces import hvae

VERSION = 1


def space(experiment: Experiment) -> dict[str, BaseDistribution]:
    """Return configuration path to distribution: the axes of `search_spaces.hvae`, and the number of endmembers.

    - `endmembers` from 3, which only tell light, skin and pigment apart, to 8: the seed found 5 best, and 8 and 15 worse.
    """
    return {**hvae.space(experiment), "learner.endmembers": IntDistribution(3, 8)}
