"""DCGAN in abundance space: it makes how much of each of five endmembers a pixel holds (seed 004).

Hypothesis: five shares of a pixel are easier to learn than sixteen bands, because every mixture has the spectrum of some
tissue; so the same networks cover more lesions in the same time.
Command: make sweep-dcgan_abundance; with the endmembers of an unmixing net: --set learner.unmixing=RUN
Expected: 2 ms an image on one core at 32 px; half of the distance that the same networks reach on bands.
Result: see the end of this text once it is measured.
"""

from experiments.dcgan import dcgan
from hyperderm.config import Experiment
from hyperderm.registry import Profile


def experiment(profile: Profile) -> Experiment:
    """Return the whole configuration; `small` takes two CPU cores five minutes, `full` needs a GPU."""
    return dcgan("dcgan_abundance", profile, space="abundance")
