"""What an analysed ablation holds: plain frozen dataclasses, JSON without NaN (what is undefined is None plus a reason)."""

from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

HELPS: Final = "helps"
HURTS: Final = "hurts"
CANNOT_TELL: Final = "cannot tell"
Verdict = Literal["helps", "hurts", "cannot tell"]


@dataclass(frozen=True)
class Contrast:
    """A declared question: does `arm` differ from `reference` in the primary endpoint, with this `model`?"""

    arm: str
    reference: str
    model: str


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval.

    Attributes:
        value: None where undefined or unattainable; `reason` says why.
        low: lower end, None where there is no interval; `reason` says why.
        high: upper end, likewise.
        method: how the interval was made; empty without one.
        reason: empty unless something is missing or weaker than usual.
    """

    value: float | None
    low: float | None
    high: float | None
    method: str = ""
    reason: str = ""


@dataclass(frozen=True)
class CellValue:
    """One metric in one (fold, seed) cell; `value` None plus `reason` where it is undefined or unattainable."""

    fold: int
    seed: int
    value: float | None
    reason: str = ""


@dataclass(frozen=True)
class Counts:
    """Decisions about melanoma, each lesion by the threshold of its own cell, pooled over folds.

    `seed` is None for the mean over seeds, whose counts need not be whole.
    """

    seed: int | None
    tp: float
    fn: float
    fp: float
    tn: float


@dataclass(frozen=True)
class Curve:
    """A mean curve with a pointwise 95 % bootstrap band; all four of one length, `x` ascending in [0, 1].

    ROC: x = 1 − specificity, y = sensitivity. Precision-recall: x = recall (sensitivity), y = precision.
    """

    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True)
class ArmResult:
    """One arm with one model.

    Attributes:
        metrics: key of `METRICS` to estimate, in that order.
        cells: key of `METRICS` to the values of every (fold, seed), sorted by fold, then seed.
        counts: TP FN FP TN per seed, sorted.
        mean_counts: their mean over seeds.
        roc: mean ROC curve over cells.
        precision_recall: mean precision-recall curve over cells.
        calibration_error_raw: calibration error of the uncalibrated probabilities, to be read beside `calibration_error`.
        notes: sentences about what is unattainable or undefined.
        auroc_bca: the AUROC's BCa interval, a cross-check of the logit one; None where resamples do not differ.
    """

    arm: str
    model: str
    metrics: dict[str, Estimate]
    cells: dict[str, tuple[CellValue, ...]]
    counts: tuple[Counts, ...]
    mean_counts: Counts
    roc: Curve
    precision_recall: Curve
    calibration_error_raw: float | None
    notes: tuple[str, ...] = ()
    auroc_bca: tuple[float, float] | None = None


@dataclass(frozen=True)
class DelongCheck:
    """Fold-by-fold DeLong tests of one contrast, combined: a cross-check only, it knows neither groups nor seed variance.

    Attributes:
        difference: mean over folds and seeds of the AUROC differences.
        p: two-sided, of the combined z.
    """

    difference: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class ContrastResult:
    """Arm minus reference in the primary endpoint (AUROC within fold and seed, averaged).

    Attributes:
        low: 95 % interval of this contrast alone.
        adjusted_low: Holm-adjusted interval: excludes 0 exactly when Holm rejects at family level .05.
        p: two-sided, of this contrast alone.
        adjusted_p: Holm-adjusted.
        standard_error: of `difference`.
        detectable: smallest true difference that this many cases would have shown with 80 % power at the adjusted level.
        cells: difference in every (fold, seed).
        method: how the intervals were made.
        notes: what limits them, e.g. a single seed.
    """

    arm: str
    reference: str
    model: str
    difference: float
    low: float
    high: float
    adjusted_low: float
    adjusted_high: float
    p: float
    adjusted_p: float
    standard_error: float
    detectable: float
    cells: tuple[CellValue, ...]
    delong: DelongCheck | None
    method: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Decision:
    """The declared answer for one synthetic arm and model.

    Attributes:
        control: the pre-named control arm; the arm was compared with it and with `real`.
        verdict: "helps", "hurts" or "cannot tell".
        detectable: the larger of the two contrasts' smallest detectable differences.
        sentence: the answer in plain words with its numbers.
    """

    arm: str
    model: str
    control: str
    verdict: Verdict
    detectable: float
    sentence: str


@dataclass(frozen=True)
class DiagnosisErrors:
    """Wrong decisions among the lesions of one diagnosis; `errors` is the mean over seeds, `rate` = errors / lesions."""

    diagnosis: str
    truth: int
    arm: str
    model: str
    lesions: int
    errors: float
    rate: float


@dataclass(frozen=True)
class HardLesion:
    """A lesion that a model gets wrong.

    Attributes:
        error: mean over arms and seeds of |truth − probability|, in [0, 1].
        by_arm: arm to mean over seeds of the calibrated probability of melanoma.
        wrong_by_arm: arm to share of seeds whose decision was wrong.
    """

    lesion_id: str
    group: str
    diagnosis: str
    truth: int
    fold: int
    model: str
    error: float
    by_arm: dict[str, float]
    wrong_by_arm: dict[str, float]


@dataclass(frozen=True)
class BaselineComparison:
    """A deep model minus the spectral baseline on arm `real`, AUROC within fold; not part of the declared family."""

    model: str
    baseline: str
    difference: Estimate
    p: float
    sentence: str


@dataclass(frozen=True)
class UndeclaredDifference:
    """An arm that no declared contrast asks about, minus `real`: AUROC within fold, without adjustment."""

    arm: str
    model: str
    difference: Estimate
    p: float


@dataclass(frozen=True)
class Analysis:
    """Everything the report says, computed from the predictions alone.

    Attributes:
        lesions: distinct lesions.
        groups: distinct groups (source images).
        melanomas: distinct melanoma lesions.
        melanoma_groups: distinct groups that hold a melanoma.
        arms: results in the order of (arm, model) in the predictions.
        contrasts: in the order they were declared.
        diagnoses: per-diagnosis errors, by (diagnosis, model, arm).
        hardest: worst-classified lesions per model, worst first.
        notes: what limits the whole analysis.
    """

    lesions: int
    groups: int
    melanomas: int
    melanoma_groups: int
    folds: tuple[int, ...]
    seeds: tuple[int, ...]
    models: tuple[str, ...]
    arm_names: tuple[str, ...]
    resamples: int
    seed: int
    family_level: float
    arms: tuple[ArmResult, ...]
    contrasts: tuple[ContrastResult, ...]
    decisions: tuple[Decision, ...]
    baselines: tuple[BaselineComparison, ...]
    diagnoses: tuple[DiagnosisErrors, ...]
    hardest: tuple[HardLesion, ...]
    notes: tuple[str, ...] = field(default=())
    unanswered: int = 0
    """Declared contrasts without predictions: in Holm's family with p = 1."""
    undeclared: tuple[UndeclaredDifference, ...] = ()
    """In the order of `arms`."""

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-serialisable values; no NaN or infinity occurs."""
        return asdict(self)

    def arm(self, arm: str, model: str) -> ArmResult:
        """Return the result of one arm and model; KeyError when there is none."""
        for result in self.arms:
            if (result.arm, result.model) == (arm, model):
                return result
        raise KeyError((arm, model))


METRICS: dict[str, str] = {
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "precision": "precision",
    "f1": "F1",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "specificity_at_sensitivity_95": "specificity at sensitivity .95",
    "sensitivity_at_specificity_90": "sensitivity at specificity .90",
    "brier": "Brier score",
    "calibration_error": "calibration error",
}
"""Key to the name people read. Lower is better for `LOWER_IS_BETTER`, higher for the rest."""
LOWER_IS_BETTER = ("brier", "calibration_error")
PRIMARY = "auroc"
