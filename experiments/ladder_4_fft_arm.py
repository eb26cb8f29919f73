"""The last rung of the ladder: the critic gets a second arm, on the modulus of the FFT along the bands.

Hypothesis: what differs in the frequencies of spectra, such as noise between bands, is told at once (Hauser et al.
2021).
Command: make sweep-ladder_4_fft_arm; all rungs side by side: hyperderm compare --sweeps with their names
Expected and result: nothing was written down before, and the rungs have not been measured at equal seconds yet.
"""

from experiments.dcgan import dcgan
from hyperderm.config import Experiment
from hyperderm.registry import Profile

SPACE = "dcgan"


def experiment(profile: Profile) -> Experiment:
    """Return the whole configuration for a profile."""
    return dcgan("ladder_4_fft_arm", profile, critic="conv3d", norm="spectral", fft_arm=True)
