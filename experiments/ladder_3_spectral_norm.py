"""The third rung of the ladder: spectral norm replaces batch norm.

Hypothesis: a critic of bounded slope does not tell seventy lesions apart by heart, so the generator keeps learning.
Command: make sweep-ladder_3_spectral_norm; all rungs side by side: hyperderm compare --sweeps with their names
Expected and result: nothing was written down before, and the rungs have not been measured at equal seconds yet.
"""

from experiments.dcgan import dcgan
from hyperderm.config import Experiment
from hyperderm.registry import Profile

SPACE = "dcgan"


def experiment(profile: Profile) -> Experiment:
    """Return the whole configuration for a profile."""
    return dcgan("ladder_3_spectral_norm", profile, critic="conv3d", norm="spectral")
