"""The last rung of the ladder: the critic gets a second arm, on the modulus of the FFT along the bands."""

from experiments.dcgan import dcgan
from hyperderm.config import Experiment
from hyperderm.registry import Profile

SPACE = "dcgan"


def experiment(profile: Profile) -> Experiment:
    """Return the whole configuration for a profile."""
    return dcgan("ladder_4_fft_arm", profile, critic="conv3d", norm="spectral", fft_arm=True)
