"""A class-conditional diffusion generator (EDM, Karras et al. 2022), told its augmentation.

Command: make sweep-diffusion
"""

from hyperderm.config import DataConfig, Experiment, SweepConfig, TrainingConfig
from hyperderm.learners.diffusion import DiffusionConfig
from hyperderm.registry import Profile


def experiment(profile: Profile) -> Experiment:
    """Return the whole configuration; `small` takes two CPU cores twenty minutes, `full` needs a GPU."""
    if profile == "small":
        return Experiment(
            name="diffusion",
            profile="small",
            data=DataConfig(size=32, diagnoses="all"),
            learner=DiffusionConfig(
                conditioning="class",
                generator_width=16,
                multipliers=(1, 2, 2),
                layers=1,
                class_dropout=0.1,
                augment=0.1,
                lr=1e-3,
                ema_images=2_000.0,
                sampling_steps=20,
            ),
            training=TrainingConfig(batch_size=8, images=60_000, validate_every=6_000, validation_samples=64),
            sweep=SweepConfig(trials=8, concurrent=2, grace_images=12_000, startup_trials=4),
        )
    return Experiment(
        name="diffusion",
        data=DataConfig(diagnoses="all"),
        learner=DiffusionConfig(conditioning="class", class_dropout=0.1, augment=0.12, sampling_steps=50),
        training=TrainingConfig(batch_size=8),
        sweep=SweepConfig(gpus_per_worker=1.0),
    )
