"""W-GAN with clipped weights and RMSprop (Arjovsky et al. 2017), DCGAN's networks.

Hypothesis: the Wasserstein distance has a gradient where the cross-entropy has none, so coverage is better than DCGAN's;
clipping makes fine texture slow to learn.
Command: make sweep-wgan
Expected: 2 ms an image on one core at 32 px; distance and coverage between DCGAN's and R3GAN's.
Result (`python -m tests.bench.generator_quality`: 300 s of one thread, three seeds, 32 px, 72 train melanomas of the
ISIC 2018 stand-ins; measured on 24 melanomas of the test role, on which real train cubes have distance −0.03 and
coverage 1.00): distance 7.49 untrained, 0.36 (0.34 to 0.40) trained, coverage 0.68 (0.62 to 0.75), told from real 0.98;
told the diagnosis and shown all 360 train lesions (one seed), 0.61 and 0.62. A grid of the transposed convolutions lies
over skin and lesions; the few bright, vignetted lesions are imitated.
"""

from experiments.dcgan import dcgan
from hyperderm.config import Experiment
from hyperderm.registry import Profile


def experiment(profile: Profile) -> Experiment:
    """Return the whole configuration; the paper's learning rate of 5e-5 barely moves in minutes, so `small` has a larger."""
    rates = {} if profile == "small" else {"lr_generator": 5e-5, "lr_critic": 5e-5}
    return dcgan("wgan", profile, loss="wgan_clip", clip=0.01, n_critic=2, **rates)
