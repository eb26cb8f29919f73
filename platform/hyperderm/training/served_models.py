"""Trained generators and classifiers as a registered model answers with them: from a checkpoint and a small JSON file.

A model needs no store, no Ray and no MLflow. Its folder holds the checkpoint (`CHECKPOINT`), which is read without running
any code inside it, and the facts that the checkpoint lacks (`FACTS`).
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from hyperderm.config import Experiment
from hyperderm.errors import ConfigError, StudyError, nearest
from hyperderm.learners.base import MelanomaClassifier, Sampler
from hyperderm.learners.sources import Colours, Sources, matched_to
from hyperderm.learners.spec import FREELY, Request, Role
from hyperderm.statistics.probability import Calibration
from hyperderm.store.reader import Store
from hyperderm.strict import json_of
from hyperderm.training.data import cube_set
from hyperderm.training.drawn_cubes import MOST, Tally, chunks, made
from hyperderm.training.inputs import experiment_of, seen_of
from hyperderm.training.named_checkpoints import fold_of, read_checkpoint
from hyperderm.training.run import load_classifier, load_sampler

CHECKPOINT, FACTS = "checkpoint.pt", "facts.json"
"""Names of the files of a model."""
PACKAGES = ("numpy", "opencv-python-headless", "pyarrow", "pydantic", "scipy", "torch")
"""The packages that this module imports, with all of hyperderm that it imports; a learner may need more
(`LearnerConfig.packages`)."""
RGB = "rgb"
"""Name of the photographs in a request."""
UNITS = "reflectance, calibrated to a white reference of 1"


@dataclass(frozen=True)
class ModelFacts:
    """What a model knows beside its checkpoint.

    Attributes:
        checkpoint: sha256 of the checkpoint's file.
        diagnoses: of a generator, the diagnoses that can be asked for; of a classifier, those that it was trained on.
        colours: of a generator from photographs, diagnosis to mean and deviation (3,) of the RGB of train cubes, to which
            photographs are matched.
    """

    checkpoint: str
    diagnoses: tuple[str, ...]
    colours: Mapping[str, Mapping[str, list[float]]] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return the facts as JSON; floats keep all their digits."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def of_json(cls, text: str) -> Self:
        """Return the facts that `to_json` wrote."""
        found = json_of(text)
        return cls(found["checkpoint"], tuple(found["diagnoses"]), found["colours"])


class ServedModel(ABC):
    """A trained learner that answers requests.

    Attributes:
        run: the configuration of the run that trained it.
        wavelengths_nm: (B,) wavelengths of the cubes.
        diagnoses: see `ModelFacts`.
    """

    def __init__(self, run: Experiment, checkpoint: Mapping[str, Any], facts: ModelFacts) -> None:
        self.run, self.diagnoses = run, facts.diagnoses
        self.wavelengths_nm = tuple(float(nm) for nm in checkpoint["wavelengths_nm"])

    @property
    def role(self) -> Role:
        """Whether the model is a generator or a classifier."""
        return self.run.learner.role

    @property
    def size(self) -> int:
        """S, height and width of the cubes in pixels."""
        return self.run.data.size

    @property
    def packages(self) -> tuple[str, ...]:
        """The names of the packages that must be installed where the model is loaded, in alphabetical order."""
        return tuple(sorted({*PACKAGES, *self.run.learner.packages}))

    @property
    def described(self) -> dict[str, Any]:
        """What a program must know of the model, in values that JSON knows."""
        return {
            "role": self.role,
            "kind": self.run.learner.kind,
            "wavelengths_nm": list(self.wavelengths_nm),
            "bands": len(self.wavelengths_nm),
            "size": self.size,
            "axes": "(n, height, width, bands)",
            "diagnoses": list(self.diagnoses),
            "units": UNITS,
        }

    @property
    @abstractmethod
    def example(self) -> Any:  # noqa: ANN401 - a request, or cubes
        """A small input of `predict`."""

    @abstractmethod
    def predict(self, asked: Any) -> NDArray[Any]:  # noqa: ANN401 - whatever the caller gives
        """Return the answer to a request: see the subclasses."""


class ServedGenerator(ServedModel):
    """A generator that makes cubes of a diagnosis: those that `hyperderm generate` makes with the same seed."""

    def __init__(self, run: Experiment, checkpoint: Mapping[str, Any], facts: ModelFacts) -> None:
        super().__init__(run, checkpoint, facts)
        self.sampler: Sampler = load_sampler(checkpoint, "cuda" if torch.cuda.is_available() else "cpu")
        self.colours = {
            name: Colours(np.array(each["mean"]), np.array(each["deviation"])) for name, each in facts.colours.items()
        }
        condition = self.sampler.config.condition
        if condition in ("mask", "run"):
            raise StudyError(
                f"this generator makes cubes from {self.sampler.config.made_from}, which a model cannot hold: they are "
                "those of lesions of its store",
                "Make its cubes where the store is: hyperderm generate --run RUN.",
            )
        if not self.diagnoses:
            raise StudyError("the train role of this generator's fold holds none of its diagnoses", "Train it anew.")
        self._check(self.diagnoses[0], 1, 1 if self.from_photographs else 0)

    @property
    def from_photographs(self) -> bool:
        """Whether the generator makes cubes from RGB images."""
        return self.sampler.config.condition == "rgb"

    @property
    def likely(self) -> str:
        """The diagnosis that examples ask for: melanoma, or the first one."""
        return "melanoma" if "melanoma" in self.diagnoses else self.diagnoses[0]

    @property
    def described(self) -> dict[str, Any]:
        """See `ServedModel.described`."""
        more = {RGB: f"(n, {self.size}, {self.size}, 3) linear R, G, B"} if self.from_photographs else {}
        return super().described | more

    @property
    def example(self) -> dict[str, Any]:
        """A request for one cube, of a melanoma if the generator knows them."""
        asked: dict[str, Any] = {"count": 1, "seed": 0, "diagnosis": self.likely}
        if self.from_photographs:
            asked[RGB] = np.full((1, self.size, self.size, 3), 0.5).tolist()  # MLflow keeps no arrays beside numbers
        return asked

    def predict(self, asked: Any) -> NDArray[np.float32]:  # noqa: ANN401 - whatever the caller gives
        """Return cubes (count, S, S, B) float32 reflectance; what cannot be real is left out, and others are made.

        Args:
            asked: a dictionary, or a data frame with these columns. `count`: number of cubes; `seed`: 0 or more, default 0;
                `diagnosis`: one of `diagnoses`, may be left out if there is only one; `rgb`: for a generator from
                photographs, (n, S, S, 3) linear R, G, B, of which each gives up to 8 cubes.

        Raises:
            StudyError: a value is missing, wrong, or not what this generator can make; the message names the remedy.
        """
        request = _one_request(asked)
        if unknown := sorted(set(request) - {"count", "seed", "diagnosis", RGB}):
            raise StudyError(f"{unknown[0]!r} is nothing that can be asked for", "Give count, seed, diagnosis and rgb.")
        count, seed = _whole(request, "count", 1, MOST), _whole({"seed": 0} | request, "seed", 0, 2**63 - 1)
        diagnosis = self._diagnosis(request)
        rgb = self._photographs(request.get(RGB))
        self._check(diagnosis, count, 0 if rgb is None else len(rgb))
        sources = {diagnosis: None if rgb is None else self._sources(rgb, diagnosis)}
        tally, kept = Tally.of({diagnosis: count}), list[NDArray[np.float32]]()
        while rounds := tally.rounds(sources):
            for chunk in chunks(rounds):
                for pixels in made(self.sampler, sources, seed, chunk):
                    if tally.in_range(diagnosis, pixels, self.sampler.scaling):
                        tally.done[diagnosis] += 1
                        kept.append(np.moveaxis(pixels, 0, 2))
        return np.stack(kept)

    def _diagnosis(self, request: Mapping[str, Any]) -> str:
        found = request.get("diagnosis")
        if found is None and len(self.diagnoses) == 1:
            return self.diagnoses[0]
        if found is None:
            raise StudyError("'diagnosis' is missing", f"Give one of: {', '.join(self.diagnoses)}.")
        if found not in self.diagnoses:
            raise StudyError(f"diagnosis {found!r} was not learnt by this generator", nearest(str(found), self.diagnoses))
        return str(found)

    def _check(self, diagnosis: str, count: int, photographs: int) -> None:
        held = {diagnosis: photographs}
        asked = Request({diagnosis: count}, self.diagnoses, held, photographs > 0, FREELY, self.size)
        try:
            self.sampler.config.check_request(asked)
        except ConfigError as error:
            raise StudyError(error.what, error.remedy) from None

    def _photographs(self, given: Any) -> NDArray[np.float32] | None:  # noqa: ANN401 - whatever the caller gives
        """Return photographs as (n, 3, S, S), R, G, B; None for a generator that takes none."""
        wanted = f"(n, {self.size}, {self.size}, 3) linear R, G, B"
        if not self.from_photographs:
            if given is not None:
                what = self.sampler.config.made_from
                raise StudyError(f"this generator makes cubes from {what}, not from photographs", f"Leave {RGB!r} out.")
            return None
        if given is None:
            raise StudyError(f"this generator makes cubes from photographs, and {RGB!r} is missing", f"Give {wanted}.")
        found = _floats(given, RGB)
        if found.ndim != 4 or not len(found) or found.shape[1:] != (self.size, self.size, 3):
            raise StudyError(f"{RGB!r} has the shape {found.shape}", f"Give {wanted}.")
        return np.ascontiguousarray(np.moveaxis(found, 3, 1))

    def _sources(self, rgb: NDArray[np.float32], diagnosis: str) -> Sources:
        return Sources(tuple(str(row) for row in range(len(rgb))), matched_to(rgb, self.colours[diagnosis]))


class ServedClassifier(ServedModel):
    """A classifier that gives calibrated probabilities of melanoma.

    Attributes:
        calibration: temperature and intercept, fitted on the validation role for this very state.
        threshold: a lesion is called melanoma from this calibrated probability on.
    """

    def __init__(self, run: Experiment, checkpoint: Mapping[str, Any], facts: ModelFacts) -> None:
        super().__init__(run, checkpoint, facts)
        self.classifier: MelanomaClassifier = load_classifier(checkpoint)
        metrics = checkpoint.get("metrics", {})
        if missing := [name for name in ("temperature", "intercept", "threshold") if name not in metrics]:
            raise StudyError(f"this checkpoint holds no {missing[0]}: it was never validated", "Train the classifier anew.")
        self.calibration = Calibration(float(metrics["temperature"]), float(metrics["intercept"]))
        self.threshold = float(metrics["threshold"])

    @property
    def described(self) -> dict[str, Any]:
        """See `ServedModel.described`."""
        return super().described | {
            "threshold": self.threshold,
            "calibration": {**asdict(self.calibration), "formula": "p = sigmoid(logit / temperature + intercept)"},
            "melanoma": "a lesion whose probability is at or above the threshold",
        }

    @property
    def example(self) -> NDArray[np.float32]:
        """One cube of equal reflectance."""
        return np.full((1, self.size, self.size, len(self.wavelengths_nm)), 0.5, np.float32)

    def predict(self, asked: Any) -> NDArray[np.float64]:  # noqa: ANN401 - whatever the caller gives
        """Return calibrated probabilities of melanoma, (n,) float64.

        Args:
            asked: cubes (n, S, S, B) in reflectance, bands by rising wavelength as in `wavelengths_nm`.

        Raises:
            StudyError: the array has another shape or holds NaN; the message names the remedy.
        """
        cubes, bands = _floats(asked, "the array of cubes"), len(self.wavelengths_nm)
        wanted = f"(n, {self.size}, {self.size}, {bands})"
        if cubes.ndim != 4 or not len(cubes):
            raise StudyError(f"cubes of the shape {cubes.shape}", f"Give {wanted}; a single cube as cube[None].")
        if cubes.shape[3] != bands:
            raise StudyError(
                f"cubes of {cubes.shape[3]} bands; this classifier was trained on {bands} bands, "
                f"{self.wavelengths_nm[0]:g} … {self.wavelengths_nm[-1]:g} nm",
                f"Give {wanted}, with the bands last; hyperderm ingest --bands brings cubes to other wavelengths.",
            )
        if cubes.shape[1:3] != (self.size, self.size):
            raise StudyError(
                f"cubes of {cubes.shape[1]} x {cubes.shape[2]} pixels; this classifier was trained on {self.size} of each",
                f"Crop and resize each lesion as hyperderm ingest --size {self.size} does.",
            )
        reflectance = torch.from_numpy(np.ascontiguousarray(np.moveaxis(cubes, 3, 1)))
        masks = torch.zeros((len(cubes), self.size, self.size), dtype=torch.bool)
        return np.asarray(self.calibration(self.classifier.logits_of(reflectance, masks).numpy()), np.float64)


def load_served(folder: Path) -> ServedModel:
    """Return the model whose files, `CHECKPOINT` and `FACTS`, lie in `folder`.

    Raises:
        StudyError: a file is missing, damaged, or belongs to another model.
    """
    state, digest = read_checkpoint(folder / CHECKPOINT)
    try:
        facts = ModelFacts.of_json((folder / FACTS).read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StudyError(f"{folder / FACTS} cannot be read ({error})", "Download the model again.") from error
    if facts.checkpoint != digest:
        raise StudyError(
            f"{folder / CHECKPOINT} is not the checkpoint of this model (sha256 {digest[:12]}, not {facts.checkpoint[:12]})",
            "Download the model again.",
        )
    return served(state, facts)


def served(checkpoint: Mapping[str, Any], facts: ModelFacts) -> ServedModel:
    """Return the model of a checkpoint's content.

    Raises:
        StudyError: the checkpoint is of a learner that cannot be asked for anything, or does not fit this version.
    """
    run = experiment_of(checkpoint)
    role = run.learner.role
    if role == "generator":
        return ServedGenerator(run, checkpoint, facts)
    if role == "classifier":
        return ServedClassifier(run, checkpoint, facts)
    remedy = {"unmixer": "hyperderm unmix --run", "segmenter": "hyperderm segment --run"}[role]
    raise StudyError(
        f"the run trained a {role} (learner.kind = {run.learner.kind}); models are made of generators and classifiers",
        f"Use it by `{remedy} RUN`.",
    )


def facts_of(checkpoint: Mapping[str, Any], digest: str, store: Store | None) -> ModelFacts:
    """Return the facts of a model of a checkpoint.

    Args:
        checkpoint: content of the checkpoint.
        digest: sha256 of its file.
        store: the store that the run was trained on; needed where `needs_store` says so.

    Raises:
        StudyError: see `fold_of`; StoreError: the store is not that of the run.
    """
    run = experiment_of(checkpoint)
    if store is None:
        told = load_sampler(checkpoint).classes if run.learner.role == "generator" else ()
        return ModelFacts(digest, told or _diagnoses(run, checkpoint))
    sampler, fold = load_sampler(checkpoint), fold_of(checkpoint, store)
    seen = seen_of(checkpoint, store)
    train = cube_set(store.read(store.select("train", fold, seen)), run.data.size)
    colours = {}
    for diagnosis in seen if run.data.diagnoses == "all" else run.data.diagnoses:
        rows = [row for row, name in enumerate(train.diagnoses) if name == diagnosis]
        levels = sampler.sources(train.chosen(rows)) if rows else None
        if levels is not None:
            mean, deviation = Colours.of(levels)
            colours[diagnosis] = {"mean": mean.tolist(), "deviation": deviation.tolist()}
    return ModelFacts(digest, tuple(colours), colours)


def needs_store(checkpoint: Mapping[str, Any]) -> bool:
    """Return whether facts of the store are needed: photographs are matched to the colours of its train role."""
    learner = experiment_of(checkpoint).learner
    return learner.role == "generator" and learner.condition == "rgb"


def _diagnoses(run: Experiment, checkpoint: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the diagnoses that a run learnt: those of its configuration, or those that it saw."""
    if run.diagnoses != "all":
        return tuple(run.diagnoses)
    if "seen" not in checkpoint:
        raise StudyError("the checkpoint does not say which diagnoses its run saw", "Train it anew.")
    return tuple(checkpoint["seen"])


