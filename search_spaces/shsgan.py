"""The settings that SHS-GAN is sensitive to (METHODS section 4); raise VERSION with every change of the axes."""

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from hyperderm.config import Experiment

VERSION = 1


def space(experiment: Experiment) -> dict[str, BaseDistribution]:
    """Return configuration path to distribution; the batch sizes are those that the workers of a trial can share."""
    workers = experiment.sweep.workers_per_trial
    batches = [size for size in (1, 2, 4, 8) if size % workers == 0] or [workers]
    return {
        "learner.lr_generator": FloatDistribution(1e-5, 1e-3, log=True),
        "learner.lr_critic": FloatDistribution(1e-5, 1e-3, log=True),
        "training.batch_size": CategoricalDistribution(batches),
        "learner.n_critic": IntDistribution(1, 5),
        "learner.gp_weight": FloatDistribution(1.0, 30.0, log=True),
        "learner.rgb_weight": FloatDistribution(1.0, 100.0, log=True),
    }
