"""RS-IMLE (Vashist et al. 2024), which makes cubes from noise without a critic: each real cube pulls its nearest sample.

Hypothesis: from a few dozen lesions, a generator that every real cube pulls covers them all, where a critic would know them
by heart; samples between the lesions are blurred.
Command: make sweep-imle
Expected (written after some short trials): 2 ms an image on one core at 32 px; coverage near that of real cubes.
Result (`python -m tests.bench.generator_quality`: 300 s of one thread, three seeds, 32 px, 72 train melanomas of the
ISIC 2018 stand-ins; measured on 24 melanomas of the test role, on which real train cubes have distance −0.03 and
coverage 1.00): distance 7.48 untrained, 0.07 (0.03 to 0.10) trained, coverage 1.00, told from real 0.68; told the
diagnosis and shown all 360 train lesions (one seed), 0.00 and 1.00. Lesions of many forms, slightly blurred, and the
few bright, vignetted ones too often; the only one that is hard to tell from real cubes. The trained distance resembles
the score, which flatters this generator: let others judge too.
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
