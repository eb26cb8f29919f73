"""SHS-GAN on hyperspectral lesions: the project's first generator.

Hypothesis: given the RGB of a lesion, a U-Net finds the spectra that belong to it; its cubes are the sharpest of all,
because the geometry is given, and they are not new lesions.
Command: make sweep-shsgan
Expected: 15 ms an image on one core at 32 px; a distance near the floor of real cubes, with coverage of at least 0.8.
Result (`python -m tests.bench.generator_quality`: 300 s of one thread, three seeds, 32 px, 72 train melanomas of the ISIC
2018 stand-ins; measured on 24 melanomas of the test role, on which real train cubes have distance −0.03 and coverage
1.00): distance 4.84 untrained, 0.02 (−0.01 to 0.04) trained, coverage 1.00, told from real 0.99. Sharp lesions with the
geometry that was given; they are derived from train, and most are called copies for that.
"""

from hyperderm.config import DataConfig, Experiment, SweepConfig, TrainingConfig
from hyperderm.learners.shsgan import ShsGanConfig
from hyperderm.registry import Profile


def experiment(profile: Profile) -> Experiment:
    """Return the whole configuration; `small` takes two CPU cores five minutes, `full` needs a GPU."""
    if profile == "small":
        return Experiment(
            name="shsgan",
            profile="small",
            data=DataConfig(size=32, diagnoses="all"),
            learner=ShsGanConfig(
                generator_width=16,
                critic_width=6,
                lr_generator=1e-3,
                lr_critic=1e-3,
                n_critic=1,
                rgb_weight=100.0,
                ema_images=500.0,
            ),
            training=TrainingConfig(batch_size=4, images=3_000, validate_every=500, validation_samples=64),
            sweep=SweepConfig(trials=10, concurrent=2, grace_images=1_000, startup_trials=4),
        )
    return Experiment(
        name="shsgan",
        learner=ShsGanConfig(rgb_weight=50.0),
        sweep=SweepConfig(gpus_per_worker=1.0),
    )
