"""AC-GAN (Odena et al. 2017): the critic tells the diagnosis by a second head, the generator learns all of them."""

from experiments.dcgan import dcgan
from hyperderm.config import Experiment
from hyperderm.registry import Profile


def experiment(profile: Profile) -> Experiment:
    """Return the whole configuration for a profile; diagnoses are balanced, because the head would forget a rare one."""
    told = {"conditioning": "class", "class_head": "auxiliary", "balance_classes": True}
    return dcgan("acgan", profile, diagnoses="all", norm="spectral", **told)
