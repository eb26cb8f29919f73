"""The settings that FastGAN is sensitive to; raise VERSION with every change of the axes."""

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from hyperderm.config import Experiment

VERSION = 1


def space(experiment: Experiment) -> dict[str, BaseDistribution]:
    """Return configuration path to distribution; the batch sizes are those that the workers of a trial can share.

    - Learning rates: the paper's 2e-4 lies in the middle; on small networks and in minutes 1e-3 learns faster.
    - `lecam_weight` around the paper's 1e-4 … 3e-4, and ten times as much: a few dozen lesions are fewer than its data.
    - `reconstruction_weight` and `spectral_weight`: the paper's 1, and a third or three times as much.
    - Batches of 4 to 16: the paper's is 8, and an epoch of 70 melanomas should have several steps.
    """
    workers = experiment.sweep.workers_per_trial
    batches = [size for size in (4, 8, 16) if size % workers == 0] or [workers]
    return {
        "learner.lr_generator": FloatDistribution(1e-4, 2e-3, log=True),
        "learner.lr_critic": FloatDistribution(1e-4, 2e-3, log=True),
        "learner.lecam_weight": FloatDistribution(1e-5, 3e-3, log=True),
        "learner.reconstruction_weight": FloatDistribution(0.3, 3.0, log=True),
        "learner.spectral_weight": FloatDistribution(0.3, 3.0, log=True),
        "training.batch_size": CategoricalDistribution(batches),
    }
