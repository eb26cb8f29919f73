"""The second rung of the ladder: the critic's convolutions also run along the bands.

Hypothesis: neighbouring bands are alike, so a kernel that runs along them needs fewer examples to know a spectrum.
Command: make sweep-ladder_2_conv3d; all rungs side by side: hyperderm compare --sweeps with their names
Expected and result: nothing was written down before, and the rungs have not been measured at equal seconds yet.
"""

from experiments.dcgan import dcgan
from hyperderm.config import Experiment
from hyperderm.registry import Profile

SPACE = "dcgan"


def experiment(profile: Profile) -> Experiment:
    """Return the whole configuration for a profile."""
    return dcgan("ladder_2_conv3d", profile, critic="conv3d")
