"""What learners share that rebuild cubes: the score of held-out cubes as they are rebuilt, and a picture of them."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from hyperderm.learners.data import CubeSet
from hyperderm.learners.from_noise import ToldDiagnosis
from hyperderm.learners.synthesis import repeatable

ENCODER = "encoder"
"""The name of the network that reads cubes."""
AT_ONCE = 32
"""Number of held-out cubes that are rebuilt together."""
PICTURED = 8
"""Number of held-out cubes whose reconstructions are shown."""


class Rebuilding(ToldDiagnosis):
    """A learner with an encoder, which rebuilds cubes by the moving average of its generator."""

    @abstractmethod
    def rebuild(self, real: Tensor, *labels: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return scaled cubes (n, C, H, W) as the moving average rebuilds them without noise, and scores of them, (n,) each.

        The encoder is in evaluation mode, and nothing computes gradients.
        """

    def further_scores(self, cubes: Tensor, condition: Tensor | None) -> Mapping[str, float]:
        """Return `held_out_reconstruction`, the mean absolute error of rebuilt validation cubes, and scores of `rebuild`.

        The error is in scaled units. One far above that of train says that the networks know the train cubes by heart.
        Diagnoses that train does not hold are left out.
        """
        rows, found = self._rebuildable(), dict[str, float]()
        for first in range(0, len(rows), AT_ONCE):
            made, real, more = self._pairs(rows[first : first + AT_ONCE])
            for name, values in ({"reconstruction": (made - real).abs().mean((1, 2, 3))} | more).items():
                key = f"held_out_{name}"
                found[key] = found.get(key, 0.0) + float(values.double().sum()) / len(rows)
        return found

    def rebuilt_cubes(self, cubes: CubeSet) -> Tensor:
        """Return cubes of learnt diagnoses as they are rebuilt, (n, B, S, S) float32 reflectance on the CPU."""
        rows = range(len(cubes))
        parts = [self._pairs(rows[at : at + AT_ONCE], cubes)[0] for at in range(0, len(rows), AT_ONCE)]
        return self.data.coordinates.inverse(torch.cat(parts).double()).float().cpu()

    def rebuilt(self) -> tuple[Tensor, Tensor] | None:
        """See `GenerativeLearner.rebuilt`: the first cubes of the validation role."""
        rows = self._rebuildable()[:PICTURED]
        if not rows:
            return None
        made, held, _ = self._pairs(rows)
        inverse = self.data.coordinates.inverse
        return inverse(held.double()).float().cpu(), inverse(made.double()).float().cpu()

    def _rebuildable(self) -> list[int]:
        diagnoses = self.data.validation.diagnoses
        return [row for row, name in enumerate(diagnoses) if not self.classes or name in self.classes]

    def _pairs(self, rows: Sequence[int], cubes: CubeSet | None = None) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Return cubes, by default those of validation, rebuilt and as they are, both scaled, and their scores."""
        held, encoder = cubes or self.data.validation, self.modules[ENCODER]
        was_training = encoder.training
        encoder.eval()
        try:
            with repeatable():
                real = self.data.coordinates.forward(held.reflectance[list(rows)]).to(
                    self.compute.device, self.compute.dtype
                )
                numbers = [self.classes.index(held.diagnoses[row]) for row in rows] if self.classes else []
                labels = (torch.tensor(numbers, device=real.device),) if numbers else ()
                made, scores = self.rebuild(real, *labels)
                return made, real, dict(scores)
        finally:
            encoder.train(was_training)
