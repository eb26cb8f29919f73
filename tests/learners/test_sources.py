"""Which source a cube is made from, in which orientation, and photographs matched to train."""

from collections import Counter

import numpy as np
import pytest
import torch

from hyperderm.cubes.pseudo_rgb import pseudo_rgb_matrix
from hyperderm.learners.sources import Sources, matched, rgb_levels
from hyperderm.metrics.orientation import orient
from tests.training.tiny import blobs


def to_rgb(reflectance, matrix, gain):
    return np.clip(gain * (reflectance @ matrix.T), 0.0, 1.0).astype(np.float32)


def sources(count=5):
    rng = np.random.default_rng(0)
    return Sources(tuple(f"lesion-{i}" for i in range(count)), rng.random((count, 3, 8, 8)).astype(np.float32))


def test_every_source_is_used_once_before_any_is_used_again_and_never_twice_alike():
    one = sources()
    assert one.limit == 40
    places = [one.place(7, i) for i in range(40)]
    for use in range(8):
        assert {chosen for chosen, _ in places[5 * use : 5 * use + 5]} == set(range(5))
    assert Counter(places).most_common(1)[0][1] == 1
    assert all(k > 0 for _, k in places[:35])  # the original orientation comes last
    assert all(k == 0 for _, k in places[35:])
    assert [chosen for chosen, _ in places[:5]] != [chosen for chosen, _ in places[5:10]]


def test_place_depends_on_the_seed_and_the_index_alone():
    assert [sources().place(1, i) for i in (9, 2, 33)] == [sources().place(1, i) for i in (9, 2, 33)]
    assert [sources().place(1, i) for i in range(20)] != [sources().place(2, i) for i in range(20)]


def test_draw_turns_the_images():
    one = sources()
    drawn = one.draw(3, [4, 11])
    for image, index in zip(drawn, (4, 11), strict=True):
        chosen, k = one.place(3, index)
        assert torch.equal(image, orient(torch.from_numpy(one.levels[chosen]), k))


def test_rgb_levels_are_what_pictures_show():
    nm = np.linspace(465, 630, 16)
    matrix = pseudo_rgb_matrix(nm)
    cubes = blobs(3)
    expected = to_rgb(cubes.movedim(1, 3).numpy(), matrix, 1.0)
    np.testing.assert_allclose(rgb_levels(cubes, matrix).clip(0, 1), np.moveaxis(expected, 3, 1), rtol=1e-6)


def test_matched_photographs_have_the_level_and_contrast_of_train_in_every_channel():
    rng = np.random.default_rng(1)
    photographs = rng.gamma(2.0, 0.1, (6, 3, 8, 8))
    train = rng.normal(0.4, 0.1, (9, 3, 8, 8)) * np.array([1.5, 0.7, 0.4])[:, None, None]
    out = matched(photographs, train)
    np.testing.assert_allclose(out.mean((0, 2, 3)), train.mean((0, 2, 3)))
    np.testing.assert_allclose(out.std((0, 2, 3)), train.std((0, 2, 3)))
    np.testing.assert_array_equal(out.argsort(-1), photographs.argsort(-1))  # what is brighter stays brighter
    assert np.isfinite(matched(np.full((2, 3, 8, 8), 0.5), train)).all()
    assert matched(photographs, train)[0] == pytest.approx(matched(photographs, train * 2)[0] / 2)
