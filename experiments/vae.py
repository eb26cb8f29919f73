"""A variational autoencoder (Kingma & Welling 2014; the seeds' settings, METHODS section 6).

Hypothesis: it covers every lesion and blurs all of them: the best spectral angle of the seeds, and their worst FID.
Command: make sweep-vae
Expected: 1 ms an image on one core at 32 px; mean spectra like real ones, gradient energy far too low, so a distance of
about a quarter of the untrained one, and poor coverage.
Result (one thread, one seed, 32 px; real cubes reach 1.00 in coverage): on phantom melanomas, 60 s, distance 3.47
untrained, 0.53 trained, coverage 0.53; on 72 stand-in melanomas (ISIC 2018), 120 s, 1.07 and 0.42 (with the seeds' weight
of KL). Blurred lesions of the right form and colour, less varied than real ones; On the stand-ins, 60 s, 0.1 as weight of
KL covers more than the seeds' 1e-2 (0.75 against 0.33) and is told from real ones more easily (0.98 against 0.85): `python
-m tests.bench.generator_quality STORE OUT --seconds 60 --seeds 1 --names vae --set learner.kl_weight=0.01`.
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
