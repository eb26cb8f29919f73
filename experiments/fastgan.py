"""FastGAN (Liu et al., ICLR 2021), made for a hundred images.

Hypothesis: a discriminator that must rebuild real cubes does not overfit on seventy lesions, so the generator keeps
learning.
Command: make sweep-fastgan
Expected: 17 ms an image on one core at 32 px; in hours, at 256 px on a GPU, the best textures. In five minutes at 32 px,
where skip-layer excitation does not exist yet, no better than R3GAN.
Result (one thread, one seed, 32 px; real cubes reach 1.00 in coverage): on phantom melanomas, 60 s, distance 19.30
untrained, 0.09 trained, coverage 1.00; on 72 stand-in melanomas (ISIC 2018), 120 s, 1.32 and 0.29. Smooth brown forms that
are all alike, told from real ones always, though score and coverage on the phantom are among the best: neither sees that.
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
