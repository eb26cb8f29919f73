"""The results of an analysed ablation: plain frozen dataclasses that give JSON without NaN.

An undefined number is None, with a reason.
"""

from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

REAL: Final = "real"
"""The arm that everything is compared with."""
HELPS: Final = "helps"
HURTS: Final = "hurts"
CANNOT_TELL: Final = "cannot tell"
Verdict = Literal["helps", "hurts", "cannot tell"]
WOULD_HELP: Final = "would help"
WOULD_NOT: Final = "would not"
CANNOT_BE_TOLD: Final = "cannot be told"
Usefulness = Literal["would help", "would not", "cannot be told"]
LARGEST_GAIN: Final = 0.5
"""Differences of AUROC are below this value: from chance to perfect."""


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
        value: the number; None if it is undefined or unattainable, and `reason` says why.
        low: lower end of the interval; None without an interval, and `reason` says why.
        high: upper end of the interval; None without an interval, and `reason` says why.
        method: how the interval was made; empty without an interval.
        reason: empty unless something is missing or weaker than usual.
    """

    value: float | None
    low: float | None
    high: float | None
    method: str = ""
    reason: str = ""

    @property
    def bounds(self) -> tuple[float, float, float]:
        """The number and the two ends of its interval, where neither can be missing."""
        assert self.value is not None
        assert self.low is not None
        assert self.high is not None
        return self.value, self.low, self.high


@dataclass(frozen=True)
class CellValue:
    """One metric in one (fold, seed) cell; if it is undefined or unattainable, `value` is None and `reason` says why."""

    fold: int
    seed: int
    value: float | None
    reason: str = ""


@dataclass(frozen=True)
class Counts:
    """Counts of decisions about melanoma, pooled over folds; each lesion is decided by the threshold of its own cell.

    `seed` is None for the mean over seeds, whose counts need not be whole numbers.
    """

    seed: int | None
    tp: float
    fn: float
    fp: float
    tn: float


@dataclass(frozen=True)
class Curve:
    """A mean curve with a pointwise 95 % bootstrap band; all four tuples have the same length, `x` ascends in [0, 1].

    ROC: x = 1 − specificity, y = sensitivity. Precision-recall: x = recall (sensitivity), y = precision.
    """

    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True)
class ArmResult:
    """The results of one arm with one model.

    Attributes:
        metrics: estimates by key of `METRICS`, in the order of `METRICS`.
        cells: values of every (fold, seed) by key of `METRICS`, sorted by fold, then seed.
        counts: TP FN FP TN of each seed, sorted by seed.
        mean_counts: the mean of `counts` over seeds.
        roc: mean ROC curve over cells.
        precision_recall: mean precision-recall curve over cells.
        calibration_error_raw: calibration error of the uncalibrated probabilities, to be read beside `calibration_error`.
        notes: sentences about unattainable or undefined metrics.
        auroc_bca: the AUROC's BCa interval, a cross-check of the logit interval; None if the resamples do not differ.
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
    """DeLong tests of one contrast, combined over folds; only a cross-check, because they ignore groups and seed variance.

    Attributes:
        difference: mean over folds and seeds of the AUROC differences.
        low: lower end of the 95 % interval.
        high: upper end of the 95 % interval.
        p: two-sided p value of the combined z.
    """

    difference: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class ContrastResult:
    """Arm minus reference in the primary endpoint (AUROC within fold and seed, averaged).

    Attributes:
        difference: the difference.
        low: lower end of the 95 % interval of this contrast alone.
        high: upper end of the 95 % interval of this contrast alone.
        adjusted_low: lower end of the Holm-adjusted interval, which excludes 0 exactly if Holm rejects at family level .05.
        adjusted_high: upper end of the Holm-adjusted interval.
        p: two-sided p value of this contrast alone.
        adjusted_p: Holm-adjusted p value.
        standard_error: standard error of `difference`.
        detectable: smallest true difference that this many cases would have shown with 80 % power at the adjusted level.
        cells: difference in every (fold, seed).
        delong: the cross-check by DeLong's tests; None if a fold has fewer than two lesions of a class.
        method: how the intervals were made.
        notes: sentences about the limits of the intervals, e.g. a single seed.
        lesion_variance: part of the variance of `difference` that only more lesions lower; None in earlier versions.
        seed_variance: part that more trainings lower too; 0 with one seed, because it is then unknown (and training noise
            of single lesions is then in `lesion_variance`); None in earlier versions.
        df: degrees of freedom of the variance; None if they are infinite, and in earlier versions.
        stretch: factor of Student's critical values from the bootstrap, at least 1; None in earlier versions.
        melanomas: number of melanomas that are compared; None in earlier versions.
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
    lesion_variance: float | None = None
    seed_variance: float | None = None
    df: float | None = None
    stretch: float | None = None
    melanomas: int | None = None


@dataclass(frozen=True)
class Decision:
    """The declared answer for one synthetic arm and model.

    Attributes:
        control: the control arm named in advance; the arm was compared with this control and with `real`.
        verdict: "helps", "hurts" or "cannot tell".
        detectable: the larger of the two contrasts' smallest detectable differences.
        negative: whether the arm is a negative control, which can teach nothing; if it helps, no result is to be trusted.
        hurdle: a further reference that the arm was compared with and had to beat, such as strong augmentation; "" for none.
    """

    arm: str
    model: str
    control: str
    verdict: Verdict
    detectable: float
    negative: bool = False
    hurdle: str = ""


@dataclass(frozen=True)
class DiagnosisErrors:
    """Wrong decisions among the lesions of one diagnosis; `errors` is their mean over seeds, `rate` is errors / lesions."""

    diagnosis: str
    truth: int
    arm: str
    model: str
    lesions: int
    errors: float
    rate: float


@dataclass(frozen=True)
class HardLesion:
    """A lesion with one of the largest errors of a model.

    Attributes:
        error: mean over arms and seeds of |truth − probability|, in [0, 1].
        by_arm: calibrated probability of melanoma, mean over seeds, by arm.
        wrong_by_arm: share of seeds whose decision was wrong, by arm.
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
    """The difference of AUROC within fold, deep model minus spectral baseline, on arm `real`; not in the declared family."""

    model: str
    baseline: str
    difference: Estimate
    p: float


