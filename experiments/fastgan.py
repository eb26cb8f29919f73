"""FastGAN (Liu et al., ICLR 2021), made for a hundred images.

Hypothesis: a discriminator that must rebuild real cubes does not overfit on seventy lesions, so the generator keeps
learning.
Command: make sweep-fastgan
Expected: 17 ms an image on one core at 32 px; in hours, at 256 px on a GPU, the best textures. In five minutes at 32 px,
where skip-layer excitation does not exist yet, no better than R3GAN.
Result (`python -m tests.bench.generator_quality`: 300 s of one thread, three seeds, 32 px, 72 train melanomas of the ISIC
2018 stand-ins; measured on 24 melanomas of the test role, on which real train cubes have distance −0.03 and coverage
1.00): distance 14.49 untrained, 0.41 (0.15 to 0.69) trained, coverage 0.69 (0.38 to 1.00), told from real 0.98; told
the diagnosis and shown all 360 train lesions (one seed), 0.56 and 0.46. Pale, smooth forms that are nearly all alike;
after 24,000 images, twelve times fewer than the others see in this time, it was still getting better, and what it has
reached then differs much between seeds.
"""

from hyperderm.config import DataConfig, Experiment, SweepConfig, TrainingConfig
from hyperderm.learners.cube_diffaug_settings import DiffAugmentConfig
from hyperderm.learners.fastgan import FastGanConfig
from hyperderm.registry import Profile


def experiment(profile: Profile) -> Experiment:
    """Return the whole configuration; `small` takes two CPU cores five minutes, `full` needs a GPU and LPIPS' weights."""
    shown = DiffAugmentConfig(policy="flips+translation")
    if profile == "small":
        return Experiment(
            name="fastgan",
            profile="small",
            data=DataConfig(size=32),
            learner=FastGanConfig(
                generator_width=16,
                critic_width=16,
                noise_dim=64,
                lr_generator=1e-3,
                lr_critic=1e-3,
                ema_images=500.0,
                reconstruction="l1",
                diffaug=shown,
            ),
            training=TrainingConfig(batch_size=8, images=6_000, validate_every=1_000, validation_samples=64),
            sweep=SweepConfig(trials=8, concurrent=2, grace_images=2_000, startup_trials=4),
        )
    return Experiment(
        name="fastgan",
        data=DataConfig(size=256),
        learner=FastGanConfig(reconstruction="lpips", diffaug=shown),
        training=TrainingConfig(batch_size=8),
        sweep=SweepConfig(gpus_per_worker=1.0),
    )
