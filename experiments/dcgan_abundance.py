"""DCGAN in abundance space: it makes how much of each of five endmembers a pixel holds (seed 004).

Hypothesis: five shares of a pixel are easier to learn than sixteen bands, because every mixture has the spectrum of some
tissue; so the same networks cover more lesions in the same time.
Command: make sweep-dcgan_abundance; with the endmembers of an unmixing net: --set learner.unmixing=RUN
Expected: 2 ms an image on one core at 32 px; half of the distance that the same networks reach on bands.
Result (`python -m tests.bench.abundance_dimensions`: 60 s of one thread, one seed, 32 px, 72 train melanomas of the
ISIC 2018 stand-ins; measured on 24 melanomas of the test role, on which real train cubes have distance −0.03 and
coverage 1.00): distance 0.03 and coverage 1.00 with five endmembers; 0.09 and 0.92 with three, 0.19 and 0.92 with
eight, 1.06 and 0.17 with fifteen, 0.97 and 0.17 on bands. After a minute the distance rises again. With photographs
(`python -m tests.bench.fusion`) it does not. Round lesions in skin of the right colour, with a faint grid.
"""

from experiments.dcgan import dcgan
from hyperderm.config import Experiment
from hyperderm.registry import Profile


def experiment(profile: Profile) -> Experiment:
    """Return the whole configuration; `small` takes two CPU cores five minutes, `full` needs a GPU."""
    return dcgan("dcgan_abundance", profile, space="abundance")
