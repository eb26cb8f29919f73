"""The ladder from DCGAN to the critic of SHS-GAN, first rung: 2-D convolutions, batch norm."""

from experiments.dcgan import dcgan
from hyperderm.config import Experiment
from hyperderm.registry import Profile

SPACE = "dcgan"


def experiment(profile: Profile) -> Experiment:
    """Return the whole configuration of a profile."""
    return dcgan("ladder_1_dcgan", profile, critic="conv2d")
