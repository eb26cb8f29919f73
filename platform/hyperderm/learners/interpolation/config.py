"""The settings of interpolation between train cubes. This module does not import torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from hyperderm.errors import ConfigError
from hyperderm.learners.fitted_settings import FittedConfig
from hyperderm.learners.spec import DOUBLE, FLOAT

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from hyperderm.learners.base import Compute, Learner, Sampler
    from hyperderm.learners.data import TrainData
    from hyperderm.learners.spec import Request
    from hyperderm.settings import Run

Method = Literal["copies", "average", "mixup", "spectral_mixup", "smote"]

USED: Mapping[Method, tuple[str, ...]] = {
    "copies": ("noise",),
    "average": ("partners", "blur"),
    "mixup": ("alpha",),
    "spectral_mixup": ("alpha",),
    "smote": ("dimensions", "neighbours"),
}
"""The settings that a method uses, beside those of all generators."""
SVD_COPIES = 5
"""Copies of train in double precision that are alive while the principal components are found (measured: 4.7)."""


class InterpolationConfig(FittedConfig):
    """The settings of a generator that makes each cube from real train cubes of one diagnosis.

    It learns nothing, and what it makes holds no information that train has not. So it is a rival that a trained generator
    must beat, or a control of a study (METHODS section 11). It is a copier: the audit calls most of its cubes copies, those
    of `average` apart. Its checkpoint holds the train cubes themselves, so whoever gets it, or a model made of it, gets
    these lesions.

    The methods are, with a and b two train cubes of one diagnosis:

    - copies: a with noise in every value. A negative control.
    - average: the mean of several train cubes, blurred. A negative control.
    - mixup: λa + (1 − λ)b, λ ~ Beta(α, α) (Zhang et al., ICLR 2018, here within a diagnosis). With α = 0.4, one of the two
      cubes has a weight above 0.95 in 36 % of the draws.
    - spectral_mixup: the spatial structure of a with a spectrum between those of a and b. In every band, the pixels of a
      are shifted and scaled so that their mean is λμ(a) + (1 − λ)μ(b) and their standard deviation λσ(a) + (1 − λ)σ(b),
      over all pixels of the cube, lesion and skin; λ ~ Beta(α, α). This is MixStyle (Zhou et al., ICLR 2021), applied to
      the bands of a cube instead of the feature maps of a network.
    - smote: a + u P(b − a), u ~ U(0, 1), b one of the nearest neighbours of a (Chawla et al., JAIR 2002, in a feature
      space). P projects on the leading principal components of train; what these do not hold stays that of a.

    With `data.flips`, each finished cube is flipped at random, horizontally and vertically. With `conditioning=class`, a
    cube is made from train cubes of the diagnosis that is asked for. With `conditioning=none`, a is any train cube, and its
    partners have its diagnosis. In abundance space the methods see abundances instead of bands, and what mixtures leave out
    is drawn from its model.
    """

    kind: Literal["interpolation"] = "interpolation"
    method: Method = "mixup"
    """How a cube is made."""
    noise: float = Field(0.02, gt=0, le=1)
    """Of `copies`: standard deviation of the Gaussian noise in every band and pixel. In scaled units, in which train's range
    of a band is 2 wide."""
    partners: int = Field(4, ge=2, le=64)
    """Of `average`: number of different train cubes whose mean is taken."""
    blur: float = Field(1.0, ge=0, le=64)
    """Of `average`: standard deviation of the Gaussian blur in pixels, with reflecting borders; 0: none."""
    alpha: float = Field(0.4, gt=0, le=100)
    """Of `mixup` and `spectral_mixup`: α of the distribution Beta(α, α) of λ. Small: λ is mostly near 0 or 1."""
    dimensions: int = Field(16, ge=1, le=1024)
    """Of `smote`: number of principal components; at most one less than train has cubes."""
    neighbours: int = Field(5, ge=1, le=1024)
    """Of `smote`: number of nearest neighbours from which b is drawn, by Euclidean distance along the principal components;
    at most one less than the diagnosis has cubes."""

    @model_validator(mode="after")
    def _settings_are_used(self) -> Self:
        for field in {name for names in USED.values() for name in names} - set(USED[self.method]):
            value = getattr(self, field)
            if value != type(self).model_fields[field].default:
                users = " or ".join(method for method, names in USED.items() if field in names)
                raise ValueError(
                    f"learner.{field} = {value} with learner.method = {self.method} is refused: it has no effect. Use "
                    f"learner.method={users}, or leave it out"
                )
        return self

    @property
    def made_from(self) -> str:
        """See `LearnerConfig.made_from`."""
        return "train cubes of a diagnosis" if self.conditioning == "class" else "train cubes"

    @property
    def cubes_each(self) -> int:
        """The number of train cubes of one diagnosis from which a cube is made."""
        return {"copies": 1, "average": self.partners}.get(self.method, 2)

    def check_request(self, request: Request) -> None:
        """See `LearnerConfig.check_request`: there is no noise of which less could be drawn."""
        if request.drawing.truncation is not None:
            raise ConfigError(
                f"--truncation {request.drawing.truncation:g}: this generator makes cubes from train cubes, and draws no "
                "noise that could be kept near its middle",
                "Leave it out.",
            )
        super().check_request(request)

    def scoring_bytes(self, pixels: int, bands: int, train: int, validation: int) -> int:
        """See `LearnerConfig.scoring_bytes`: the train cubes are kept, and `smote` decomposes them."""
        cube = pixels * bands
        kept = train * cube * FLOAT
        found = SVD_COPIES * train * cube * DOUBLE if self.method == "smote" else 0
        return max(super().scoring_bytes(pixels, bands, train, validation), found) + kept

    def build(self, run: Run, data: TrainData, compute: Compute) -> Learner:
        """See `LearnerConfig.build`."""
        from hyperderm.learners.interpolation.learner import InterpolationLearner

        return InterpolationLearner(self, run, data, compute)

    def load_sampler(self, run: Run, checkpoint: Mapping[str, Any], device: str) -> Sampler:
        """See `LearnerConfig.load_sampler`."""
        from hyperderm.learners.interpolation.learner import load

        return load(self, run, checkpoint, device)
