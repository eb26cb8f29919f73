"""Segmentation of scenes: which pixels are learnt from, what is counted, and what cannot be divided."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from hyperderm.errors import ConfigError, CubeError, StudyError
from hyperderm.ingest.formats.scene import ReadOptions
from hyperderm.phantom.rendering import phantom
from hyperderm.reports.scene_files import CUBE, CubeFiles
from hyperderm.reports.segmentation import figures
from hyperderm.segmentation.clustering import BASELINES, baselines
from hyperderm.segmentation.masks import otsu_mask
from hyperderm.segmentation.scoring import dice
from hyperderm.store.reader import open_store
from hyperderm.store.writer import write_store
from hyperderm.studies.scenes import of_file, of_store, sample
from hyperderm.studies.segmentation import LATENT, MASKS, OTSU, Request, reconstruction_error, segment
from hyperderm.studies.spectral_coding import Training, of_checkpoint
from tests.metrics.reflectance import reflectance

FEW = Training(latent=3, steps=60)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    place = tmp_path_factory.mktemp("segmented") / "store"
    write_store(str(place), (one.lesion for one in phantom(12, 16, 0)), fold_count=3)
    return open_store(str(place))


@pytest.fixture(scope="module")
def found(store, tmp_path_factory):
    kept = {}
    request = Request(of_store(store, 0), 3, training=FEW, as_masks=True)

    def keep(frame, labels, rebuilt, masks):
        kept[frame.name] = (frame, labels, rebuilt)

    return segment(request, tmp_path_factory.mktemp("net") / "net.pt", keep), kept


def scene(path: Path, cube) -> Path:
    np.save(path, np.asarray(cube, dtype=np.float32))
    return path


def test_the_test_role_stays_closed_and_validation_teaches_nothing(store):
    scenes = of_store(store, 0)
    train, validation = (store.select(role, 0, "all") for role in ("train", "validation"))
    assert scenes.roles == {**dict.fromkeys(train, "train"), **dict.fromkeys(validation, "validation")}
    assert len(scenes.roles) < len(list(store.lesions()))
    drawn = sample(scenes, 0)
    names = list(scenes.roles)
    assert {names[k] for k in np.unique(drawn.scene[drawn.held])} == set(validation)
    where = drawn.fitting(500, 0, folded=True)
    assert len(where) == 500
    assert not drawn.held[where].any()
    cubes = {frame.name: frame.cube for frame in scenes.frames()}
    for at in (0, 700, len(drawn.pixel) - 1):
        y, x = divmod(drawn.pixel[at], 16)
        assert np.array_equal(cubes[names[drawn.scene[at]]][y, x], drawn.spectra[at])
        np.testing.assert_allclose(drawn.place[at], [x / 15, y / 15])


def test_numbers_are_those_of_the_pixels(found):
    result, kept = found
    labels = np.concatenate([each[1].reshape(-1) for each in kept.values()])
    pixels = np.concatenate([each[0].cube.reshape(-1, 16) for each in kept.values()]).astype(np.float64)
    assert np.array_equal(result.sizes, np.bincount(labels, minlength=3))
    for k in range(3):
        np.testing.assert_allclose(result.means[k], pixels[labels == k].mean(0), rtol=1e-6)
        np.testing.assert_allclose(result.spreads[k], pixels[labels == k].std(0), rtol=1e-4)
    for one in result.scenes:
        frame, mine, rebuilt = kept[one.name]
        np.testing.assert_allclose(one.shares, np.bincount(mine.reshape(-1), minlength=3) / 256)
        gap = (rebuilt - frame.cube).astype(np.float64)
        assert one.rmse == pytest.approx(np.sqrt(np.square(gap).mean()))
        np.testing.assert_allclose(np.linalg.norm(rebuilt, axis=2), np.linalg.norm(frame.cube, axis=2), rtol=1e-5)
        assert one.dice[OTSU] == pytest.approx(dice(otsu_mask(frame.cube), frame.mask))
        assert set(one.dice) == set(MASKS)
    assert {one.cluster for one in result.examples} == {0, 1, 2}
    for one in result.examples:
        frame, mine, rebuilt = kept[one.name]
        assert mine[one.row, one.column] == one.cluster
        np.testing.assert_allclose(one.rebuilt, rebuilt[one.row, one.column], atol=1e-5)
    order = [one.dice["clusters of each lesion"] or 0 for one in result.masks_shown]
    assert order == sorted(order, reverse=True)
    assert len(order) == 3


def test_a_single_scene_is_divided_as_its_baselines_are(tmp_path):
    cube = reflectance(1, 9, 20, 20, seed=1)[0].movedim(0, 2).numpy().copy()
    cube[3, 4, 2] = np.inf
    kept = []
    scenes = of_file(scene(tmp_path / "cube.npy", cube), ReadOptions())
    assert (scenes.bands, scenes.measured) == (tuple(range(1, 10)), False)
    truth = baselines(cube, 3, 0)
    reference = truth["k-means, L2"].labels
    request = Request(scenes, 3, training=FEW, reference=reference)
    result = segment(request, tmp_path / "net.pt", lambda _, labels, rebuilt, masks: kept.append((labels, rebuilt)))
    assert result.masked == (1, 400)
    assert kept[0][0][3, 4] == -1
    assert np.isnan(kept[0][1][3, 4]).all()
    shown = result.shown[0].labels
    for name in BASELINES:
        assert adjusted_rand_score(shown[name].reshape(-1), truth[name].labels.reshape(-1)) == pytest.approx(1)
        known = kept[0][0] >= 0
        pair = adjusted_rand_score(kept[0][0][known], shown[name][known])
        assert result.rand(LATENT, name) == pytest.approx(pair)
        assert result.rand(name, LATENT) == result.rand(LATENT, name)
    assert result.agreements["k-means, L2"].accuracy == 1
    again = segment(request, tmp_path / "net.pt", lambda _, labels, rebuilt, masks: kept.append((labels, rebuilt)))
    assert np.array_equal(kept[0][0], kept[1][0])
    assert np.array_equal(again.decoded, result.decoded)
    coding = of_checkpoint(tmp_path / "net.pt", scenes, "net")
    segment(
        replace(request, coding=coding),
        tmp_path / "other.pt",
        lambda _, labels, rebuilt, masks: kept.append((labels, rebuilt)),
    )
    assert np.array_equal(kept[0][0], kept[2][0])
    assert not (tmp_path / "other.pt").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda x: np.full_like(x, 0.5), "all 400 pixels have one colour"),
        (lambda x: x * np.nan, "none of the 400 pixels is finite"),
        (lambda x: x[:1, :2], "--clusters 3: there are 2 usable pixels"),
        (lambda x: x[..., :1], "a cube of one band"),
    ],
)
def test_scenes_that_cannot_be_divided(tmp_path, change, said):
    cube = reflectance(1, 4, 20, 20)[0].movedim(0, 2).numpy()
    with pytest.raises(ConfigError, match=said):
        segment(
            Request(of_file(scene(tmp_path / "cube.npy", change(cube)), ReadOptions()), 3, training=FEW),
            tmp_path / "net.pt",
            print,
        )


def test_files_that_are_no_cube_or_several(tmp_path):
    for name in ("a.npy", "b.npy"):
        scene(tmp_path / name, np.ones((4, 4, 3)))
    with pytest.raises(CubeError, match=r"holds 2 cubes \(a, b\)"):
        of_file(tmp_path, ReadOptions())
    (tmp_path / "damaged.npy").write_bytes(b"no array")
    with pytest.raises(CubeError):
        of_file(tmp_path / "damaged.npy", ReadOptions())


def test_a_network_that_is_damaged_or_diverged(tmp_path, store, found):
    import torch

    scenes = of_store(store, 0)
    result, _ = found
    path = tmp_path / "net.pt"
    segment(Request(of_store(store, 0), 3, training=replace(FEW, steps=2)), path, lambda *_: None)
    state = torch.load(path, weights_only=True)
    state["learner"]["network"]["to_latent.bias"] *= torch.nan
    torch.save(state, path)
    with pytest.raises(StudyError, match="its training diverged"):
        of_checkpoint(path, scenes, "net")
    del state["learner"]["network"]["to_latent.bias"]
    torch.save(state, path)
    with pytest.raises(StudyError, match="does not fit this version"):
        of_checkpoint(path, scenes, "net")
    assert result.coding.uses is None


def test_errors_of_reconstruction_by_definition():
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 5, 6, 4)).astype(np.float32)
    a[0, 0, 1] = np.nan
    known = np.isfinite(a).all(2)
    rmse, angle = reconstruction_error(a, b)
    assert rmse == pytest.approx(np.sqrt(np.square(a[known] - b[known]).mean()))
    cosine = (a * b).sum(2)[known] / np.linalg.norm(a, axis=2)[known] / np.linalg.norm(b, axis=2)[known]
    assert angle == pytest.approx(np.arccos(cosine).mean(), rel=1e-5)
    assert np.isnan(reconstruction_error(a * np.nan, b)).all()


def test_cubes_go_to_the_file_in_order(tmp_path, store):
    scenes = of_store(store, 0)
    with CubeFiles(tmp_path, scenes) as files:
        for frame in scenes.frames():
            files.keep(frame.cube)
    held = np.load(tmp_path / CUBE)
    for k, frame in enumerate(scenes.frames()):
        assert np.array_equal(held[k], frame.cube)


def test_twenty_clusters_have_twenty_colours():
    for count in (2, 6, 7, 20):
        assert len(np.unique(figures.hues(count), axis=0)) == count
