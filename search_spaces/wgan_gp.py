"""The settings that a W-GAN with the gradient penalty is sensitive to; raise VERSION with every change of the axes."""

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from hyperderm.config import Experiment

VERSION = 1


def space(experiment: Experiment) -> dict[str, BaseDistribution]:
    """Return configuration path to distribution; the batch sizes are those that the workers of a trial can share.

    - `gp_weight` around the paper's 10.
    - Learning rates around the paper's 1e-4, and up to those that move small networks in minutes.
    - `beta1`: the paper's 0, or the 0.5 of DCGAN. `n_critic` up to the paper's 5.
    """
    workers = experiment.sweep.workers_per_trial
    batches = [size for size in (4, 8, 16) if size % workers == 0] or [workers]
    return {
        "learner.lr_generator": FloatDistribution(5e-5, 2e-3, log=True),
        "learner.lr_critic": FloatDistribution(5e-5, 2e-3, log=True),
        "learner.gp_weight": FloatDistribution(1.0, 30.0, log=True),
        "learner.beta1": FloatDistribution(0.0, 0.5),
        "learner.n_critic": IntDistribution(1, 5),
        "training.batch_size": CategoricalDistribution(batches),
    }
