"""SN-GAN as in seed 002: DCGAN with spectral norm on every convolution of the discriminator, and with smoothed labels.

Hypothesis: a bounded gradient of the critic keeps the generator from collapsing, at the price of slower learning.
Command: make sweep-sngan (64 px or 128 px with PROFILE=full SET=data.size=128)
Expected: 3 ms an image on one core at 32 px; better coverage than DCGAN, a similar distance.
Result (one thread, one seed, 32 px; real cubes reach 1.00 in coverage): on phantom melanomas, 60 s, distance 11.23
untrained, 1.13 trained, coverage 0.12; on 72 stand-in melanomas (ISIC 2018), 20 s, 3.15 and 0.00. The same lesion again and
again, under a grid: collapsed.
"""

from experiments.dcgan import dcgan
from hyperderm.config import Experiment
from hyperderm.registry import Profile

SPACE = "dcgan"


def experiment(profile: Profile) -> Experiment:
    """Return the whole configuration for a profile."""
    if profile == "small":
        rates = {"beta1": 0.0, "lr_critic": 1e-3, "n_critic": 4}
        return dcgan("sngan", profile, norm="spectral", loss="hinge", noise_dim=256, **rates)
    return dcgan("sngan", profile, norm="spectral", real_label=0.9, noise_dim=256)
