"""A hierarchical variational autoencoder after the Very Deep VAE (Child 2021, arXiv 2011.10650).

Hypothesis: with a prior of its own at every resolution it draws the texture that the plain VAE blurs.
Command: make sweep-hvae
Expected: 5 ms an image on one core at 32 px; a better distance and coverage than the plain VAE in the same time.
Result (`python -m tests.bench.generator_quality`: 120 s of one thread, one seed, 32 px, 72 train melanomas of the ISIC
2018 stand-ins; measured on 24 melanomas of the test role, on which real train cubes have distance −0.03 and coverage
1.00): distance 7.47 untrained, 0.07 trained, coverage 0.83, told from real 0.90, no copies among 64. Sums of squared
differences of neighbours, over the variance inside a cube, are 0.36 (real: 0.38). Yet few cubes show a lesion: most are
skin with blotches of about 4 px, and some have a black hole in the middle. The maps of 1 and 4 px carry nearly nothing
after minutes, and those of 8 and 16 px, drawn cell by cell, do not make a lesion as a whole. Rebuilt held-out lesions are
blurred.
Tried for about 40 s each, one seed, so differences are rough: distance to validation 0.27 with these settings; 0.43 with
kl_weight 0.2, and 1.14 with two blocks too; with kl_weight 0.1 and 16 nats at no cost at each resolution 0.73, and 2.98
with lr 2e-3 too; 0.95 (60 s) with kl_weight 0.02, whose cubes are overexposed.
"""

from typing import Any

from hyperderm.config import DataConfig, Experiment, SweepConfig, TrainingConfig
from hyperderm.learners.hvae import HvaeConfig
from hyperderm.registry import Profile

SMALL = {"generator_width": 32, "blocks": 1, "latent_channels": 4, "lr": 1e-3, "ema_images": 500.0}
"""Settings of the small profile."""


def experiment(profile: Profile) -> Experiment:
    """Return the whole configuration; `small` takes two CPU cores five minutes, `full` needs a GPU."""
    return hvae("hvae", profile)


def hvae(name: str, profile: Profile, **learner: Any) -> Experiment:  # noqa: ANN401 - fields of HvaeConfig
    """Return the hierarchical VAE's configuration, with the settings in `learner` changed."""
    if profile == "small":
        return Experiment(
            name=name,
            profile="small",
            data=DataConfig(size=32),
            learner=HvaeConfig(**SMALL | learner),
            training=TrainingConfig(batch_size=8, images=12_000, validate_every=2_000, validation_samples=64),
            sweep=SweepConfig(trials=8, concurrent=2, grace_images=4_000, startup_trials=4),
        )
    return Experiment(
        name=name,
        learner=HvaeConfig(**learner),
        training=TrainingConfig(batch_size=16),
        sweep=SweepConfig(gpus_per_worker=1.0),
    )
