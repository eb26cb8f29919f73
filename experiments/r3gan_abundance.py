"""R3GAN in abundance space: the StyleGAN-type generator of "unmixing before fusion" (Yu, Pan et al., CVPR 2024; seed 004).

Hypothesis: the seed found a StyleGAN on abundances as good as a diffusion model; R3GAN is its successor without tricks.
Command: make sweep-r3gan_abundance; with the endmembers of an unmixing net: --set learner.unmixing=RUN
Expected: 14 ms an image on one core at 32 px; half of the distance that the same networks reach on bands.
Result (`python -m tests.bench.generator_quality --names r3gan --set learner.space=abundance`: 60 s of one thread, one
seed, 32 px, 72 train melanomas of the ISIC 2018 stand-ins; measured on 24 melanomas of the test role): distance 1.24
untrained, 0.25 trained, coverage 0.88, told from real 0.80. Soft blotches, some with a black middle: it had seen 5,000
images.
"""

from experiments.r3gan import r3gan
from hyperderm.config import Experiment
from hyperderm.registry import Profile


def experiment(profile: Profile) -> Experiment:
    """Return the whole configuration; `small` takes two CPU cores five minutes, `full` needs a GPU."""
    return r3gan("r3gan_abundance", profile, space="abundance")