@dataclass(frozen=True)
class UndeclaredDifference:
    """The difference of AUROC within fold, arm minus `real`, of an arm without declared contrast; it is not adjusted."""

    arm: str
    model: str
    difference: Estimate
    p: float


@dataclass(frozen=True)
class CurvePoint:
    """One point of a learning curve.

    Attributes:
        share: share of the melanomas of train that the arm is trained on, in (0, 1].
        melanomas: their number, mean over folds.
        auroc: AUROC within fold and seed, averaged over the cells that all points have.
    """

    arm: str
    share: float
    melanomas: float
    auroc: Estimate


@dataclass(frozen=True)
class LearningCurve:
    """The AUROC of one model against the number of real melanomas in train.

    Attributes:
        points: the measured points, by ascending share.
        slope: gain of AUROC per doubling of the melanomas, by least squares on log2(melanomas); without a value if the
            points do not give a line, and its `reason` says why. Not adjusted for several models.
        p: two-sided p value of the slope; None without a slope.
        usefulness: whether more real melanomas would help this model.
        smallest_gain: the smallest gain of AUROC per doubling that is of interest.
        cells: number of (fold, seed) cells that all points have.
        notes: sentences about the limits of the curve.
    """

    model: str
    points: tuple[CurvePoint, ...]
    slope: Estimate
    p: float | None
    usefulness: Usefulness
    smallest_gain: float
    cells: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ExchangeRate:
    """What a synthetic melanoma of one arm is worth in real ones, for one model.

    Every doubling of the real melanomas is taken to gain as much; where the curve flattens, the rate is too small.

    Attributes:
        reference: the arm that differs only in the synthetic melanomas, such as a control or `real`.
        melanomas: number of real melanomas in train, mean over folds.
        synthetic: number of synthetic melanomas that the arm adds, mean over folds.
        gain: AUROC of the arm minus that of the reference, over the cells that they and the curve have.
        rate: real melanomas per synthetic one; not defined if the curve does not surely rise, and `reason` says why. An
            upper end of None beside a value means that the interval has no end of practical meaning.
        notes: sentences about the limits of the rate.
        slope: gain per doubling of the reference's own curve, by which the rate is told; None without such a curve.
    """

    arm: str
    model: str
    reference: str
    melanomas: float
    synthetic: float
    gain: Estimate
    rate: Estimate
    notes: tuple[str, ...] = ()
    slope: Estimate | None = None


@dataclass(frozen=True)
class Analysis:
    """All content of the report, computed from the predictions alone.

    Attributes:
        lesions: number of distinct lesions.
        groups: number of distinct groups (source images).
        melanomas: number of distinct melanoma lesions.
        melanoma_groups: number of distinct groups that hold a melanoma.
        arms: results of each (arm, model), sorted by name with `real` first.
        contrasts: results of the contrasts, in the order of their declaration.
        diagnoses: errors for each diagnosis, sorted by (diagnosis, model, arm).
        hardest: the worst-classified lesions of each model, worst first.
        notes: sentences about the limits of the whole analysis.
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
    """Number of declared contrasts without predictions; they stay in Holm's family with p = 1."""
    undeclared: tuple[UndeclaredDifference, ...] = ()
    """Differences that no contrast declared, in the order of `arms`."""
    curves: tuple[LearningCurve, ...] = ()
    """The learning curve of each model; empty if no arm is trained on a share of the melanomas."""
    rates: tuple[ExchangeRate, ...] = ()
    """The exchange rate of each synthetic arm and model."""

    def to_dict(self) -> dict[str, Any]:
        """Return the whole analysis as JSON-serialisable values, without NaN and infinity."""
        return asdict(self)


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
"""Readable names of the metrics, by key. For `brier` and `calibration_error` lower is better, for the others higher."""
PRIMARY = "auroc"
