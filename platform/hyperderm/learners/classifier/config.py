"""The knobs of the classifier networks, their names, and what they say of themselves. Free of torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from hyperderm.errors import nearest
from hyperderm.learners.augmentation_settings import SpectralAugmentationConfig
from hyperderm.learners.spec import LearnerConfig, Role

if TYPE_CHECKING:
    from hyperderm.learners.base import Compute, Learner
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
)
"""`small_cnn` is ours; the others are timm's."""
OWN = "small_cnn"
TIMM_SIZE = 32
"""Pixels that timm's networks need: they halve five times."""


class ClassifierConfig(LearnerConfig):
    """A network that tells melanoma (1) from the negatives of `task` (METHODS section 10)."""

    role: ClassVar[Role] = "classifier"
    objective: ClassVar[str] = "calibrated_log_loss"
    kind: Literal["classifier"] = "classifier"
    architecture: str = "small_cnn"
    """small_cnn, or a DenseNet, ResNet or EfficientNet of timm's."""
    weights: str = "scratch"
    """scratch, imagenet, or the path of a file of weights."""
    dropout: float = Field(0.0, ge=0, lt=1)
    lr: float = Field(1e-4, gt=0, le=1)
    weight_decay: float = Field(1e-2, ge=0)
    loss: Literal["cross_entropy", "focal"] = "cross_entropy"
    focal_gamma: float = Field(2.0, ge=0)
    """Focusing parameter of `loss=focal` (Lin et al., ICCV 2017)."""
    class_weights: Literal["none", "balanced"] = "none"
    """balanced: n / (2 n_c) per class, counted over what an epoch shows."""
    oversample: Annotated[float, Field(ge=0)] | Literal["balance"] = 0.0
    """Extra showings of melanomas an epoch, per real melanoma; balance: until both classes are equal."""
    mixed_share: float | None = Field(None, gt=0, lt=1)
    """Mixed sampling: this share of every epoch's images is synthetic; None: whatever the counts give."""
    augmentation: Literal["none", "classic", "spectral", "classic+spectral"] = "classic"
    """classic: the seed project's shifts, crops and flips, geometry only (METHODS section 2). spectral: light and sensor, by
    `spectral_augmentation`; in the sum it comes second."""
    geometry: Literal["batch", "albumentations"] = "batch"
    """What computes the classic augmentation, from the same draws. batch: one resampling of every cube, where the network
    trains. albumentations: its own transforms one after the other, on the CPU; slower."""
    spectral_augmentation: SpectralAugmentationConfig = SpectralAugmentationConfig()

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
        """Its augmentation of geometry moves whole spectra."""
        return self.moves

    @property
    def moves(self) -> bool:
        """Whether the first augmentation is of geometry."""
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
        if name != OWN and size < TIMM_SIZE:
            raise ValueError(
                f"data.size = {size} with learner.architecture = {name} is refused: it needs {TIMM_SIZE} pixels. Use "
                f"data.size={TIMM_SIZE} or more, or learner.architecture={OWN}"
            )
        if name != OWN and batch < 2:
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
