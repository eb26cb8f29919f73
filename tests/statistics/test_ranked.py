from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logit
from sklearn.metrics import average_precision_score

from hyperderm.statistics import classification, ranked
from hyperderm.statistics.classification import Value
from hyperderm.statistics.intervals import critical
from hyperderm.statistics.mean_curves import GRID, curves
from hyperderm.statistics.paired import auroc
from hyperderm.statistics.resampling import bootstrap, leave_one_out
from tests.simulation import Design, simulate

PAIRS = (
    (ranked.weighted_auroc, classification.auroc),
    (ranked.weighted_average_precision, classification.average_precision),
    (ranked.weighted_specificity, classification.specificity_at_sensitivity),
    (ranked.weighted_sensitivity, classification.sensitivity_at_specificity),
)


def panel(seed=0, **design):
    return simulate(Design((1.6,), **design), np.random.default_rng(seed)).panels[0]


def cells(made, metric):
    return [[metric(fold.truth, scores) for scores in fold.probability] for fold in made.folds]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from((4, 1000)))
def test_a_weighted_metric_is_the_metric_of_repeated_lesions(seed, levels):
    rng = np.random.default_rng(seed)
    truth = np.r_[True, False, rng.random(25) < 0.4]
    score = rng.integers(levels, size=27) / levels
    weights = np.r_[1, 1, rng.integers(0, 4, 25)].astype(float)
    repeated = np.repeat(np.arange(27), weights.astype(int))
    for weighted, plain in PAIRS:
        found = weighted(truth, score, np.stack([weights, np.ones(27)]))
        for value, rows in zip(found, (repeated, np.arange(27)), strict=True):
            assert value == pytest.approx(plain(truth[rows], score[rows]).value or 0.0, abs=1e-9)
    sklearns = average_precision_score(truth, score, sample_weight=weights)
    assert ranked.weighted_average_precision(truth, score, weights[None])[0] == pytest.approx(sklearns)


def test_the_mean_over_cells_lies_in_its_interval():
    made = panel()
    weights = bootstrap(made, 300, 0)
    for weighted, plain in PAIRS:
        values = cells(made, plain)
        found = ranked.rank_metric(made, weights, weighted, values)
        assert found.value == pytest.approx(np.mean([v.value for fold in values for v in fold]))
        assert 0 <= found.low < found.value < found.high <= 1
        assert "bootstrap" in found.method


def test_an_unattainable_cell_is_said_and_not_averaged_away():
    made = panel()
    values = cells(made, classification.specificity_at_sensitivity)
    values[2][1] = Value(None, "sensitivity 0.95 is reached only by calling every lesion melanoma")
    found = ranked.rank_metric(made, bootstrap(made, 50, 0), ranked.weighted_specificity, values)
    assert (found.value, found.low, found.high) == (None, None, None)
    assert "in 1 of 15 cells" in found.reason
    assert "flatters" in found.reason


def test_a_perfect_arm_has_no_resampling_interval_and_says_so():
    made = panel()
    made = replace(made, folds=tuple(replace(f, probability=np.tile(f.truth * 0.8 + 0.1, (3, 1))) for f in made.folds))
    found = ranked.rank_metric(
        made, bootstrap(made, 50, 0), ranked.weighted_average_precision, cells(made, classification.average_precision)
    )
    assert (found.value, found.low) == (1.0, None)
    assert "no interval" in found.reason


@pytest.mark.parametrize(("weighted", "plain"), PAIRS[1:3])
def test_intervals_hold_the_mean_over_sets_of_this_size(weighted, plain):
    """The truth is the mean over other sets of the same size, 100 of them are judged: only gross faults are seen."""
    design = Design((1.6,), fold_sd=0.0, seed_sd=0.1, seeds=2)
    rng = np.random.default_rng(0)

    def values(made):
        return [[Value(each.value or 0.0) for each in fold] for fold in cells(made, plain)]

    truth = np.mean([[[v.value for v in f] for f in values(simulate(design, rng).panels[0])] for _ in range(200)])
    held = []
    for _ in range(100):
        made = simulate(design, rng).panels[0]
        found = ranked.rank_metric(made, bootstrap(made, 150, 0), weighted, values(made))
        held.append(found.low <= truth <= found.high)
    assert np.mean(held) > 0.87


