"""The settings that R3GAN is sensitive to; raise VERSION with every change of the axes."""

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from hyperderm.config import Experiment

VERSION = 1


def space(experiment: Experiment) -> dict[str, BaseDistribution]:
    """Return configuration path to distribution; the batch sizes are those that the workers of a trial can share.

    - `r1_weight` and `r2_weight`: γ scales with the values of a cube and decides between collapse and blur, so it is
      searched over more than two decades.
    - Learning rates from the paper's 2e-4 up to those that move small networks in minutes.
    - `beta1`: the paper's 0, or some momentum, which helps short runs.
    """
    workers = experiment.sweep.workers_per_trial
    batches = [size for size in (4, 8, 16) if size % workers == 0] or [workers]
    return {
        "learner.lr_generator": FloatDistribution(2e-4, 3e-3, log=True),
        "learner.lr_critic": FloatDistribution(2e-4, 3e-3, log=True),
        "learner.r1_weight": FloatDistribution(0.05, 20.0, log=True),
        "learner.r2_weight": FloatDistribution(0.05, 20.0, log=True),
        "learner.beta1": FloatDistribution(0.0, 0.5),
        "training.batch_size": CategoricalDistribution(batches),
    }
