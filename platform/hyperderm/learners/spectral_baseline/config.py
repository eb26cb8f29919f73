"""The settings of the spectral baseline. This module imports neither torch nor scikit-learn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from hyperderm.errors import ConfigError
from hyperderm.learners.spec import LearnerConfig, Role
from hyperderm.settings import PRETRAINS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hyperderm.learners.base import Compute, Learner, MelanomaClassifier
    from hyperderm.learners.data import TrainData
    from hyperderm.settings import Run


class SpectralConfig(LearnerConfig):
    """The settings of the baseline without a network: scikit-learn on spectral statistics of each lesion.

    It is fitted in seconds on one core.
    """

    role: ClassVar[Role] = "classifier"
    objective: ClassVar[str] = "calibrated_log_loss"
    fit_once: ClassVar[bool] = True
    kind: Literal["spectral"] = "spectral"
    model: Literal["logistic", "boosting"] = "logistic"
    """Penalised logistic regression, or histogram gradient boosting."""
    penalty: float = Field(1.0, gt=0)
    """Strength of the logistic regression's L2 penalty on standardised features (1 / C)."""
    class_weights: Literal["none", "balanced"] = "none"
    """balanced: weight n / (2 n_c) for each class, counted over the cubes that are shown."""
    oversample: Annotated[float, Field(ge=0)] | Literal["balance"] = 0.0
    """Extra showings of melanomas, per real melanoma. balance: until both classes are equally large."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.model == "boosting" and self.penalty != SpectralConfig.model_fields["penalty"].default:
            raise ValueError(
                f"learner.penalty = {self.penalty} with learner.model = boosting is refused: it is the logistic "
                "regression's. Set learner.penalty=1.0"
            )
        return self

    @property
    def oversampling(self) -> float | Literal["balance"]:
        """See `LearnerConfig.oversampling`."""
        return self.oversample

    def unsuited(self, arm: str, use: str) -> str:
        """See `LearnerConfig.unsuited`."""
        if arm == "classic":
            return "spectral statistics do not change under flips and shifts"
        if arm == "strong":
            return "spectral statistics are fitted to each cube once, without augmentation"
        if arm == "focal":
            return "a regression has no focal loss"
        return "a fit at once has no pre-training" if use in PRETRAINS else ""

    def described(self, weights_sha256: str, size: int) -> str:
        """See `LearnerConfig.described`."""
        return f"{self.model} regression on per-lesion spectral statistics, automatic masks for every cube"

    def build(self, run: Run, data: TrainData, compute: Compute) -> Learner:
        """See `LearnerConfig.build`."""
        from hyperderm.learners.spectral_baseline.learner import SpectralBaseline

        return SpectralBaseline(self, run, data, compute)

    def load_classifier(self, checkpoint: Mapping[str, Any], compute: Compute) -> MelanomaClassifier:
        """See `LearnerConfig.load_classifier`; refuse, because the fit is repeated from the cubes instead of being saved."""
        raise ConfigError(
            "a checkpoint of learner.kind = spectral holds no fit: the baseline is fitted anew wherever its cubes are",
            "Take a network: hyperderm train classifier.",
        )
