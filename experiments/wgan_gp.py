"""W-GAN with the gradient penalty (Gulrajani et al. 2017), DCGAN's networks without batch norm in the critic.

Hypothesis: the penalty replaces clipping and lets the critic see fine texture; each step costs twice as much.
Command: make sweep-wgan_gp
Expected: 3 ms an image on one core at 32 px; better than `wgan` after the same number of images, equal after the same time.
Result (`python -m tests.bench.generator_quality`: 300 s of one thread, three seeds, 32 px, 72 train melanomas of the
ISIC 2018 stand-ins; measured on 24 melanomas of the test role, on which real train cubes have distance −0.03 and
coverage 1.00): distance 7.49 untrained, 0.14 (0.12 to 0.19) trained, coverage 0.81 (0.79 to 0.83), told from real 0.98;
told the diagnosis and shown all 360 train lesions (one seed), 0.56 and 0.29. Soft lesions without a grid, alike in
form: the most regular of the GANs.
"""

from experiments.dcgan import dcgan
from hyperderm.config import Experiment
from hyperderm.registry import Profile


def experiment(profile: Profile) -> Experiment:
    """Return the whole configuration for a profile."""
    if profile == "small":
        return dcgan("wgan_gp", profile, loss="wgan_gp", norm="none", beta2=0.9)
    return dcgan("wgan_gp", profile, loss="wgan_gp", norm="layer", beta2=0.9, n_critic=2)
