"""The settings that AC-GAN is sensitive to; raise VERSION with every change of the axes."""

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from hyperderm.config import Experiment

VERSION = 1


def space(experiment: Experiment) -> dict[str, BaseDistribution]:
    """Return configuration path to distribution; the batch sizes are those that the workers of a trial can share.

    - `class_weight`: too small and the diagnosis is ignored, too large and each diagnosis collapses to what is easy to tell.
    - Learning rates and momentum as for DCGAN.
    - Batch sizes from 4, because smaller ones make the loss noisy, to 16, a quarter of seventy lesions.
    """
    workers = experiment.sweep.workers_per_trial
    batches = [size for size in (4, 8, 16) if size % workers == 0] or [workers]
    return {
        "learner.lr_generator": FloatDistribution(5e-5, 2e-3, log=True),
        "learner.lr_critic": FloatDistribution(5e-5, 2e-3, log=True),
        "learner.class_weight": FloatDistribution(0.1, 3.0, log=True),
        "learner.beta1": FloatDistribution(0.0, 0.9),
        "training.batch_size": CategoricalDistribution(batches),
    }
