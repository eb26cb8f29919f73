from dataclasses import replace
from time import perf_counter

import numpy as np
import pytest
from scipy.special import expit, logit

from hyperderm.errors import StudyError
from hyperderm.statistics.classification import auroc as point_auroc
from hyperderm.statistics.intervals import critical
from hyperderm.statistics.multiplicity import FAMILY_LEVEL, holm
from hyperderm.statistics.paired import auroc, difference
from hyperderm.statistics.panel import common
from hyperderm.statistics.resampling import bootstrap
from tests.bench.coverage import DESIGNS, coverage, family_wise
from tests.simulation import LARGE, SMALL, Design, simulate


def panels(seed=0, **design):
    return simulate(Design(**design), np.random.default_rng(seed)).panels


def compared(one, other, resamples=200):
    return difference(one, other, bootstrap(one, resamples, 0))


def perfect(panel):
    """The panel with every melanoma above every negative."""
    return replace(
        panel, folds=tuple(replace(f, probability=np.where(f.truth, 0.9, 0.1) + 0 * f.probability) for f in panel.folds)
    )


def test_the_endpoint_is_the_mean_of_the_cells():
    one, other = panels()
    cells = [[point_auroc(f.truth, scores).value for scores in f.probability] for f in one.folds]
    assert auroc(one).value == pytest.approx(np.mean(cells))
    found = compared(one, other)
    assert found.value == pytest.approx(auroc(one).value - auroc(other).value)
    assert np.mean(found.cells) == pytest.approx(found.value)


def test_offsets_of_cells_do_not_matter_and_pooling_would():
    """METHODS section 9: pooling scores of different models biases the AUROC."""
    (one,) = panels(separations=(1.6,), seeds=1, offset_sd=0.0)
    shifts = (-2.0, -1.0, 0.0, 1.0, 2.0)
    moved = replace(
        one,
        folds=tuple(replace(f, probability=expit(logit(f.probability) + s)) for f, s in zip(one.folds, shifts, strict=True)),
    )
    assert auroc(moved).value == pytest.approx(auroc(one).value)
    truth = np.concatenate([f.truth for f in moved.folds])
    pooled = point_auroc(truth, np.concatenate([f.probability[0] for f in moved.folds])).value
    assert pooled < auroc(one).value - 0.03


def test_interval_p_and_holm_agree_at_every_level():
    for seed in range(30):
        found = compared(*panels(seed, separations=(1.9, 1.6)))
        for alpha in (0.2, 0.05, 0.0125, 0.001):
            low, high = found.interval(1 - alpha)
            assert (low > 0 or high < 0) == (found.p <= alpha)
            assert low <= found.value <= high


def test_holm_adjusted_intervals_exclude_zero_exactly_when_holm_rejects():
    seen = set()
    for seed in range(25):
        made = panels(seed, separations=(1.6, 1.6, 1.9, 2.1), seeds=2)
        family = [compared(made[a], made[b]) for a, b in ((2, 0), (2, 1), (3, 0), (3, 1), (1, 0))]
        for found, place in zip(family, holm([f.p for f in family]), strict=True):
            low, high = found.interval(1 - place.alpha)
            assert (low > 0 or high < 0) == (found.p <= place.alpha) == (place.adjusted_p <= FAMILY_LEVEL)
            seen.add(found.p <= place.alpha)
    assert seen == {True, False}


def test_swapping_the_arms_mirrors_everything():
    one, other = panels(separations=(2.0, 1.6))
    there, back = compared(one, other), compared(other, one)
    assert back.value == pytest.approx(-there.value)
    assert back.p == pytest.approx(there.p)
    assert np.negative(back.interval())[::-1] == pytest.approx(there.interval())


def test_pairing_narrows_and_seeds_widen():
    one, other = panels(arm_sd=0.2, noise_sd=0.2)
    alone = auroc(one).variance.total + auroc(other).variance.total
    assert compared(one, other).variance.total < 0.7 * alone
    spread = [compared(*panels(s, seed_sd=0.6)).variance for s in range(5)]
    assert np.mean([v.seeds / v.total for v in spread]) > 0.3


def test_perfect_arms_have_no_zero_width_interval():
    one, other = panels()
    found = compared(perfect(one), perfect(other))
    assert found.interval() == pytest.approx((-1.96 * 0.1 / 85, 1.96 * 0.1 / 85), rel=1e-3)  # LEAST_MOVE over 85 groups
    found = compared(perfect(one), other)
    assert found.interval()[1] - found.interval()[0] > 0.02


def test_an_arm_against_itself_is_no_difference():
    (one,) = panels(separations=(1.6,))
    found = compared(one, replace(one, arm="same"))
    assert found.value == 0
    assert found.p == 1.0
    assert found.interval()[0] <= 0 <= found.interval()[1]
    assert 0 <= found.detectable(0.05) <= 1


