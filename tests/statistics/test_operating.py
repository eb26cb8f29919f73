from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, confusion_matrix, f1_score

from hyperderm.statistics.classification import Confusion
from hyperderm.statistics.operating import brier, counts, gradient, mean_counts, threshold_metrics
from tests.simulation import Design, simulate

NAMES = ("sensitivity", "specificity", "precision", "accuracy", "f1", "balanced_accuracy")


def panel(seed=0, **design):
    return simulate(Design((1.6,), **design), np.random.default_rng(seed)).panels[0]


def pooled(made, seed):
    truth = np.concatenate([fold.truth for fold in made.folds])
    called = np.concatenate([fold.probability[seed] >= fold.threshold[seed] for fold in made.folds])
    return truth, called


def test_each_fold_decides_by_its_own_threshold_then_counts_are_pooled():
    made = panel()
    found = threshold_metrics(made)
    f1 = []
    for seed, mine in enumerate(counts(made)):
        truth, called = pooled(made, seed)
        tn, fp, fn, tp = confusion_matrix(truth, called).ravel()
        assert mine == (tp, fn, fp, tn)
        f1.append(f1_score(truth, called))
    assert mean_counts(made) == pytest.approx(np.mean(counts(made), 0))
    assert found["f1"].value == pytest.approx(np.mean(f1))
    mean = mean_counts(made)
    assert found["sensitivity"].value == pytest.approx(mean.tp / (mean.tp + mean.fn))
    for each in found.values():
        assert 0 <= each.low < each.value < each.high <= 1


@pytest.mark.parametrize("name", NAMES)
def test_gradient_is_the_numeric_derivative(name):
    at = np.array([60.0, 25.0, 31.0, 144.0])
    steps = np.eye(4) * 1e-4
    numeric = [
        (Confusion(*(at + h)).metrics()[name].value - Confusion(*(at - h)).metrics()[name].value) / 2e-4 for h in steps
    ]
    np.testing.assert_allclose(gradient(name, Confusion(*at)), numeric, atol=1e-9)


@pytest.mark.parametrize(("name", "truth"), [("f1", None), ("specificity", None), ("balanced_accuracy", None)])
def test_standard_errors_are_those_of_repeated_sampling(name, truth):
    """Width of the interval against the spread of the metric over simulated sets."""
    design = Design((1.8,), fold_sd=0.0, pairs=0.4)
    rng = np.random.default_rng(0)
    found = [threshold_metrics(simulate(design, rng).panels[0])[name] for _ in range(120)]
    spread = np.std([each.value for each in found])
    width = np.mean([each.high - each.low for each in found]) / 2 / 1.98
    assert width == pytest.approx(spread, rel=0.25)  # 120 sets: ± 6.5 %


def test_brier_is_scikit_learns_averaged_over_seeds():
    made = panel()
    truth = np.concatenate([fold.truth for fold in made.folds])
    expected = [brier_score_loss(truth, np.concatenate([f.probability[s] for f in made.folds])) for s in range(3)]
    found = brier(made)
    assert found.value == pytest.approx(np.mean(expected))
    assert 0 < found.low < found.value < found.high < 1


def test_nothing_called_leaves_precision_undefined_not_zero():
    made = panel(seeds=2)
    made = replace(made, folds=tuple(replace(f, threshold=np.array([f.threshold[0], 1.1])) for f in made.folds))
    found = threshold_metrics(made)
    assert found["precision"].value is None
    assert found["precision"].low is None
    assert found["precision"].reason == "nothing was called melanoma (seed 1)"
    assert found["sensitivity"].value is not None


def test_a_perfect_sensitivity_keeps_a_width():
    made = panel()
    found = threshold_metrics(replace(made, folds=tuple(replace(f, threshold=np.zeros(3)) for f in made.folds)))
    assert found["sensitivity"].value == 1
    assert 0.9 < found["sensitivity"].low < 1 == found["sensitivity"].high
    assert found["specificity"].value == 0
    assert 0 < found["specificity"].high < 0.05


def test_a_missing_seed_is_stood_in_for_and_all_lesions_stay_counted():
    made = panel()
    first = made.folds[0]
    rows = {name: getattr(first, name)[:2] for name in ("probability", "raw_probability", "threshold")}
    ragged = replace(made, folds=(replace(first, seeds=(0, 1), **rows), *made.folds[1:]))
    lesions = sum(len(fold.truth) for fold in made.folds)
    assert [sum(each) for each in counts(ragged)] == pytest.approx([lesions] * 3)
    assert counts(ragged)[:2] == counts(made)[:2]
    assert threshold_metrics(ragged)["f1"].low < threshold_metrics(ragged)["f1"].high
