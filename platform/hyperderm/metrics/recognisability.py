"""Recognisability: can synthetic cubes of a diagnosis be told from real train cubes of the same diagnosis?

If only one class contains synthetic cubes, every feature that reveals a synthetic cube is a sign of that class, and a
classifier may learn that feature instead of the disease. A penalised logistic regression on the spectral baseline's features
(`lesion_features`, automatic masks for both) is trained to tell synthetic from real cubes. The answer is its AUROC within
fold, averaged over folds: .5 means that the cubes cannot be told apart, 1 that they always can. Groups are never split: a
cube that was made from a train lesion, or from a photograph, stays with its source. Only train cubes are compared;
validation and test are not read.

The AUROC is a lower bound, because a network also sees texture, which these features leave out. A value below .5 means that
the set holds near copies of train cubes whose source is not named, so that a cube and its copy lie in different folds with
opposite labels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from hyperderm.metrics.lesion_features import Cubes, Table, automatic_masks, lesion_features
from hyperderm.metrics.two_sample import LEAST, cross_validated

MOST = 300
"""Largest number of cubes used of each kind; a cube of 32 px takes 3 ms."""
WARN = 0.9
"""AUROC above which a report warns that synthetic cubes can be recognised."""
FIRST = "melanoma"
_DIGITS = 6


@dataclass(frozen=True)
class Recognisability:
    """The result: how well synthetic cubes are told from real ones.

    Attributes:
        auroc: AUROC within fold, averaged over folds; None if there are too few groups of cubes.
        low: lower end of its 95 % interval (logit; DeLong's variance by group, widened for cross-validation), or None.
        high: upper end of its 95 % interval, or None.
        synthetic: number of synthetic cubes used.
        real: number of real cubes used.
        notes: sentences that a reader should know beside the number.
    """

    auroc: float | None
    low: float | None
    high: float | None
    synthetic: int
    real: int
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values; numbers have six digits, because further ones depend on the processor."""
        found = {name: round(value, _DIGITS) if isinstance(value, float) else value for name, value in asdict(self).items()}
        return found | {"notes": list(self.notes)}


@dataclass(frozen=True, eq=False)
class Sample:
    """Cubes of one diagnosis.

    Attributes:
        cubes: (N, B, H, W) reflectance.
        groups: (N,) name of each cube's group, which must not be split: a patient, a source lesion, a photograph.
    """

    cubes: Cubes
    groups: Sequence[str]


@dataclass
class Recogniser:
    """A measurement that takes synthetic cubes of one diagnosis chunk by chunk and keeps the features of a random sample.

    Attributes:
        train: real cubes of the diagnosis.
        wavelengths: (B,) nm.
        count: number of synthetic cubes that will be added in all.
        seed: seed of the choice of cubes and of folds.
    """

    train: Sample
    wavelengths: Sequence[float]
    count: int
    seed: int = 0
    _chosen: set[int] = field(init=False)
    _seen: int = field(default=0, init=False)
    _features: list[Table] = field(default_factory=list, init=False)
    _groups: list[str] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self._each = min(self.count, len(self.train.groups), MOST)
        self._chosen = set(self._draw(0, self.count))

    def add(self, synthetic: Sample) -> None:
        """Add the next cubes of the set."""
        rows = [i for i in range(len(synthetic.groups)) if self._seen + i in self._chosen]
        self._seen += len(synthetic.groups)
        if rows:
            self._features.append(self._described(synthetic.cubes[rows]))
            self._groups += [synthetic.groups[i] for i in rows]

    def result(self) -> Recognisability:
        """Return the result for all cubes added."""
        rows = self._draw(1, len(self.train.groups))
        groups = [*self._groups, *(self.train.groups[i] for i in rows)]
        made = np.arange(len(groups)) < len(self._groups)
        few = min(len(set(self._groups)), len({self.train.groups[i] for i in rows}))
        if few < LEAST:
            note = f"not measured: fewer than {LEAST} groups of synthetic or of real cubes"
            return Recognisability(None, None, None, len(self._groups), len(rows), (note,))
        features = np.concatenate([*self._features, self._described(self.train.cubes[rows])])
        names = np.unique(groups, return_inverse=True)[1]
        found = cross_validated(features, made, names, self.seed)
        return Recognisability(found.value, *found.limits(), len(self._groups), len(rows))

    def _draw(self, stream: int, among: int) -> list[int]:
        return sorted(np.random.default_rng([self.seed, stream]).permutation(among)[: self._each].tolist())

    def _described(self, cubes: Cubes) -> Table:
        return lesion_features(cubes, automatic_masks(cubes, self.wavelengths))


def told_from_real(audit: Mapping[str, Any]) -> float | None:
    """Return the AUROC that summarises a set's audit, as a manifest keeps it: that of melanoma, else the highest.

    Return None if nothing was measured, as in older manifests.
    """
    found = {name: each["auroc"] for name, each in audit.get("recognisable", {}).items() if each["auroc"] is not None}
    return found.get(FIRST, max(found.values(), default=None))


def describe(audit: Mapping[str, Any]) -> list[str]:
    """Return one sentence for each diagnosis of a set's audit; older manifests without this measurement give none."""
    said = []
    for name, found in audit.get("recognisable", {}).items():
        if found["auroc"] is None:
            said.append(f"{name}: {'; '.join(found['notes'])}")
            continue
        warning = ": a classifier may learn to recognise synthetic cubes" if found["auroc"] > WARN else ""
        said.append(
            f"{name}: AUROC {found['auroc']:.3f} [{found['low']:.3f}, {found['high']:.3f}] on {found['synthetic']} "
            f"synthetic and {found['real']} train cubes, 0.5 is indistinguishable{warning}"
        )
    return said
