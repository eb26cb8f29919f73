"""R3GAN in abundance space: the StyleGAN-type generator of "unmixing before fusion" (Yu, Pan et al., CVPR 2024; seed 004).

Hypothesis: the seed found a StyleGAN on abundances as good as a diffusion model; R3GAN is its successor without tricks.
Command: make sweep-r3gan_abundance; with the endmembers of an unmixing net: --set learner.unmixing=RUN
Expected: 14 ms an image on one core at 32 px; half of the distance that the same networks reach on bands.
Result: see the end of this text once it is measured.
"""

from experiments.r3gan import r3gan
from hyperderm.config import Experiment
from hyperderm.registry import Profile


def experiment(profile: Profile) -> Experiment:
    """Return the whole configuration; `small` takes two CPU cores five minutes, `full` needs a GPU."""
    return r3gan("r3gan_abundance", profile, space="abundance")