def test_detectable_difference_is_found_with_80_percent_power():
    """Closed-form truth: the arms are moved apart by what the null sets call detectable."""
    design = Design((1.6, 1.6), fold_sd=0.0, seeds=1, seed_sd=0.0)
    rng = np.random.default_rng(0)
    detectable = np.mean([compared(*simulate(design, rng).panels, resamples=50).detectable(0.05) for _ in range(20)])
    base = simulate(design, rng).aurocs[0]
    steps = np.linspace(1.6, 2.4, 200)
    gains = [simulate(replace(design, separations=(s, 1.6), groups=(10, 10), folds=2), rng).aurocs[0] - base for s in steps]
    moved = replace(design, separations=(float(steps[np.argmin(np.abs(np.array(gains) - detectable))]), 1.6))
    power = np.mean([compared(*simulate(moved, rng).panels, resamples=50).p < 0.05 for _ in range(120)])
    assert 0.68 < power < 0.95  # 120 sets: ± 4 %; errors shrink as the AUROC rises


def test_the_same_arguments_give_the_same_interval_and_row_order_nothing():
    one, other = panels()
    assert compared(one, other).interval() == compared(one, other).interval()
    assert compared(one, other, 400).stretch == pytest.approx(compared(one, other, 4000).stretch, abs=0.15)


def repeated(panel, weights):
    """The panel of one resample, built by copying: each draw of a group is a group of its own."""
    folds = []
    for fold, times in zip(panel.folds, weights, strict=True):
        drawn = np.repeat(np.arange(len(times)), times.astype(int))
        rows = [np.flatnonzero(fold.group == group) for group in drawn]
        at, group = np.concatenate(rows), np.repeat(np.arange(len(rows)), [len(row) for row in rows])
        folds.append(
            replace(
                fold, lesion_id=fold.lesion_id[at], truth=fold.truth[at], group=group, probability=fold.probability[:, at]
            )
        )
    return replace(panel, folds=tuple(folds))


def test_the_stretch_is_that_of_a_bootstrap_by_copying():
    stretches = []
    for seed in range(4):
        one, other = panels(seed, separations=(2.2, 1.9), groups=(24, 40), seeds=1, pairs=0.4)
        weights = bootstrap(one, 60, seed)
        found = difference(one, other, weights)
        ratios = []
        for b in range(60):
            drawn = [fold[b] for fold in weights.folds]
            again = compared(repeated(one, drawn), repeated(other, drawn), resamples=2)
            ratios.append(abs(again.value - found.value) / again.variance.error)
        expected = np.quantile(ratios, 0.95, method="higher") / critical(found.variance.df)
        assert found.stretch == pytest.approx(min(2.0, max(1.0, expected)))
        stretches.append(found.stretch)
    assert max(stretches) > 1.02


def test_two_thousand_resamples_take_well_under_a_second():
    one, other = panels()
    compared(one, other)
    begin = perf_counter()
    compared(one, other, resamples=2000)
    assert perf_counter() - begin < 2.0  # measured: 0.06 s on an idle core


def test_incomparable_panels_are_refused_and_common_cells_found():
    one, other = panels()
    short = replace(other, folds=other.folds[:3])
    with pytest.raises(StudyError, match="only one of them has fold 3 seed 0"):
        compared(one, short)
    kept = common(one, short)
    assert [f.number for f in kept[0].folds] == [0, 1, 2] == [f.number for f in kept[1].folds]
    fold = other.folds[0]
    moved = replace(other, folds=(replace(fold, lesion_id=np.char.add(fold.lesion_id, "x")), *other.folds[1:]))
    with pytest.raises(StudyError, match="different lesions in fold 0"):
        compared(one, moved)


def test_folds_with_different_seeds_count_equally():
    one, other = panels()

    def ragged(panel):
        first = panel.folds[0]
        rows = {name: getattr(first, name)[:1] for name in ("probability", "raw_probability", "threshold")}
        return replace(panel, folds=(replace(first, seeds=first.seeds[:1], **rows), *panel.folds[1:]))

    a, b = ragged(one), ragged(other)
    found = compared(a, b)
    assert found.value == pytest.approx(np.mean([cells.mean() for cells in found.cells]))
    assert found.variance.total > 0
    assert found.interval()[0] < found.value < found.interval()[1]


@pytest.mark.parametrize("groups", [LARGE, SMALL])
def test_coverage_reduced(groups):
    """150 sets: a standard error of 1.8 %, so only gross faults are seen here; the slow test holds the issue's bounds."""
    found = coverage(Design((1.7, 1.6), groups), sets=150, resamples=100)
    assert min(found) > 0.89


def test_false_positives_reduced():
    wrong, unadjusted = family_wise(Design(seeds=2), sets=60, resamples=100)
    assert wrong <= 0.15  # 60 sets: 5 % ± 2.8 %
    assert unadjusted >= wrong


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ["AUROC .83, equal", "AUROC .93 and .90", "two seeds, strong effect"])
def test_coverage_at_hsidermoscopys_size(name):
    found = coverage(replace(DESIGNS[name], groups=LARGE), sets=2000, resamples=400)
    print(name, found)
    assert 0.93 <= min(found) <= max(found) <= 0.97


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ["AUROC .83, equal", "AUROC .93 and .90", "two seeds, strong effect"])
def test_coverage_at_a_small_study(name):
    found = coverage(replace(DESIGNS[name], groups=SMALL), sets=2000, resamples=400)
    print(name, found)
    assert min(found) >= 0.92


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("groups", [LARGE, SMALL])
def test_family_wise_false_positives(groups):
    wrong, unadjusted = family_wise(replace(DESIGNS["AUROC .89, equal"], groups=groups), sets=1000, resamples=400)
    print(groups, wrong, unadjusted)
    assert wrong <= 0.064
    assert unadjusted > wrong