def _one_request(asked: Any) -> dict[str, Any]:  # noqa: ANN401 - whatever the caller gives
    """Return the request that a dictionary or a data frame holds; photographs may be spread over the rows of the latter."""
    if hasattr(asked, "to_dict"):  # a data frame: MLflow makes one of every dictionary
        rows = asked.to_dict("records")
        if not rows:
            raise StudyError("the request is empty", "Give at least 'count'.")
        first = {name: value for name, value in rows[0].items() if not _absent(value)}
        if RGB in first:
            each = [_floats(row[RGB], RGB) for row in rows]
            first[RGB] = each[0] if len(each) == 1 and each[0].ndim == 4 else _stacked(each)
        elif len(rows) > 1:
            raise StudyError(f"{len(rows)} requests at once", "Ask for one diagnosis at a time, by a dictionary.")
        return {str(name): value for name, value in first.items()}
    if isinstance(asked, Mapping):
        return {str(name): value for name, value in asked.items() if not _absent(value)}
    raise StudyError(
        f"a request of the type {type(asked).__name__}", "Give a dictionary, such as {'count': 4, 'diagnosis': 'melanoma'}."
    )


def _stacked(each: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    if len({one.shape for one in each}) > 1:
        raise StudyError(f"{RGB!r} holds images of different shapes", "Give images of one size.")
    return np.stack(each)


def _absent(value: Any) -> bool:  # noqa: ANN401 - whatever the caller gives
    return value is None or (isinstance(value, float) and np.isnan(value))


def _whole(request: Mapping[str, Any], name: str, least: int, most: int) -> int:
    if name not in request:
        raise StudyError(f"{name!r} is missing", f"Give a whole number from {least}.")
    value = request[name]
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or not least <= value <= most:
        raise StudyError(f"{name} = {value!r}", f"Give a whole number from {least} to {most}.")
    return int(value)


def _floats(given: Any, name: str) -> NDArray[np.float32]:  # noqa: ANN401 - whatever the caller gives
    try:
        found = np.asarray(given, np.float32)
    except (TypeError, ValueError):
        raise StudyError(f"{name} is no array of numbers", "Give an array of float32.") from None
    if not np.isfinite(found).all():
        raise StudyError(
            f"{name} holds NaN or infinite values", "Fill missing pixels first, as hyperderm ingest --fill does."
        )
    return found
