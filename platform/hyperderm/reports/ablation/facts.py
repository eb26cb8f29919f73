"""Facts of the report that predictions do not hold: data, arms, sets, protections, cells, cost and versions."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from hyperderm.statistics.ablation_results import HELPS, REAL, Analysis, ArmResult, Contrast, Decision
from hyperderm.statistics.learning_curve import CurveFacts
from hyperderm.studies.ablation.choice import Choice

Picture = NDArray[np.uint8]
LeftOut = tuple[str, str, str]
"""An arm and a model that the plan does not combine, and why."""


@dataclass(frozen=True)
class StoreFacts:
    """The store with the cubes of the grid.

    Attributes:
        name: the file name or address by which readers know the store.
        fingerprint: the fingerprint of the manifest of the store.
        shape: (H, W) in pixels.
        bands: number of wavelengths.
        diagnoses: diagnosis to its number of lesions in the whole store.
        negatives: the diagnoses that melanoma is told from (`task.negatives`).
        phantom: whether the skin is simulated; the report then states that it says nothing about patients.
    """

    name: str
    fingerprint: str
    shape: tuple[int, int]
    bands: int
    diagnoses: Mapping[str, int]
    negatives: str
    phantom: bool = False


@dataclass(frozen=True)
class Dose:
    """The amount of synthetic data that an arm was given.

    Attributes:
        generator: the generator that made the data.
        ratio: synthetic melanomas per real training melanoma, > 0.
        control: the arm that shows the same number of additional real melanomas.
    """

    generator: str
    ratio: float
    control: str


@dataclass(frozen=True)
class Declaration:
    """The contrasts that were declared before the first cell started.

    Attributes:
        contrasts: the declared family, in order.
        at: the time of the latest declaration.
        fingerprint: the fingerprint of the plan that holds the contrasts.
        late: contrasts that were declared after jobs had begun, so that results could have been seen before.
    """

    contrasts: tuple[Contrast, ...]
    at: datetime
    fingerprint: str
    late: tuple[Contrast, ...] = ()


@dataclass(frozen=True)
class SyntheticSet:
    """The synthetic set of one generator and fold, with its memorisation audit.

    Attributes:
        rejected: number of cubes that were discarded because they were out of the range of train.
        derived: whether the set was made from training cubes (for example from their RGB), so that it depends on them.
        checkpoint: sha256 of the generator's checkpoint.
        copies: share of cubes that are copies of a train lesion; if derived, of their own lesion only where the audit could
            judge that. None if not audited.
        flagged: whether the audit called the set memorised; None if not audited, or derived and not judged.
        detail: the other results of the audit.
        control: whether only negative controls read the set; then what it lacks is meant.
        recognisable: AUROC of telling the set's melanomas (else its most recognisable diagnosis) from real train cubes, by
            `metrics.recognisability`; .5 if they cannot be told apart, None if not measured.
    """

    generator: str
    fold: int
    count: int
    rejected: int
    derived: bool
    checkpoint: str
    copies: float | None = None
    flagged: bool | None = None
    detail: str = ""
    recognisable: float | None = None
    control: bool = False


@dataclass(frozen=True)
class Shortcut:
    """What the shortcut meter found for one arm and model: means over folds and seeds, None where nothing was measured.

    Attributes:
        logistic: AUROC with which a logistic regression tells the arm's synthetic melanomas from real ones.
        network: the same by a network of the model's own kind.
        melanoma: mean probability of melanoma of real melanomas of validation, and of synthetic ones that were not shown.
        negative: the same of other lesions.
        interval: 95 % interval of `network`, by Hanley and McNeil's variance of each fold's cubes.
    """

    arm: str
    model: str
    logistic: float | None = None
    network: float | None = None
    melanoma: tuple[float, float] | None = None
    negative: tuple[float, float] | None = None
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Protection:
    """One line of the box "how this was protected"; `passed` is the result of a check that was made."""

    what: str
    detail: str
    passed: bool


@dataclass(frozen=True)
class CellFailure:
    """A cell that failed for good."""

    arm: str
    model: str
    fold: int
    seed: int
    reason: str


@dataclass(frozen=True)
class Cells:
    """How many cells of the plan were run; planned = done + failed + not started."""

    planned: int
    done: int
    failed: tuple[CellFailure, ...] = ()

    @property
    def not_started(self) -> int:
        """The number of cells that the night had no time for."""
        return self.planned - self.done - len(self.failed)

    @property
    def complete(self) -> bool:
        """Whether every planned cell was run to its end."""
        return self.done == self.planned


@dataclass(frozen=True)
class Cost:
    """The hours of one arm over all its models, folds and seeds; its share of generator hours is counted separately."""

    gpu_hours: float
    cpu_hours: float
    generator_gpu_hours: float = 0.0
    generator_cpu_hours: float = 0.0


def no_picture(lesion_id: str) -> Picture | None:
    """Return None, so that the report says that this lesion has no picture."""
    return None


@dataclass(frozen=True)
class ReportFacts:
    """All facts of the report other than the numbers of the analysis.

    Attributes:
        name: the name of the grid.
        profile: "small" or another profile; for a small one the report prints a warning.
        folds: all folds of the store on which the grid was planned.
        seeds: the planned training seeds.
        models: name to one line on architecture and weights (with sha256 if pre-trained), in order.
        arms: name to a plain description, in the order of every table and figure; includes `REAL`.
        doses: arm to its dose, for arms with real and synthetic data; other arms (synthetic only, pre-trained …) are left
            out.
        started: start of the first cell, with time zone.
        ended: end of the last cell.
        steps: arm to the number of optimiser steps of one cell.
        versions: package to version.
        git_commit: the code that computes the report.
        jobs_by: commit to the number of jobs that it ran.
        missing: what the report lacks and why, one sentence each.
        picture: lesion_id to its display RGB (H, W, 3); None if there is no picture.
        recompute: the command that makes this report again.
        negative: the arms that are negative controls.
        choices: which arms validation chose, for each model, fold and seed.
        lost: arms and models whose comparison with the hurdle was declared and has no result.
        shortcuts: what the shortcut meter found.
        trained_on: what the arms of the learning curve and the synthetic ones were trained on; None without such a curve.
        left_out: the combinations of arm and model that the plan left out.
    """

    name: str
    profile: str
    store: StoreFacts
    folds: tuple[int, ...]
    seeds: tuple[int, ...]
    models: Mapping[str, str]
    arms: Mapping[str, str]
    doses: Mapping[str, Dose]
    declared: Declaration
    sets: tuple[SyntheticSet, ...]
    protections: tuple[Protection, ...]
    cells: Cells
    costs: Mapping[str, Cost]
    steps: Mapping[str, int]
    versions: Mapping[str, str]
    git_commit: str
    jobs_by: Mapping[str, int]
    lock_sha256: str
    started: datetime
    ended: datetime
    missing: tuple[str, ...] = ()
    picture: Callable[[str], Picture | None] = field(default=no_picture, compare=False)
    recompute: str = ""
    trained_on: CurveFacts | None = None
    negative: tuple[str, ...] = ()
    choices: tuple[Choice, ...] = ()
    shortcuts: tuple[Shortcut, ...] = ()
    lost: tuple[tuple[str, str], ...] = ()
    left_out: tuple[LeftOut, ...] = ()

    @property
    def lacking_controls(self) -> tuple[LeftOut, ...]:
        """The negative controls that the plan left out for a model, and why."""
        return tuple(each for each in self.left_out if each[0] in self.negative)

    @property
    def controls(self) -> tuple[str, ...]:
        """The control arms that were named in advance, in the order of their first use."""
        return tuple(dict.fromkeys(dose.control for dose in self.doses.values()))

    def ordered(self, arms: Iterable[str]) -> list[str]:
        """Return `arms` in the order of the report."""
        return sorted(arms, key=list(self.arms).index)


def grouped(left_out: Iterable[LeftOut]) -> dict[str, dict[str, list[str]]]:
    """Return model to reason to the arms that were left out for this reason, all in the order of their first place."""
    found: dict[str, dict[str, list[str]]] = {}
    for arm, model, reason in left_out:
        found.setdefault(model, {}).setdefault(reason, []).append(arm)
    return found


NOT_TRUSTED = "not trusted"
"""What figures and tables say instead of "helps" where a negative control helps too."""


def helping_controls(analysis: Analysis) -> list[Decision]:
    """Return the negative controls that help, because of which no result is to be trusted."""
    return [each for each in analysis.decisions if each.negative and each.verdict == HELPS]


def verdict_of(analysis: Analysis, asked: Contrast) -> str:
    """Return the verdict of a contrast: with a control, that control's; with `REAL`, the arm's only verdict; else "".

    It is `NOT_TRUSTED` for an arm that would be said to help in a study that a negative control made worthless.
    """
    found = [d for d in analysis.decisions if (d.arm, d.model) == (asked.arm, asked.model)]
    own = found if asked.reference == REAL else [d for d in found if asked.reference in (d.control, d.hurdle)]
    if len(own) != 1:
        return ""
    doubtful = own[0].verdict == HELPS and not own[0].negative and helping_controls(analysis)
    return NOT_TRUSTED if doubtful else own[0].verdict


def result_of(analysis: Analysis, arm: str, model: str) -> ArmResult | None:
    """Return the result of an arm with a model; None if an interrupted grid has no predictions of the two."""
    return next((r for r in analysis.arms if (r.arm, r.model) == (arm, model)), None)
