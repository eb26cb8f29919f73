"""The nearest cube against a search of all pairs, one by one."""

import numpy as np
import pytest
import torch
from torch.nn.functional import adaptive_avg_pool2d

from hyperderm.errors import CubeError
from hyperderm.metrics import neighbours
from hyperderm.metrics.neighbours import nearest_by_angle, nearest_by_thumbnail
from hyperderm.metrics.orientation import orient
from hyperderm.metrics.spectral import spectral_angles

SEARCHES = [nearest_by_angle, nearest_by_thumbnail]


def cubes(n, bands=4, side=16, seed=0):
    return 0.2 + torch.rand(n, bands, side, side, generator=torch.Generator().manual_seed(seed))


def angles_one_by_one(x, y, side=8, turns=1):
    small, others = adaptive_avg_pool2d(x, side), adaptive_avg_pool2d(y, side)
    table = [[min(spectral_angles(orient(a[None], k), b[None])[0] for k in range(turns)) for b in others] for a in small]
    return np.array(table)


def thumbnails_one_by_one(x, y, side=8):
    a, b = (adaptive_avg_pool2d(v.double(), side).flatten(1).numpy() for v in (x, y))
    a, b = (v / v.mean(1, keepdims=True) for v in (a, b))
    return np.array([[np.sqrt(((p - q) ** 2).mean()) for q in b] for p in a])


@pytest.fixture(params=[2**23, 3 * 4 * 64])
def block(request, monkeypatch):
    """All cubes at once, or three at a time and one pixel at a time."""
    monkeypatch.setattr(neighbours, "BLOCK", request.param)
    if request.param < 2**20:
        monkeypatch.setattr(neighbours, "ANGLES", 1)
        monkeypatch.setattr(neighbours, "AT_ONCE", 2)


@pytest.mark.parametrize("turns", [1, 8])
def test_angle_and_index_are_those_of_all_pairs_one_by_one(block, turns):
    x, y = cubes(7), cubes(8, seed=1)
    x[2] = 1.7 * orient(y[5], 6)  # brighter and turned: found if turns are tried
    table = angles_one_by_one(x, y, turns=turns)
    angle, index = nearest_by_angle(x, y, side=8, orientations=turns)
    np.testing.assert_array_equal(index, table.argmin(1))
    np.testing.assert_allclose(angle, table.min(1), rtol=1e-6, atol=1e-7)
    assert (angle[2] < 1e-6) == (turns == 8)


def test_distance_and_index_are_those_of_all_thumbnails_one_by_one(block):
    x, y = cubes(7), cubes(8, seed=1)
    x[2] = 1.7 * y[5]
    table = thumbnails_one_by_one(x, y)
    distance, index = nearest_by_thumbnail(x, y, side=8)
    np.testing.assert_array_equal(index, table.argmin(1))
    np.testing.assert_allclose(distance, table.min(1), rtol=1e-6, atol=1e-6)
    assert distance[2] < 1e-6
    assert index[2] == 5


@pytest.mark.parametrize("search", SEARCHES)
def test_a_set_finds_itself_in_any_order_and_a_cube_of_another_group_if_it_must(search, block):
    x = cubes(9, side=8)
    order = np.random.default_rng(0).permutation(9)
    value, index = search(x[order], x, side=8)
    np.testing.assert_array_equal(index, order)
    assert value.max() < 1e-6
    groups = list("aaabbbccc")
    named, other = search(x, x, side=8, exclude=(groups, groups))
    assert all(groups[i] != groups[j] for i, j in enumerate(other))
    same = np.array(groups)[:, None] == np.array(groups)
    np.testing.assert_array_equal(search(x, x, side=8, exclude=same)[1], other)
    table = np.where(same, np.inf, angles_one_by_one(x, x) if search is nearest_by_angle else thumbnails_one_by_one(x, x))
    np.testing.assert_array_equal(other, table.argmin(1))
    np.testing.assert_allclose(named, table.min(1), rtol=1e-6)


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("bands", [3, 200])
def test_types_and_strides_change_nothing(search, bands):
    x, y = cubes(3, bands, 12), cubes(2, bands, 12, seed=1)
    value, index = search(x, y, side=6)
    strided = [v.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2).requires_grad_() for v in (x, y)]
    np.testing.assert_allclose(search(*strided, side=6)[0], value, rtol=1e-5)
    half = search(x.half(), y.half(), side=6)
    np.testing.assert_allclose(half[0], value, rtol=1e-2)
    np.testing.assert_allclose(search(x[1:2], y, side=6)[0], value[1:2], rtol=1e-6)
    assert [len(v) for v in search(x[:0], y, side=6)] == [0, 0]
    assert value.dtype == np.float64
    assert index.dtype == np.intp


def test_a_small_cube_is_compared_as_it_is():
    x, y = cubes(3, side=6), cubes(4, side=6, seed=1)
    np.testing.assert_allclose(nearest_by_angle(x, y)[0], angles_one_by_one(x, y, side=6).min(1), rtol=1e-6)


def test_zero_pixels_do_not_count_and_a_zero_cube_is_the_last_choice(block):
    x, y = cubes(4, side=8), cubes(5, side=8, seed=1)
    x[0, :, :5], y[1, :, :, :6], y[3], x[2] = 0, 0, 0, 0
    angle, index = nearest_by_angle(x, y, side=8)
    table = angles_one_by_one(x, y)
    some = [0, 1, 3]
    np.testing.assert_array_equal(index[some], np.nanargmin(table[some], 1))
    np.testing.assert_allclose(angle[some], np.nanmin(table[some], 1), rtol=1e-6)
    assert np.isnan(angle[2])
    assert np.isfinite(nearest_by_thumbnail(x, y, side=8)[0]).all()
    others = np.tile([True, False, True, True, True], (4, 1))
    assert (nearest_by_angle(x, y, side=8, exclude=others)[1] == 1).all()


def test_exposure_decides_neither_but_thumbnails_see_the_light_within_a_cube():
    y = cubes(4)
    shaded = y * torch.linspace(0.5, 1.5, 16)
    assert nearest_by_thumbnail(2 * y, y)[0].max() < 1e-6
    assert nearest_by_angle(shaded, y)[0].max() < 1e-6
    assert nearest_by_thumbnail(shaded, y)[0].min() > 0.1


@pytest.mark.parametrize("search", SEARCHES)
def test_errors_say_what_does_not_fit(search):
    x = cubes(3)
    for other in (x[:, :3], x[..., :9], x[0]):
        with pytest.raises(CubeError, match="cannot be paired"):
            search(x, other)
    with pytest.raises(CubeError, match="square"):
        search(x[..., :9], x[..., :9])
    with pytest.raises(CubeError, match="no cube to be paired with"):
        search(x, x[:0])
    with pytest.raises(CubeError, match="cube 1 has no cube left"):
        search(x, x, exclude=(["a", "b", "c"], ["b", "b", "b"]))
    with pytest.raises(CubeError, match=r"\(3, 2\) for 3 and 3"):
        search(x, x, exclude=np.zeros((3, 2), bool))


@pytest.mark.parametrize("number", [0, 9])
def test_there_are_eight_orientations(number):
    with pytest.raises(CubeError, match=f"{number} orientations"):
        nearest_by_angle(cubes(1), cubes(1), orientations=number)


def test_described_metrics_are_perfect_on_equal_sets():
    x = cubes(3)
    for metric in neighbours.METRICS:
        np.testing.assert_allclose(metric.function(x, x)[0], metric.perfect, atol=1e-6)
