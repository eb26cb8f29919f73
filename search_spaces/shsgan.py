"""The settings that SHS-GAN is sensitive to (METHODS section 4); raise VERSION with every change of the axes."""

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from hyperderm.config import Experiment

VERSION = 1


def space(experiment: Experiment) -> dict[str, BaseDistribution]:
    """Return configuration path to distribution; the batch sizes are those that the workers of a trial can share.

    - Learning rates a decade around the paper's 1e-4: below it minutes move nothing, above it the critic diverges.
    - Batch sizes from 1, the paper's, to 8: normalisation is per cube, so small ones are allowed and noisier.
    - `n_critic` from 1 to 5, the usual value with a gradient penalty.
    - `gp_weight` around the usual 10: too small and the critic is not smooth, too large and it tells nothing.
    - `rgb_weight`: how far the cube must show the RGB it was given; small ones let spectra drift, with large ones the
      critic has no say.
    """
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
