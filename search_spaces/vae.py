"""The settings that the variational autoencoder is sensitive to; raise VERSION with every change of the axes."""

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from hyperderm.config import Experiment

VERSION = 1


def space(experiment: Experiment) -> dict[str, BaseDistribution]:
    """Return configuration path to distribution; the batch sizes are those that the workers of a trial can share.

    - `kl_weight` decides between samples that look alike (large) and latent vectors that noise does not reach (small). The
      seeds' 1e-2 lies in the middle.
    - `noise_dim`: a few dozen lesions do not fill more than some tens of dimensions.
    - `lr` from the seeds' 2e-4 up, for short runs.
    """
    workers = experiment.sweep.workers_per_trial
    batches = [size for size in (4, 8, 16) if size % workers == 0] or [workers]
    return {
        "learner.lr": FloatDistribution(1e-4, 3e-3, log=True),
        "learner.kl_weight": FloatDistribution(3e-4, 3e-1, log=True),
        "learner.noise_dim": CategoricalDistribution([8, 16, 32, 64]),
        "training.batch_size": CategoricalDistribution(batches),
    }
