"""W-GAN with the gradient penalty (Gulrajani et al. 2017), DCGAN's networks without batch norm in the critic."""

from experiments.dcgan import dcgan
from hyperderm.config import Experiment
from hyperderm.registry import Profile


def experiment(profile: Profile) -> Experiment:
    """Return the whole configuration for a profile."""
    rates = {"lr_generator": 1e-3, "lr_critic": 1e-3} if profile == "small" else {}
    return dcgan("wgan_gp", profile, loss="wgan_gp", norm="layer", beta2=0.9, n_critic=2, **rates)
