"""W-GAN with clipped weights and RMSprop (Arjovsky et al. 2017), DCGAN's networks.

Hypothesis: the Wasserstein distance has a gradient where the cross-entropy has none, so coverage is better than DCGAN's;
clipping makes fine texture slow to learn.
Command: make sweep-wgan
Expected: 2 ms an image on one core at 32 px; distance and coverage between DCGAN's and R3GAN's.
Result (one thread, one seed, 32 px; real cubes reach 1.00 in coverage): on phantom melanomas, 60 s, distance 12.62
untrained, 0.15 trained, coverage 1.00; on 72 stand-in melanomas (ISIC 2018), 120 s, 0.49 and 0.50. On the phantom lesions
with too much contrast; on the stand-ins a grid of the transposed convolutions lies over skin and lesions.
"""

from experiments.dcgan import dcgan
from hyperderm.config import Experiment
from hyperderm.registry import Profile


def experiment(profile: Profile) -> Experiment:
    """Return the whole configuration; the paper's learning rate of 5e-5 barely moves in minutes, so `small` has a larger."""
    rates = {} if profile == "small" else {"lr_generator": 5e-5, "lr_critic": 5e-5}
    return dcgan("wgan", profile, loss="wgan_clip", clip=0.01, n_critic=2, **rates)
