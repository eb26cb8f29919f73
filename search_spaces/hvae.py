"""The settings that the hierarchical VAE is sensitive to; raise VERSION with every change of the axes."""

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from hyperderm.config import Experiment

VERSION = 1


def space(experiment: Experiment) -> dict[str, BaseDistribution]:
    """Return configuration path to distribution; the batch sizes are those that the workers of a trial can share.

    - `kl_weight` is the scale of the noise that the likelihood allows, 2 % to 20 % of half the range of a cube: small values
      give sharp reconstructions by latent maps that the prior does not reach, large ones smooth samples.
    - `blocks`: two give each resolution a prior that knows its own first map, and take twice the time.
    - `lr` from the paper's 2e-4 up, for short runs.
    """
    workers = experiment.sweep.workers_per_trial
    batches = [size for size in (4, 8, 16) if size % workers == 0] or [workers]
    return {
        "learner.lr": FloatDistribution(2e-4, 3e-3, log=True),
        "learner.kl_weight": FloatDistribution(2e-2, 2e-1, log=True),
        "learner.blocks": IntDistribution(1, 2),
        "training.batch_size": CategoricalDistribution(batches),
    }
