"""The unmixing net of "unmixing before fusion" (Yu, Pan et al., CVPR 2024; METHODS section 7).

Hypothesis: endmembers that move under a sparse prior lie nearer to the truth than those of the classical method that they
start from; spatial stages make abundances less noisy.
Command: make train-unmixer STORE=…; on a scene with ground truth: python -m tests.bench.unmixing_net FOLDER
Expected: on Samson, a mean spectral angle below VCA's .067 rad, and abundances by least squares on its endmembers below
VCA's .075.
"""

from hyperderm.config import DataConfig, Experiment, SweepConfig, TrainingConfig
from hyperderm.learners.unmixer import UnmixerConfig
from hyperderm.registry import Profile


def experiment(profile: Profile) -> Experiment:
    """Return the whole configuration; `small` takes one CPU core minutes, `full` has the paper's learning rate."""
    if profile == "small":
        return Experiment(
            name="unmixer",
            profile="small",
            data=DataConfig(size=32, diagnoses="all"),
            learner=UnmixerConfig(lr=5e-3, lr_endmembers=5e-4, sparsity_weight=0.01),
            training=TrainingConfig(batch_size=8, images=6_000, validate_every=1_000),
            sweep=SweepConfig(trials=8, concurrent=2, grace_images=2_000, startup_trials=4),
        )
    return Experiment(
        name="unmixer",
        data=DataConfig(diagnoses="all"),
        learner=UnmixerConfig(),
        training=TrainingConfig(batch_size=16),
        sweep=SweepConfig(gpus_per_worker=1.0),
    )
