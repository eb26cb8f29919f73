"""The reference that every generator is scored against, computed once from train and validation reflectance."""

import torch
from torch import Tensor

from hyperderm.errors import StoreError
from hyperderm.learners.randomness import generator
from hyperderm.metrics.spectra import Standardiser, cube_features, energy_distance, largest_relative_error, spectral_angle

FLOOR_DRAWS = 8


class GenerativeReference:
    """Validation cubes in feature space, with two scores for comparison.

    The floor is the score of real train cubes, averaged over several draws; the trivial score is that of the mean train
    cube.

    Args:
        train: (N, B, H, W) reflectance of the train role; standardises the features.
        validation: (M, B, H, W) reflectance of the validation role, which no training has seen.
        seed: seed of the subsets of train that give the floor.

    Raises:
        StoreError: a role holds fewer than two cubes; the score needs distances between different cubes of a role.
    """

    def __init__(self, train: Tensor, validation: Tensor, seed: int) -> None:
        for role, cubes in (("train", train), ("validation", validation)):
            if len(cubes) < 2:
                raise StoreError(
                    f"the {role} role holds {len(cubes)} cubes, too few to score a generator",
                    "Use more data.diagnoses, fewer folds, or more data",
                )
        train_features = cube_features(train)
        self.standardise = Standardiser(train_features)
        self.validation = self.standardise(cube_features(validation))
        self.spectrum = validation.double().mean((0, 2, 3)).cpu().numpy()
        mean_cube = train.double().mean(0, keepdim=True).expand(len(validation), -1, -1, -1)
        self.mean_cube_score = self._distance(mean_cube)
        scores = []
        for draw in range(FLOOR_DRAWS):
            rows = torch.randperm(len(train), generator=generator(seed, "floor", draw))[: len(validation)].numpy()
            scores.append(energy_distance(self.standardise(train_features[rows]), self.validation))
        self.floor = sum(scores) / len(scores)

    def score(self, generated: Tensor) -> dict[str, float]:
        """Return the objective and the scores reported beside it, for generated reflectance (n, B, H, W)."""
        spectrum = generated.double().mean((0, 2, 3)).cpu().numpy()
        return {
            "spectral_energy_distance": self._distance(generated),
            "floor_real_vs_real": self.floor,
            "score_of_mean_cube": self.mean_cube_score,
            "mean_spectrum_largest_error": largest_relative_error(self.spectrum, spectrum),
            "mean_spectrum_angle": spectral_angle(self.spectrum, spectrum),
        }

    def _distance(self, cubes: Tensor) -> float:
        return energy_distance(self.standardise(cube_features(cubes)), self.validation)
