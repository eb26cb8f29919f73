"""What more real melanomas are worth to a model, and what a synthetic melanoma is worth in real ones.

The AUROC is taken to rise by the same amount, b, with every doubling of the real melanomas in train. b is the slope of a
least-squares line through the AUROCs of arms that are trained on shares of the melanomas. It is a weighted sum of these
AUROCs, so its interval is that of any difference of arms (`paired.combination`).

An arm that adds m synthetic melanomas to n real ones and gains g over its reference is worth as much as
n (2^(g / b) − 1) more real melanomas; divided by m this is the exchange rate. b is then the slope of the reference's own
curve, whose points have its augmentation and its balance of the classes: along that of `real`, which has neither, a perfect
generator's rate is not 1. The interval of g / b is the set of ratios r
for which a two-sided test at 95 % does not reject g − r b = 0 (Fieller, J. R. Stat. Soc. B 16, 1954). Each such test is that
of a difference of arms, with its own variance and degrees of freedom, and the larger stretch of g and b. The set is an
interval only if the test rejects b = 0; else the rate is not defined.

Two limits, measured on simulated studies of 85 melanoma groups, 5 folds and 3 seeds (2026-11-30). Where the curve flattens,
b is larger than what the next melanomas give, and the rate is too small: with gains of .065, .037 and .021 for successive
doublings, a rate of 1 came out as .29 (median), and its interval held it in 82 % of studies. A bend is noted only if it
is seen beyond noise, there in 8 %. On a curve that barely rises (.03 a doubling), a rate of .5 came out as .25 (median),
since rates are told only where b came out large; the interval held it in 95.6 %.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
from scipy.optimize import brentq

from hyperderm.errors import StudyError
from hyperderm.statistics.ablation_results import (
    CANNOT_BE_TOLD,
    REAL,
    WOULD_HELP,
    WOULD_NOT,
    CurvePoint,
    Estimate,
    ExchangeRate,
    LearningCurve,
    Usefulness,
)
from hyperderm.statistics.intervals import critical
from hyperderm.statistics.paired import Difference, auroc, combination
from hyperderm.statistics.panel import Panel, common
from hyperderm.statistics.resampling import BootstrapWeights, bootstrap

SMALLEST_GAIN = 0.01
"""The smallest gain of AUROC per doubling of the melanomas that is of interest. The AUROC is the mean sensitivity
over all specificities, so a gain of .01 is one more of 100 melanomas found. Less does not pay for twice as many lesions."""
MOST_DOUBLINGS = 5.0
"""A ratio g / b above this value, 32 times the real melanomas, is too far from any measured curve to be told as a number."""
CHECKED_GROUPS = 24
"""The fewest groups of melanoma, in all tested folds, of the simulated studies in which it was measured how often the
intervals of learning curves and exchange rates hold the truth (tests/statistics/test_learning_curve.py). With fewer, an
exchange rate is not defined, and a curve carries a note."""
BEND_LEVEL = 0.05
"""A bend of the curve is noted if its p value is below this level."""


@dataclass(frozen=True)
class CurveFacts:
    """What the arms were trained on.

    Attributes:
        shares: by arm, the share of the melanomas of train that it is trained on, in (0, 1]; 1 for `real`. These arms make
            the curve; they differ in nothing else and get as many steps.
        controls: by reference of a synthetic arm other than `real`, the shares of the arms that make its own curve, itself
            among them. They show their melanomas equally often, all together.
        melanomas: by fold, the number of melanoma lesions in train.
        synthetic: by arm, its reference and the number of synthetic melanomas that it adds to train, mean over folds.
        alone: arms and models whose only reference is `real`.

    Raises:
        StudyError: a share or a number is out of range, or an arm is its own reference.
    """

    shares: Mapping[str, float]
    melanomas: Mapping[int, int]
    synthetic: Mapping[str, tuple[str, float]] = field(default_factory=dict)
    controls: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    alone: Collection[tuple[str, str]] = ()

    def __post_init__(self) -> None:
        shares = [*self.shares.items(), *(each for points in self.controls.values() for each in points.items())]
        for arm, share in shares:
            if not 0 < share <= 1:
                raise StudyError(f"arm {arm!r} has the share {share} of the melanomas", "A share is above 0 and at most 1.")
        for fold, count in self.melanomas.items():
            if count < 1:
                raise StudyError(f"train of fold {fold} has {count} melanomas", "A learning curve needs melanomas in train.")
        for arm, (reference, added) in self.synthetic.items():
            if arm == reference:
                raise StudyError(
                    f"arm {arm!r} is its own reference", "Name the arm that lacks the synthetic melanomas only."
                )
            if not 0 <= added < np.inf:
                raise StudyError(f"arm {arm!r} adds {added} synthetic melanomas", "Give their mean number over folds.")

    def of(self, arm: str, model: str) -> tuple[str, float, Mapping[str, float]]:
        """Return the reference of a synthetic arm, the melanomas that it adds, and the shares of the reference's curve."""
        reference, synthetic = self.synthetic[arm]
        if (arm, model) in self.alone:
            reference = REAL
        return reference, synthetic, self.shares if reference == REAL else self.controls.get(reference, {})

    def mean_melanomas(self, panel: Panel) -> float:
        """Return the number of melanomas in train, mean over the folds of a panel."""
        missing = [fold.number for fold in panel.folds if fold.number not in self.melanomas]
        if missing:
            raise StudyError(
                f"the number of melanomas in train of fold {missing[0]} is not given, but fold {missing[0]} has predictions",
                f"Name every fold; named: {', '.join(map(str, sorted(self.melanomas))) or 'none'}.",
            )
        return float(np.mean([self.melanomas[fold.number] for fold in panel.folds]))


