"""The baseline that every network has to beat: scikit-learn on spectral statistics of each lesion.

The masks of real and synthetic cubes come from the same automatic segmentation. If real cubes alone had hand-drawn masks,
the masks would reveal which cubes are real.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hyperderm.learners.base import Batch, Compute, Validation
from hyperderm.learners.data import TrainData, truth
from hyperderm.learners.decision_rule import scored
from hyperderm.learners.losses import class_weights
from hyperderm.learners.sampling import phases
from hyperderm.learners.spectral_baseline.config import SpectralConfig
from hyperderm.metrics.lesion_features import automatic_masks, lesion_features
from hyperderm.settings import Run

LEAF, LEAVES = 20, 10
"""Rows in a leaf of gradient boosting: scikit-learn's default of 20, or fewer if 20 would give less than ten leaves."""


class SpectralBaseline:
    """The baseline is fitted by its constructor, deterministically: a checkpoint needs only configuration and data."""

    def __init__(self, config: SpectralConfig, run: Run, data: TrainData, compute: Compute) -> None:
        self.config, self.data = config, data
        (phase,) = phases(config, run, data)
        rows, showing = np.unique(phase.entries.numpy(), return_inverse=True)
        features = self._features(data.drawn[torch.from_numpy(rows)])[showing]  # a cube shown twice is two rows
        labels = truth(data.drawn_diagnoses).numpy()[rows][showing]
        weights = np.ones(len(labels))
        if self.config.class_weights == "balanced":
            weights = np.array(class_weights(truth(data.drawn_diagnoses)[phase.entries]))[labels]
        self.model = _model(self.config, run.seed, len(labels))
        self.model.fit(features, labels, **{f"{self.model.steps[-1][0]}__sample_weight": weights})

    def step(self, batch: Batch) -> Mapping[str, Tensor]:
        """Do nothing: the model is already fitted."""
        return {}

    def validate(self) -> Validation:
        """Score the model on validation: see `decision_rule.scored`."""
        return scored(self, self.data.validation)

    def logits_of(self, reflectance: Tensor, masks: Tensor) -> Tensor:
        """Return the logits of melanoma, (N,) float64; the given masks are ignored, see the module's docstring."""
        return torch.from_numpy(np.asarray(self.model.decision_function(self._features(reflectance)), dtype=np.float64))

    def state_dict(self) -> dict[str, Any]:
        """Return an empty state: the fit is repeated instead."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Do nothing: there is no state to restore."""

    def _features(self, reflectance: Tensor) -> np.ndarray:
        cubes = reflectance.numpy()
        return lesion_features(cubes, automatic_masks(cubes, self.data.wavelengths_nm))


def _model(config: SpectralConfig, seed: int, rows: int) -> Any:  # noqa: ANN401 - scikit-learn publishes no types
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if config.model == "boosting":
        leaf = min(LEAF, max(1, rows // LEAVES))
        return make_pipeline(HistGradientBoostingClassifier(random_state=seed, early_stopping=False, min_samples_leaf=leaf))
    return make_pipeline(StandardScaler(), LogisticRegression(C=1 / config.penalty, max_iter=5_000))
