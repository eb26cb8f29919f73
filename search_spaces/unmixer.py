"""The settings that the unmixing net is sensitive to; raise VERSION with every change of the axes."""

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from hyperderm.config import Experiment

VERSION = 1


def space(experiment: Experiment) -> dict[str, BaseDistribution]:
    """Return configuration path to distribution; the batch sizes are those that the workers of a trial can share.

    - `lr` from the paper's 2e-4 up, for short runs; `lr_endmembers` slower: fast endmembers leave the pixels' hull.
    - `angle_weight` around the paper's 0.1; with 1 the angle leads.
    - `start_by`: SISAL's corners lie outside the pixels, N-FINDR's among them.
    """
    workers = experiment.sweep.workers_per_trial
    batches = [size for size in (4, 8, 16) if size % workers == 0] or [workers]
    return {
        "learner.lr": FloatDistribution(2e-4, 1e-2, log=True),
        "learner.lr_endmembers": FloatDistribution(1e-5, 1e-3, log=True),
        "learner.angle_weight": FloatDistribution(0.01, 1.0, log=True),
        "learner.start_by": CategoricalDistribution(["sisal", "nfindr", "vca"]),
        "training.batch_size": CategoricalDistribution(batches),
    }
