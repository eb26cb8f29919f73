"""Reflectance calibration against its closed form; every form of a reference; every file that cannot be one."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from hyperderm.errors import CubeError
from hyperderm.ingest.reflectance import read_reference, to_reflectance

H, W, B = 6, 8, 5
RNG = np.random.default_rng


def scene(shape=(H, W, B)):
    """Reflectance, and what a camera with an offset and a gain of its own in every pixel makes of it."""
    reflectance = RNG(0).uniform(-0.05, 1.4, shape)
    dark = RNG(1).uniform(20, 40, shape)
    gain = RNG(2).uniform(100, 900, shape)
    return reflectance, dark + gain * reflectance, dark, dark + gain * 0.5


@pytest.mark.parametrize("shape", [(H, W, B), (H, W)])
def test_the_camera_s_offset_and_gain_are_undone(shape):
    reflectance, raw, dark, white = scene(shape)
    got, facts = to_reflectance(raw, dark, white, 0.5)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, reflectance, atol=2e-6)
    assert facts == {"calibrated": "(raw - dark) / (white - dark)", "white_reflectance": 0.5}


def test_the_references_may_be_stacks_spectra_or_left_out():
    _, raw, dark, white = scene()
    full, _ = to_reflectance(raw, dark, white)
    noise = RNG(3).normal(size=(7, H, W, B))
    noise -= noise.mean(axis=0)
    np.testing.assert_allclose(to_reflectance(raw, dark + noise, white - noise)[0], full, rtol=1e-6)
    d, w = np.arange(5.0), np.arange(5.0) + 1000
    np.testing.assert_allclose(to_reflectance(raw, d, w)[0], (raw - d) / 1000, rtol=1e-6)
    np.testing.assert_allclose(to_reflectance(raw, None, w)[0], raw / w, rtol=1e-6)
    np.testing.assert_allclose(to_reflectance(raw, d)[0], raw - d, rtol=1e-6)
    assert to_reflectance(raw, d)[1] == {"calibrated": "raw - dark"}
    assert to_reflectance(raw)[1] == {"calibrated": "no"}
    panel = np.linspace(0.9, 0.99, B)
    np.testing.assert_allclose(to_reflectance(raw, d, w, panel)[0], (raw - d) / 1000 * panel, rtol=1e-6)


def test_unsigned_counts_below_the_dark_level_become_negative():
    raw, dark, white = (np.full((2, 2), v, np.uint8) for v in (3, 5, 205))
    np.testing.assert_allclose(to_reflectance(raw, dark, white)[0], -0.01)


def test_saturated_counts_are_counted():
    raw = np.full((H, W, B), 100, np.uint16)
    raw[:2, 0, 0] = 65535
    white = np.full((H, W, B), 60000, np.uint16)
    white[0, 0] = 65535
    _, facts = to_reflectance(raw, None, white)
    assert (facts["saturated"], facts["white_saturated"]) == (2, B)


@pytest.mark.parametrize("value", [30.0, 10.0])
def test_white_that_is_not_above_dark_is_refused_with_its_count(value):
    raw, dark, white = np.full((H, W, B), 50.0), np.full(B, 30.0), np.full((H, W, B), 200.0)
    white[1, 2:5, :2] = value
    with pytest.raises(CubeError, match=f"6 of {H * W * B} values of the white reference are not above"):
        to_reflectance(raw, dark, white)


def test_shapes_and_numbers_that_cannot_be_calibrated():
    raw = np.ones((H, W, B))
    for bad in (np.ones((H, W)), np.ones(B + 1), np.ones((W, H, B)), np.ones((2, H, W, B + 1)), np.ones(W)):
        with pytest.raises(CubeError, match="the dark reference has shape"):
            to_reflectance(raw, bad)
    with pytest.raises(CubeError, match="the white reference has shape"):
        to_reflectance(raw[..., 0], None, np.ones(W))  # a frame has no spectrum
    for bad in (np.full(B, np.nan), np.full(B, np.inf)):
        with pytest.raises(CubeError, match="white reference holds 5 NaN or infinite"):
            to_reflectance(raw, None, bad)
    holed, _ = to_reflectance(np.where(np.arange(raw.size).reshape(raw.shape) == 7, np.nan, raw), None, np.full(B, 2.0))
    assert np.flatnonzero(np.isnan(holed)).tolist() == [7]  # whether it matters is judged in the crop
    assert np.nanmax(holed) == np.nanmin(holed) == 0.5
    for bad in (np.ones(4), np.ones((1, 1, 1, 1)), np.empty((0, 3))):
        with pytest.raises(CubeError):
            to_reflectance(bad)
    with pytest.raises(CubeError, match="no real numbers"):
        to_reflectance(raw.astype(complex))
    for bad in (0, -1, 99, np.nan, [0.9, 0.9]):
        with pytest.raises(CubeError, match="white panel's reflectance"):
            to_reflectance(raw, None, np.full(B, 2.0), bad)
    with pytest.raises(CubeError, match="too large"):
        to_reflectance(raw * 1e30, None, np.full(B, 1e-30))


def test_reference_files_are_read_as_they_are(tmp_path):
    frame = RNG(0).integers(0, 4096, (H, W)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "one.tif", frame)
    tifffile.imwrite(tmp_path / "turned.tif", frame, extratags=[(274, "H", 1, 6, True)])
    tifffile.imwrite(tmp_path / "stack.tiff", np.stack([frame, frame + 1, frame + 2]), photometric="minisblack")
    np.save(tmp_path / "one.npy", frame.astype(np.float64) / 3)
    Image.fromarray(frame).save(tmp_path / "deep.png")
    Image.fromarray(frame.astype(np.uint8)).save(tmp_path / "flat.PNG")
    for name, expected in (
        ("one.tif", frame),
        ("turned.tif", frame),
        ("stack.tiff", np.stack([frame, frame + 1, frame + 2])),
        ("one.npy", frame / 3),
        ("deep.png", frame),
        ("flat.PNG", frame.astype(np.uint8)),
    ):
        got = read_reference(tmp_path / name)
        assert got.dtype == expected.dtype
        np.testing.assert_array_equal(got, expected)


def test_files_that_hold_no_reference_are_named(tmp_path):
    frame = np.arange(H * W, dtype=np.uint8).reshape(H, W)
    colours = np.dstack([frame] * 3)
    Image.fromarray(colours).save(tmp_path / "colours.png")
    Image.fromarray(colours).convert("P").save(tmp_path / "palette.png")
    tifffile.imwrite(tmp_path / "colours.tif", colours, photometric="rgb")
    with tifffile.TiffWriter(tmp_path / "mixed.tif") as file:
        file.write(frame, photometric="minisblack")
        file.write(frame[:3], photometric="minisblack")
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    (tmp_path / "dark.raw").write_bytes(b"x")
    tifffile.imwrite(tmp_path / "cut.tif", np.zeros((64, 64), np.uint16))
    Image.fromarray(RNG(0).integers(0, 255, (64, 64)).astype(np.uint8)).save(tmp_path / "cut.png")
    np.save(tmp_path / "cut.npy", np.ones((64, 64)))
    for name in ("cut.tif", "cut.png", "cut.npy"):
        data = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(data[: len(data) // 2])
    for name, message in (
        ("colours.png", "has colours, a palette or one bit"),
        ("palette.png", "has colours, a palette or one bit"),
        ("colours.tif", "has colours or a palette"),
        ("mixed.tif", "different shapes"),
        ("objects.npy", "damaged"),
        ("dark.raw", "none of the files"),
        ("absent.tif", "not a file"),
        ("cut.tif", "damaged"),
        ("cut.png", "damaged"),
        ("cut.npy", "damaged"),
    ):
        with pytest.raises(CubeError, match=message) as caught:
            read_reference(tmp_path / name)
        assert name in str(caught.value)
