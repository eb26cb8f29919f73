"""EDM in abundance space: diffusion makes how much of each of five endmembers a pixel holds (seed 004).

Hypothesis: five shares of a pixel are easier to learn than sixteen bands, and each of them is smooth; what mixtures leave
out is drawn from its model, so the U-Net need not learn the noise of a camera.
Command: make sweep-diffusion_abundance; with the endmembers of an unmixing net: --set learner.unmixing=RUN
Result (80 s of one thread, one seed, 32 px, as in `diffusion`, but on the melanomas of the validation role): distance 0.31,
coverage 0.71 after 13,024 images. Lesions in the middle of skin, of several forms, with more grain than real ones.
"""

from experiments.diffusion import TOLD, diffusion
from hyperderm.config import Experiment
from hyperderm.registry import Profile


def experiment(profile: Profile) -> Experiment:
    """Return the whole configuration; `small` takes two CPU cores ten minutes, `full` needs a GPU."""
    return diffusion("diffusion_abundance", profile, "all", space="abundance", **TOLD)
