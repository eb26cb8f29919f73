"""EDM in abundance space: diffusion makes how much of each of five endmembers a pixel holds (seed 004).

Hypothesis: five shares of a pixel are easier to learn than sixteen bands, and each of them is smooth; what mixtures leave
out is drawn from its model, so the U-Net need not learn the noise of a camera.
Command: make sweep-diffusion_abundance; with the endmembers of an unmixing net: --set learner.unmixing=RUN
Result (`python -m tests.bench.generator_quality --classes`: 150 s of one thread, one seed, 32 px, all train lesions of the
ISIC 2018 stand-ins, asked for melanoma; measured on 24 melanomas of the test role, on which real train cubes have distance
−0.03 and coverage 1.00): distance 3.73 untrained, 0.17 trained and still falling, coverage 0.88, told from real 0.79, no
copies, after 26,536 images. Lesions in the middle of skin, of several forms, and none of the round or very dark frames.
"""

from experiments.diffusion import TOLD, diffusion
from hyperderm.config import Experiment
from hyperderm.registry import Profile


def experiment(profile: Profile) -> Experiment:
    """Return the whole configuration; `small` takes two CPU cores ten minutes, `full` needs a GPU."""
    return diffusion("diffusion_abundance", profile, "all", space="abundance", **TOLD)
