"""The third rung of the ladder: spectral norm replaces batch norm."""

from experiments.dcgan import dcgan
from hyperderm.config import Experiment
from hyperderm.registry import Profile

SPACE = "dcgan"


def experiment(profile: Profile) -> Experiment:
    """Return the whole configuration for a profile."""
    return dcgan("ladder_3_spectral_norm", profile, critic="conv3d", norm="spectral")
