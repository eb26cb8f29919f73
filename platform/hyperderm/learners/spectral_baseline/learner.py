"""The baseline every network has to beat: scikit-learn on per-lesion spectral statistics.

Real and synthetic cubes get their masks from the same automatic segmentation: a hand-drawn mask on real cubes alone would
tell the two apart.
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
"""Rows in a leaf of gradient boosting: scikit-learn's 20, fewer where they would leave less than ten leaves."""


class SpectralBaseline:
    """Fitted when it is made, deterministically: a checkpoint needs no state beyond configuration and data."""

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
        """Nothing is left to do."""
        return {}

    def validate(self) -> Validation:
        """See `judging.scored`."""
        return scored(self, self.data.validation)

    def logits_of(self, reflectance: Tensor, masks: Tensor) -> Tensor:
        """Return the logits of melanoma, (N,) float64; masks are not looked at: see the module."""
        return torch.from_numpy(np.asarray(self.model.decision_function(self._features(reflectance)), dtype=np.float64))

    def state_dict(self) -> dict[str, Any]:
        """Return nothing: the fit is repeated."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing to restore."""

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
