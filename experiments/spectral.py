"""The baseline that every network must beat: logistic regression on per-lesion spectral statistics, fitted in seconds."""

from hyperderm.config import DataConfig, Experiment, TaskConfig, TrainingConfig
from hyperderm.learners.spectral_baseline import SpectralConfig
from hyperderm.registry import Profile


def experiment(profile: Profile) -> Experiment:
    """Return the whole configuration; both profiles need one core."""
    return Experiment(
        name="spectral",
        profile=profile,
        data=DataConfig(size=32 if profile == "small" else 64, flips=False),
        task=TaskConfig(),
        learner=SpectralConfig(penalty=10.0),
        training=TrainingConfig(batch_size=16, images=16, validate_every=16),
    )
