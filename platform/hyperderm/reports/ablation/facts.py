"""What the report says that predictions cannot know: data, arms, sets, protections, cells, cost, versions."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from hyperderm.statistics.ablation_results import Analysis, ArmResult, Contrast

Picture = NDArray[np.uint8]

REAL = "real"
"""The arm that every other one is told from."""


@dataclass(frozen=True)
class StoreFacts:
    """The cubes of the grid.

    Attributes:
        name: file name or address that people know the store by.
        fingerprint: of its manifest.
        shape: (H, W) in pixels.
        bands: number of wavelengths.
        diagnoses: diagnosis to its lesions in the whole store.
        negatives: what melanoma was told from (`task.negatives`).
        phantom: simulated skin; the report then says that it knows nothing of patients.
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
    """How much synthetic data an arm was given.

    Attributes:
        generator: who made it.
        ratio: synthetic melanomas per real training melanoma, > 0.
        control: the arm that was given as many real melanomas again.
    """

    generator: str
    ratio: float
    control: str


@dataclass(frozen=True)
class Declaration:
    """What was asked before the first cell started.

    Attributes:
        contrasts: the declared family, in order.
        at: when the last of them.
        fingerprint: of the plan that holds them.
        late: those that joined when jobs had begun, so that results could have been seen.
    """

    contrasts: tuple[Contrast, ...]
    at: datetime
    fingerprint: str
    late: tuple[Contrast, ...] = ()


@dataclass(frozen=True)
class SyntheticSet:
    """One fold's set of one generator, with its memorisation audit.

    Attributes:
        rejected: cubes out of train's range that were drawn and thrown away.
        derived: made from training cubes themselves (for example their own RGB), hence not independent of them.
        checkpoint: sha256 of the generator's checkpoint.
        copies: share of cubes closer to a training cube than the held-out real quantile; None when not audited.
        flagged: whether the audit called the set a copy of train; None when not audited.
        detail: anything else that the audit says.
        recognisable: AUROC with which its melanomas (else its most recognisable diagnosis) are told from real train ones
            by `metrics.recognisability`, .5 where they cannot be; None when not measured.
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


@dataclass(frozen=True)
class Protection:
    """One line of the box "how this was protected"; `passed` is what was checked, not what was hoped."""

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
    """How much of the plan was run; planned = done + failed + not started."""

    planned: int
    done: int
    failed: tuple[CellFailure, ...] = ()

    @property
    def not_started(self) -> int:
        """Cells that the night had no time for."""
        return self.planned - self.done - len(self.failed)

    @property
    def complete(self) -> bool:
        """Whether every planned cell was run to its end."""
        return self.done == self.planned


@dataclass(frozen=True)
class Cost:
    """Hours of one arm over all its models, folds and seeds; the generator's are this arm's share, counted apart."""

    gpu_hours: float
    cpu_hours: float
    generator_gpu_hours: float = 0.0
    generator_cpu_hours: float = 0.0


def no_picture(lesion_id: str) -> Picture | None:
    """Return None: the report then says that there is no picture of this lesion."""
    return None


@dataclass(frozen=True)
class ReportFacts:
    """Everything beside the numbers.

    Attributes:
        name: of the grid.
        profile: "small" or another one; a small one gets a warning.
        folds: all folds of the store that the grid was planned on.
        seeds: planned training seeds.
        models: name to one line on architecture and weights (with sha256 where pre-trained), in order.
        arms: name to a plain description, in the order of every table and figure; `REAL` among them.
        doses: arms with real and synthetic data to how much; other arms (synthetic only, pre-trained …) are left out.
        started: time of the first cell, with time zone.
        ended: time of the last one.
        steps: arm to optimiser steps of one cell.
        versions: package to version.
        missing: what the report lacks and why, one sentence each.
        picture: lesion_id to its display RGB (H, W, 3), None where there is none.
        recompute: the command that makes this report again.
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
    lock_sha256: str
    started: datetime
    ended: datetime
    missing: tuple[str, ...] = ()
    picture: Callable[[str], Picture | None] = field(default=no_picture, compare=False)
    recompute: str = ""

    @property
    def controls(self) -> tuple[str, ...]:
        """The pre-named control arms, in order of first use."""
        return tuple(dict.fromkeys(dose.control for dose in self.doses.values()))

    def ordered(self, arms: Iterable[str]) -> list[str]:
        """Return `arms` in the report's order."""
        return sorted(arms, key=list(self.arms).index)


def verdict_of(analysis: Analysis, asked: Contrast) -> str:
    """Return the verdict that a contrast belongs to: its control's own, or for `REAL` the arm's only one; else empty."""
    found = [d for d in analysis.decisions if (d.arm, d.model) == (asked.arm, asked.model)]
    own = found if asked.reference == REAL else [d for d in found if d.control == asked.reference]
    return own[0].verdict if len(own) == 1 else ""


def result_of(analysis: Analysis, arm: str, model: str) -> ArmResult | None:
    """Return the result of an arm with a model; None where an interrupted grid has no predictions of the two."""
    return next((r for r in analysis.arms if (r.arm, r.model) == (arm, model)), None)
