"""The first rung of the ladder from DCGAN to the critic of SHS-GAN: 2-D convolutions and batch norm.

Hypothesis: the band axis is 16 channels of one image, whose order the critic does not see: the start of the ladder.
Command: make sweep-ladder_1_dcgan; all rungs side by side: hyperderm compare --sweeps with their names
Expected and result: nothing was written down before, and the rungs have not been measured at equal seconds yet.
"""

from experiments.dcgan import dcgan
from hyperderm.config import Experiment
from hyperderm.registry import Profile

SPACE = "dcgan"


def experiment(profile: Profile) -> Experiment:
    """Return the whole configuration for a profile."""
    return dcgan("ladder_1_dcgan", profile, critic="conv2d")
