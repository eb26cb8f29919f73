"""The cubes that are kept for pictures: the last ones whole, a few over training; and their picture."""

import numpy as np
import pytest
import torch

from hyperderm.tracking.figures import RealSet
from hyperderm.tracking.over_training import over_training_figure, reconstructions, spread
from hyperderm.training.kept_samples import FOLLOWED, FOLLOWED_SIDE, MOMENTS, keep_samples, over_training, rebuilt, thinned
from hyperderm.training.report import Report
from tests.training.tiny import blobs


def test_the_first_cubes_of_each_validation_are_kept_small(tmp_path):
    made = {images: blobs(10, size=64, seed=images) for images in (0, 500, 1000)}
    for images, cubes in made.items():
        keep_samples(Report(images, {}, cubes), tmp_path)
    keep_samples(Report(1500, {}), tmp_path)  # a resumed run repeats its report without cubes
    found = over_training(tmp_path)
    assert list(found) == [0, 500, 1000]
    for images, cubes in made.items():
        expected = torch.nn.functional.avg_pool2d(cubes[:FOLLOWED], 64 // FOLLOWED_SIDE)
        torch.testing.assert_close(torch.from_numpy(found[images]), expected, rtol=1e-3, atol=1e-3)
    assert np.array_equal(np.load(tmp_path / "samples.npy"), made[1000].numpy())


def test_rebuilt_cubes_are_kept_and_drawn_with_their_error(tmp_path):
    held = blobs(3, size=64)
    keep_samples(Report(500, {}, blobs(8, size=64), (held, held + 0.1)), tmp_path)
    found = rebuilt(tmp_path)
    assert found.shape == (2, 3, 16, 32, 32)
    np.testing.assert_allclose(found[1] - found[0], 0.1, atol=1e-6)
    real = RealSet(np.moveaxis(held.numpy(), 1, 3), ["melanoma"] * 3, np.linspace(465, 620, 16))
    figure = reconstructions(real, *np.moveaxis(found, 2, 4), "tiny")
    assert [text.get_text() for text in figure.texts].count("0.100") == 3
    keep_samples(Report(1000, {}, blobs(8)), tmp_path / "another")
    assert rebuilt(tmp_path / "another") is None


def test_nothing_is_kept_of_a_learner_without_cubes(tmp_path):
    keep_samples(Report(500, {}), tmp_path)
    assert not list(tmp_path.iterdir())
    assert over_training(tmp_path) == {}


@pytest.mark.parametrize("count", [1, 2, 11, 12, 13, 40, 200])
def test_moments_are_thinned_as_they_come(count):
    kept: list[int] = []
    for images in range(0, count * 100, 100):
        kept = thinned([*kept, images])
        assert kept[0] == 0
        assert kept[-1] == images
        assert kept == sorted(set(kept))
        assert len(kept) <= MOMENTS
    assert len(kept) >= min(count, MOMENTS // 2)


def test_spread_is_the_distance_between_two_cubes():
    cubes = blobs(6).numpy()
    pairs = [np.square(cubes[i] - cubes[j]).mean() for i in range(6) for j in range(i)]
    assert spread(cubes) == pytest.approx(np.sqrt(np.mean(pairs)), rel=1e-5)
    assert spread(np.repeat(cubes[:1], 4, 0)) == 0
    assert spread(cubes[:1]) == 0


def test_the_picture_shows_cubes_that_come_to_be_alike():
    real = RealSet(np.moveaxis(blobs(8).numpy(), 1, 3), ["melanoma"] * 8, np.linspace(465, 620, 16))
    varied = np.moveaxis(blobs(8, seed=1).numpy(), 1, 3)
    moments = {0: varied, 100: varied.mean(0, keepdims=True) + 0.5 * (varied - varied.mean(0)), 200: varied[:1].repeat(8, 0)}
    figure = over_training_figure(real, moments, "tiny")
    lines = {line.get_label(): line.get_ydata() for line in figure.axes[-1].get_lines()}
    apart = lines["distance between cubes"]
    assert apart[0] > apart[1] > apart[2] == 0
    assert apart[1] == pytest.approx(apart[0] / 2)
    assert len(lines["moved since the moment before"]) == 2
    assert [axes.get_title() for axes in figure.axes[:3]] == ["0", "100", "200"]
