"""A Gaussian mixture in abundance space: the classical rival of seed 004, without a network.

Hypothesis: principal components of lesions that are not aligned are blurred, so cubes of a mixture have the right spectra
and no texture: a good distance of mean spectra, and easily told from real.
Command: make train-mixture; in a grid: make ablation SET='generators=["mixture"]'
Expected: seconds on one core at 32 px.
Result: see the end of this text once it is measured.
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
