"""Does a classifier trained on real + synthetic cubes beat one trained on real cubes alone?"""

from hyperderm.config import TrainingConfig
from hyperderm.grid_config import Ablation, Model, Resources
from hyperderm.learners.classifier import ClassifierConfig
from hyperderm.learners.spectral_baseline import SpectralConfig
from hyperderm.registry import Profile

AT_ONCE = TrainingConfig(batch_size=16, images=16, validate_every=16)
"""Training settings of the spectral baseline, which is fitted once and not trained in steps."""
CONTROLS = ("shuffled", "without_melanoma", "noisy_copies")
"""The negative controls, which every full grid holds: where one of them helps, nothing is to be trusted."""
GENERATORS = ("shsgan",)
"""The generators are named here, so that a new experiment does not change any grid."""


def ablation(profile: Profile) -> Ablation:
    """Return the whole grid; `small` takes two CPU cores under half an hour, `full` takes a machine with GPU a night."""
    if profile == "small":
        steps = TrainingConfig(batch_size=16, images=12_000, validate_every=1_200)
        return Ablation(
            name="synthetic_vs_real",
            profile="small",
            size=32,
            arms=("real", "oversampled", "synthetic", "only", *CONTROLS),
            curve=(0.25, 0.5),
            seeds=(0, 1),
            judge=True,
            generators=GENERATORS,
            models=("spectral", "small_cnn"),
            classifiers={
                "spectral": Model(learner=SpectralConfig(penalty=10.0), training=AT_ONCE),
                "small_cnn": Model(learner=ClassifierConfig(lr=1e-3), training=steps),
            },
        )
    steps = TrainingConfig(batch_size=32, images=64_000, validate_every=3_200)
    return Ablation(
        name="synthetic_vs_real",
        size=224,
        arms=(
            *("real", "classic", "strong", "oversampled", "focal"),
            *("synthetic", "filtered", "matched", "both", "proportional", "only", "pretrain", "pretrain_head"),
            *CONTROLS,
        ),
        curve=(0.25, 0.5),
        ratios=(0.25, 1.0),
        filters=("judge", "all"),
        matches=("both",),
        checkpoints=("best", "latest"),
        choose="validation",
        judge=True,
        seeds=(0, 1, 2),
        generators=GENERATORS,
        models=("spectral", "efficientnet_lite0", "resnet18"),
        classifiers={
            "spectral": Model(learner=SpectralConfig(penalty=10.0), training=AT_ONCE),
            "small_cnn": Model(learner=ClassifierConfig(lr=1e-3), training=steps),
            "efficientnet_lite0": Model(
                learner=ClassifierConfig(architecture="efficientnet_lite0", weights="imagenet"), training=steps
            ),
            "efficientnet_lite0_scratch": Model(
                learner=ClassifierConfig(architecture="efficientnet_lite0", lr=3e-4), training=steps
            ),
            "densenet121": Model(learner=ClassifierConfig(architecture="densenet121", weights="imagenet"), training=steps),
            "densenet201": Model(learner=ClassifierConfig(architecture="densenet201", weights="imagenet"), training=steps),
            "resnet18": Model(learner=ClassifierConfig(architecture="resnet18", weights="imagenet"), training=steps),
            "resnet50": Model(learner=ClassifierConfig(architecture="resnet50", weights="imagenet"), training=steps),
            "efficientnet_b3": Model(
                learner=ClassifierConfig(architecture="efficientnet_b3", weights="imagenet"), training=steps
            ),
        },
        resources=Resources(gpus=1.0),
    )
