"""Does any generator of the project help a classifier, and does one that is fed with photographs bring in what they show?

The outside source is a store of photographs of other lesions: `colour_unmixing` and `shsgan` make their cubes from them
(`rgb`). All others know the cubes of train alone, unless the arm "photographs" is asked for. The cheap rivals (mixup,
spectral_mixup, smote, mixture) and the blurred average stand beside them.

    make ablation GRID=every_generator STORE=stores/isic SET='task.negatives=all_others rgb=stores/ph2-photographs'

The small profile shows diffusion models 12,000 images, a fifth of what their own small profile does: by `PLAN=1` they
would else take two thirds of a fold's time. All arms of all models are one family of Holm's adjustment, so few melanomas
can tell only large differences, which `PLAN=1` names.
"""

from hyperderm.config import TrainingConfig
from hyperderm.grid_config import Ablation, Model, Resources
from hyperderm.learners.classifier import ClassifierConfig
from hyperderm.learners.spectral_baseline import SpectralConfig
from hyperderm.registry import Profile

COLOURS = ("colour_unmixing", "shsgan")
"""Generators that make cubes from colours."""
NETWORKS = (
    *("dcgan", "sngan", "wgan", "wgan_gp", "acgan", "fastgan", "r3gan", "imle", "vae", "hvae", "ddpm", "diffusion"),
    *("dcgan_abundance", "r3gan_abundance", "hvae_abundance", "diffusion_abundance"),
)
SLOW = ("ddpm", "diffusion", "diffusion_abundance")
"""Diffusion models, which by `PLAN=1` take six to ten times as long as any other generator in their own small profile."""
RIVALS = ("mixture", "mixup", "spectral_mixup", "smote", "blurred_average")
NET = "unmixer"
CONTROLS = ("shuffled", "without_melanoma", "noisy_copies")
"""The negative controls; the first two train every generator once more, which the small profile has no time for."""
FEWER: dict[str, str | int | float | bool | None] = {"training.images": 12_000, "training.validate_every": 2_000}


def ablation(profile: Profile) -> Ablation:
    """Return the whole grid: `small` takes half an hour a fold on two cores; `full` is for GPUs, and was not run so far."""
    small = profile == "small"
    steps = TrainingConfig(batch_size=16, images=12_000, validate_every=1_200)
    if not small:
        steps = TrainingConfig(batch_size=32, images=64_000, validate_every=3_200)
    network = ClassifierConfig(lr=1e-3) if small else ClassifierConfig(architecture="efficientnet_lite0", weights="imagenet")
    name = "small_cnn" if small else network.architecture
    return Ablation(
        name="every_generator",
        profile=profile,
        size=32 if small else 64,
        arms=("real", "oversampled", "synthetic", *(CONTROLS[-1:] if small else CONTROLS)),
        curve=(0.25, 0.5),
        judge=True,
        seeds=(0,) if small else (0, 1, 2),
        generators=(*COLOURS, *NETWORKS, *RIVALS),
        unmixers={"colour_unmixing": NET},
        generator_settings={NET: {"learner.bands": "rgb"}} | (dict.fromkeys(SLOW, FEWER) if small else {}),
        models=("spectral", name),
        classifiers={
            "spectral": Model(
                learner=SpectralConfig(penalty=10.0), training=TrainingConfig(batch_size=16, images=16, validate_every=16)
            ),
            name: Model(learner=network, training=steps),
        },
        resources=Resources() if small else Resources(gpus=1.0),
    )
