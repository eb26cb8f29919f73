"""The hierarchical VAE in abundance space: the VDVAE of "unmixing before fusion" (Yu, Pan et al., CVPR 2024; seed 004).

Hypothesis: the seed found its samples blurry; shares of tissues leave out the noise of bands, which fine latent maps of the
same networks spend themselves on.
Command: make sweep-hvae_abundance; with the endmembers of an unmixing net: --set learner.unmixing=RUN
Expected: 5 ms an image on one core at 32 px; blurred lesions.
Result (`python -m tests.bench.generator_quality`: 120 s of one thread, one seed, 32 px, 72 train melanomas of the ISIC
2018 stand-ins; measured on 24 melanomas of the test role, on which real train cubes have distance −0.03 and coverage
1.00): distance 2.74 untrained, 0.15 trained, coverage 0.83, told from real 0.81, no copies among 64; `hvae` in cube space
reached 0.07, 0.83 and 0.90. Blurry as published: sums of squared differences of neighbours, over the variance inside a
cube, are 0.19 (real: 0.38; cube space: 0.36). By eye a third of the cubes are soft, reddish-brown lesions without a border,
the others mottled skin; no black holes as in cube space, and no lesion is much darker than the mean.
"""

from experiments.hvae import hvae
from hyperderm.config import Experiment
from hyperderm.registry import Profile


def experiment(profile: Profile) -> Experiment:
    """Return the whole configuration; `small` takes two CPU cores five minutes, `full` needs a GPU."""
    return hvae("hvae_abundance", profile, space="abundance")
