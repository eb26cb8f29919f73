"""The settings that a fine-tuned classifier is sensitive to; raise VERSION with every change of the axes."""

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from hyperderm.config import Experiment

VERSION = 1


def space(experiment: Experiment) -> dict[str, BaseDistribution]:
    """Return configuration path to distribution; the batch sizes are those that the workers of a trial can share."""
    workers = experiment.sweep.workers_per_trial
    batches = [size for size in (8, 16, 32, 64) if size % workers == 0] or [workers]
    return {
        "learner.lr": FloatDistribution(1e-5, 3e-3, log=True),
        "learner.weight_decay": FloatDistribution(1e-4, 1e-1, log=True),
        "learner.dropout": FloatDistribution(0.0, 0.5),
        "learner.loss": CategoricalDistribution(["cross_entropy", "focal"]),
        "learner.class_weights": CategoricalDistribution(["none", "balanced"]),
        "training.batch_size": CategoricalDistribution(batches),
    }