def learning_curves(
    panels: Mapping[tuple[str, str], Panel], facts: CurveFacts, *, seed: int = 0, resamples: int = 2000
) -> tuple[tuple[LearningCurve, ...], tuple[ExchangeRate, ...]]:
    """Return the learning curve of each model, and the exchange rate of each synthetic arm and model.

    Panels that lack cells are compared over the cells that all of them have.

    Args:
        panels: by (arm, model); a model without any arm of the curve is left out, as is an arm without predictions.
        facts: what the arms were trained on.
        seed: seed of the bootstrap.
        resamples: number of bootstrap resamples.

    Raises:
        StudyError: arms test different lesions, there are too few groups for any interval, or `facts` lacks a fold.
    """
    curves, rates = [], []
    for model in dict.fromkeys(model for _, model in panels):
        mine = {arm: panel for (arm, of), panel in panels.items() if of == model}
        points = sorted((arm for arm in mine if arm in facts.shares), key=lambda arm: (facts.shares[arm], arm))
        if points:
            curves.append(_curve(model, [mine[arm] for arm in points], facts, seed, resamples))
        rates += [_exchange_rate(mine, arm, facts, seed, resamples) for arm in sorted(facts.synthetic) if arm in mine]
    return tuple(curves), tuple(rates)


def slope_coefficients(shares: Sequence[float]) -> tuple[float, ...]:
    """Return the coefficients that make of AUROCs at these shares their least-squares slope on log2(share).

    Raises:
        ValueError: all shares are equal.
    """
    x = np.log2(np.asarray(shares, float))
    x -= x.mean()
    if not np.ptp(x) > 0:
        raise ValueError(f"a slope needs two different shares, got {list(shares)}")
    return tuple((x / (x**2).sum()).tolist())


def bend_coefficients(shares: Sequence[float]) -> tuple[float, ...]:
    """Return the coefficients of the least-squares quadratic term on log2(share), for three different shares or more."""
    x = np.log2(np.asarray(shares, float))
    return tuple(np.linalg.pinv(np.vander(x - x.mean(), 3))[0].tolist())


def ratio_limits(numerator: Difference, denominator: Difference) -> tuple[float, float] | None:
    """Return the 95 % limits of numerator / denominator by Fieller's method, or None if they are not those of an interval.

    Args:
        numerator: a combination of panels.
        denominator: a combination of the same panels.
    """
    stretch = max(numerator.stretch, denominator.stretch)

    def excess(ratio: float) -> float:
        apart = numerator.less(denominator, ratio)
        return abs(apart.value) - stretch * critical(apart.variance.df) * apart.error

    if abs(denominator.value) <= stretch * critical(denominator.variance.df) * denominator.error:
        return None
    middle = numerator.value / denominator.value
    ends = []
    for side in (-1.0, 1.0):
        step = numerator.error / abs(denominator.value)
        while excess(middle + side * step) <= 0:
            step *= 2
        ends.append(float(brentq(excess, middle, middle + side * step)))
    return ends[0], ends[1]


