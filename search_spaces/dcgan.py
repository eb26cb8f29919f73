"""The settings that DCGAN is sensitive to, with any critic; raise VERSION with every change of the axes."""

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from hyperderm.config import Experiment

VERSION = 2


def space(experiment: Experiment) -> dict[str, BaseDistribution]:
    """Return configuration path to distribution; the batch sizes are those that the workers of a trial can share.

    - Learning rates: the paper's 2e-4 lies in the middle; up to those that move small networks in minutes.
    - `beta1`: the paper's 0.5 lies in the middle. It found Adam's usual 0.9 unstable, the other end has no momentum.
    - `n_critic`: the paper's 1; up to the 5 of SN-GAN (Miyato et al. 2018): a narrow critic needs more than one update for
      each of the generator's, or the cubes keep a grid.
    - Batches of 4 to 16, the seeds' 16 at most: an epoch of 70 melanomas should have several steps.
    """
    workers = experiment.sweep.workers_per_trial
    batches = [size for size in (4, 8, 16) if size % workers == 0] or [workers]
    return {
        "learner.lr_generator": FloatDistribution(5e-5, 2e-3, log=True),
        "learner.lr_critic": FloatDistribution(5e-5, 2e-3, log=True),
        "learner.beta1": FloatDistribution(0.0, 0.9),
        "learner.n_critic": IntDistribution(1, 5),
        "training.batch_size": CategoricalDistribution(batches),
    }
