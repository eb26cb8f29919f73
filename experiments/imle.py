"""RS-IMLE (Vashist et al. 2024), which makes cubes from noise without a critic: each real cube pulls its nearest sample.

Hypothesis: from a few dozen lesions, a generator that every real cube pulls covers them, where a critic would know them by
heart. Command: `make train-imle`.

Seen before this file was written, with its settings at 32 px on 72 stand-in melanomas (ISIC 2018), seeds 0, 1 and 2: the
spectral energy distance to 24 held-out ones fell from 7.4 to 0.075, 0.44 and 0.23 in 12,800 images (some 25 s of one core;
real cubes reach 0.03, the mean cube 2.1), and to 0.09 in 25,600 (seed 0, pools twice as large). 22, 24 and 24 of 24
held-out cubes were covered.
The pictures are worse than the score: lesions are blurred, a faint
grid of two pixels remains, and the few bright, vignetted lesions of train are imitated too often and too brightly. The
distance that is trained is related to that score, so others should judge too.
"""

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
            training=TrainingConfig(batch_size=8, images=12_800, validate_every=1_600, validation_samples=64),
            sweep=SweepConfig(trials=8, concurrent=2, grace_images=3_200, startup_trials=4),
        )
    return Experiment(
        name=name,
        learner=ImleConfig(**learner),
        training=TrainingConfig(batch_size=16),
        sweep=SweepConfig(gpus_per_worker=1.0),
    )
