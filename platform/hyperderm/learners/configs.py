"""The knobs of every learner. Free of torch, so that a wrong value costs milliseconds, not an import."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from hyperderm.errors import nearest
from hyperderm.models.known import ARCHITECTURES
from hyperderm.strict import Strict


class ShsGanConfig(Strict):
    """SHS-GAN (Hauser et al., IEEE TCI 7, 2021) and the rungs of the seed project's ladder below it."""

    objective: ClassVar[str] = "spectral_energy_distance"
    generates: ClassVar[bool] = True
    kind: Literal["shsgan"] = "shsgan"
    input: Literal["rgb", "noise"] = "rgb"
    """What the generator sees: an RGB image (U-Net, the paper) or noise (DCGAN, the ladder's first rung)."""
    critic: Literal["conv3d", "conv2d"] = "conv3d"
    fft_arm: bool = True
    """Second critic arm on the modulus of the FFT along the bands."""
    norm: Literal["none", "spectral", "layer", "batch"] = "none"
    """Normalisation inside the critic."""
    loss: Literal["wgan_gp", "wgan_clip", "bce"] = "wgan_gp"
    generator_width: int = Field(64, ge=4, le=512)
    """Channels of the U-Net's first stage (64-128-256, bottleneck 512 at the paper's 64)."""
    critic_width: int = Field(32, ge=4, le=256)
    """Channels of the critic's first stage (32-64-128)."""
    noise_dim: int = Field(100, ge=1)
    lr_generator: float = Field(1e-4, gt=0, le=1)
    lr_critic: float = Field(1e-4, gt=0, le=1)
    beta1: float = Field(0.5, ge=0, lt=1)
    beta2: float = Field(0.9, ge=0, lt=1)
    n_critic: int = Field(2, ge=1, le=100)
    """Critic updates for each generator update."""
    gp_weight: float = Field(10.0, ge=0)
    clip: float = Field(0.01, gt=0)
    """Weight bound of `loss=wgan_clip`."""
    rgb_weight: float = Field(1.0, ge=0)
    """Weight of the RGB consistency ‖rgb − H·cube‖ (root mean square per sample, in units of the scaled RGB)."""
    ema_images: float = Field(10_000.0, gt=0)
    """Half-life of the generator's moving average, in real images shown; ramped up over the first images."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.norm == "batch" and self.loss == "wgan_gp":
            raise ValueError(
                "learner.norm = batch with learner.loss = wgan_gp is refused: the gradient penalty is defined per sample "
                "and batch statistics couple the samples. Use learner.norm=layer, or learner.loss=wgan_clip"
            )
        if self.input == "noise" and self.rgb_weight > 0:
            raise ValueError(
                f"learner.rgb_weight = {self.rgb_weight} with learner.input = noise is refused: there is no input image "
                "to be consistent with. Set learner.rgb_weight=0"
            )
        return self


class SpectralAugmentationConfig(Strict):
    """What `learners.spectral_augmentation` does to spectra, and how strongly; its docstrings give the physics."""

    probability: float = Field(0.5, ge=0, le=1)
    """Of each kind, each drawn for itself."""
    exposure: float = Field(0.5, ge=0, lt=1)
    """One gain for all bands, 1 ± at most this. 0.5 has a standard deviation of 0.29: what the calibrated phantom puts down
    to exposure of the 30-55 % by which the real images differ."""
    tilt: float = Field(0.1, ge=0, lt=1)
    """A gain linear in wavelength, 1 ± at most this at the ends. 0.1 is what 210 K do to a halogen lamp of 3000 K over
    465-630 nm (Planck)."""
    band_gain: float = Field(0.03, ge=0, lt=1)
    """A gain of each band, 1 ± at most this: declared, not measured."""
    shot_noise: float = Field(0.02, ge=0, le=1)
    """Noise of a camera's pixel, relative to the root of the reflectance; the phantom's."""
    read_noise: float = Field(0.006, ge=0, le=1)
    """Noise of a dark pixel, in reflectance; the phantom's."""
    dropped_bands: int = Field(1, ge=0, le=8)
    """Bands lost at a time."""


class ClassifierConfig(Strict):
    """A network that tells melanoma (1) from the negatives of `task` (METHODS section 10)."""

    objective: ClassVar[str] = "calibrated_log_loss"
    generates: ClassVar[bool] = False
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
    def moves(self) -> bool:
        """Whether the first augmentation is of geometry."""
        return self.augmentation.startswith("classic")

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.architecture not in ARCHITECTURES:
            hint = nearest(self.architecture, ARCHITECTURES)
            raise ValueError(f"learner.architecture = {self.architecture!r} is unknown. {hint}")
        return self


class SpectralConfig(Strict):
    """The baseline without a network: scikit-learn on per-lesion spectral statistics, in seconds on one core."""

    objective: ClassVar[str] = "calibrated_log_loss"
    generates: ClassVar[bool] = False
    kind: Literal["spectral"] = "spectral"
    model: Literal["logistic", "boosting"] = "logistic"
    """Penalised logistic regression, or histogram gradient boosting."""
    penalty: float = Field(1.0, gt=0)
    """Strength of the logistic regression's L2 penalty on standardised features (1 / C)."""
    class_weights: Literal["none", "balanced"] = "none"
    """balanced: n / (2 n_c) per class, counted over what is shown."""
    oversample: Annotated[float, Field(ge=0)] | Literal["balance"] = 0.0
    """Extra showings of melanomas, per real melanoma; balance: until both classes are equal."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.model == "boosting" and self.penalty != SpectralConfig.model_fields["penalty"].default:
            raise ValueError(
                f"learner.penalty = {self.penalty} with learner.model = boosting is refused: it is the logistic "
                "regression's. Set learner.penalty=1.0"
            )
        return self


LearnerConfig = Annotated[ShsGanConfig | ClassifierConfig | SpectralConfig, Field(discriminator="kind")]
"""The union of all learners' configurations; a new learner joins it here."""
