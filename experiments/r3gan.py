"""R3GAN (Huang et al., NeurIPS 2024): the stable default among GANs from noise.

Hypothesis: the relativistic pairing loss with R1 and R2 neither collapses nor needs tuning, on seventy lesions too.
Command: make sweep-r3gan
Expected: 14 ms an image on one core at 32 px; the best distance and coverage of all GANs from noise.
Result (one thread, one seed, 32 px; real cubes reach 1.00 in coverage): on phantom melanomas, 60 s, distance 0.95
untrained, 0.47 trained, coverage 0.59; on 72 stand-in melanomas (ISIC 2018), 120 s, 0.53 and 0.67. Large soft blotches,
coloured ones on the stand-ins: the score is good before a lesion is to be seen; it needs more time than minutes.
"""

from hyperderm.config import DataConfig, Experiment, SweepConfig, TrainingConfig
from hyperderm.learners.cube_diffaug_settings import DiffAugmentConfig
from hyperderm.learners.r3gan import R3ganConfig
from hyperderm.registry import Profile


def experiment(profile: Profile) -> Experiment:
    """Return the whole configuration; `small` takes two CPU cores five minutes, `full` needs a GPU."""
    shown = DiffAugmentConfig(policy="flips+translation+cutout")
    if profile == "small":
        return Experiment(
            name="r3gan",
            profile="small",
            data=DataConfig(size=32),
            learner=R3ganConfig(
                generator_width=16,
                critic_width=16,
                blocks=1,
                lr_generator=1e-3,
                lr_critic=1e-3,
                ema_images=500.0,
                diffaug=shown,
            ),
            training=TrainingConfig(batch_size=8, images=6_000, validate_every=1_000, validation_samples=64),
            sweep=SweepConfig(trials=8, concurrent=2, grace_images=2_000, startup_trials=4),
        )
    return Experiment(
        name="r3gan",
        learner=R3ganConfig(diffaug=shown),
        training=TrainingConfig(batch_size=16),
        sweep=SweepConfig(gpus_per_worker=1.0),
    )
