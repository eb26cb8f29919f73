"""The primary endpoint, AUROC within fold averaged over folds and seeds, and its difference between two arms.

The interval of a difference is ± Student's critical value times the standard error (clustered DeLong, plus the part of the
seeds). The critical value is stretched if the bootstrap shows that the studentised difference has heavier tails. The
bootstrap draws groups within (fold, class), paired over arms and seeds, and draws trainings anew within each fold (seeds
nested). The interval is symmetric, because the coverage of percentile and equal-tailed bootstrap-t intervals fell to 89 % in
simulations. A combination of the arms' own intervals (MOVER) is up to 2.5 times wider if the arms are similar, as here.

The interval covers other lesions like these and other seeds, for these folds. Seeds are taken as independent between folds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from hyperderm.statistics.clustered import Variance, components
from hyperderm.statistics.intervals import LEVEL, Auroc, critical
from hyperderm.statistics.panel import Fold, Panel, same_lesions
from hyperderm.statistics.resampling import BootstrapWeights

POWER = 0.8
WIDEST_STRETCH = 2.0
"""Largest stretch. Above this value the resamples are degenerate: most show no spread and tell nothing about tails."""
LEAST_MOVE = 0.1
"""Share of the negatives that one melanoma group is assumed to move past; its effect is added, squared, to every squared
standard error. So arms that rank all lesions alike get an interval too. The effect matters near AUROC 1, where few lesions
determine the variance, and fades as 1 / n elsewhere."""


def auroc(panel: Panel) -> Auroc:
    """Return the AUROC averaged over seeds, then over folds."""
    kernels = [fold.kernel for fold in panel.folds]
    cells = [kernel.mean((1, 2)) for kernel in kernels]
    return Auroc(_mean(cells), _variance(cells, kernels, panel.folds), panel.sizes)


@dataclass(frozen=True, eq=False)
class Combination:
    """A weighted sum of the AUROCs of P panels that test the same lesions; the coefficients sum to 0.

    Attributes:
        coefficients: (P,) coefficient of every panel.
        cells: for each fold (S_k,), the value in every cell.
        influences: for each fold (S_k, G_k), the influence of each group on the value of its cell.
        strata: for each fold (G_k,), 1 for groups that hold a melanoma, else 0.
    """

    coefficients: NDArray[np.float64]
    cells: tuple[NDArray[np.float64], ...]
    influences: tuple[NDArray[np.float64], ...]
    strata: tuple[NDArray[np.intp], ...]

    @property
    def value(self) -> float:
        """The weighted sum of the AUROCs, each averaged over seeds, then over folds."""
        return _mean(self.cells)

    @property
    def scale(self) -> float:
        """The largest value that AUROCs between 0 and 1 can give: 1 for arm minus reference."""
        return float(np.abs(self.coefficients).sum() / 2)

    @cached_property
    def variance(self) -> Variance:
        """The variance of `value`."""
        return components(self.cells, self.influences, self.strata, np.full(len(self.cells), 1 / len(self.cells)))

    @cached_property
    def error(self) -> float:
        """The standard error of `value`, never 0 (see `LEAST_MOVE`)."""
        melanoma_groups = sum(int(stratum.sum()) for stratum in self.strata)
        return float(np.hypot(self.variance.error, LEAST_MOVE * self.scale / melanoma_groups))

    def less(self, other: "Combination", factor: float) -> "Combination":
        """Return this combination minus `factor` times another one of the same panels."""
        return Combination(
            self.coefficients - factor * other.coefficients,
            tuple(a - factor * b for a, b in zip(self.cells, other.cells, strict=True)),
            tuple(a - factor * b for a, b in zip(self.influences, other.influences, strict=True)),
            self.strata,
        )


@dataclass(frozen=True, eq=False)
class Difference(Combination):
    """A combination with its interval, such as the difference of AUROC, arm minus reference.

    Attributes:
        stretch: factor of Student's critical values from the bootstrap, at least 1.
    """

    stretch: float

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """Return the interval at `level`; it excludes 0 exactly if `p` < 1 − level."""
        half = self.stretch * critical(self.variance.df, level) * self.error
        return max(-self.scale, self.value - half), min(self.scale, self.value + half)

    @property
    def p(self) -> float:
        """The two-sided p value: 1 − the level at which the interval reaches 0."""
        ratio = abs(self.value) / self.error / self.stretch
        return float(2 * student.sf(ratio, max(self.variance.df, 1.0)))

    def detectable(self, alpha: float) -> float:
        """Return the smallest true difference that a two-sided test at `alpha` shows with 80 % power on such cases."""
        df = max(self.variance.df, 1.0)
        quantiles = self.stretch * critical(df, 1 - alpha) + float(student.ppf(POWER, df))
        return float(min(self.scale, quantiles * self.error))


def difference(arm: Panel, reference: Panel, weights: BootstrapWeights) -> Difference:
    """Return the difference between two arms.

    Args:
        arm: the panel of the arm.
        reference: the panel of the reference, tested on the same lesions, folds and seeds.
        weights: bootstrap weights, drawn for either panel.

    Raises:
        StudyError: the panels are not comparable, or there are too few groups for any interval.
    """
    return combination((arm, reference), (1.0, -1.0), weights)


def combination(panels: Sequence[Panel], coefficients: Sequence[float], weights: BootstrapWeights) -> Difference:
    """Return the weighted sum of the AUROCs of several arms.

    Args:
        panels: P panels of one model, tested on the same lesions, folds and seeds.
        coefficients: (P,) coefficient of every panel; they sum to 0.
        weights: bootstrap weights, drawn for any of the panels.

    Raises:
        StudyError: the panels are not comparable, or there are too few groups for any interval.
        ValueError: the coefficients do not sum to 0, so the value is no difference between arms.
    """
    if abs(sum(coefficients)) > 1e-9 * sum(map(abs, coefficients)):
        raise ValueError(f"coefficients of a difference sum to 0, not {list(coefficients)}")
    for other in panels[1:]:
        same_lesions(panels[0], other)
    folds = panels[0].folds
    kernels = [_weighted(coefficients, [panel.folds[k].kernel for panel in panels]) for k in range(len(folds))]
    cells = tuple(kernel.mean((1, 2)) for kernel in kernels)
    influences = tuple(_influence(kernel, fold) for kernel, fold in zip(kernels, folds, strict=True))
    made = Combination(np.array(coefficients), cells, influences, tuple(fold.strata for fold in folds))
    stretch = _stretch(cells, [kernel.mean(0) for kernel in kernels], folds, made.variance, weights)
    return Difference(made.coefficients, cells, influences, made.strata, stretch)


def _weighted(coefficients: Sequence[float], kernels: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    total = np.zeros_like(kernels[0])
    for coefficient, kernel in zip(coefficients, kernels, strict=True):
        if coefficient:
            total += coefficient * kernel
    return total


def _mean(cells: Sequence[NDArray[np.float64]]) -> float:
    """Return the mean over folds of the means over seeds."""
    return float(np.mean([fold.mean() for fold in cells]))


def _variance(
    cells: Sequence[NDArray[np.float64]], kernels: Sequence[NDArray[np.float64]], folds: Sequence[Fold]
) -> Variance:
    influences = [_influence(kernel, fold) for kernel, fold in zip(kernels, folds, strict=True)]
    return components(cells, influences, [fold.strata for fold in folds], np.full(len(folds), 1 / len(folds)))


def _influence(kernel: NDArray[np.float64], fold: Fold) -> NDArray[np.float64]:
    """Return the influence of each group on the kernel's mean, (S, m, n) -> (S, G): DeLong's placements summed by group."""
    middle = kernel.mean((1, 2))[:, None]
    phi = np.empty((len(kernel), len(fold.truth)))
    phi[:, fold.truth] = (kernel.mean(2) - middle) / kernel.shape[1]
    phi[:, ~fold.truth] = (kernel.mean(1) - middle) / kernel.shape[2]
    return phi @ fold.member


def _stretch(
    cells: Sequence[NDArray[np.float64]],
    kernels: Sequence[NDArray[np.float64]],
    folds: Sequence[Fold],
    variance: Variance,
    weights: BootstrapWeights,
) -> float:
    """Return the bootstrap's 95 % point of |T*| divided by Student's, limited to 1 … `WIDEST_STRETCH`.

    T* = (difference* − difference) / error*, with error* computed anew in every resample (symmetric bootstrap-t, Hall 1988).
    """
    drawn = [_resampled(*each) for each in zip(kernels, folds, weights.folds, strict=True)]
    shift = np.mean([value - kernel.mean() for (value, _), kernel in zip(drawn, kernels, strict=True)], 0)
    spread = np.sum([squared for _, squared in drawn], 0) / len(folds) ** 2
    if variance.seeds > 0:
        more_shift, more_spread = _seeds_resampled(cells, variance.seeds, weights)
        shift, spread = shift + more_shift, spread + more_spread
    moved = shift != 0
    ratio = np.zeros(len(shift))
    with np.errstate(divide="ignore"):
        ratio[moved] = np.abs(shift[moved]) / np.sqrt(spread[moved])
    point = float(np.quantile(ratio, LEVEL, method="higher"))
    return min(WIDEST_STRETCH, max(1.0, point / critical(variance.df)))


def _resampled(
    kernel: NDArray[np.float64], fold: Fold, weights: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the weighted mean of one fold's kernel (m, n) and its clustered variance in every resample, both (R,)."""
    lesions = weights @ fold.member.T
    positive, negative = lesions[:, fold.truth], lesions[:, ~fold.truth]
    positives, negatives = positive.sum(1, keepdims=True), negative.sum(1, keepdims=True)
    rows, columns = negative @ kernel.T / negatives, positive @ kernel / positives
    value = (rows * positive).sum(1, keepdims=True) / positives
    influence = (rows - value) / positives @ fold.member[fold.truth] + (columns - value) / negatives @ fold.member[
        ~fold.truth
    ]
    variance = np.zeros(len(weights))
    for label in (0, 1):
        mine = fold.strata == label
        count = int(mine.sum())
        if count > 1:
            own, times = influence[:, mine], weights[:, mine]
            centre = (own * times).sum(1, keepdims=True) / count
            variance += count / (count - 1) * (times * (own - centre) ** 2).sum(1)
    return value[:, 0], variance


def _seeds_resampled(
    cells: Sequence[NDArray[np.float64]], wanted: float, weights: BootstrapWeights
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the shift and the variance that a new draw of seeds in every fold adds to each resample, both (R,).

    The deviations of the cells are scaled so that the drawn means have the variance `wanted`. Without scaling they would
    also contain the noise of the lesions, and drawing from S values would reduce their variance (by half at S = 2).
    """
    rng, folds = weights.rng(), len(cells)
    deviations = [fold - fold.mean() for fold in cells]
    as_drawn = sum(float((each**2).mean()) / len(each) for each in deviations) / folds**2
    shift, estimate = np.zeros(len(weights)), np.zeros(len(weights))
    for each in deviations:
        seeds = len(each)
        if seeds > 1:
            drawn = (each * np.sqrt(wanted / as_drawn))[rng.integers(seeds, size=(len(weights), seeds))]
            shift += drawn.mean(1) / folds
            estimate += drawn.var(1, ddof=1) / seeds / folds**2
    return shift, estimate
