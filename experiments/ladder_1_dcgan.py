"""The first rung of the ladder from DCGAN to the critic of SHS-GAN: 2-D convolutions and batch norm."""

from experiments.dcgan import dcgan
from hyperderm.config import Experiment
from hyperderm.registry import Profile

SPACE = "dcgan"


def experiment(profile: Profile) -> Experiment:
    """Return the whole configuration for a profile."""
    return dcgan("ladder_1_dcgan", profile, critic="conv2d")
