import numpy as np
import pytest

from hyperderm.errors import StudyError
from hyperderm.statistics.clustered import components
from hyperderm.statistics.delong import delong_test
from hyperderm.statistics.paired import auroc, difference
from hyperderm.statistics.resampling import bootstrap
from tests.simulation import Design, simulate

ONE = np.ones(1)


def test_independent_lesions_give_the_variance_of_means():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=12), rng.normal(size=20)
    influence = np.r_[(x - x.mean()) / 12, (y - y.mean()) / 20][None]
    found = components([np.array([0.0])], [influence], [np.repeat([1, 0], (12, 20))], ONE)
    assert found.total == pytest.approx(x.var(ddof=1) / 12 + y.var(ddof=1) / 20)
    a, b = x.var(ddof=1) / 12, y.var(ddof=1) / 20
    assert found.df == pytest.approx((a + b) ** 2 / (a**2 / 11 + b**2 / 19))  # Welch and Satterthwaite


def test_without_clusters_and_seeds_it_is_delong():
    made = simulate(Design(seeds=1, pairs=0.0), np.random.default_rng(1)).panels
    expected = [
        delong_test(a.truth, a.probability[0], b.probability[0]).variance
        for a, b in zip(made[0].folds, made[1].folds, strict=True)
    ]
    found = difference(*made, bootstrap(made[0], 50, 0)).variance
    assert found.total == pytest.approx(sum(expected) / 25)
    assert found.seeds == 0


def test_copies_of_a_lesion_in_its_group_add_nothing():
    rng = np.random.default_rng(0)
    x = rng.normal(size=20)
    twice = np.repeat((x - x.mean()) / 40, 2).reshape(20, 2).sum(1)[None]
    once = ((x - x.mean()) / 20)[None]
    strata = [np.repeat([1, 0], 10)]
    one, two = (components([np.zeros(1)], [u], strata, ONE) for u in (once, twice))
    assert two.total == pytest.approx(one.total)


def simulated_spread(design, sets=250):
    """Variance of the AUROC over sets against the mean of its estimates."""
    rng = np.random.default_rng(0)
    values, estimates = [], []
    for _ in range(sets):
        made = simulate(design, rng)
        found = auroc(made.panels[0])
        values.append(found.value - made.aurocs[0])
        estimates.append(found.variance)
    return np.var(values), estimates


@pytest.mark.parametrize("mixed", [0.0, 0.5])
def test_estimates_the_true_variance_with_groups_and_seeds(mixed):
    design = Design((1.6,), pairs=0.5, mixed=mixed, group_sd=0.9, lesion_sd=0.3, seed_sd=0.4, noise_sd=0.3)
    truth, estimates = simulated_spread(design)
    assert np.mean([each.total for each in estimates]) == pytest.approx(truth, rel=0.25)  # 250 sets: ± 9 %
    assert np.mean([each.seeds for each in estimates]) > 0.15 * truth  # so leaving the seeds out would be seen


def test_seeds_add_nothing_where_only_lesions_vary():
    truth, estimates = simulated_spread(Design((1.6,), seed_sd=0.0, noise_sd=0.6))
    total = np.mean([each.total for each in estimates])
    assert total == pytest.approx(truth, rel=0.25)
    assert np.mean([each.seeds for each in estimates]) < 0.1 * total  # the seeds' noise is in the lesions' part already


def test_a_single_group_borrows_the_spread_of_other_folds():
    rng = np.random.default_rng(0)
    influences = [rng.normal(size=(1, 8)) for _ in range(3)]
    strata = [np.repeat([1, 0], 4), np.repeat([1, 0], 4), np.repeat([1, 0], (1, 7))]
    values, weights = [np.zeros(1)] * 3, np.full(3, 1 / 3)
    found = components(values, influences, strata, weights)
    without = components(values[:2], influences[:2], strata[:2], weights[:2])
    assert found.lesions > without.lesions
    assert np.isfinite(found.df)


def test_single_groups_everywhere_are_refused():
    with pytest.raises(StudyError, match="two groups of melanoma"):
        components([np.zeros(1)], [np.zeros((1, 5))], [np.repeat([1, 0], (1, 4))], ONE)
