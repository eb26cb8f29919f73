"""The question of the project's seed as it was published, with its five mistakes undone.

It asked: do FastGAN's melanomas, added until both classes are equally large, help DenseNet and ResNet from scratch, or
pre-trained networks? And it answered with metrics of the wrong class, on lesions that had trained the generator, scaled from
all data, with each image counted twice in one metric, on one split of 43 images and the best of about 170 runs (METHODS
section 2). Here melanoma is the positive class; generators, scaling and checkpoints see the train and validation roles of
their own fold; each image counts once; all folds are tested, and the answer has an interval and a control: real melanomas
shown until the classes are equal.

    make ablation GRID=fastgan_balance STORE=stores/mine

`small` has ResNet-18 and DenseNet-121 from scratch and EfficientNet-Lite0 with ImageNet's weights, at 32 px; `full` has the
seed's DenseNet-201, ResNet-50 and EfficientNet-B3 too, pre-trained from this machine's caches. README has what three folds
of `small` said on 600 stand-ins.
"""

from hyperderm.config import TrainingConfig
from hyperderm.grid_config import Ablation, Model, Resources
from hyperderm.learners.classifier import ClassifierConfig
from hyperderm.registry import Profile

SCRATCH = ("resnet18", "densenet121")
CONTROLS = ("without_melanoma", "noisy_copies")
"""The negative controls of both profiles. The full one deals diagnoses out anew too, in a set of one cube for each real one,
since "until the classes are equal" has no meaning for a set of both classes."""
PRETRAINED = ("efficientnet_lite0", "resnet50", "densenet201", "efficientnet_b3")


def ablation(profile: Profile) -> Ablation:
    """Return the whole grid; `small` is for CPU cores (hours), `full` for GPUs and was not run so far."""
    small = profile == "small"
    steps = TrainingConfig(batch_size=16, images=6_400, validate_every=1_280)
    if not small:
        steps = TrainingConfig(batch_size=32, images=64_000, validate_every=3_200)
    models = {
        f"{name}_scratch": Model(learner=ClassifierConfig(architecture=name, lr=3e-4), training=steps) for name in SCRATCH
    }
    for name in PRETRAINED[:1] if small else PRETRAINED:
        models[name] = Model(learner=ClassifierConfig(architecture=name, weights="imagenet"), training=steps)
    return Ablation(
        name="fastgan_balance",
        profile=profile,
        size=32 if small else 224,
        arms=("real", "classic", "oversampled", "synthetic", *(() if small else ("shuffled",)), *CONTROLS),
        curve=(0.25, 0.5),
        judge=True,
        ratios=("balance",) if small else ("balance", 1.0),
        seeds=(0,) if small else (0, 1, 2),
        generators=("fastgan",),
        models=tuple(models),
        classifiers=models,
        resources=Resources() if small else Resources(gpus=1.0),
    )
