"""The settings that diffusion in EDM's form is sensitive to; raise VERSION with every change of the axes."""

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from hyperderm.config import Experiment

VERSION = 1


def space(experiment: Experiment) -> dict[str, BaseDistribution]:
    """Return configuration path to distribution; the batch sizes are those that the workers of a trial can share.

    - `lr` from the 1e-4 of seed 004 up to what narrow U-Nets bear in minutes.
    - `edm.p_mean`, the logarithm of the usual noise in training: from EDM's −1.2 for photographs, at which mostly grain is
      learnt, to 1, at which mostly the place of the lesion is.
    - `augment`: EDM's 0.12 for 50,000 photographs lies in the middle; at 0 the train cubes are learnt by heart earliest.
    - `dropout`: EDM's 0.13 on CIFAR-10 lies in the middle.
    """
    workers = experiment.sweep.workers_per_trial
    batches = [size for size in (4, 8, 16) if size % workers == 0] or [workers]
    return {
        "learner.lr": FloatDistribution(1e-4, 5e-3, log=True),
        "learner.edm.p_mean": FloatDistribution(-1.2, 1.0),
        "learner.augment": FloatDistribution(0.0, 0.3),
        "learner.dropout": FloatDistribution(0.0, 0.25),
        "training.batch_size": CategoricalDistribution(batches),
    }
