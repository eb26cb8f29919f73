"""The settings that DDPM in abundance space is sensitive to; raise VERSION with every change of the axes."""

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from hyperderm.config import Experiment

VERSION = 1


def space(experiment: Experiment) -> dict[str, BaseDistribution]:
    """Return configuration path to distribution; the batch sizes are those that the workers of a trial can share.

    - `lr` from the 1e-4 of seed 004 up to what narrow U-Nets bear in minutes.
    - `loss`: the seed's L1 against the L2 of Ho et al. (2020).
    - `ddpm.beta_end`: the seed's 1e-2 in the middle on a logarithmic axis. Below 5e-3 the last step still shows the lesion
      (with 2000 steps ᾱ is 0.007 there); at 2e-2, that of Ho et al. for 1000 steps, half of the steps are nothing but noise.
    - `endmembers` as in `search_spaces.diffusion_abundance`.
    """
    workers = experiment.sweep.workers_per_trial
    batches = [size for size in (4, 8, 16) if size % workers == 0] or [workers]
    return {
        "learner.lr": FloatDistribution(1e-4, 5e-3, log=True),
        "learner.loss": CategoricalDistribution(["l1", "l2"]),
        "learner.ddpm.beta_end": FloatDistribution(5e-3, 2e-2, log=True),
        "learner.endmembers": IntDistribution(3, 8),
        "training.batch_size": CategoricalDistribution(batches),
    }
