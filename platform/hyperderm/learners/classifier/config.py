"""The settings of the classifier networks, and the names of the architectures. This module does not import torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from hyperderm.errors import nearest
from hyperderm.learners.augmentation_settings import SpectralAugmentationConfig
from hyperderm.learners.spec import LearnerConfig, Role

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hyperderm.learners.base import Compute, Learner, MelanomaClassifier
    from hyperderm.learners.data import TrainData
    from hyperderm.settings import Run

ARCHITECTURES = (
    "small_cnn",
    "densenet121",
    "densenet201",
    "resnet18",
    "resnet50",
    "efficientnet_b0",
    "efficientnet_b3",
    "efficientnet_lite0",
    "vgg16",
    "alexnet",
)
"""Names of the architectures: `small_cnn` is this project's own, `alexnet` is torchvision's, the others are timm's."""
OWN = "small_cnn"
ALEXNET = "alexnet"
TIMM_SIZE = 32
"""Smallest side in pixels of cubes for timm's networks, which halve the image five times."""
ALEXNET_SIZE = 64
"""Smallest side in pixels of cubes for AlexNet, rounded up from 63: of smaller ones nothing is left at its last pooling."""
WITHOUT_BATCH_NORM = (OWN, ALEXNET, "vgg16")


class ClassifierConfig(LearnerConfig):
    """The settings of a network that tells melanoma (1) from the negatives of `task` (METHODS section 10)."""

    role: ClassVar[Role] = "classifier"
    objective: ClassVar[str] = "calibrated_log_loss"
    kind: Literal["classifier"] = "classifier"
    architecture: str = "small_cnn"
    """small_cnn, one of timm's DenseNets, ResNets, EfficientNets and VGG-16, or AlexNet."""
    weights: str = "scratch"
    """scratch, imagenet, or the path of a file of weights."""
    dropout: float = Field(0.0, ge=0, lt=1)
    lr: float = Field(1e-4, gt=0, le=1)
    weight_decay: float = Field(1e-2, ge=0)
    loss: Literal["cross_entropy", "focal"] = "cross_entropy"
    focal_gamma: float = Field(2.0, ge=0)
    """Focusing parameter of `loss=focal` (Lin et al., ICCV 2017)."""
    class_weights: Literal["none", "balanced"] = "none"
    """balanced: weight n / (2 n_c) for each class, counted over the images that an epoch shows."""
    oversample: Annotated[float, Field(ge=0)] | Literal["balance"] = 0.0
    """Extra showings of melanomas in an epoch, per real melanoma. balance: until both classes are equally large."""
    mixed_share: float | None = Field(None, gt=0, lt=1)
    """Mixed sampling: share of the images of every epoch that is synthetic. None: the share follows from the counts."""
    augmentation: Literal["none", "classic", "spectral", "classic+spectral"] = "classic"
    """classic: the seed project's shifts, crops and flips, geometry only (METHODS section 2). spectral: changes of light and
    sensor, set by `spectral_augmentation`. classic+spectral: first classic, then spectral."""
    geometry: Literal["batch", "albumentations"] = "batch"
    """The method that computes the classic augmentation; both use the same draws. batch: one resampling of every cube, on
    the device that trains. albumentations: its own transforms one after the other, on the CPU; slower."""
    spectral_augmentation: SpectralAugmentationConfig = SpectralAugmentationConfig()

    @property
    def packages(self) -> tuple[str, ...]:
        """See `LearnerConfig.packages`."""
        if self.architecture == OWN:
            return ()
        return ("torchvision",) if self.architecture == ALEXNET else ("timm", "torchvision")

    @property
    def splits(self) -> bool:
        """See `LearnerConfig.splits`: only architectures without batch norm; the weights of classes are the epoch's."""
        return self.architecture in WITHOUT_BATCH_NORM

    @property
    def oversampling(self) -> float | Literal["balance"]:
        """See `LearnerConfig.oversampling`."""
        return self.oversample

    @property
    def mixing(self) -> float | None:
        """See `LearnerConfig.mixing`."""
        return self.mixed_share

    @property
    def pixelwise(self) -> bool:
        """Whether the augmentation changes geometry, because then whole spectra are moved."""
        return self.moves

    @property
    def moves(self) -> bool:
        """Whether the first augmentation changes geometry."""
        return self.augmentation.startswith("classic")

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.architecture not in ARCHITECTURES:
            hint = nearest(self.architecture, ARCHITECTURES)
            raise ValueError(f"learner.architecture = {self.architecture!r} is unknown. {hint}")
        return self

    def check(self, run: Run) -> None:
        """See `LearnerConfig.check`."""
        name, size, batch = self.architecture, run.data.size, run.training.batch_size
        least = ALEXNET_SIZE if name == ALEXNET else TIMM_SIZE
        if name != OWN and size < least:
            raise ValueError(
                f"data.size = {size} with learner.architecture = {name} is refused: it needs {least} pixels. Use "
                f"data.size={least} or more, or learner.architecture={OWN}"
            )
        if name not in WITHOUT_BATCH_NORM and batch < 2:
            raise ValueError(
                f"training.batch_size = {batch} with learner.architecture = {name} is refused: its batch norm needs two "
                "cubes. Use 2 or more"
            )
        if self.mixed_share is not None and run.synthetic is None:
            raise ValueError(
                f"learner.mixed_share = {self.mixed_share} without synthetic is refused: nothing can be mixed in. "
                "Give synthetic.store, or leave it out"
            )

    def described(self, weights_sha256: str, size: int) -> str:
        """See `LearnerConfig.described`."""
        digest = f" (sha256 {weights_sha256[:12]}…)" if weights_sha256 else ""
        return f"{self.architecture}, weights {self.weights}{digest}, {size} px"

    def weights_sha256(self, bands: int) -> str:
        """See `LearnerConfig.weights_sha256`."""
        if self.weights == "scratch":
            return ""
        from hyperderm.learners.classifier.pretrained import load_weights

        found = load_weights(self.architecture, self.weights, bands)
        return found.sha256 if found else ""

    def build(self, run: Run, data: TrainData, compute: Compute) -> Learner:
        """See `LearnerConfig.build`."""
        from hyperderm.learners.classifier.learner import Classifier

        return Classifier(self, run, data, compute)

    def load_classifier(self, checkpoint: Mapping[str, Any], compute: Compute) -> MelanomaClassifier:
        """See `LearnerConfig.load_classifier`."""
        from hyperderm.learners.classifier.trained import load

        return load(self, checkpoint, compute)
