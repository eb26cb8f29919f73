"""What a learner says of itself: everything outside its folder that depends on a learner asks its configuration.

Free of torch, so that a wrong value costs milliseconds, not an import: what needs torch is imported inside the hooks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from hyperderm.errors import ConfigError, nearest
from hyperderm.metrics.orientation import ORIENTATIONS
from hyperderm.strict import Strict

if TYPE_CHECKING:
    from hyperderm.learners.base import Compute, Learner, Sampler
    from hyperderm.learners.data import TrainData
    from hyperderm.settings import Run
    from hyperderm.store.manifest import Manifest

Role = Literal["generator", "classifier", "segmenter", "unmixer"]
Condition = Literal["none", "class", "rgb", "mask", "run"]
"""What a generator is given beside a seed: nothing, a diagnosis, an RGB image, a mask, or the output of another run."""


FLOAT, DOUBLE = 4, 8
"""Bytes of a value in single and in double precision."""
PIXELWISE: tuple[Role, ...] = ("segmenter", "unmixer")
"""Roles that may be trained on the pixels of a store without folds, or of a single cube: `blocks.held_out_blocks`."""
START = "start"
"""The input (`LearnerConfig.inputs`) whose networks a run begins from."""
SOURCED: tuple[Condition, ...] = ("rgb", "mask", "run")
"""Conditions that are taken from cubes, or from photographs: each source makes as many cubes as it has orientations."""


@dataclass(frozen=True)
class Request:
    """A synthetic set that is asked for.

    Attributes:
        counts: diagnosis to number of cubes.
        learnt: the diagnoses the generator learnt.
        held: diagnosis to number of sources: photographs, or lesions of train (with a mask, where that is the condition).
        photographs: whether these are photographs; else train's own lesions.
    """

    counts: Mapping[str, int]
    learnt: Sequence[str]
    held: Mapping[str, int]
    photographs: bool = False


GIVEN: Mapping[Condition, str] = {
    "none": "noise",
    "class": "noise and a diagnosis",
    "rgb": "RGB images",
    "mask": "masks",
    "run": "another run's output",
}
"""What a generator makes cubes from, in words."""


class LearnerConfig(Strict):
    """Base of the configurations of all learners: the knobs of one, and the hooks by which the rest of the house uses it.

    A learner joins the house by one line in `hyperderm.learners.LEARNERS`. Nothing outside its folder names it.

    Attributes:
        role: what it is.
        objective: the score that chooses checkpoints and ranks trials; lower is better.
        yardsticks: scores beside it that depend on the data alone, which give the objective a scale.
        fit_once: it is fitted to all of train at once, not trained step by step.
        inputs: names of the fields that name other runs, whose checkpoints it needs: None, or a run, or a checkpoint's
            address. They are found, proven and read before anything starts (`studies.inputs`), count by their hashes, and
            come to the learner as `TrainData.inputs`.
    """

    role: ClassVar[Role]
    objective: ClassVar[str]
    yardsticks: ClassVar[tuple[str, ...]] = ()
    fit_once: ClassVar[bool] = False
    inputs: ClassVar[tuple[str, ...]] = ()
    kind: str

    @property
    def condition(self) -> Condition:
        """What a generator makes a cube from, beside a seed."""
        return "none"

    @property
    def needed(self) -> dict[str, str]:
        """Other runs that are needed: field of `inputs` to the run or the checkpoint's address."""
        asked = {name: getattr(self, name) for name in self.inputs}
        return {name: str(run) for name, run in asked.items() if run is not None}

    @property
    def scaled_as(self) -> str | None:
        """The input whose scaling of reflectance is kept, because networks of its run go on; None: train's is fitted."""
        return None

    @property
    def streams(self) -> bool:
        """Whether its train role may be read while it is trained on."""
        return not self.fit_once

    @property
    def pixelwise(self) -> bool:
        """Whether its batches are best held with the bands of a pixel together, on a CPU."""
        return False

    @property
    def balances(self) -> bool:
        """Whether a generator is shown every diagnosis equally often, not as often as train holds it."""
        return False

    @property
    def oversampling(self) -> float | Literal["balance"]:
        """Of a classifier: extra showings of melanomas an epoch, per real melanoma."""
        return 0.0

    @property
    def mixing(self) -> float | None:
        """Share of a classifier's images that are synthetic, whatever the counts give; None: the counts decide."""
        return None

    @classmethod
    def migrated(cls, saved: Mapping[str, Any]) -> dict[str, Any]:
        """Return the learner's part of a configuration that an earlier version wrote down, as this version says it.

        Raises:
            Gone: what it says exists no more; the remedy says what there is instead.
        """
        return dict(saved)

    def check(self, run: Run) -> None:
        """Refuse a run that this learner cannot be.

        Raises:
            ValueError: in words: field, value, reason, remedy.
        """

    def check_store(self, manifest: Manifest) -> None:
        """Refuse a store that this learner cannot learn from; nothing is read.

        Raises:
            HyperdermError: naming what is missing.
        """

    def check_input(self, name: str, other: LearnerConfig, trained: Run, run: Run) -> None:
        """Refuse a run that cannot be the input `name`; manifest, fold and size are proven elsewhere.

        Args:
            name: of `inputs`.
            other: the learner of the run that is given.
            trained: the rest of that run.
            run: that needs it.

        Raises:
            ConfigError: naming what does not fit, and the remedy.
        """

    def check_request(self, request: Request) -> None:
        """Refuse what a generator cannot be asked for, before anything starts; nothing is read.

        Raises:
            ConfigError: naming what cannot be served, and the remedy.
        """
        if request.photographs and self.condition != "rgb":
            raise ConfigError(
                f"this generator makes cubes from {GIVEN[self.condition]}, not from photographs", "Give it no RGB store."
            )
        for diagnosis, count in request.counts.items():
            self._check_diagnosis(diagnosis, count, request)

    def _check_diagnosis(self, diagnosis: str, count: int, request: Request) -> None:
        learnt = request.learnt
        if diagnosis not in learnt:
            raise ConfigError(
                f"diagnosis {diagnosis!r} was not learnt by this generator (data.diagnoses: {', '.join(learnt)})",
                nearest(diagnosis, learnt),
            )
        if self.condition == "none" and len(learnt) > 1:
            raise ConfigError(
                f"diagnosis {diagnosis!r} cannot be asked for: this generator makes cubes from noise and learnt "
                f"{len(learnt)} diagnoses without being told which is which, so nobody knows which of them a cube shows",
                f"Train one on this diagnosis alone: --set 'data.diagnoses=[\"{diagnosis}\"]'.",
            )
        held = request.held.get(diagnosis, 0)
        if self.condition in SOURCED and count > ORIENTATIONS * held:
            masked = "train cubes with a mask" if self.condition == "mask" else "train cubes"
            what = "photographs" if request.photographs else masked
            most = f"Ask for {ORIENTATIONS * held} at most" if held else "Use another diagnosis or generator"
            raise ConfigError(
                f"{count} different cubes of {diagnosis} cannot be made from {held} {what} in {ORIENTATIONS} orientations",
                f"{most}, or give more {'photographs' if self.condition == 'rgb' else 'data'}.",
            )

    def scoring_bytes(self, pixels: int, bands: int, train: int, validation: int) -> int:
        """Return the bytes of RAM that a worker takes beside its cubes while it is made or scores: here, validation scaled.

        Args:
            pixels: of a cube.
            bands: of a cube.
            train: number of cubes of train that are held.
            validation: likewise.
        """
        return 0 if self.fit_once else validation * pixels * bands * FLOAT

    def unsuited(self, arm: str, use: str) -> str:
        """Return why an arm of a grid means nothing for this classifier, "" where it does.

        Args:
            arm: its name.
            use: of its synthetic cubes, see `SyntheticConfig.use`.
        """
        return ""

    def described(self, weights_sha256: str, size: int) -> str:
        """Return a classifier in the words of a report.

        Args:
            weights_sha256: of the file it began from, "" without.
            size: pixels of its cubes.
        """
        return self.kind

    def weights_sha256(self, bands: int) -> str:
        """Return the sha256 of the file of weights that training begins from, "" where it begins from none.

        Raises:
            ConfigError: weights that are absent or do not fit.
        """
        return ""

    def build(self, run: Run, data: TrainData, compute: Compute) -> Learner:
        """Return the learner, untrained."""
        raise NotImplementedError

    def load_sampler(self, run: Run, checkpoint: Mapping[str, Any], device: str) -> Sampler:
        """Return the trained generator that a checkpoint holds (`training.resume.pack`).

        Raises:
            KeyError, RuntimeError, ValueError: a checkpoint of other networks.
        """
        raise NotImplementedError
