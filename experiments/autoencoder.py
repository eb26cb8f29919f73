"""The spectral autoencoder of deepHSI (seed 003; METHODS section 8): a pixel's spectrum as eight numbers.

Hypothesis: the latent numbers keep what tells materials apart and lose noise, so that clusters of them are at least as good
as k-means on spectra of unit length.
Command: make train-autoencoder STORE=…; on a scene with ground truth: python -m tests.bench.segmentation FOLDER
Expected: on Samson accuracy .95 and ARI .88 in under two minutes.
Result (`python -m tests.bench.segmentation`, median of 10 seeds): accuracy .968, ARI .904; k-means on spectra of unit length
.972 and .914, so the latent numbers lose a little.
"""

from hyperderm.config import DataConfig, Experiment, SweepConfig, TrainingConfig
from hyperderm.learners.spectral_autoencoder import AutoencoderConfig
from hyperderm.registry import Profile


def experiment(profile: Profile) -> Experiment:
    """Return the whole configuration; `small` takes one CPU core minutes."""
    if profile == "small":
        return Experiment(
            name="autoencoder",
            profile="small",
            data=DataConfig(size=32, diagnoses="all"),
            learner=AutoencoderConfig(pixels=64),
            training=TrainingConfig(batch_size=8, images=6_000, validate_every=1_000),
            sweep=SweepConfig(trials=8, concurrent=2, grace_images=2_000, startup_trials=4),
        )
    return Experiment(
        name="autoencoder",
        data=DataConfig(diagnoses="all"),
        learner=AutoencoderConfig(),
        training=TrainingConfig(batch_size=16),
        sweep=SweepConfig(gpus_per_worker=1.0),
    )
