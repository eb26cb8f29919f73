"""The base of all learner configurations: code outside a learner's folder asks the configuration about the learner.

This module does not import torch, so that a wrong value is found in milliseconds; hooks that need torch import it inside.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from hyperderm.errors import ConfigError, nearest
from hyperderm.metrics.orientation import ORIENTATIONS
from hyperderm.strict import Strict

if TYPE_CHECKING:
    from hyperderm.learners.base import Compute, Learner, MelanomaClassifier, PixelCoder, Sampler
    from hyperderm.learners.data import TrainData
    from hyperderm.settings import Run
    from hyperderm.store.manifest import Manifest

Role = Literal["generator", "classifier", "segmenter", "unmixer"]
Condition = Literal["none", "class", "rgb", "mask", "run"]
"""The input of a generator beside the seed: nothing, a diagnosis, an RGB image, a mask, or the output of another run."""


FLOAT, DOUBLE = 4, 8
"""Number of bytes of a value in single and in double precision."""
PIXELWISE: tuple[Role, ...] = ("segmenter", "unmixer")
"""Roles that may be trained on the pixels of a store without folds, or of a single cube.

See `held_out_pixels.held_out_blocks`."""
START = "start"
"""Name of the input (`LearnerConfig.inputs`) with whose networks a run begins."""
UNMIXING = "unmixing"
"""Name of the input whose endmembers span the abundance space of a generator."""
SPACE = "space"
"""Name of the abundance space in a checkpoint (`abundance_space.AbundanceSpace.state_dict`)."""
SOURCED: tuple[Condition, ...] = ("rgb", "mask", "run")
"""Conditions that are taken from cubes or photographs. One source gives as many different cubes as it has orientations."""

LEAST_TRUNCATION = 0.05
"""Smallest `Drawing.truncation`: noise of a smaller one hardly differs from zero."""
MOST_GUIDANCE = 100.0
"""Largest classifier-free guidance; samples leave the range of real cubes long before it."""


@dataclass(frozen=True)
class Drawing:
    """How a generator from noise draws the noise of a set.

    Attributes:
        truncation: the largest absolute value of the noise: a smaller one gives more typical and less varied cubes (Brock et
            al. 2019). None: the noise is standard normal.
        mix: whether the style of each cube comes from a second noise.
        guidance: classifier-free guidance in place of that of the configuration (Ho & Salimans 2022); None: that one.

    Raises:
        ConfigError: the truncation is below `LEAST_TRUNCATION`, or not finite, or the guidance is below 0 or above
            `MOST_GUIDANCE`.
    """

    truncation: float | None = None
    mix: bool = False
    guidance: float | None = None

    def __post_init__(self) -> None:
        if self.guidance is not None and not 0 <= self.guidance <= MOST_GUIDANCE:
            raise ConfigError(
                f"--guidance {self.guidance:g}",
                f"Give 0 to {MOST_GUIDANCE:g}: 2 is more typical of a diagnosis, 1 as it was told, 0 as if none were told.",
            )
        if self.truncation is not None and not LEAST_TRUNCATION <= self.truncation < math.inf:
            raise ConfigError(
                f"--truncation {self.truncation:g}: below {LEAST_TRUNCATION:g} all cubes are nearly the same",
                f"Give a number from {LEAST_TRUNCATION:g}, such as 1.5, or leave it out.",
            )


FREELY = Drawing()
"""Standard normal noise, and no second one."""


@dataclass(frozen=True)
class Request:
    """The request for a synthetic set.

    Attributes:
        counts: number of cubes that are asked for, by diagnosis.
        learnt: the diagnoses that the generator learnt.
        held: number of sources, by diagnosis: photographs, or lesions of train (only those with a mask if the condition is
            a mask).
        photographs: whether the sources are photographs; otherwise they are lesions of train.
        drawing: how the noise is drawn.
        size: height and width of the cubes in pixels.
    """

    counts: Mapping[str, int]
    learnt: Sequence[str]
    held: Mapping[str, int]
    photographs: bool = False
    drawing: Drawing = FREELY
    size: int = 0


GIVEN: Mapping[Condition, str] = {
    "none": "noise",
    "class": "noise and a diagnosis",
    "rgb": "RGB images",
    "mask": "masks",
    "run": "another run's output",
}
"""The inputs from which a generator makes cubes, in words, by condition."""


class LearnerConfig(Strict):
    """Base class of all learner configurations: the settings of a learner, and the hooks by which other code uses it.

    A learner is registered by one line in `hyperderm.learners.LEARNERS`. No other code outside its folder names it.

    Attributes:
        role: the role of the learner, such as generator or classifier.
        objective: the score that chooses checkpoints and ranks trials; lower is better.
        yardsticks: scores that depend on the data alone; they give the objective a scale.
        fit_once: whether the learner is fitted to all of train at once, not trained step by step.
        inputs: names of the fields that refer to other runs whose checkpoints the learner needs. Such a field is None, a
            run, or the address of a checkpoint. The checkpoints are found, proven and read before anything starts
            (`training.inputs`). A run is identified by their hashes, and the learner gets them as `TrainData.inputs`.
    """

    role: ClassVar[Role]
    objective: ClassVar[str]
    yardsticks: ClassVar[tuple[str, ...]] = ()
    fit_once: ClassVar[bool] = False
    inputs: ClassVar[tuple[str, ...]] = ()
    kind: str

    @property
    def condition(self) -> Condition:
        """The input from which a generator makes a cube, beside the seed."""
        return "none"

    @property
    def made_from(self) -> str:
        """The things from which a generator makes cubes, in words."""
        return GIVEN[self.condition]

    @property
    def rebuilds(self) -> bool:
        """Whether a generator can rebuild a given cube: from its pseudo-RGB, or by an encoder of its own."""
        return self.condition == "rgb"

    @property
    def needed(self) -> dict[str, str]:
        """The other runs that are needed: the run or the address of its checkpoint, by field of `inputs`."""
        asked = {name: getattr(self, name) for name in self.inputs}
        return {name: str(run) for name, run in asked.items() if run is not None}

    @property
    def scaled_as(self) -> str | None:
        """The input whose scaling of reflectance is kept, because training continues with its networks.

        None means that the scaling is fitted to train.
        """
        return None

    @property
    def streams(self) -> bool:
        """Whether the train role may be streamed, that is, read during training."""
        return not self.fit_once

    @property
    def splits(self) -> bool:
        """Whether a step may compute its batch in parts (`Batch.parts`) and come to the same result, up to rounding.

        It may if the loss is a mean over cubes, no layer keeps or uses statistics of a batch, no state changes at every
        pass through a network, and all random draws are keyed by the row of the batch.
        """
        return False

    @property
    def pixelwise(self) -> bool:
        """Whether, on a CPU, batches are best stored with all bands of a pixel next to each other."""
        return False

    @property
    def packages(self) -> tuple[str, ...]:
        """Names of the packages that are imported only where this learner is loaded; a registered model asks for them."""
        return ()

    def mixes(self, size: int) -> bool:
        """Return whether a generator has styles at this size in pixels: the style of a cube may come from a second noise."""
        return False

    @property
    def guidable(self) -> bool:
        """Whether a generator can make cubes without a diagnosis too, away from which its samples can be guided."""
        return False

    @property
    def balances(self) -> bool:
        """Whether a generator is shown all diagnoses equally often, instead of as often as they occur in train."""
        return False

    @property
    def told_apart(self) -> Mapping[str, Any]:
        """The settings, path to value, with which a generator of several diagnoses can be asked for each of them."""
        return {}

    @property
    def oversampling(self) -> float | Literal["balance"]:
        """Number of extra showings of melanomas in a classifier's epoch, per real melanoma."""
        return 0.0

    @property
    def mixing(self) -> float | None:
        """Share of a classifier's images that are synthetic, independent of the counts; None: the counts decide."""
        return None

    @classmethod
    def migrated(cls, saved: Mapping[str, Any]) -> dict[str, Any]:
        """Return the learner's part of a configuration that an earlier version saved, in the form of this version.

        Raises:
            RemovedSetting: the configuration names something that no longer exists; the remedy names the replacement.
        """
        return dict(saved)

    def check(self, run: Run) -> None:
        """Refuse a run whose settings do not suit this learner.

        Raises:
            ValueError: the settings do not suit; the message names field, value, reason and remedy.
        """

    def check_store(self, manifest: Manifest) -> None:
        """Refuse a store from which this learner cannot learn; no cube is read.

        Raises:
            HyperdermError: the store does not suit; the message names what is missing.
        """

    def check_input(self, name: str, other: LearnerConfig, trained: Run, run: Run) -> None:
        """Refuse a run that cannot be the input `name`; other code checks manifest, fold and size.

        Args:
            name: one of `inputs`.
            other: the learner of the run that is given as input.
            trained: the other settings of that run.
            run: the run that needs the input.

        Raises:
            ConfigError: the input does not fit; the message names the misfit and the remedy.
        """

    def check_request(self, request: Request) -> None:
        """Refuse a request that the generator cannot serve, before anything starts; no cube is read.

        Raises:
            ConfigError: the request cannot be served; the message names the reason and the remedy.
        """
        if request.photographs and self.condition != "rgb":
            raise ConfigError(
                f"this generator makes cubes from {self.made_from}, not from photographs", "Give it no RGB store."
            )
        if request.drawing.mix and not self.mixes(request.size):
            larger = next((size for size in (64, 128, 256) if size > request.size and self.mixes(size)), None)
            raise ConfigError(
                f"--mix: a generator of learner.kind = {self.kind} has no styles to mix"
                + (f" at {request.size} px" if larger else ""),
                "Leave it out" + (f", or train one of {larger} px." if larger else "."),
            )
        if request.drawing.truncation is not None and self.condition in SOURCED:
            raise ConfigError(
                f"--truncation {request.drawing.truncation:g}: this generator makes cubes from {self.made_from}, and "
                "no noise is drawn",
                "Leave it out.",
            )
        if request.drawing.guidance is not None and not self.guidable:
            raise ConfigError(
                f"--guidance {request.drawing.guidance:g}: this generator has not learnt what cubes of all diagnoses have "
                "in common, to be guided away from it",
                "Leave it out, or train diffusion with --set learner.conditioning=class --set learner.class_dropout=0.1.",
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
                f"diagnosis {diagnosis!r} cannot be asked for: this generator makes cubes from {self.made_from} and learnt "
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
        """Return the bytes of RAM that a worker needs, beside its cubes, while the learner is built or scored.

        In this base class they are those of the scaled validation cubes.

        Args:
            pixels: number of pixels of a cube.
            bands: number of bands of a cube.
            train: number of cubes of train that are held.
            validation: number of cubes of validation that are held.
        """
        return 0 if self.fit_once else validation * pixels * bands * FLOAT

    def unsuited(self, arm: str, use: str) -> str:
        """Return the reason why an arm of a grid is meaningless for this classifier, or "" if the arm is meaningful.

        Args:
            arm: name of the arm.
            use: how the arm uses its synthetic cubes, see `SyntheticConfig.use`.
        """
        return ""

    def described(self, weights_sha256: str, size: int) -> str:
        """Return the description of a classifier for a report.

        Args:
            weights_sha256: sha256 of the file of weights from which training began, "" without such a file.
            size: side of its cubes in pixels.
        """
        return self.kind

    def weights_sha256(self, bands: int) -> str:
        """Return the sha256 of the file of weights from which training begins, or "" without such a file.

        Raises:
            ConfigError: the weights are absent or do not fit.
        """
        return ""

    def in_space(self, run: Run, data: TrainData) -> TrainData:
        """Return the data in the space in which this learner sees them; call it once, before `build` and the feed.

        Raises:
            ConfigError: the space cannot be made of these data.
        """
        return data

    def build(self, run: Run, data: TrainData, compute: Compute) -> Learner:
        """Return the untrained learner; `data` are those that `in_space` returned."""
        raise NotImplementedError

    def load_sampler(self, run: Run, checkpoint: Mapping[str, Any], device: str) -> Sampler:
        """Return the trained generator that a checkpoint holds (`training.resume.pack`).

        Raises:
            KeyError, RuntimeError, ValueError: the checkpoint holds other networks.
        """
        raise NotImplementedError

    def load_classifier(self, checkpoint: Mapping[str, Any], compute: Compute) -> MelanomaClassifier:
        """Return the trained classifier that a checkpoint holds (`training.resume.pack`), without what training needs.

        Raises:
            ConfigError: checkpoints of this learner do not hold what it has learnt.
            KeyError, RuntimeError, ValueError: the checkpoint holds other networks.
        """
        raise NotImplementedError

    @classmethod
    def for_pixels(cls, latent: int, resample: int | None, pixels: int) -> Self:
        """Return the configuration of a segmenter by which a command trains one on pixels of its scenes.

        Args:
            latent: Z, the number of values of a latent vector.
            resample: length to which spectra are interpolated for the network; None: as they are.
            pixels: spectra of every step.
        """
        raise NotImplementedError

    def load_coder(self, checkpoint: Mapping[str, Any]) -> PixelCoder:
        """Return the trained segmenter that a checkpoint holds (`training.resume.pack`).

        Raises:
            KeyError, RuntimeError, TypeError: the checkpoint holds other networks.
        """
        raise NotImplementedError
