"""A variational autoencoder (Kingma & Welling 2014; the seeds' settings, METHODS section 6).

Hypothesis: it covers every lesion and blurs all of them: the best spectral angle of the seeds, and their worst FID.
Command: make sweep-vae
Expected: 1 ms an image on one core at 32 px; mean spectra like real ones, gradient energy far too low, so a distance of
about a quarter of the untrained one, and poor coverage.
Result (`python -m tests.bench.generator_quality`: 300 s of one thread, three seeds, 32 px, 72 train melanomas of the ISIC
2018 stand-ins; measured on 24 melanomas of the test role, on which real train cubes have distance −0.03 and coverage
1.00): distance 4.71 untrained, 0.84 (0.80 to 0.89) trained, coverage 0.57 (0.50 to 0.71), told from real 0.98; told the
diagnosis and shown all 360 train lesions (one seed), 0.90 and 0.33. Round, blurred lesions of the right colour, from
pale to dark.
"""

from hyperderm.config import DataConfig, Experiment, SweepConfig, TrainingConfig
from hyperderm.learners.vae import VaeConfig
from hyperderm.registry import Profile


def experiment(profile: Profile) -> Experiment:
    """Return the whole configuration; `small` takes two CPU cores five minutes, `full` needs a GPU."""
    if profile == "small":
        return Experiment(
            name="vae",
            profile="small",
            data=DataConfig(size=32),
            learner=VaeConfig(generator_width=16, encoder_width=16, lr=1e-3, kl_weight=0.1, ema_images=500.0),
            training=TrainingConfig(batch_size=8, images=12_000, validate_every=2_000, validation_samples=64),
            sweep=SweepConfig(trials=8, concurrent=2, grace_images=4_000, startup_trials=4),
        )
    return Experiment(
        name="vae",
        learner=VaeConfig(),
        training=TrainingConfig(batch_size=16),
        sweep=SweepConfig(gpus_per_worker=1.0),
    )
