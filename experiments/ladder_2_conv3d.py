"""The second rung of the ladder: the critic's convolutions also run along the bands."""

from experiments.dcgan import dcgan
from hyperderm.config import Experiment
from hyperderm.registry import Profile

SPACE = "dcgan"


def experiment(profile: Profile) -> Experiment:
    """Return the whole configuration for a profile."""
    return dcgan("ladder_2_conv3d", profile, critic="conv3d")
