"""A hierarchical variational autoencoder after the Very Deep VAE (Child 2021; the seeds' rival of the diffusion model).

Hypothesis: with a prior of its own at every resolution it draws texture that the plain VAE blurs.
Command: make sweep-hvae
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
