"""The runs of the golden record: one of every kind, each of a second or two."""

from collections.abc import Callable

from hyperderm.config import DataConfig, Experiment, TaskConfig, TrainingConfig
from hyperderm.learners.classifier import ClassifierConfig
from hyperderm.learners.shsgan import ShsGanConfig
from hyperderm.learners.spectral_baseline import SpectralConfig

GENERATED = {"melanoma": 3, "dysplastic_nevus": 2}


def shsgan(**learner: object) -> Experiment:
    return Experiment(
        name="golden",
        profile="small",
        data=DataConfig(size=16, diagnoses="all"),
        learner=ShsGanConfig(generator_width=4, critic_width=4, lr_generator=1e-3, lr_critic=1e-3, **learner),
        training=TrainingConfig(batch_size=4, images=48, validate_every=24, validation_samples=8),
    )


def classifier() -> Experiment:
    return Experiment(
        name="golden",
        profile="small",
        data=DataConfig(size=16, flips=False),
        task=TaskConfig(negatives="all_others"),
        learner=ClassifierConfig(lr=1e-3, dropout=0.3, augmentation="classic+spectral"),
        training=TrainingConfig(batch_size=8, images=64, validate_every=32),
    )


def spectral() -> Experiment:
    return Experiment(
        name="golden",
        profile="small",
        data=DataConfig(size=16, flips=False),
        task=TaskConfig(negatives="all_others"),
        learner=SpectralConfig(penalty=10.0),
        training=TrainingConfig(batch_size=16, images=16, validate_every=16),
    )


RUNS: dict[str, Callable[[], Experiment]] = {
    "shsgan": shsgan,
    "bce": lambda: shsgan(loss="bce", critic="conv2d", norm="batch", fft_arm=False),
    "clipped": lambda: shsgan(loss="wgan_clip", critic="conv3d", norm="spectral", fft_arm=False),
    "classifier": classifier,
    "spectral": spectral,
}
