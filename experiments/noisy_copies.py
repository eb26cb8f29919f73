"""Real train cubes with a little noise as "synthetic" ones: a negative control of a study (METHODS section 11).

Hypothesis: copies hold no information that train has not, so an arm with them must come out as the control that shows real
melanomas again; where it "helps", something else than new lesions does, such as more melanomas or noise as an augmentation.
Command: make sweep-noisy_copies; in a grid: make ablation SET='generators=["noisy_copies"]'
Expected: no training; as near to held-out cubes as train is. The audit calls the cubes copies, and is right.
Result (`hyperderm train` and `generate --count 100`, fold 0, one seed, 32 px, 72 train melanomas of the ISIC 2018
stand-ins): distance 0.04 to the validation melanomas (real train cubes −0.01), told from real 0.45 (0.31 to 0.59), 100 of
100 called copies, none out of range. The noise is not seen in a picture.
"""

from typing import Any

from hyperderm.config import DataConfig, Experiment, SweepConfig, TrainingConfig
from hyperderm.learners.interpolation import InterpolationConfig
from hyperderm.registry import Profile

SPACE = "mixup"


def experiment(profile: Profile) -> Experiment:
    """Return the whole configuration; both profiles take one core seconds."""
    return interpolation("noisy_copies", profile, method="copies")


def interpolation(name: str, profile: Profile, **learner: Any) -> Experiment:  # noqa: ANN401 - of InterpolationConfig
    """Return the configuration of interpolation between train cubes, with the settings in `learner` changed."""
    size = DataConfig(size=32) if profile == "small" else DataConfig()
    return Experiment(
        name=name,
        profile=profile,
        data=size,
        learner=InterpolationConfig(**learner),
        training=TrainingConfig(batch_size=8, images=8, validate_every=8, validation_samples=64),
        sweep=SweepConfig(trials=8, concurrent=2, grace_images=8, startup_trials=4),
    )
