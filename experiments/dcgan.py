"""DCGAN (Radford et al. 2016), which makes cubes from noise.

Hypothesis: the oldest of the GANs learns mean spectra in minutes and collapses on seventy lesions; it is the baseline that
the others must beat.
Command: make sweep-dcgan
Expected: 2 ms an image on one core at 32 px; a third of its untrained distance, coverage below half of the floor's.
Result (`python -m tests.bench.generator_quality`: 300 s of one thread, three seeds, 32 px, 72 train melanomas of the
ISIC 2018 stand-ins; measured on 24 melanomas of the test role, on which real train cubes have distance −0.03 and
coverage 1.00): distance 7.49 untrained, 0.53 (0.41 to 0.62) trained, coverage 0.47 (0.38 to 0.58), told from real 0.98;
told the diagnosis and shown all 360 train lesions (one seed), 0.61 and 0.25. Lesions of many forms with some grain;
their edges are frayed.
"""

from typing import Any, Literal

from hyperderm.config import DataConfig, Experiment, SweepConfig, TrainingConfig
from hyperderm.learners.dcgan import DcganConfig
from hyperderm.registry import Profile

SMALL = {
    "generator_width": 32,
    "critic_width": 16,
    "generator_norm": "layer",
    "n_critic": 3,
    "lr_generator": 5e-4,
    "lr_critic": 5e-4,
    "ema_images": 2_000.0,
}
"""Settings of the small profile. Batch norm over eight cubes makes each cube depend on the others. One update of a narrow
critic for each of the generator's leaves a grid on the cubes. With both, no validation cube of the stand-ins was covered."""


def experiment(profile: Profile) -> Experiment:
    """Return the whole configuration; `small` takes two CPU cores five minutes, `full` needs a GPU."""
    return dcgan("dcgan", profile)


def dcgan(
    name: str,
    profile: Profile,
    diagnoses: Literal["all"] | None = None,
    **learner: Any,  # noqa: ANN401 - fields of DcganConfig
) -> Experiment:
    """Return DCGAN's configuration, with the settings in `learner` changed; the network makes cubes from noise."""
    learnt = {"diagnoses": diagnoses} if diagnoses else {}
    if profile == "small":
        shared = "critic" in learner  # a critic that pools its features costs up to ten times as much
        every = 1_000 if shared else 6_000
        return Experiment(
            name=name,
            profile="small",
            data=DataConfig(size=32, **learnt),
            learner=DcganConfig(**SMALL | ({"n_critic": 1} if shared else {}) | learner),
            training=TrainingConfig(batch_size=8, images=6 * every, validate_every=every, validation_samples=64),
            sweep=SweepConfig(trials=8, concurrent=2, grace_images=2 * every, startup_trials=4),
        )
    return Experiment(
        name=name,
        data=DataConfig(**learnt),
        learner=DcganConfig(**learner),
        training=TrainingConfig(batch_size=16),
        sweep=SweepConfig(gpus_per_worker=1.0),
    )
