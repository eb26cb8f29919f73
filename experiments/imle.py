"""RS-IMLE (Vashist et al. 2024), which makes cubes from noise without a critic: each real cube pulls its nearest sample."""

from typing import Any

from hyperderm.config import DataConfig, Experiment, SweepConfig, TrainingConfig
from hyperderm.learners.imle import ImleConfig
from hyperderm.registry import Profile


def experiment(profile: Profile) -> Experiment:
    """Return the whole configuration; `small` takes one CPU core about two minutes, `full` needs a GPU."""
    return imle("imle", profile)


def imle(name: str, profile: Profile, **learner: Any) -> Experiment:  # noqa: ANN401 - fields of ImleConfig
    """Return RS-IMLE's configuration, with the settings in `learner` changed."""
    if profile == "small":
        return Experiment(
            name=name,
            profile="small",
            data=DataConfig(size=32),
            learner=ImleConfig(**{"generator_width": 32, "ema_images": 1_000.0} | learner),
            training=TrainingConfig(batch_size=8, images=12_000, validate_every=2_000, validation_samples=64),
            sweep=SweepConfig(trials=8, concurrent=2, grace_images=4_000, startup_trials=4),
        )
    return Experiment(
        name=name,
        learner=ImleConfig(**learner),
        training=TrainingConfig(batch_size=16),
        sweep=SweepConfig(gpus_per_worker=1.0),
    )