def _curve(model: str, panels: Sequence[Panel], facts: CurveFacts, seed: int, resamples: int) -> LearningCurve:
    both = _largest_common(panels)
    used = both or tuple(panels)
    shares = [facts.shares[panel.arm] for panel in used]
    points = tuple(_point(panel, facts) for panel in used)
    missing = "the arms of the curve have no cell in common" if both is None else _too_few(shares)
    if missing:
        cells = len(used[0].blocks) if both else 0
        return LearningCurve(model, points, _undefined(missing), None, CANNOT_BE_TOLD, SMALLEST_GAIN, cells)
    weights = bootstrap(used[0], resamples, seed)
    slope = combination(used, slope_coefficients(shares), weights)
    low, high = slope.interval()
    method = f"least squares on log2(melanomas); Student's t stretched by {slope.stretch:.2f}, as for contrasts"
    return LearningCurve(
        model=model,
        points=points,
        slope=Estimate(slope.value, low, high, method),
        p=slope.p,
        usefulness=_usefulness(low, high),
        smallest_gain=SMALLEST_GAIN,
        cells=len(used[0].blocks),
        notes=tuple(_curve_notes(panels, used, shares, weights)),
    )


def _largest_common(panels: Sequence[Panel]) -> tuple[Panel, ...] | None:
    """Return the points of a curve over their common cells; where all have none, those of most points, then most cells.

    The last point, of the largest share, is always among them. Calls of one grid may have asked for different shares on
    different folds. None if no other point shares a cell with the last one.
    """
    if both := common(*panels):
        return both
    for count in range(len(panels) - 2, 0, -1):
        found = [both for some in combinations(panels[:-1], count) if (both := common(*some, panels[-1]))]
        if found:
            return max(found, key=lambda each: len(each[0].blocks))
    return None


def _point(panel: Panel, facts: CurveFacts) -> CurvePoint:
    found, share = auroc(panel), facts.shares[panel.arm]
    estimate = Estimate(found.value, *found.limits(), "logit, DeLong's variance clustered by group, seeds nested")
    return CurvePoint(panel.arm, share, share * facts.mean_melanomas(panel), estimate)


def _too_few(shares: Sequence[float], arm: str = REAL) -> str:
    whose = "a curve" if arm == REAL else f"the learning curve of {arm}"
    return "" if len(set(shares)) > 1 else f"{whose} needs two shares of the melanomas"


def _undefined(reason: str) -> Estimate:
    return Estimate(None, None, None, reason=reason)


def _usefulness(low: float, high: float) -> Usefulness:
    """Return whether more melanomas would help: the slope's interval lies above 0, or else below the smallest gain."""
    if low > 0:
        return WOULD_HELP
    return WOULD_NOT if high < SMALLEST_GAIN else CANNOT_BE_TOLD


def _curve_notes(
    panels: Sequence[Panel], used: Sequence[Panel], shares: Sequence[float], weights: BootstrapWeights
) -> Iterator[str]:
    if left := [panel.arm for panel in panels if panel.arm not in {each.arm for each in used}]:
        alone = "shares no cell with the other points and is" if len(left) == 1 else "share no cell with the others and are"
        yield f"{', '.join(left)} {alone} left out."
    yield from _cell_notes([panel for panel in panels if panel.arm not in left], used)
    if (groups := _melanoma_groups(used[0])) < CHECKED_GROUPS:
        yield (
            f"It rests on {groups} groups (patients or images) of melanoma that are tested: how often such intervals hold "
            f"the truth was checked down to {CHECKED_GROUPS}, and not for fewer."
        )
    if all(len(fold.seeds) == 1 for fold in used[0].folds):
        yield (
            "One seed: the interval cannot hold what training again would change; such intervals held the truth in about "
            "90 % of simulated studies."
        )
    bend = _bend(used, shares, weights)
    if bend is not None:
        way = "less" if bend.value < 0 else "more"
        yield (
            f"The curve is not a straight line (p = {bend.p:.3f}): the last doubling gained {way} than the slope says, "
            "so a further one may do so too."
        )


def _bend(used: Sequence[Panel], shares: Sequence[float], weights: BootstrapWeights) -> Difference | None:
    """Return the quadratic term of the curve, or None if it has less than three points or the term may be 0."""
    if len(set(shares)) < 3:
        return None
    bend = combination(used, bend_coefficients(shares), weights)
    return bend if bend.p < BEND_LEVEL else None


def _cell_notes(panels: Sequence[Panel], used: Sequence[Panel]) -> Iterator[str]:
    kept, most = len(used[0].blocks), max(len(panel.blocks) for panel in panels)
    if kept < most:
        yield f"Compared over the {kept} of {most} cells that all arms have."


