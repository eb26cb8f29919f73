"""Against torchmetrics, scipy and closed forms; the intervals in a small simulation with a known answer."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.preprocessing import StandardScaler
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import poly_mmd

from hyperderm.errors import CubeError, StoreError, StudyError
from hyperderm.metrics import distribution
from hyperderm.metrics.distribution import (
    METRICS,
    by_subsampling,
    frechet_distance,
    kernel_distance,
    real_floor,
    two_sample_auroc,
)
from hyperderm.metrics.two_sample import cross_validated

SHIFT, SPREAD = 0.4, np.array([1.0, 1.5, 0.7, 2.0])


def normal(seed, n, d):
    return np.random.default_rng(seed).normal(size=(n, d))


def with_moments(seed, n, mean, covariance):
    """Rows whose sample mean and covariance are exactly these."""
    x = normal(seed, n, len(mean))
    x -= x.mean(0)
    white = x @ np.linalg.inv(np.linalg.cholesky(np.cov(x.T))).T
    return white @ np.linalg.cholesky(covariance).T + mean


class Flat(torch.nn.Module):
    num_features = 8

    def forward(self, images):
        return images.flatten(1)


def test_frechet_of_gaussians_is_the_closed_form():
    def covariance(seed):
        root = normal(seed, 6, 6)
        return root @ root.T + 0.1 * np.eye(6)

    a, b, shift = covariance(1), covariance(2), np.arange(6.0)
    expected = shift @ shift + np.trace(a + b - 2 * sqrtm(a @ b).real)
    f, g = with_moments(3, 50, np.zeros(6), a), with_moments(4, 90, shift, b)
    assert frechet_distance(f, g) == pytest.approx(expected, rel=1e-9)
    diagonal = with_moments(5, 40, np.zeros(3), np.diag([1.0, 4.0, 9.0]))
    other = with_moments(6, 40, np.ones(3), np.diag([4.0, 4.0, 1.0]))
    assert frechet_distance(diagonal, other) == pytest.approx(3 + 1 + 0 + 4, rel=1e-9)  # Σ (σ − σ')²


@pytest.mark.parametrize(("n", "m"), [(40, 60), (5, 60), (5, 4)])  # 8 dimensions: few rows on neither side, on one, on both
def test_frechet_is_torchmetrics(n, m):
    f, g = normal(0, n, 8), normal(1, m, 8) * 1.5 + 0.3
    reference = FrechetInceptionDistance(feature=Flat()).set_dtype(torch.float64)
    for each, real in ((f, True), (g, False)):
        reference.update(torch.from_numpy(each).reshape(-1, 2, 2, 2), real=real)
    assert frechet_distance(f, g) == pytest.approx(float(reference.compute()), rel=1e-3)


def test_a_hundred_samples_in_2048_dimensions_and_more_rows_than_a_block(monkeypatch):
    f, g = normal(0, 100, 2048).astype(np.float32), normal(1, 100, 2048).astype(np.float32) + 0.1
    cross = (f - f.mean(0)) @ (g - g.mean(0)).T / 99
    roots = np.sqrt(np.maximum(np.linalg.eigvalsh(cross @ cross.T), 0))  # of Σ_f Σ_g, those that are not zero
    expected = np.square(f.mean(0) - g.mean(0)).sum() + (f.var(0, ddof=1) + g.var(0, ddof=1)).sum() - 2 * roots.sum()
    assert frechet_distance(f, g) == pytest.approx(expected, rel=1e-3)
    few, many = normal(2, 50, 5), normal(3, 700, 5) + 1
    whole = frechet_distance(few, many), kernel_distance(few, many)
    monkeypatch.setattr(distribution, "TILE", 64)
    assert (frechet_distance(few, many), kernel_distance(few, many)) == pytest.approx(whole, rel=1e-10)


def test_kernel_distance_is_torchmetrics_and_the_plain_double_sum():
    f, g = normal(0, 40, 7), normal(1, 40, 7) + 0.4
    reference = poly_mmd(torch.from_numpy(f), torch.from_numpy(g))
    assert kernel_distance(f, g) == pytest.approx(float(reference), rel=1e-9)
    g = g[:25]

    def k(x, y):
        return (float(x @ y) / 7 + 1) ** 3

    within = [
        sum(k(x[i], x[j]) for i in range(len(x)) for j in range(len(x)) if i != j) / (len(x) * (len(x) - 1)) for x in (f, g)
    ]
    expected = sum(within) - 2 * sum(k(x, y) for x in f for y in g) / (len(f) * len(g))
    assert kernel_distance(f, g) == pytest.approx(expected, rel=1e-9)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 12), st.integers(2, 12), st.integers(1, 8))
def test_what_changes_nothing(seed, n, m, d):
    rng = np.random.default_rng(seed)
    f, g = rng.normal(size=(n, d)), rng.normal(size=(m, d)) * 2
    turn, move = np.linalg.qr(rng.normal(size=(d, d)))[0], rng.normal(size=d)
    for metric in (frechet_distance, kernel_distance):
        value = metric(f, g)
        assert metric(g, f) == pytest.approx(value, rel=1e-6, abs=1e-9)
        assert metric(rng.permutation(f), g) == pytest.approx(value, rel=1e-6, abs=1e-9)
        assert metric(f @ turn, g @ turn) == pytest.approx(value, rel=1e-6, abs=1e-9)
    assert frechet_distance(f + move, g + move) == pytest.approx(frechet_distance(f, g), rel=1e-6, abs=1e-9)
    assert frechet_distance(3 * f, 3 * g) == pytest.approx(9 * frechet_distance(f, g), rel=1e-6, abs=1e-9)
    assert 0 <= frechet_distance(f, f) < 1e-9 * (1 + np.square(f).sum())


def test_half_precision_and_views_change_nothing():
    f, g = normal(0, 30, 6).astype(np.float16), normal(1, 30, 6).astype(np.float16)
    spread = np.zeros((60, 12), np.float32)
    spread[::2, ::2] = f
    for metric in (frechet_distance, kernel_distance):
        expected = metric(f.astype(np.float64), g.astype(np.float64))
        assert metric(f, g) == pytest.approx(expected, rel=1e-9)
        assert metric(spread[::2, ::2], g) == pytest.approx(expected, rel=1e-9)


def test_kernel_distance_is_unbiased_and_frechet_is_not():
    small = [kernel_distance(normal(2 * s, 10, 4), normal(2 * s + 1, 10, 4)) for s in range(400)]
    large = [frechet_distance(normal(2 * s, 10, 4), normal(2 * s + 1, 10, 4)) for s in range(100)]
    assert abs(np.mean(small)) < 4 * np.std(small) / 20
    assert np.mean(large) > 0.5
    assert (
        np.mean([frechet_distance(normal(2 * s, 80, 4), normal(2 * s + 1, 80, 4)) for s in range(50)]) < np.mean(large) / 4
    )


def names(prefix, n):
    return [f"{prefix}{i}" for i in range(n)]


def test_the_classifier_finds_what_differs_and_nothing_else():
    f, g = normal(0, 80, 5), normal(1, 80, 5)
    assert two_sample_auroc(f, g, names("a", 80), names("b", 80)) == pytest.approx(0.5, abs=0.12)
    assert two_sample_auroc(f + 3, g, names("a", 80), names("b", 80)) > 0.98
    assert two_sample_auroc(f, f, names("a", 80), names("a", 80)) == 0.5
    assert two_sample_auroc(f, f, names("a", 80), names("b", 80)) < 0.4  # copies whose sources are not named


@pytest.mark.parametrize("d", [6, 150])  # fewer and more dimensions than rows
def test_the_classifier_is_scikit_learns_with_whole_groups(d):
    f, g = normal(0, 40, d) + 0.3, normal(1, 50, d)
    groups = [f"p{i // 2}" for i in range(90)]
    x, y = np.concatenate([f, g]), np.arange(90) < 40
    number = np.unique(groups, return_inverse=True)[1]
    expected = []
    for a, b in StratifiedGroupKFold(5, shuffle=True, random_state=3).split(x, y, number):
        assert not set(number[a]) & set(number[b])
        scale = StandardScaler().fit(x[a])
        model = LogisticRegression(C=0.1, max_iter=10_000, tol=1e-10).fit(scale.transform(x[a]), y[a])
        expected.append(roc_auc_score(y[b], model.decision_function(scale.transform(x[b]))))
    assert two_sample_auroc(f, g, groups[:40], groups[40:], seed=3) == pytest.approx(np.mean(expected), abs=1e-6)


def spread(seed, n):
    return normal(seed, n, 4) * SPREAD + SHIFT


def test_the_interval_holds_the_value_at_its_size():
    """The truth by drawing new samples; halves of 60 rows. With replacement the value would be far too high."""
    truth = np.mean([frechet_distance(normal(s, 30, 4), spread(s + 10**6, 30)) for s in range(1500)])
    held, centres, widths, repeated = 0, [], [], []
    for study in range(80):
        f, g = normal(study + 10**7, 60, 4), spread(study + 10**8, 60)
        found = by_subsampling(frechet_distance, f, g, 30, 32, study)
        held += found.low <= truth <= found.high
        centres.append(found.value)
        widths.append((found.high - found.low) / 2)
        rng = np.random.default_rng(study)
        repeated += [frechet_distance(f[rng.integers(60, size=30)], g[rng.integers(60, size=30)]) for _ in range(4)]
    error = np.std(centres) / np.sqrt(80)
    assert held >= 70  # 76 of 80 are the aim
    assert abs(np.mean(centres) - truth) < 3 * error
    assert np.mean(repeated) > truth + 2 * error
    assert 0.9 < np.mean(widths) / (2 * np.std(centres)) < 1.5


def test_the_interval_knows_which_set_is_the_smaller_one():
    """Thirty of sixty rows against thirty of six hundred: the parts of both sets are scaled one by one."""
    centres, widths = [], []
    for study in range(60):
        found = by_subsampling(frechet_distance, normal(study, 60, 4), spread(study + 10**6, 600), 30, 32, study)
        centres.append(found.value)
        widths.append((found.high - found.low) / 2)
    assert 0.8 < np.mean(widths) / (2 * np.std(centres)) < 1.6


def test_the_floor_is_what_real_samples_have_and_no_group_is_split():
    real = np.repeat(normal(0, 60, 4), 3, axis=0) + 0.01 * normal(1, 180, 4)  # three cubes of each patient
    groups = [f"p{i // 3}" for i in range(180)]
    rows = {row.tobytes(): name for row, name in zip(real, groups, strict=True)}
    sizes = set()

    def spy(f, g):
        assert not {rows[each.tobytes()] for each in f} & {rows[each.tobytes()] for each in g}
        assert len({each.tobytes() for each in f}) == len(f)
        sizes.add((len(f), len(g)))
        return frechet_distance(f, g)

    floor = real_floor(spy, real, 89, groups, draws=40)
    assert sizes == {(89, 89)}
    assert (floor.size, floor.draws) == (89, 40)
    assert 0 < floor.low < floor.value < floor.high
    split = real_floor(frechet_distance, real, 89, names("c", 180), draws=40)
    assert split.high < floor.value  # split patients look alike
    assert frechet_distance(real[:89], spread(5, 89)) > floor.high
    with pytest.raises(StoreError, match="Use 2 to 89"):
        real_floor(frechet_distance, real, 90, groups)


def test_draws_depend_on_the_seed_alone():
    f, g = normal(0, 40, 3), normal(1, 40, 3)
    for make in (
        lambda seed: by_subsampling(kernel_distance, f, g, 20, 8, seed),
        lambda seed: real_floor(kernel_distance, f, 20, names("a", 40), 8, seed),
    ):
        assert make(1) == make(1) != make(2)


def test_what_cannot_be_compared_is_refused():
    f, g = normal(0, 40, 3), normal(1, 40, 3)
    with pytest.raises(StoreError, match=r"\(40, 3\) and \(40, 2\)"):
        frechet_distance(f, g[:, :2])
    with pytest.raises(StoreError, match="sets of 1 and 40 cubes"):
        kernel_distance(f[:1], g)
    broken = g.copy()
    broken[7, 1] = np.nan
    with pytest.raises(CubeError, match="cube 7 are not finite"):
        frechet_distance(f, broken)
    with pytest.raises(StoreError, match="size = 40"):
        by_subsampling(frechet_distance, f, g, 40)
    with pytest.raises(StoreError, match="draws = 3"):
        by_subsampling(frechet_distance, f, g, 20, 3)
    with pytest.raises(StoreError, match="39 names of groups for 40 cubes"):
        two_sample_auroc(f, g, names("a", 39), names("b", 40))
    with pytest.raises(StoreError, match="a set of 4 groups"):
        two_sample_auroc(f, g, [f"p{i // 10}" for i in range(40)], names("b", 40))
    with pytest.raises(StudyError, match="no fold of whole groups"):  # all of one set in one group
        cross_validated(f[:30], np.arange(30) < 10, np.maximum(np.arange(30) - 9, 0), 0)


def test_every_metric_describes_itself():
    assert [metric.key for metric in METRICS] == ["frechet", "kernel", "two_sample_auroc"]
    assert all(metric.kind == "set" and metric.function.__doc__ for metric in METRICS)
