"""Melanoma against dysplastic nevi on real cubes: one classifier, for a single training or a search."""

from hyperderm.config import DataConfig, Experiment, SweepConfig, TaskConfig, TrainingConfig
from hyperderm.learners.classifier import ClassifierConfig
from hyperderm.registry import Profile


def experiment(profile: Profile) -> Experiment:
    """Return the whole configuration; `small` is the small CNN at 32 px, `full` a pre-trained EfficientNet-Lite0."""
    if profile == "small":
        return Experiment(
            name="classifier",
            profile="small",
            data=DataConfig(size=32, flips=False),
            task=TaskConfig(),
            learner=ClassifierConfig(lr=1e-3),
            training=TrainingConfig(batch_size=16, images=12_000, validate_every=1_200),
            sweep=SweepConfig(trials=8, concurrent=2, grace_images=3_600, startup_trials=4),
        )
    return Experiment(
        name="classifier",
        data=DataConfig(size=224, flips=False),
        task=TaskConfig(),
        learner=ClassifierConfig(architecture="efficientnet_lite0", weights="imagenet"),
        training=TrainingConfig(batch_size=32, images=64_000, validate_every=3_200),
        sweep=SweepConfig(gpus_per_worker=1.0),
    )
