"""A score of an evaluation as the objective of a generator's training and search, in place of the learner's own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from hyperderm.config import LOSS, Experiment
from hyperderm.errors import NonFiniteLoss, StoreError, StudyError
from hyperderm.learners.data import TrainData
from hyperderm.metrics.evaluation.levels import level_scores
from hyperderm.metrics.evaluation.mean_spectra import MeanSpectra, mean_spectra_scores
from hyperderm.metrics.evaluation.pairs import pair_scores
from hyperderm.metrics.evaluation.scores import MOST, Comparison, CubeGroup, Score, Scores, comparison, cube_group
from hyperderm.metrics.evaluation.spaces import SPECTRAL, UNSCALED, Space, network_space, space_scores, spectral_space
from hyperderm.metrics.feature_spaces import SPACES, FeatureSpace
from hyperderm.training.meter import REMEDY

FIELDS = "training.objective or sweep.objective"
ANOTHER = "Choose another, or leave it out."
DRAWS = 32
"""Number of samples over which a value at the smaller set's size is averaged."""


@dataclass(eq=False)
class Objective:
    """Scores generated cubes by one metric of `metrics.evaluation`, against the validation role.

    Attributes:
        key: the score, one of `metrics.evaluation.names.OBJECTIVES`.
        data: the roles; of a streamed train role the sample that it holds.
        device: where a network computes features.
    """

    key: str
    data: TrainData
    device: str
    _kept: dict[int, tuple[Tensor, NDArray[np.float32]]] = field(default_factory=dict)

    def scores(self, cubes: Tensor) -> dict[str, float]:
        """Return the score's value under its key, its `Score.loss` below `config.LOSS`, and two losses that give a scale.

        Args:
            cubes: (n, B, S, S) reflectance on the CPU.

        Raises:
            StudyError: these cubes have no such score; the message says why.
            NonFiniteLoss: a cube holds NaN or infinite values: the generator diverged.
        """
        if not cubes.isfinite().all():
            raise NonFiniteLoss(f"{self.key}: the generator's cubes hold NaN or infinite values", REMEDY)
        found = self._score(self._group("generated", cubes))
        floor, mean_cube = self._scale
        return {
            self.key: found.value,
            f"{LOSS}/{self.key}": found.loss,
            "floor_real_vs_real": floor,
            "score_of_mean_cube": mean_cube,
        }

    @cached_property
    def _scale(self) -> tuple[float, float]:
        """The losses of train cubes, as many as there are validation cubes, and of the constant mean cube of train."""
        train, count = self.data.train.reflectance, len(self._how.held_out)
        rows = np.sort(np.random.default_rng(0).permutation(len(train))[:count])
        mean_cube = train.mean(0, keepdim=True).expand(count, -1, -1, -1).contiguous()
        made = (self._group("train again", train[torch.from_numpy(rows)]), self._group("mean cube", mean_cube))
        floor, mean = (self._attempted(group) for group in made)
        return floor.loss if floor else float("nan"), mean.loss if mean else float("nan")

    @cached_property
    def _how(self) -> Comparison:
        train, held = (
            self._role(name, each) for name, each in (("train", self.data.train), ("held_out", self.data.validation))
        )
        return comparison(train.sampled(MOST), held.sampled(MOST), self.data.wavelengths_nm, DRAWS)

    def _role(self, name: str, cubes: Any) -> CubeGroup:  # noqa: ANN401
        ids = cubes.lesion_ids
        return cube_group(name, ids, cubes.diagnoses, ids, cubes.reflectance, self.data.wavelengths_nm)

    def _group(self, name: str, cubes: Tensor) -> CubeGroup:
        ids = [f"{name} {i}" for i in range(min(len(cubes), MOST))]
        return cube_group(name, ids, [""] * len(ids), ids, cubes[:MOST].float(), self.data.wavelengths_nm)

    def _attempted(self, group: CubeGroup) -> Score | None:
        try:
            return self._score(group)
        except StudyError:
            return None

    def _score(self, group: CubeGroup) -> Score:
        try:
            scores = self._scores(group)
        except StoreError as error:  # of these cubes, not of a store: a trial that went on would meet it again
            raise StudyError(f"{FIELDS} = {self.key} cannot be had: {error}", ANOTHER) from None
        if not scores.found:
            why = scores.left[0].why if scores.left else "it was not computed"
            raise StudyError(f"{FIELDS} = {self.key} cannot be had: {why}", ANOTHER)
        return scores.found[0]

    def _scores(self, group: CubeGroup) -> Scores:
        scores = Scores(only=self.key)
        family = self.key.split("/")
        if family[0] == "mean_spectra":
            mean_spectra_scores(scores, group, self._how, MeanSpectra(self._how))
        elif family[0] == "level":
            level_scores(scores, group, self._how, MeanSpectra(self._how))
        elif family[1] == "nearest":
            pair_scores(scores, group, self._how)
        else:
            space_scores(scores, group, self._how, self._space)
        return scores

    @cached_property
    def _space(self) -> Space:
        name = self.key.split("/")[1]
        if name == SPECTRAL:
            return spectral_space(self._how)
        scaled = not self.key.endswith(UNSCALED.key)
        return network_space(SPACES[name](self.device), self._how, self._features, scaled)

    def _features(
        self, space: FeatureSpace, cubes: Tensor, low: ArrayLike, high: ArrayLike, scaled: bool
    ) -> NDArray[np.float32]:
        """Compute features; those of the real cubes once."""
        real = any(cubes is group.cubes for group in (self._how.train, self._how.held_out))
        if id(cubes) in self._kept:
            return self._kept[id(cubes)][1]
        found = space.features(cubes, low, high, scaled)
        if real:
            self._kept[id(cubes)] = cubes, found
        return found


def objectives_of(experiment: Experiment, data: TrainData, device: str) -> tuple[Objective, ...]:
    """Return the objectives that the configuration names for checkpoints and for ranks, beside the learner's own."""
    names = dict.fromkeys((experiment.objective, *experiment.objectives))
    return tuple(
        Objective(name.removeprefix(f"{LOSS}/"), data, device) for name in names if name != experiment.learner.objective
    )


def with_objectives(
    objectives: Sequence[Objective], scores: Mapping[str, float], cubes: Tensor | None, experiment: Experiment
) -> dict[str, float]:
    """Return a learner's validation scores together with those of the objectives; see `Experiment.yardstick` for the names.

    Args:
        objectives: the result of `objectives_of`.
        scores: the scores of the learner.
        cubes: (n, B, S, S) the cubes that were scored; None if the learner makes none, or on ranks other than 0.
        experiment: the configuration of the run.
    """
    found, yardsticks = dict(scores), experiment.learner.yardsticks
    if not objectives or cubes is None:
        return found
    own = experiment.learner.objective
    found |= {experiment.yardstick(name, own): found.pop(name) for name in yardsticks if name in found}
    for each in objectives:
        mine = each.scores(cubes)
        found |= {experiment.yardstick(key, f"{LOSS}/{each.key}") if key in yardsticks else key: mine[key] for key in mine}
    return found
