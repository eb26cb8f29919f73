"""Third rung of the ladder: spectral norm takes the place of batch norm."""

from experiments.dcgan import dcgan
from hyperderm.config import Experiment
from hyperderm.registry import Profile

SPACE = "dcgan"


def experiment(profile: Profile) -> Experiment:
    """Return the whole configuration of a profile."""
    return dcgan("ladder_3_spectral_norm", profile, critic="conv3d", norm="spectral")
