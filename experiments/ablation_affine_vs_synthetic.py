"""Is a set of thousands of synthetic cubes worth more than affine augmentation? The downstream comparison of seed 004.

The seed trained AlexNet, VGG-16 and ResNet-18 from scratch with 4,000 and 8,000 synthetic cubes and reported that all gain
(METHODS section 7), with one split. Here every arm has the folds of the store, the same number of steps, the control that
shows real melanomas as often, and no weights from elsewhere. `classic` is the affine augmentation: shifts, crops and flips.
`synthetic` adds melanomas to it, as many times the real ones as `ratios` says: with the 50 melanomas of a train role of the
real data set, 80 and 160 are the seed's 4,000 and 8,000.

Result (`make ablation GRID=affine_vs_synthetic`, small profile, one seed, 600 ISIC 2018 stand-ins at 32 px, melanoma
against all others, five folds, 10 minutes on two cores): AUROC .604 for real cubes alone, .589 with affine
augmentation, .661 and .640 with melanomas shown 4 and 8 times more, .617 and .618 with 4 and 8 synthetic melanomas of
`dcgan_abundance` for each real one, .650 and .609 with those of `mixture`. All eight contrasts "cannot be told" (.08
would have shown); every synthetic arm lies below its control. The seed's gain is not seen here; minutes of training at
32 px do not refute it either.
"""

from hyperderm.config import TrainingConfig
from hyperderm.grid_config import Ablation, Model, Resources
from hyperderm.learners.classifier import ClassifierConfig
from hyperderm.registry import Profile

NETWORKS = ("alexnet", "vgg16", "resnet18")
GENERATORS = ("dcgan_abundance", "mixture")
"""A network in abundance space, and the seed's classical rival, a Gaussian mixture in the same space."""


def ablation(profile: Profile) -> Ablation:
    """Return the whole grid; `small` takes two CPU cores an hour, `full` takes a machine with GPU a night."""
    if profile == "small":
        steps = TrainingConfig(batch_size=16, images=12_000, validate_every=1_200)
        return Ablation(
            name="affine_vs_synthetic",
            profile="small",
            size=32,
            arms=("real", "classic", "oversampled", "synthetic", "noisy_copies"),
            curve=(0.25, 0.5),
            ratios=(4.0, 8.0),
            generators=GENERATORS,
            models=("small_cnn",),
            classifiers={"small_cnn": Model(learner=ClassifierConfig(lr=1e-3), training=steps)},
        )
    steps = TrainingConfig(batch_size=32, images=128_000, validate_every=6_400)
    return Ablation(
        name="affine_vs_synthetic",
        size=64,
        arms=("real", "classic", "oversampled", "synthetic", "shuffled", "without_melanoma", "noisy_copies"),
        curve=(0.25, 0.5),
        judge=True,
        ratios=(80.0, 160.0),
        seeds=(0, 1, 2),
        generators=GENERATORS,
        models=NETWORKS,
        classifiers={name: Model(learner=ClassifierConfig(architecture=name, lr=3e-4), training=steps) for name in NETWORKS},
        resources=Resources(gpus=1.0),
    )
