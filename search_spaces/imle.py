"""The settings that RS-IMLE is sensitive to; raise VERSION with every change of the axes."""

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from hyperderm.config import Experiment

VERSION = 1


def space(experiment: Experiment) -> dict[str, BaseDistribution]:
    """Return configuration path to distribution; the batch sizes are those that the workers of a trial can share.

    The reasons: learning rates of 3e-4 and 1e-3 trained well at 32 px, so the range reaches three times further each way. ε
    reaches from none to the distance of real neighbours; with twice that, nearly all samples were rejected. Pools of 2 to 20
    samples a cube gave like scores. Matchings every 3 epochs were worse than every 10.
    """
    workers = experiment.sweep.workers_per_trial
    batches = [size for size in (4, 8, 16) if size % workers == 0] or [workers]
    return {
        "learner.lr": FloatDistribution(1e-4, 3e-3, log=True),
        "learner.epsilon_factor": FloatDistribution(0.0, 1.0),
        "learner.pool_factor": IntDistribution(2, 32, log=True),
        "learner.refresh_epochs": FloatDistribution(3.0, 30.0, log=True),
        "learner.texture_weight": FloatDistribution(0.1, 3.0, log=True),
        "learner.pixel_weight": FloatDistribution(0.03, 3.0, log=True),
        "training.batch_size": CategoricalDistribution(batches),
    }
