"""Power before a grid runs: closed forms, scaling, the smallest grid, and agreement with simulated studies."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import multivariate_normal, norm

from hyperderm.statistics import power
from hyperderm.statistics.learning_curve import slope_coefficients
from hyperderm.statistics.multiplicity import FAMILY_LEVEL
from hyperderm.statistics.paired import combination, difference
from hyperderm.statistics.panel import Panel
from hyperderm.statistics.power import Enough, OutOfReach, Spread, assumed, measured, median, needed
from hyperderm.statistics.resampling import bootstrap
from tests.simulation import LARGE, SMALL, Design, simulate

ALPHA = FAMILY_LEVEL / 4
SPREAD = Spread(lesions=2e-4, trainings=4e-4, folds=2, seeds=2, melanomas=48, others=192, stretch=1.1)


def first(panel: Panel, folds: int, seeds: int) -> Panel:
    """The panel of a smaller grid: its first folds and seeds."""
    scores = ("probability", "raw_probability", "threshold")
    return replace(
        panel,
        folds=tuple(
            replace(fold, seeds=fold.seeds[:seeds], **{name: getattr(fold, name)[:seeds] for name in scores})
            for fold in panel.folds[:folds]
        ),
    )


def pilot(arm: Panel, reference: Panel) -> Spread:
    found = difference(arm, reference, bootstrap(arm, 200, 0))
    cells = [len(fold.seeds) for fold in arm.folds]
    return measured(found.variance.fixed, found.variance.retrained, found.stretch, cells, tuple(arm.sizes.sum(0)))


# --- closed forms


@pytest.mark.parametrize(("auroc", "correlation"), [(0.6, 0.3), (0.75, 0.7), (0.9, 0.9)])
def test_the_correlation_is_that_of_bivariate_normal_comparisons(auroc, correlation):
    m, n, h = 20, 50, norm.ppf(auroc)

    def covariance(rho):
        both = [multivariate_normal([0, 0], [[1, r], [r, 1]]).cdf([h, h]) - auroc**2 for r in (rho, rho / 2)]
        return both[0] + (m - 1 + n - 1) * both[1]

    by_hand = covariance(correlation) / covariance(1 - 1e-9)
    assert power.auroc_correlation(auroc, correlation, m, n) == pytest.approx(by_hand, rel=1e-3)


def areas(scores, m):
    """The AUROC of each row of scores, melanomas first (Mann & Whitney)."""
    n = scores.shape[-1] - m
    return ((scores.argsort(-1).argsort(-1) + 1)[..., :m].sum(-1) - m * (m + 1) / 2) / (m * n)


def test_the_correlation_is_that_of_drawn_scores():
    auroc, correlation, m, n, draws = 0.75, 0.7, 24, 60, 3000
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(draws, 1, m + n))
    scores = np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * rng.normal(size=(draws, 2, m + n))
    scores[..., :m] += np.sqrt(2) * norm.ppf(auroc)
    found = areas(scores, m)
    assert found.mean() == pytest.approx(auroc, abs=0.005)
    assert np.corrcoef(found.T)[0, 1] == pytest.approx(power.auroc_correlation(auroc, correlation, m, n), abs=0.03)


def test_the_variance_of_a_difference_is_that_of_drawn_scores():
    """Independent arms with exponential scores, for which Hanley & McNeil's variance holds; melanomas have three times
    the mean, so AUROC .75."""
    m, n = 24, 60
    scores = np.random.default_rng(0).exponential(size=(3000, 2, m + n))
    scores[..., :m] *= 3
    found = areas(scores, m)
    assert (found[:, 0] - found[:, 1]).var() == pytest.approx(power.difference_variance(0.75, 0.0, m, n), rel=0.1)


def test_arms_that_rank_alike_do_not_differ():
    assert power.difference_variance(0.75, 1.0, 24, 96) == 0.0


# --- scaling


def test_parts_fall_with_folds_and_seeds():
    assert SPREAD.variance(2, 2) == pytest.approx(6e-4)
    assert SPREAD.variance(4, 2) == pytest.approx(3e-4)
    assert SPREAD.variance(2, 4) == pytest.approx(2e-4 + 2e-4)
    assert SPREAD.variance(5, 3) == pytest.approx(2e-4 * 2 / 5 + 4e-4 * 4 / 15)
    assert SPREAD.variance(2, power.ENDLESS) == pytest.approx(2e-4)


def test_degrees_of_freedom_are_those_of_the_part_that_matters():
    assert replace(SPREAD, lesions=0.0).df(5, 3) == pytest.approx(5 * 2)
    alone = replace(SPREAD, trainings=0.0)
    assert alone.df(5, 3) == alone.df(5, 20)
    assert 5 * (24 - 1) < alone.df(5, 3) < 5 * (24 + 96 - 2)
    assert replace(SPREAD, melanomas=24.0, others=24.0, trainings=0.0).df(5, 3) == pytest.approx(5 * 2 * 11)
    assert SPREAD.df(5, 1) == pytest.approx(alone.df(5, 1))
    assert replace(SPREAD, lesions=0.0, trainings=0.0).df(5, 3) == float("inf")


@pytest.mark.parametrize("seeds", [2, 3])
def test_a_pilot_of_the_same_grid_has_its_standard_error(seeds):
    arm, reference = simulate(Design(seeds=seeds), np.random.default_rng(3)).panels
    found = difference(arm, reference, bootstrap(arm, 200, 0))
    told = pilot(arm, reference)
    assert told.error(5, seeds) == pytest.approx(found.error)
    assert found.variance.noise > 0
    assert told.trainings == pytest.approx(found.variance.seeds + found.variance.noise)
    assert told.lesions + told.trainings == pytest.approx(found.variance.total)


def test_what_one_seed_cannot_show_is_assumed():
    arm, reference = (first(each, 2, 1) for each in simulate(Design(), np.random.default_rng(0)).panels)
    told = pilot(arm, reference)
    assert told.trainings == pytest.approx(2 * power.TRAINING_SD**2 / 2)
    assert told.variance(5, 4) == pytest.approx(told.lesions * 2 / 5 + 2 * power.TRAINING_SD**2 / 20)
    alone = measured(told.lesions, 0.0, 1.0, [1, 1], (48, 192), training_sd=0.0)
    assert alone.trainings == 0.0


def test_ragged_seeds_count_by_their_harmonic_mean():
    assert measured(1e-4, 1e-4, 1.0, [1, 3, 3], (48, 192)).seeds == pytest.approx(3 / (1 + 1 / 3 + 1 / 3))


def test_medians_are_taken_for_one_fold_and_one_seed():
    small = Spread(4e-4, 2e-4, 2, 1, 20, 80, 1.0)
    large = Spread(2e-4, 1e-4, 4, 2, 44, 160, 1.2)
    found = median([small, large, replace(small, lesions=9e-4)])
    assert found == Spread(8e-4, 4e-4, 1, 1, 10, 40, 1.0)
    assert median([large]).variance(5, 3) == pytest.approx(large.variance(5, 3))
    assert median([large]).df(5, 3) == pytest.approx(large.df(5, 3))


def test_assumptions_are_those_of_the_folds():
    sizes = [(24, 96), (20, 90)]
    found = assumed(sizes, auroc=0.8, correlation=0.5, training_sd=0.02)
    each = [power.difference_variance(0.8, 0.5, *size) for size in sizes]
    assert found == Spread(sum(each) / 4, 2 * 0.02**2 / 2, 2, 1, 44.0, 186.0)


# --- the smallest grid


@pytest.mark.parametrize("target", [0.04, 0.05, 0.06, 0.08, 0.12, 0.2])
def test_the_needed_grid_has_the_fewest_cells(target):
    spreads = [SPREAD, replace(SPREAD, lesions=3e-4, trainings=1e-4)]
    grids = product(range(1, 6), range(2, power.MOST_SEEDS + 1))
    enough = [(k * s, k, s) for k, s in grids if all(x.detectable(k, s, ALPHA) <= target for x in spreads)]
    found = needed(target, spreads, 5, ALPHA)
    if enough:
        assert isinstance(found, Enough)
        assert (found.folds * found.seeds, found.folds, found.seeds) == min(enough)
    else:
        assert isinstance(found, OutOfReach)


def test_one_seed_is_enough_where_trainings_do_not_differ():
    found = needed(0.1, [replace(SPREAD, trainings=0.0)], 5, ALPHA)
    assert isinstance(found, Enough)
    assert found.seeds == 1


def test_what_is_out_of_reach_names_the_melanomas_that_it_takes():
    found = needed(0.02, [SPREAD], 5, ALPHA)
    assert isinstance(found, OutOfReach)
    assert found.at_any_seeds == SPREAD.detectable(5, power.ENDLESS, ALPHA) > 0.02
    assert found.at_most_seeds == SPREAD.detectable(5, power.MOST_SEEDS, ALPHA)
    assert found.tested == 120
    assert SPREAD.with_lesions(found.melanomas / 120).detectable(5, power.MOST_SEEDS, ALPHA) <= 0.02
    assert SPREAD.with_lesions((found.melanomas - 2) / 120).detectable(5, power.MOST_SEEDS, ALPHA) > 0.02


def test_no_number_of_melanomas_mends_trainings_that_differ():
    found = needed(0.02, [replace(SPREAD, trainings=1e-2)], 5, ALPHA)
    assert isinstance(found, OutOfReach)
    assert found.melanomas is None


# --- simulated studies


@pytest.mark.parametrize("groups", [LARGE, SMALL])
def test_pilots_predict_what_larger_studies_find_detectable(groups):
    """Pilots of 2 folds x 2 seeds, studies of 5 x 3; other lesions and trainings."""
    rng = np.random.default_rng(1)
    design = Design(groups=groups)
    predicted, own = [], []
    for _ in range(30):
        small = [first(each, 2, 2) for each in simulate(design, rng).panels]
        predicted.append(pilot(*small).detectable(5, 3, ALPHA))
        arm, reference = simulate(design, rng).panels
        own.append(difference(arm, reference, bootstrap(arm, 200, 0)).detectable(ALPHA))
    assert np.mean(predicted) == pytest.approx(np.mean(own), rel=0.25)


@pytest.mark.parametrize("shares", [(0.25, 0.5, 1.0), (0.1, 0.3, 0.5, 1.0), (0.5, 1.0)])
@pytest.mark.parametrize("groups", [LARGE, SMALL])
def test_a_pilot_predicts_which_slope_larger_studies_find_detectable(groups, shares):
    """Pilots compare two arms in 2 folds x 2 seeds; the studies of 5 x 3 have a curve of flat AUROC."""
    rng = np.random.default_rng(3)
    design = Design((1.6,) * len(shares), groups=groups)
    predicted, own = [], []
    for _ in range(20):
        small = [first(each, 2, 2) for each in simulate(Design(groups=groups), rng).panels]
        predicted.append(pilot(*small).detectable_slope(5, 3, shares))
        panels = simulate(design, rng).panels
        slope = combination(panels, slope_coefficients(shares), bootstrap(panels[0], 200, 0))
        own.append(slope.detectable(FAMILY_LEVEL))
    assert np.mean(predicted) == pytest.approx(np.mean(own), rel=0.25)


def test_a_curve_of_two_halvings_has_half_the_difference_of_its_ends():
    spread = assumed([(24, 96)] * 5)
    assert spread.detectable_slope(5, 2, (1.0, 0.25, 0.5)) == pytest.approx(spread.detectable(5, 2, FAMILY_LEVEL) / 2)
    assert spread.detectable_slope(5, 2, (1.0, 0.5)) == pytest.approx(spread.detectable(5, 2, FAMILY_LEVEL))


def found_in(studies: int) -> float:
    """Return how often studies find the difference that pilots call detectable on average."""
    rng = np.random.default_rng(2)
    base = Design((1.3, 1.3), fold_sd=0.0)
    pilots = [pilot(*(first(each, 2, 2) for each in simulate(base, rng).panels)) for _ in range(60)]
    wanted = float(np.mean([each.detectable(5, 3, ALPHA) for each in pilots]))

    def apart(by: float) -> Design:
        return replace(base, separations=(1.3 + by, 1.3 - by))

    def excess(by: float) -> float:
        one, other = simulate(apart(by), np.random.default_rng(0)).aurocs
        return one - other - wanted

    design = apart(float(brentq(excess, 0.0, 1.0)))
    found = []
    for _ in range(studies):
        arm, reference = simulate(design, rng).panels
        found.append(difference(arm, reference, bootstrap(arm, 200, 0)).p <= ALPHA)
    return float(np.mean(found))


def test_a_detectable_difference_is_found_in_most_studies():
    assert 0.65 < found_in(120) < 0.95


@pytest.mark.slow
def test_the_power_is_80_percent():
    assert 0.7 < found_in(600) < 0.9
