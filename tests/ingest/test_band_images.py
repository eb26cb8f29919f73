"""Folders of one image a band: which folders they are, and what comes out of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from hyperderm.errors import CubeError
from hyperderm.ingest.formats.band_images import find, read
from hyperderm.ingest.formats.pixels import natural
from hyperderm.ingest.formats.scene import ReadOptions


def bands(dtype="uint16", h=5, w=7, b=4):
    top = 255 if dtype == "uint8" else 60000
    return np.linspace(0, top, h * w * b).reshape(h, w, b).astype(dtype)


def put(folder, cube, names, exif=None):
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(names):
        Image.fromarray(np.ascontiguousarray(cube[..., i])).save(folder / name, **({"exif": exif} if exif else {}))


def found_in(folder, root=None):
    return find(folder, sorted(folder.iterdir(), key=natural), root or folder)


def load(folder, **asked):
    [found] = found_in(folder)
    return read(found, ReadOptions(**asked))


def refused(folder, **asked):
    with pytest.raises(CubeError) as caught:
        load(folder, **asked)
    return str(caught.value)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_cave_style_keeps_depth_and_order(tmp_path, dtype):
    cube = bands(dtype, b=12)
    folder = tmp_path / "balloons_ms"
    put(folder, cube, [f"balloons_ms_{i:02d}.png" for i in range(1, 13)])
    Image.new("RGB", (7, 5)).save(folder / "balloons_RGB.bmp")
    [found] = found_in(folder, tmp_path)
    assert (found.name, found.path, len(found.files)) == ("balloons_ms", folder, 12)
    scene = read(found, ReadOptions())
    np.testing.assert_array_equal(scene.reflectance, cube.astype(np.float32))
    assert scene.wavelengths_nm is None
    assert scene.facts["dtype"] == dtype
    assert read(found, ReadOptions(wavelengths_nm=tuple(range(400, 520, 10)))).wavelengths_nm[1] == 410


def test_numbers_without_padding_are_in_natural_order(tmp_path):
    cube = bands(b=11)
    put(tmp_path, cube, [f"b{i}.png" for i in range(11)])
    np.testing.assert_array_equal(load(tmp_path).reflectance, cube)


@pytest.mark.parametrize(
    "names",
    [
        ["arm_450nm.png", "arm_500.5nm.png", "arm_1050nm.png", "arm_610 NM.png"],
        ["arm_1_450nm.png", "arm_2_500.5nm.png", "arm_3_1050nm.png", "arm_4_610nm.png"],
        ["450nm.tif", "500.5nm.tif", "1050nm.tif", "610nm.tif"],
        ["arm_450nm_raw.png", "arm_500.5nm_raw.png", "arm_1050nm_raw.png", "arm_610nm_raw.png"],
    ],
)
def test_wavelengths_in_the_names(tmp_path, names):
    put(tmp_path, bands(), names)
    scene = load(tmp_path)
    assert scene.wavelengths_nm.tolist() == [450, 500.5, 610, 1050]
    np.testing.assert_array_equal(scene.reflectance, bands()[..., [0, 1, 3, 2]])


def test_several_scenes_in_one_folder_and_in_the_root(tmp_path):
    folder = tmp_path / "p1"
    put(folder, bands(), [f"left_{i}.png" for i in range(4)])
    put(folder, bands(), [f"patient7_{nm}nm.png" for nm in (450, 500, 550, 600)])
    put(folder, bands(), [f"patient8_{nm}nm.png" for nm in (450, 500, 550, 600)])
    assert [f.name for f in found_in(folder, tmp_path)] == ["p1/left", "p1/patient7", "p1/patient8"]
    assert [f.name for f in found_in(folder, folder)] == ["left", "patient7", "patient8"]
    assert all(len(f.files) == 4 for f in found_in(folder, folder))


def test_photographs_masks_and_pairs_are_no_scene(tmp_path):
    put(tmp_path / "two", bands(b=2), ["a_1.png", "a_2.png"])
    put(tmp_path / "named", bands(b=3), ["anna.png", "berta.png", "carla.png"])
    put(tmp_path / "masks", (bands("uint8") > 99).astype(np.uint8) * 255, [f"7_0{i}.png" for i in range(4)])
    put(tmp_path / "bits", bands("uint8") > 99, [f"7_0{i}.png" for i in range(4)])
    (tmp_path / "photos").mkdir()
    for i in range(4):
        Image.fromarray(np.zeros((5, 7, 3), np.uint8)).save(tmp_path / "photos" / f"IMG_{i}.jpg")
    first, *rest = [Image.fromarray(np.ascontiguousarray(bands()[..., i])) for i in range(4)]
    (tmp_path / "stacks").mkdir()
    for i in range(3):
        first.save(tmp_path / "stacks" / f"s_{i}.tif", save_all=True, append_images=rest)
    for folder in tmp_path.iterdir():
        assert found_in(folder) == [], folder.name


@pytest.mark.parametrize("ext", ["png", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_once(tmp_path, ext, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    put(tmp_path, bands(), [f"b{i}.{ext}" for i in range(4)], exif)
    scene = load(tmp_path)
    for i in range(4):
        picture = Image.fromarray(np.ascontiguousarray(bands()[..., i]))
        picture.getexif()[274] = orientation
        np.testing.assert_array_equal(scene.reflectance[..., i], np.asarray(ImageOps.exif_transpose(picture)))
    assert scene.facts.get("orientation", [1]) == [orientation]


def test_gaps_doubles_and_differing_images(tmp_path):
    put(tmp_path / "gap", bands(), ["b1.png", "b2.png", "b4.png", "b7.png"])
    assert refused(tmp_path / "gap") == "band images 1 to 7 lack 3, 5 to 6"
    put(tmp_path / "huge", bands(), ["b1.png", "b2.png", "b3.png", "b99999999999.png"])
    assert refused(tmp_path / "huge") == "band images 1 to 99999999999 lack 4 to 99999999998"
    put(tmp_path / "twice", bands(), ["b1.png", "b2.png", "b02.png", "b3.png"])
    assert "band 2 comes twice" in refused(tmp_path / "twice")
    put(tmp_path / "nm", bands(), ["b450nm.png", "b0450nm.png", "b500nm.png", "b550nm.png"])
    assert "same wavelength" in refused(tmp_path / "nm")
    put(tmp_path / "size", bands(), ["b1.png", "b2.png", "b3.png"])
    put(tmp_path / "size", bands(h=4), ["b4.png"])
    assert refused(tmp_path / "size").startswith("b4.png is 4 x 7 uint16, b1.png 5 x 7 uint16")
    put(tmp_path / "depth", bands(), ["b1.png", "b2.png", "b3.png"])
    put(tmp_path / "depth", bands("uint8"), ["b4.png"])
    assert "uint8" in refused(tmp_path / "depth")


def test_a_damaged_image_is_named_not_left_out(tmp_path):
    put(tmp_path, bands(), [f"b{i}.png" for i in range(4)])
    whole = (tmp_path / "b2.png").read_bytes()
    for cut in (0, 20, len(whole) // 2):
        (tmp_path / "b2.png").write_bytes(whole[:cut])
        assert "b2.png cannot be read, damaged or truncated" in refused(tmp_path)


def test_wavelengths_that_do_not_fit(tmp_path):
    put(tmp_path, bands(), [f"b{i}.png" for i in range(4)])
    assert "4 bands but 3 wavelengths" in refused(tmp_path, wavelengths_nm=(450, 500, 550))
    assert "same wavelength" in refused(tmp_path, wavelengths_nm=(450, 500, 500, 550))


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, of damaged TIFFs
@settings(max_examples=60, deadline=None)
@given(
    ext=st.sampled_from(["png", "tif", "pgm", "jpg", "bmp"]),
    change=st.one_of(st.binary(max_size=100), st.tuples(st.floats(0, 1), st.integers(0, 8), st.binary(max_size=8))),
)
def test_any_bytes_raise_only_our_error(tmp_path_factory, ext, change):
    folder = tmp_path_factory.mktemp("fuzz")
    put(folder, bands("uint8"), [f"b{i}.{ext}" for i in range(4)])
    path, content = folder / f"b1.{ext}", change
    if isinstance(change, tuple):
        good = path.read_bytes()
        at = int(change[0] * len(good))
        content = good[:at] + change[2] + good[at + change[1] :]
    path.write_bytes(content)
    try:
        scenes = [read(found, ReadOptions()) for found in found_in(folder)]
    except CubeError:
        return
    assert all(np.isfinite(scene.reflectance).all() for scene in scenes)
