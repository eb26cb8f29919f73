"""SN-GAN as in seed 002: DCGAN with spectral norm on every convolution of the discriminator, and with smoothed labels."""

from experiments.dcgan import dcgan
from hyperderm.config import Experiment
from hyperderm.registry import Profile

SPACE = "dcgan"


def experiment(profile: Profile) -> Experiment:
    """Return the whole configuration for a profile."""
    return dcgan("sngan", profile, norm="spectral", real_label=0.9, noise_dim=256)
