"""Denoising: whose truth is known, and the two classical ways against their definitions."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.decomposition import PCA

from hyperderm.ingest.formats.scene import ReadOptions
from hyperderm.phantom.rendering import noise_free, phantom
from hyperderm.store.reader import open_store
from hyperderm.store.writer import write_store
from hyperderm.studies.denoising import (
    AXES,
    FILTER,
    INPUT,
    NET,
    Request,
    denoise,
    filter_window,
    filtered,
    projected,
    score,
    truth_of,
)
from hyperderm.studies.scenes import Frame, of_file, of_store
from hyperderm.studies.spectral_coding import Training
from hyperderm.unmixing.pixels import principal

FEW = Training(latent=4, steps=60)


def frame(lesion) -> Frame:
    return Frame(lesion.lesion_id, lesion.diagnosis, "", lesion.cube.reflectance, lesion.mask, lesion.origin)


def test_the_truth_is_known_only_where_the_phantom_draws_the_cube_again():
    lesion = next(phantom(4, 16, 3)).lesion
    truth = truth_of(frame(lesion))
    assert np.array_equal(truth, noise_free(0, lesion.diagnosis, 16, 3))
    changed = frame(lesion)
    changed.cube[2, 3, 4] += 2.0**-13
    assert truth_of(changed) is None
    assert truth_of(replace(frame(lesion), origin={})) is None
    assert truth_of(replace(frame(lesion), origin={**lesion.origin, "seed": 4})) is None
    assert truth_of(replace(frame(lesion), diagnosis="unknown")) is None


def test_noise_is_what_the_truth_lacks():
    """The noise of `Camera.expose` has no mean and the declared size."""
    gaps = []
    for one in phantom(6, 64, 0):
        truth = noise_free(one.lesion.origin["index"], one.lesion.diagnosis, 64, 0)
        size = 64 / 160 * np.sqrt(0.006**2 + 0.02**2 * truth)
        gaps.append((one.lesion.cube.reflectance - truth) / size)
    gaps = np.concatenate([gap.reshape(-1) for gap in gaps])
    assert abs(gaps.mean()) < 0.01
    assert gaps.std() == pytest.approx(1, abs=0.02)


def test_the_phantom_is_scored_against_its_truth(tmp_path):
    write_store(str(tmp_path / "store"), (one.lesion for one in phantom(12, 16, 0)), fold_count=3)
    scenes = of_store(open_store(str(tmp_path / "store")), 1)
    kept = {}
    found = denoise(Request(scenes, FEW), tmp_path / "net.pt", lambda one, cube: kept.__setitem__(one.name, cube))
    assert found.known
    assert set(kept) == set(scenes.roles) == {one.name for one in found.scenes}
    for one in found.scenes:
        (of,) = [each for each in scenes.frames() if each.name == one.name]
        truth = truth_of(of)
        error = np.sqrt(np.square(kept[one.name].astype(np.float64) - truth).mean())
        assert one.scores[NET].rmse == pytest.approx(error)
        assert one.scores[NET].psnr == pytest.approx(20 * np.log10(truth.max() / error))
        assert one.scores[INPUT].rmse == pytest.approx(np.sqrt(np.square(of.cube - truth).mean()), rel=1e-5)
    values = [one.scores[AXES].rmse for one in found.scenes]
    assert found.median(AXES, "rmse") == pytest.approx(np.median(values))
    validation = [one.scores[FILTER].angle for one in found.scenes if one.role == "validation"]
    assert found.median(FILTER, "angle", "validation") == pytest.approx(np.median(validation))


def test_cubes_without_a_truth_say_so(tmp_path):
    cube = next(phantom(2, 16, 0)).lesion.cube.reflectance.copy()
    cube[1, 2, 3] = np.nan
    np.save(tmp_path / "cube.npy", cube)
    kept = []
    scenes = of_file(tmp_path / "cube.npy", ReadOptions())
    found = denoise(Request(scenes, FEW), tmp_path / "net.pt", lambda _, each: kept.append(each))
    assert not found.known
    assert found.masked == (1, 256)
    assert INPUT not in found.scored
    assert np.isnan(found.median(NET, "psnr"))
    assert np.isnan(kept[0][1, 2]).all()
    assert np.isfinite(kept[0]).all(2).sum() == 255


def test_a_line_passes_the_filter_and_a_peak_is_smoothed():
    line = (np.arange(12) * 0.1 + 0.2).astype(np.float32)
    cube = np.broadcast_to(line, (2, 3, 12)).copy()
    cube[1, 1, 6] += 1
    made = filtered(cube, 5)
    np.testing.assert_allclose(made[0], cube[0], atol=1e-6)
    # the central weight of a quadratic over five points is 17/35 (Savitzky, Golay 1964)
    assert made[1, 1, 6] - line[6] == pytest.approx(17 / 35, abs=1e-5)


@pytest.mark.parametrize(("bands", "window"), [(2, 1), (3, 3), (4, 3), (5, 5), (16, 5), (90, 9), (270, 15)])
def test_windows_are_odd_and_fit(bands, window):
    assert filter_window(bands) == window
    filtered(np.ones((1, 2, bands), np.float32), window)


def test_the_projection_is_that_of_principal_components():
    rng = np.random.default_rng(0)
    cube = (rng.random((6, 7, 3)) @ rng.random((3, 9)) + 0.1 * rng.random((6, 7, 9))).astype(np.float32)
    rows = cube.reshape(-1, 9).astype(np.float64)
    reference = PCA(2, svd_solver="full").fit(rows)
    expected = reference.inverse_transform(reference.transform(rows)).reshape(cube.shape)
    np.testing.assert_allclose(projected(cube, *principal(rows, 2)), expected, atol=1e-5)


def test_scores_by_definition():
    a, b = np.full((2, 2, 3), 0.5, np.float32), np.full((2, 2, 3), 0.4, np.float32)
    found = score(a, b, truth=True)
    assert found.rmse == pytest.approx(0.1)
    assert found.psnr == pytest.approx(20 * np.log10(4), abs=1e-4)
    assert found.angle == pytest.approx(0, abs=1e-3)
    assert np.isnan(score(a, b, truth=False).psnr)
