"""Snapshot-mosaic frames: demosaicking against closed forms and scipy, wavelengths, references, corrections, bad input."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
import tifffile
from PIL import Image
from scipy import ndimage

from hyperderm.errors import CubeError
from hyperderm.ingest.formats.mosaic import Mosaic, demosaic, read_mosaic, responses_beside

H, W = 24, 40
REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "ssi_mosaic16"
CENTRES = np.array([482, 493, 470, 465, 568, 581, 553, 544, 611, 620, 603, 590, 530, 540, 515, 503], dtype=np.float64)
ORDER = np.argsort(CENTRES)


def mosaic(cube):
    """What the sensor makes of a cube (H, W, 16): of every pixel, the one band before it."""
    h, w, _ = cube.shape
    y, x = np.mgrid[:h, :w]
    return cube[y, x, 4 * (y % 4) + x % 4]


def frame(dtype=np.uint16, seed=0, h=H, w=W):
    return np.random.default_rng(seed).integers(1, np.iinfo(dtype).max, (h, w)).astype(dtype)


def put_responses(folder, centres=CENTRES, name="sensor_Responses_4x4.mat", key="CentralWavelength"):
    folder.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(folder / name, {key: np.atleast_2d(centres), "SpectralProfiles": np.ones((16, 601))})
    return folder / name


@pytest.fixture
def shot(tmp_path):
    put_responses(tmp_path)
    tifffile.imwrite(tmp_path / "shot.tif", frame())
    return tmp_path / "shot.tif"


def test_superpixels_are_the_samples_as_they_are():
    raw = frame()
    cube = demosaic(raw)
    assert (cube.shape, cube.dtype) == ((H // 4, W // 4, 16), np.float32)
    for k in range(16):
        np.testing.assert_array_equal(cube[..., k], raw[k // 4 :: 4, k % 4 :: 4])


def test_bilinear_reproduces_what_is_linear_in_x_and_y():
    y, x = np.mgrid[:H, :W].astype(np.float64)
    planes = np.stack([(k + 1) * 0.5 + (k - 3) * 0.25 * y + (5 - k) * 0.125 * x for k in range(16)], axis=-1)
    cube = demosaic(mosaic(planes), how="bilinear")
    assert (cube.shape, cube.dtype) == ((H, W, 16), np.float32)
    for k in range(16):
        row, column = divmod(k, 4)
        # Exact between a band's outermost samples; beyond them the nearest sample, as clamping the coordinates says.
        yc, xc = np.clip(y, row, H - 4 + row), np.clip(x, column, W - 4 + column)
        expected = (k + 1) * 0.5 + (k - 3) * 0.25 * yc + (5 - k) * 0.125 * xc
        np.testing.assert_allclose(cube[..., k], expected, atol=1e-5)
    np.testing.assert_allclose(cube[3:-3, 3:-3], planes[3:-3, 3:-3], atol=1e-5)


def test_bilinear_agrees_with_interpolation_at_every_pixel_and_keeps_the_samples():
    raw = frame()
    cube = demosaic(raw, how="bilinear")
    np.testing.assert_array_equal(mosaic(cube), raw)
    y, x = np.mgrid[:H, :W].astype(np.float64)
    for k in (0, 6, 15):
        row, column = divmod(k, 4)
        grid = raw[row::4, column::4].astype(np.float64)
        places = [np.clip((y - row) / 4, 0, H // 4 - 1), np.clip((x - column) / 4, 0, W // 4 - 1)]
        np.testing.assert_allclose(cube[..., k], ndimage.map_coordinates(grid, places, order=1), rtol=1e-5)


def test_a_grey_scene_has_no_pattern_left():
    y, x = np.mgrid[:H, :W]
    grey = (1000 + 7 * y + 3 * x).astype(np.uint16)
    inner = demosaic(grey, how="bilinear")[3:-3, 3:-3]
    np.testing.assert_array_equal(inner, np.broadcast_to(grey[3:-3, 3:-3, None], inner.shape))


@pytest.mark.parametrize("how", ["superpixel", "bilinear"])
def test_other_patterns_and_the_smallest_frame(how):
    raw = np.arange(25.0).reshape(5, 5)
    cube = demosaic(raw, 5, how)
    assert cube.shape == ((1, 1, 25) if how == "superpixel" else (5, 5, 25))
    np.testing.assert_array_equal(cube[0, 0], raw.ravel())


@pytest.mark.parametrize(("h", "w", "cut"), [(H + 1, W, "24 x 40"), (H, W - 2, "24 x 36"), (3, W, "0 x 40")])
def test_a_size_that_four_does_not_divide(shot, h, w, cut):
    with pytest.raises(CubeError, match=f"{h} x {w} pixels is no whole number of 4 x 4 blocks.*{cut}"):
        demosaic(np.zeros((h, w)))
    tifffile.imwrite(shot, frame(h=h, w=w))
    with pytest.raises(CubeError, match=f"{h} x {w} pixels"):
        read_mosaic(shot, Mosaic())


def test_arguments_that_do_not_exist():
    with pytest.raises(CubeError, match="'nearest' is unknown"):
        demosaic(frame(), how="nearest")
    with pytest.raises(CubeError, match="two axes"):
        demosaic(np.zeros((4, 4, 3)))


@pytest.mark.parametrize("how", ["superpixel", "bilinear"])
@pytest.mark.parametrize("suffix", [".tif", ".png"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_frame_becomes_a_scene_with_rising_wavelengths(tmp_path, how, suffix, dtype):
    put_responses(tmp_path)
    raw = frame(dtype)
    Image.fromarray(raw).save(tmp_path / f"shot{suffix}")
    scene = read_mosaic(tmp_path / f"shot{suffix}", Mosaic(how))
    np.testing.assert_array_equal(scene.wavelengths_nm, np.sort(CENTRES))
    np.testing.assert_array_equal(scene.reflectance, demosaic(raw, how=how)[..., ORDER])
    assert scene.reflectance.flags.c_contiguous
    assert scene.facts == {
        "dtype": raw.dtype.name,
        "mosaic": "4 x 4",
        "demosaicking": how,
        "saturated": np.count_nonzero(raw == np.iinfo(dtype).max),
        "calibrated": "no",
        "wavelengths": "from sensor_Responses_4x4.mat",
        "band_order": ORDER.tolist(),
    }


def test_wavelengths_come_from_the_user_first_and_from_the_nearest_table_up_to_the_root(tmp_path):
    folder = tmp_path / "root" / "day" / "patient"
    outside, inside = put_responses(tmp_path), put_responses(tmp_path / "root", CENTRES + 1)
    folder.mkdir(parents=True)
    tifffile.imwrite(folder / "shot.tif", frame())
    root = tmp_path / "root"
    assert responses_beside(folder, root) == inside
    assert responses_beside(folder, tmp_path / "root" / "day") is None
    np.testing.assert_array_equal(read_mosaic(folder / "shot.tif", Mosaic(), root).wavelengths_nm, np.sort(CENTRES) + 1)
    with pytest.raises(CubeError, match=r"wavelengths of shot\.tif are unknown.*--wavelengths"):
        read_mosaic(folder / "shot.tif", Mosaic())
    np.testing.assert_array_equal(
        read_mosaic(folder / "shot.tif", Mosaic(responses=outside), root).wavelengths_nm, np.sort(CENTRES)
    )
    asked = read_mosaic(folder / "shot.tif", Mosaic(wavelengths_nm=tuple(CENTRES + 2)), root)
    np.testing.assert_array_equal(asked.wavelengths_nm, np.sort(CENTRES) + 2)
    assert asked.facts["wavelengths"] == "as asked"
    put_responses(folder, CENTRES + 3)
    put_responses(folder, CENTRES + 4, "other_responses.mat")
    with pytest.raises(CubeError, match=r"2 response tables lie in patient/: other_responses\.mat, sensor_Resp"):
        read_mosaic(folder / "shot.tif", Mosaic(), root)


def test_a_table_of_matlab_v73(tmp_path):
    with h5py.File(tmp_path / "responses.mat", "w", userblock_size=512) as file:
        file["CentralWavelength"] = CENTRES[:, None]
        file["note"] = "text"
    tifffile.imwrite(tmp_path / "shot.tif", frame())
    np.testing.assert_array_equal(read_mosaic(tmp_path / "shot.tif", Mosaic()).wavelengths_nm, np.sort(CENTRES))


@pytest.mark.parametrize("how", ["superpixel", "bilinear"])
def test_references_are_applied_to_the_raw_frame(tmp_path, how):
    put_responses(tmp_path)
    y, x = np.mgrid[:H, :W]
    dark, gain = 100 + (y + x) % 7, 400 + 8 * ((3 * y + 5 * x) % 11)  # every pixel its own: nothing that interpolates away
    tifffile.imwrite(tmp_path / "shot.tif", (dark + gain // 4).astype(np.uint16))
    tifffile.imwrite(tmp_path / "white.tif", (dark + gain).astype(np.uint16))
    np.save(tmp_path / "dark.npy", np.stack([dark - 1, dark + 1]))
    options = Mosaic(how, dark=tmp_path / "dark.npy", white=tmp_path / "white.tif", white_reflectance=0.8)
    scene = read_mosaic(tmp_path / "shot.tif", options)
    np.testing.assert_allclose(scene.reflectance, 0.2, rtol=1e-6)
    assert scene.facts["calibrated"] == "(raw - dark) / (white - dark)"
    assert (scene.facts["dark"], scene.facts["white"], scene.facts["white_reflectance"]) == ("dark.npy", "white.tif", 0.8)


@pytest.mark.parametrize("suffix", [".csv", ".npy", ".mat"])
def test_a_square_correction_works_in_the_order_of_the_pattern(shot, suffix):
    matrix = np.random.default_rng(5).normal(size=(16, 16))
    path = shot.with_name(f"matrix{suffix}")
    if suffix == ".csv":
        np.savetxt(path, matrix, delimiter=",")
    elif suffix == ".npy":
        np.save(path, matrix)
    else:
        scipy.io.savemat(path, {"m": matrix})
    scene = read_mosaic(shot, Mosaic(correction=path))
    expected = (demosaic(frame()).astype(np.float64) @ matrix.T)[..., ORDER]
    np.testing.assert_allclose(scene.reflectance, expected, rtol=1e-5, atol=0.1)
    np.testing.assert_array_equal(scene.wavelengths_nm, np.sort(CENTRES))
    assert (scene.facts["correction"], scene.facts["wavelengths"]) == (path.name, "from sensor_Responses_4x4.mat")


def test_a_correction_to_other_bands_brings_their_wavelengths(shot):
    matrix = np.random.default_rng(5).normal(size=(15, 16))
    nm = np.linspace(642.5, 468.2, 15)
    path = shot.with_name("corrected.mat")  # as XIMEA's: the names and shapes of that file
    others = {"Spectral_Profiles": np.ones((16, 601)), "wavelengths_corrected": CENTRES[None]}
    scipy.io.savemat(path, {"correction_matrix": matrix, "wavelengths": nm[None], **others})
    scene = read_mosaic(shot, Mosaic(correction=path))
    np.testing.assert_allclose(scene.wavelengths_nm, nm[::-1])
    expected = (demosaic(frame()).astype(np.float64) @ matrix.T)[..., ::-1]
    np.testing.assert_allclose(scene.reflectance, expected, rtol=1e-5, atol=0.1)
    assert (scene.facts["band_order"], scene.facts["corrected_bands"]) == (list(range(14, -1, -1)), 15)
    np.save(shot.with_name("m.npy"), matrix)
    with pytest.raises(CubeError, match="wavelengths of the 15 corrected bands are unknown"):
        read_mosaic(shot, Mosaic(correction=shot.with_name("m.npy")))
    asked = read_mosaic(shot, Mosaic(correction=shot.with_name("m.npy"), wavelengths_nm=tuple(nm)))
    np.testing.assert_array_equal(asked.reflectance, scene.reflectance)


def test_corrections_that_do_not_fit(shot):
    folder = shot.parent
    np.save(folder / "wide.npy", np.ones((16, 15)))
    np.save(folder / "nan.npy", np.full((16, 16), np.nan))
    (folder / "words.csv").write_text("a,b\n")
    scipy.io.savemat(folder / "two.mat", {"a": np.eye(16), "b": np.eye(16)})
    scipy.io.savemat(folder / "none.mat", {"a": np.eye(3)})
    for name, message in (
        ("wide.npy", r"shape \(16, 15\), a correction has 16 columns"),
        ("nan.npy", "NaN"),
        ("words.csv", "table of numbers"),
        ("two.mat", "holds 2 matrices with 16 columns"),
        ("none.mat", "holds 0 matrices"),
        ("absent.mat", "not a file"),
        ("absent.csv", "damaged"),
    ):
        with pytest.raises(CubeError, match=message) as caught:
            read_mosaic(shot, Mosaic(correction=folder / name))
        assert name in str(caught.value)


def test_tables_that_do_not_fit(shot):
    table = shot.with_name("sensor_Responses_4x4.mat")
    for centres, message in (
        (CENTRES[:15], "15 numbers, 16 are"),
        (CENTRES * np.nan, "of sensor_Responses_4x4.mat holds nan, which cannot be nm"),
        (CENTRES / 1000, "which cannot be nm"),
        (CENTRES * 0 + 500, "same wavelength"),
    ):
        put_responses(shot.parent, centres)
        with pytest.raises(CubeError, match=message):
            read_mosaic(shot, Mosaic())
    put_responses(shot.parent, key="Centres")
    with pytest.raises(CubeError, match="holds no CentralWavelength: it holds Centres, SpectralProfiles"):
        read_mosaic(shot, Mosaic())
    table.write_bytes(table.read_bytes()[:300])
    with pytest.raises(CubeError, match=r"sensor_Responses_4x4\.mat cannot be read as a MATLAB file, damaged"):
        read_mosaic(shot, Mosaic())
    with pytest.raises(CubeError, match="16 bands but 15 wavelengths"):
        read_mosaic(shot, Mosaic(wavelengths_nm=tuple(CENTRES[1:])))


def test_pictures_that_are_no_raw_frame(shot):
    tifffile.imwrite(shot, np.stack([frame()] * 2), photometric="minisblack")
    with pytest.raises(CubeError, match=r"one grey picture, shot\.tif has shape \(2, 24, 40\)"):
        read_mosaic(shot, Mosaic())
    tifffile.imwrite(shot, np.zeros((H, W, 3), np.uint8), photometric="rgb")
    with pytest.raises(CubeError, match="colours"):
        read_mosaic(shot, Mosaic())
    tifffile.imwrite(shot, frame())
    tifffile.imwrite(shot.with_name("white.tif"), frame(h=H + 4))
    with pytest.raises(CubeError, match="white reference has shape"):
        read_mosaic(shot, Mosaic(white=shot.with_name("white.tif")))


@pytest.mark.skipif(not REAL.is_dir(), reason="the real frames are not beside this repository")
def test_real_frames_read_smoothly_only_in_the_order_of_their_wavelengths():
    paths = sorted(REAL.glob("*.tif"))
    assert len(paths) == 2
    for path in paths:
        raw, small = tifffile.imread(path), read_mosaic(path, Mosaic())
        assert small.reflectance.shape == (256, 512, 16)
        np.testing.assert_allclose(small.wavelengths_nm[[0, -1]], [465.16, 620.24], atol=0.01)
        for b, k in enumerate(small.facts["band_order"]):
            np.testing.assert_array_equal(small.reflectance[..., b], raw[k // 4 :: 4, k % 4 :: 4])
        # A mean spectrum is smooth in the right order: shuffled at random it never is as smooth.
        mean = small.reflectance.mean(axis=(0, 1), dtype=np.float64)
        shuffled = np.random.default_rng(0).permuted(np.tile(mean, (2000, 1)), axis=1)
        assert np.abs(np.diff(mean)).sum() < np.abs(np.diff(shuffled, axis=1)).sum(axis=1).min()
    full = read_mosaic(path, Mosaic("bilinear"))
    assert full.reflectance.shape == (1024, 2048, 16)
    for b, k in enumerate(full.facts["band_order"]):
        np.testing.assert_array_equal(full.reflectance[k // 4 :: 4, k % 4 :: 4, b], small.reflectance[..., b])
