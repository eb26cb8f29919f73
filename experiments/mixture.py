"""A Gaussian mixture in abundance space: the classical rival of seed 004, without a network.

Hypothesis: principal components of lesions that are not aligned are blurred, so cubes of a mixture have the right spectra
and no texture: a good distance of mean spectra, and easily told from real.
Command: make sweep-mixture; in a grid: make ablation SET='generators=["mixture"]'
Expected: seconds on one core at 32 px.
Result (`make train-mixture` and `generate`, one seed, 32 px, 72 train melanomas of the ISIC 2018 stand-ins): distance
0.19 to the validation melanomas, told from real 0.71 (0.57 to 0.82), where networks have 0.68 and more. 12 of 112 cubes
were out of range, none of 100 was called a copy. As expected, blurred sums of lesions.
"""

from hyperderm.config import DataConfig, Experiment, SweepConfig, TrainingConfig
from hyperderm.learners.mixture import MixtureConfig
from hyperderm.registry import Profile


def experiment(profile: Profile) -> Experiment:
    """Return the whole configuration; both profiles take one core seconds."""
    size = DataConfig(size=32) if profile == "small" else DataConfig()
    return Experiment(
        name="mixture",
        profile=profile,
        data=size,
        learner=MixtureConfig(space="abundance"),
        training=TrainingConfig(batch_size=8, images=8, validate_every=8, validation_samples=64),
        sweep=SweepConfig(trials=8, concurrent=2, grace_images=8, startup_trials=4),
    )
