"""R3GAN (Huang et al., NeurIPS 2024): the stable default among GANs from noise.

Hypothesis: the relativistic pairing loss with R1 and R2 neither collapses nor needs tuning, on seventy lesions too.
Command: make sweep-r3gan
Expected: 14 ms an image on one core at 32 px; the best distance and coverage of all GANs from noise.
Result (`python -m tests.bench.generator_quality`: 300 s of one thread, three seeds, 32 px, 72 train melanomas of the ISIC
2018 stand-ins; measured on 24 melanomas of the test role, on which real train cubes have distance −0.03 and coverage
1.00): distance 6.13 untrained, 0.34 (0.29 to 0.39) trained, coverage 0.61 (0.54 to 0.67), told from real 0.96; told the
diagnosis and shown all 360 train lesions (one seed), 0.33 and 0.58. Large soft blotches of strong contrast: the score
is good before a lesion is to be seen; it needs more time than minutes.
"""

from typing import Any

from hyperderm.config import DataConfig, Experiment, SweepConfig, TrainingConfig
from hyperderm.learners.cube_diffaug_settings import DiffAugmentConfig
from hyperderm.learners.r3gan import R3ganConfig
from hyperderm.registry import Profile

SMALL = {
    "generator_width": 16,
    "critic_width": 16,
    "blocks": 1,
    "lr_generator": 1e-3,
    "lr_critic": 1e-3,
    "ema_images": 500.0,
}
"""Settings of the small profile."""


def experiment(profile: Profile) -> Experiment:
    """Return the whole configuration; `small` takes two CPU cores five minutes, `full` needs a GPU."""
    return r3gan("r3gan", profile)


def r3gan(name: str, profile: Profile, **learner: Any) -> Experiment:  # noqa: ANN401 - fields of R3ganConfig
    """Return R3GAN's configuration, with the settings in `learner` changed."""
    shown = DiffAugmentConfig(policy="flips+translation+cutout")
    if profile == "small":
        return Experiment(
            name=name,
            profile="small",
            data=DataConfig(size=32),
            learner=R3ganConfig(**SMALL | {"diffaug": shown} | learner),
            training=TrainingConfig(batch_size=8, images=6_000, validate_every=1_000, validation_samples=64),
            sweep=SweepConfig(trials=8, concurrent=2, grace_images=2_000, startup_trials=4),
        )
    return Experiment(
        name=name,
        learner=R3ganConfig(**{"diffaug": shown} | learner),
        training=TrainingConfig(batch_size=16),
        sweep=SweepConfig(gpus_per_worker=1.0),
    )
