"""AC-GAN (Odena et al. 2017): the critic tells the diagnosis by a second head, the generator learns all of them.

Hypothesis: nevi teach the generator what skin and lesions look like; the class head pulls melanomas away from them, and may
make them caricatures (METHODS section 5: such heads collapse on small classes).
Command: make sweep-acgan
Expected: 3 ms an image on one core at 32 px; a distance like SN-GAN's, melanomas that are told from real ones easily.
Result (`python -m tests.bench.generator_quality --classes`: 300 s of one thread, one seed, 32 px, all train lesions of
the ISIC 2018 stand-ins, asked for melanoma; measured on 24 melanomas of the test role): distance 7.49 untrained, 0.71
trained, coverage 0.38, told from real 1.00; it was best after 39,424 of 257,088 images, then worse.
On the contact sheet all melanomas are one dark, blurred blotch in the middle of skin: the collapse that was expected.
"""

from experiments.dcgan import dcgan
from hyperderm.config import Experiment
from hyperderm.registry import Profile


def experiment(profile: Profile) -> Experiment:
    """Return the whole configuration for a profile; diagnoses are balanced, because the head would forget a rare one."""
    told = {"conditioning": "class", "class_head": "auxiliary", "balance_classes": True}
    if profile == "small":
        told |= {"loss": "hinge", "beta1": 0.0, "lr_critic": 1e-3, "n_critic": 4}
    return dcgan("acgan", profile, diagnoses="all", norm="spectral", **told)
