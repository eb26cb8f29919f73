"""The hierarchical VAE in abundance space: the VDVAE of "unmixing before fusion" (Yu, Pan et al., CVPR 2024; seed 004).

Command: make sweep-hvae_abundance; with the endmembers of an unmixing net: --set learner.unmixing=RUN
"""

from experiments.hvae import hvae
from hyperderm.config import Experiment
from hyperderm.registry import Profile


def experiment(profile: Profile) -> Experiment:
    """Return the whole configuration; `small` takes two CPU cores five minutes, `full` needs a GPU."""
    return hvae("hvae_abundance", profile, space="abundance")
