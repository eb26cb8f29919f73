"""The settings that a W-GAN with clipped weights is sensitive to; raise VERSION with every change of the axes."""

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from hyperderm.config import Experiment

VERSION = 1


def space(experiment: Experiment) -> dict[str, BaseDistribution]:
    """Return configuration path to distribution; the batch sizes are those that the workers of a trial can share.

    - `clip` around the paper's 0.01: too small and gradients vanish, too large and the critic is no longer smooth.
    - Learning rates around the paper's 5e-5, and up to those that move small networks in minutes.
    - `n_critic` from 1 to 5, the paper's value: the critic should be near its best before the generator moves.
    - Batch sizes from 4, because smaller ones make the loss noisy, to 16, a quarter of seventy lesions.
    """
    workers = experiment.sweep.workers_per_trial
    batches = [size for size in (4, 8, 16) if size % workers == 0] or [workers]
    return {
        "learner.lr_generator": FloatDistribution(5e-5, 2e-3, log=True),
        "learner.lr_critic": FloatDistribution(5e-5, 2e-3, log=True),
        "learner.clip": FloatDistribution(3e-3, 1e-1, log=True),
        "learner.n_critic": IntDistribution(1, 5),
        "training.batch_size": CategoricalDistribution(batches),
    }