def auroc_errors(design, sets):
    """Standard errors on the logit scale by resampling, by formula, and the logits' spread over sets."""
    rng = np.random.default_rng(0)
    logits, resampled, formula = [], [], []
    for _ in range(sets):
        made = simulate(design, rng).panels[0]
        found = ranked.rank_metric(made, bootstrap(made, 200, 0), ranked.weighted_auroc, cells(made, classification.auroc))
        quantile = critical(float((made.sizes[:, 0] - 1).sum()))
        resampled.append((logit(found.high) - logit(found.low)) / 2 / quantile)
        formula.append(auroc(made).variance.error / (found.value * (1 - found.value)))
        logits.append(logit(found.value))
    return np.mean(resampled), np.mean(formula), np.std(logits)


def test_resampling_few_lesions_a_fold_gives_the_errors_of_the_formula():
    """Four melanomas a fold: without stretching the spread would be √(3/4) of it."""
    resampled, formula, _ = auroc_errors(Design((1.4,), groups=(20, 200), seeds=1, seed_sd=0.0, pairs=0.0), sets=40)
    assert resampled == pytest.approx(formula, rel=0.06)


def test_seeds_that_differ_widen_the_interval():
    resampled, _, spread = auroc_errors(Design((1.6,), seeds=2, seed_sd=0.7, noise_sd=0.2, fold_sd=0.0), sets=80)
    assert resampled == pytest.approx(spread, rel=0.25)  # lesions alone give about half of it


def test_bca_of_the_auroc_agrees_with_the_logit_interval():
    made = panel()
    assert ranked.bca_auroc(made, bootstrap(made, 2000, 0)) == pytest.approx(auroc(made).limits(), abs=0.012)


def test_calibration_error_is_pooled_over_folds_per_seed():
    made = panel(offset_sd=0.0)
    truth = np.concatenate([fold.truth for fold in made.folds])
    expected = [
        classification.calibration_error(truth, np.concatenate([f.probability[s] for f in made.folds])).value
        for s in range(3)
    ]
    found = ranked.calibration_error(made, bootstrap(made, 200, 0))
    assert found.value == pytest.approx(np.mean(expected))
    assert found.low <= found.value <= found.high
    assert ranked.raw_calibration_error(made) == pytest.approx(found.value)  # the simulator calibrates nothing


def test_weights_keep_the_number_of_groups_of_each_class():
    made = panel(pairs=0.5)
    for fold, weights in zip(made.folds, bootstrap(made, 500, 3).folds, strict=True):
        for label in (0, 1):
            mine = fold.strata == label
            assert (weights[:, mine].sum(1) == mine.sum()).all()
            assert weights[:, mine].mean() == pytest.approx(1)
            assert weights[:, mine].var() == pytest.approx(1 - 1 / mine.sum(), rel=0.15)  # multinomial
    left = leave_one_out(made)
    assert sum((weights == 0).sum() for weights in left.folds) == len(left) == sum(len(f.strata) for f in made.folds)


def test_curves_are_the_mean_of_the_cells_and_monotone():
    made = panel()
    roc, precision = curves(made, bootstrap(made, 200, 0))
    heights = []
    for fold in made.folds:
        for scores in fold.probability:
            false, true, _ = classification.roc_curve(fold.truth, scores)
            heights.append([true[false <= x + 1e-12].max() for x in GRID])
    np.testing.assert_allclose(roc.y, np.mean(heights, 0), atol=1e-12)
    assert (np.diff(roc.y) >= 0).all()
    assert roc.y[-1] == pytest.approx(1)
    assert np.trapezoid(roc.y, GRID) == pytest.approx(auroc(made).value, abs=0.03)
    for band in (roc, precision):
        assert ((band.low <= band.y) & (band.y <= band.high)).all()
        assert (band.high - band.low)[10:40].min() > 0.01
    prevalence = np.mean(np.concatenate([f.truth for f in made.folds]))
    assert precision.y[-1] == pytest.approx(prevalence, abs=0.15)
    assert precision.y[5] > precision.y[45]
