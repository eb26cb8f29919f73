"""RS-IMLE's matching: the distance by a second, plain implementation; ε, rejection and assignment by brute force."""

from itertools import combinations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from hyperderm.learners.imle.matching import GRIDS, CubeDistance, assign, kept, pool_distances, threshold
from tests.training.tiny import blobs


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def plain_blocks(cubes: Tensor, floor: np.ndarray) -> list[np.ndarray]:
    """Means in grids of 1, 4 and 16 cells, and the logarithm of the gradient energy in 4 x 4 cells, cell by cell."""
    x = cubes.numpy()
    n, bands, side, _ = x.shape
    blocks = [
        np.stack(
            [
                x[:, :, side * i // grid : side * (i + 1) // grid, side * j // grid : side * (j + 1) // grid].mean((2, 3))
                for i in range(grid)
                for j in range(grid)
            ],
            2,
        ).reshape(n, -1)
        for grid in GRIDS
    ]
    energy = np.zeros((n, bands, side - 1, side - 1))
    for i in range(side - 1):
        for j in range(side - 1):
            energy[:, :, i, j] = (x[:, :, i, j + 1] - x[:, :, i, j]) ** 2 + (x[:, :, i + 1, j] - x[:, :, i, j]) ** 2
    edges = [(int(np.floor((side - 1) * k / 4)), int(np.ceil((side - 1) * (k + 1) / 4))) for k in range(4)]
    cells = [energy[:, :, a:b, c:d].mean((2, 3)) for a, b in edges for c, d in edges]
    return [*blocks, np.log(np.stack(cells, 2) + floor[:, None]).reshape(n, -1)]


def plain_floor(cubes: Tensor) -> np.ndarray:
    x = cubes.numpy()
    energy = (x[:, :, :-1, 1:] - x[:, :, :-1, :-1]) ** 2 + (x[:, :, 1:, :-1] - x[:, :, :-1, :-1]) ** 2
    return 0.05 * energy.mean((0, 2, 3))


def test_the_distance_is_that_of_a_plain_implementation():
    train = numbers(40, 3, 32, 32)  # more than are measured together
    distance = CubeDistance(train, texture=2.0)
    blocks = plain_blocks(train, plain_floor(train))
    squared = np.zeros((40, 40))
    for block, weight in zip(blocks, [1 / 9, 1 / 9, 1 / 9, 2 / 3], strict=True):
        between = ((block[:, None] - block[None]) ** 2).sum(2)
        squared += weight * between / between[np.triu_indices(40, 1)].mean()
    found = torch.cdist(distance.features(train), distance.features(train))
    np.testing.assert_allclose(found.square().numpy(), squared, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(("size", "bands"), [(16, 16), (28, 3), (32, 5)])
def test_two_different_train_cubes_have_the_mean_squared_distance_one(size, bands):
    train = numbers(9, bands, size, size)
    features = CubeDistance(train, texture=0.5).features(train)
    squared = [float((features[i] - features[j]).square().sum()) for i, j in combinations(range(9), 2)]
    assert np.mean(squared) == pytest.approx(1, rel=1e-9)


def test_the_loss_of_a_brighter_cube_in_closed_form():
    """A constant c in all B bands: c² B G² in a grid of G² cells, nothing in the texture, c² B H W in the pixels."""
    train = numbers(6, 2, 16, 16)
    distance = CubeDistance(train, texture=1.0, pixels=0.5)
    scales = [2 * block.var(0).sum() for block in map(torch.from_numpy, plain_blocks(train, plain_floor(train)))][:3]
    grids = sum(0.09 * 2 * grid**2 / float(scale) for grid, scale in zip(GRIDS, scales, strict=True)) / 6
    pixels = 0.25 * 0.09 * 2 * 256 / float(2 * train.flatten(1).var(0).sum())
    assert distance.loss(train[:1] + 0.3, train[:1]).tolist() == pytest.approx([grids + pixels], rel=1e-9)
    assert distance.loss(train, train).tolist() == [0.0] * 6


def test_the_loss_is_differentiable():
    train = numbers(4, 2, 8, 8)
    distance = CubeDistance(train, pixels=0.3)
    assert gradcheck(lambda x: distance.loss(x, train[:2]), (numbers(2, 2, 8, 8, seed=1).requires_grad_(),))
    flat = torch.zeros(1, 2, 8, 8, dtype=torch.float64, requires_grad=True)  # no texture at all
    distance.loss(flat, train[:1]).sum().backward()
    assert torch.isfinite(flat.grad).all()


def test_texture_tells_smooth_from_noisy_but_not_one_noise_from_another():
    cubes = blobs(6).double()
    noisy = [cubes + 0.05 * numbers(6, 16, 16, 16, seed=seed) for seed in (1, 2)]
    texture = CubeDistance(noisy[0], texture=1e6)
    other, smooth = texture.loss(noisy[1], noisy[0]), texture.loss(cubes, noisy[0])
    assert (smooth > 10 * other).all()


def test_cubes_that_do_not_differ_have_finite_features():
    same = torch.full((3, 2, 16, 16), 0.5)
    assert torch.isfinite(CubeDistance(same).features(numbers(2, 2, 16, 16).float())).all()


@pytest.mark.parametrize(
    ("quantile", "factor", "expected"), [(0.5, 2.0, 3.0), (0.0, 1.0, 1.0), (1.0, 1.0, 4.0), (0.5, 0.0, 0.0)]
)
def test_epsilon_of_points_on_a_line(quantile, factor, expected):
    """The nearest neighbours of 0, 1, 3 and 7 are 1, 1, 2 and 4 away."""
    line = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
    assert threshold(line, torch.zeros(4), quantile, factor) == pytest.approx(expected)


def test_epsilon_sees_neighbours_of_the_class_alone():
    line = torch.tensor([[0.0], [0.1], [5.0], [5.2], [100.0]])
    assert threshold(line, torch.tensor([0, 1, 0, 1, 2]), 0.0, 1.0) == pytest.approx(5)
    assert threshold(line[:2], torch.tensor([0, 1]), 0.5, 1.0) == 0


def test_what_is_nearer_than_epsilon_to_any_real_cube_is_rejected():
    distances = torch.tensor([[0.1, 5.0, 2.0, 3.0, 1.0], [4.0, 0.9, 2.0, 3.0, 7.0]])
    assert kept(distances, 1.0).tolist() == [False, False, True, True, True]
    assert kept(distances, 0.0).all()


def test_rejection_leaves_as_many_samples_as_real_cubes():
    distances = torch.tensor([[0.1, 5.0, 2.0, 3.0], [4.0, 0.9, 2.0, 3.0]])
    assert kept(distances, 2.5).tolist() == [False, False, True, True]  # one is far enough, the farthest other stays
    assert kept(distances, 99.0).tolist() == [False, False, True, True]
    assert kept(distances.T, 99.0).all()  # more real cubes than samples: none can be spared


def brute(distances: Tensor, labels: list[int], pool: list[int], epsilon: float) -> list[int]:
    """Cube by cube, for an ε that leaves enough."""
    found = []
    for i, label in enumerate(labels):
        peers = [k for k, other in enumerate(labels) if other == label]
        far = [j for j, other in enumerate(pool) if other == label and min(float(distances[k, j]) for k in peers) >= epsilon]
        found.append(min(far, key=lambda j: float(distances[i, j])))
    return found


@pytest.mark.parametrize("epsilon", [0.0, 0.6, 1.2])
@pytest.mark.parametrize("classes", [1, 3])
def test_the_assignment_is_that_of_brute_force(epsilon, classes):
    real, pool = numbers(9, 3), numbers(90, 3, seed=1)
    labels, kinds = torch.arange(9) % classes, torch.arange(90) % classes
    distances = torch.cdist(real, pool)
    found, remain = assign(distances, labels, kinds, epsilon)
    assert found.tolist() == brute(distances, labels.tolist(), kinds.tolist(), epsilon)
    assert torch.equal(kinds[found], labels)
    assert remain[found].all()
    if epsilon == 0:
        assert remain.all()
        assert classes > 1 or torch.equal(found, distances.argmin(1))  # plain IMLE


def test_no_real_cube_is_lost_when_everything_is_too_near():
    real, pool = numbers(5, 3), numbers(50, 3, seed=1)
    found, remain = assign(torch.cdist(real, pool), torch.zeros(5, dtype=torch.int64), torch.zeros(50), 1e9)
    assert int(remain.sum()) == 5
    assert remain[found].all()


def test_rejection_makes_matched_samples_like_samples_that_are_drawn_later():
    """The paper's argument, with a generator that is perfect: data and samples are normal, in four dimensions.

    The nearest of many samples is far nearer to its real point than a new sample is to any real point. Rejection closes at
    least half of that gap.
    """
    real, pool, later = numbers(20, 4), numbers(4000, 4, seed=1), numbers(4000, 4, seed=2)
    labels, kinds = torch.zeros(20, dtype=torch.int64), torch.zeros(4000, dtype=torch.int64)
    epsilon = threshold(real, labels, 0.5, 1.0)
    fresh = float(torch.cdist(later, real).amin(1).median())
    matched = {}
    for name, value in (("imle", 0.0), ("rs-imle", epsilon)):
        found, _ = assign(torch.cdist(real, pool), labels, kinds, value)
        matched[name] = torch.cdist(pool[found], real).amin(1)
    assert (matched["rs-imle"] >= epsilon).all()
    gap = {name: abs(fresh - float(distances.median())) for name, distances in matched.items()}
    assert gap["imle"] > 0.5 * fresh
    assert gap["rs-imle"] < 0.5 * gap["imle"]


def test_the_pool_s_distances_do_not_depend_on_how_many_are_made_together():
    real, pool = numbers(5, 4), numbers(23, 4, seed=1)
    asked = []

    def features(part: slice) -> Tensor:
        asked.append(part)
        return pool[part]

    torch.testing.assert_close(pool_distances(real, features, 23, 10), torch.cdist(real, pool))
    assert asked == [slice(0, 10), slice(10, 20), slice(20, 23)]
