"""SN-GAN as in seed 002: DCGAN with spectral norm on every convolution of the discriminator, and with smoothed labels.

Hypothesis: a bounded gradient of the critic keeps the generator from collapsing, at the price of slower learning.
Command: make sweep-sngan (64 px or 128 px with PROFILE=full SET=data.size=128)
Expected: 3 ms an image on one core at 32 px; better coverage than DCGAN, a similar distance.
Result (`python -m tests.bench.generator_quality`: 300 s of one thread, three seeds, 32 px, 72 train melanomas of the
ISIC 2018 stand-ins; measured on 24 melanomas of the test role, on which real train cubes have distance −0.03 and
coverage 1.00): distance 7.44 untrained, 0.44 (0.40 to 0.50) trained, coverage 0.61 (0.58 to 0.62), told from real 0.98;
told the diagnosis and shown all 360 train lesions (one seed), 0.82 and 0.25. Lesions under a woven grid, of many
shades.
"""

from experiments.dcgan import dcgan
from hyperderm.config import Experiment
from hyperderm.registry import Profile

SPACE = "dcgan"


def experiment(profile: Profile) -> Experiment:
    """Return the whole configuration; `small` has the hinge loss and four critic updates (Miyato et al.), no smoothing."""
    if profile == "small":
        rates = {"beta1": 0.0, "lr_critic": 1e-3, "n_critic": 4}
        return dcgan("sngan", profile, norm="spectral", loss="hinge", noise_dim=256, **rates)
    return dcgan("sngan", profile, norm="spectral", real_label=0.9, noise_dim=256)