def _exchange_rate(mine: Mapping[str, Panel], arm: str, facts: CurveFacts, seed: int, resamples: int) -> ExchangeRate:
    model, melanomas = mine[arm].model, facts.mean_melanomas(mine[arm])
    reference, synthetic, curve = facts.of(arm, model)
    points = sorted((name for name in curve if name in mine), key=lambda name: (curve[name], name))
    names = list(dict.fromkeys((arm, reference, *points)))
    missing = f"no predictions of the reference {reference!r}" if reference not in mine else ""
    used = None if missing else common(*(mine[name] for name in names))
    if used is None:
        why = missing or "the arm, its reference and the curve have no cell in common"
        return ExchangeRate(arm, model, reference, melanomas, synthetic, _undefined(why), _undefined(why))
    weights, melanomas = bootstrap(used[0], resamples, seed), facts.mean_melanomas(used[0])
    gain = combination(used, _placed(names, {arm: 1.0, reference: -1.0}), weights)
    estimate = Estimate(gain.value, *gain.interval(), f"as for contrasts, stretched by {gain.stretch:.2f}")
    shares = [curve[name] for name in points]
    notes = tuple(_cell_notes([mine[name] for name in names], used))
    why = _too_few(shares, reference) or ("the arm adds no synthetic melanomas" if synthetic == 0 else "")
    if (groups := _melanoma_groups(used[0])) < CHECKED_GROUPS:
        why = why or (
            f"only {groups} groups (patients or images) of melanoma are tested, fewer than the {CHECKED_GROUPS} down to "
            "which its interval was checked"
        )
    if why:
        return ExchangeRate(arm, model, reference, melanomas, synthetic, estimate, _undefined(why), notes)
    slope = combination(used, _placed(names, dict(zip(points, slope_coefficients(shares), strict=True))), weights)
    rate, more = _rate(gain, slope, melanomas, synthetic, min(shares), reference)
    bend = _bend([used[names.index(name)] for name in points], shares, weights) if rate.value is not None else None
    if bend is not None:
        way = "small" if bend.value < 0 else "large"
        more.append(f"The curve is not a straight line (p = {bend.p:.3f}): a rate other than 0 is likely told too {way}.")
    own = Estimate(slope.value, *slope.interval(), f"as for contrasts, stretched by {slope.stretch:.2f}")
    return ExchangeRate(arm, model, reference, melanomas, synthetic, estimate, rate, (*notes, *more), own)


def _melanoma_groups(panel: Panel) -> int:
    """Return how many groups with a melanoma the folds of a panel test."""
    return sum(len(np.unique(fold.group[fold.truth.astype(bool)])) for fold in panel.folds)


def _placed(names: Sequence[str], coefficients: Mapping[str, float]) -> list[float]:
    return [coefficients.get(name, 0.0) for name in names]


def _rate(
    gain: Difference, slope: Difference, melanomas: float, synthetic: float, smallest: float, reference: str
) -> tuple[Estimate, list[str]]:
    """Return the exchange rate with its notes; `smallest` is the smallest share of the reference's curve."""
    low, high = slope.interval()
    if low <= 0:
        whose = "the learning curve" if reference == REAL else f"the learning curve of {reference}"
        flat = f"{whose} does not surely rise ({slope.value:+.3f} [{low:+.3f}, {high:+.3f}] per doubling)"
        return _undefined(flat), []
    limits = ratio_limits(gain, slope)
    if limits is None:
        return _undefined("the learning curve rises too little for a ratio of the gain to it"), []
    ratio = gain.value / slope.value
    if ratio > MOST_DOUBLINGS:
        return _undefined("the gain is far beyond what any number of real melanomas gives by this curve"), []
    low, value = (melanomas * (2**each - 1) / synthetic for each in (limits[0], ratio))
    top = melanomas * (2 ** limits[1] - 1) / synthetic if limits[1] <= MOST_DOUBLINGS else None
    method = "the learning curve inverted; Fieller's interval of gain / slope, as for contrasts"
    reason = "" if top is not None else "the interval has no upper end of practical meaning"
    notes = [
        f"The {what} reaches {way} the measured curve ({smallest * melanomas:.0f} to {melanomas:.0f} real melanomas"
        f"{', and twice as many' if way == 'above' else ''}): an extrapolation."
        for way, what in _beyond(limits, ratio, smallest)
    ]
    return Estimate(value, low, top, method, reason), notes


def _beyond(limits: tuple[float, float], ratio: float, smallest: float) -> Iterator[tuple[str, str]]:
    """Yield the sides on which the rate, or else its interval, leaves the curve: its smallest share, or all twice over."""
    if limits[1] > 1:
        yield "above", "rate" if ratio > 1 else "interval"
    if 2 ** limits[0] < smallest:
        yield "below", "rate" if 2**ratio < smallest else "interval"
