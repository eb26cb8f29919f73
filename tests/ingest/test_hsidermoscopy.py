"""The HSIDermoscopy reader on tiny files of both MATLAB versions, and on everything that can be wrong with them."""

import hashlib
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
from PIL import Image

from hyperderm.cubes.cube import HSIDERMOSCOPY_NM, Lesion
from hyperderm.errors import CubeError
from hyperderm.ingest.layouts.hsidermoscopy import SetAside, Source, orphans, scan
from hyperderm.ingest.lesions import CropOptions
from tests.ingest.sources import read_one

H, W, B = 24, 32, 16
STAND_IN = Path(__file__).resolve().parents[3] / "shared" / "tools" / "derm_cubes.py"


def ramp(h=H, w=W, b=B):
    """A cube whose every value tells its place: 1000 band + row + column / 100."""
    i, j, k = np.meshgrid(np.arange(h), np.arange(w), np.arange(b), indexing="ij")
    return (1000 * k + i + j / 100).astype(np.float32)


def blob(h=H, w=W, box=(8, 10, 16, 18)):
    mask = np.zeros((h, w), np.uint8)
    mask[box[0] : box[2], box[1] : box[3]] = 255
    return mask


def put_v5(root, name, **variables):
    path = root / "images" / f"{name}.mat"
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(path, variables, do_compression=True)
    return path


def put_v73(root, name, **arrays):
    """As MATLAB does: HDF5 behind a 512-byte header, axes reversed, the class in an attribute."""
    path = root / "images" / f"{name}.mat"
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w", userblock_size=512) as file:
        for key, array in arrays.items():
            file.create_dataset(key, data=array.T).attrs["MATLAB_class"] = np.bytes_("single")
    return path


def put_mask(root, name, mask):
    path = root / "masks" / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask).save(path)
    return path


@pytest.fixture
def root(tmp_path):
    put_v5(tmp_path, "MMCube/1", DataCubeC=ramp())
    put_mask(tmp_path, "MMCube/1_00", blob())
    return tmp_path


def only(root, image_id="MMCube/1") -> tuple[list[Lesion], list[SetAside]]:
    [source] = [s for s in scan(root) if s.image_id == image_id]
    return read_one("hsidermoscopy", source, root, CropOptions(12))


def reason(root, image_id="MMCube/1") -> str:
    lesions, [aside] = only(root, image_id)
    assert not lesions
    assert not Path(aside.file).is_absolute()
    return aside.reason


# --- what is read ---


def test_lesion_is_the_scaled_box_and_carries_its_origin(root):
    [lesion], aside = only(root)
    assert aside == []
    # rows 8..16 and columns 10..18 grow by a quarter a side to 6..18 and 8..20: 12 x 12, so nothing is resized
    np.testing.assert_array_equal(lesion.cube.reflectance, ramp()[6:18, 8:20])
    np.testing.assert_array_equal(lesion.mask, blob()[6:18, 8:20] > 0)
    np.testing.assert_array_equal(lesion.cube.wavelengths_nm, HSIDERMOSCOPY_NM)
    assert (lesion.lesion_id, lesion.image_id, lesion.group) == ("MMCube/1_00", "MMCube/1", "MMCube/1")
    assert lesion.diagnosis == "melanoma"
    assert lesion.origin == {
        "file": "images/MMCube/1.mat",
        "sha256": hashlib.sha256((root / "images/MMCube/1.mat").read_bytes()).hexdigest(),
        "dtype": "float32",
        "mask_file": "masks/MMCube/1_00.png",
        "mask_share": 0.0833,  # 8 x 8 of 24 x 32
        "frame": [24, 32],
        "crop": [6, 8, 18, 20],
        "stored": [6, 8, 18, 20],
        "mask_stored": 1.0,
    }


@pytest.mark.parametrize("key", ["DataCubeC", "cube", "data", "image"])
@pytest.mark.parametrize("put", [put_v5, put_v73])
def test_both_versions_and_any_key_give_the_same_cube(tmp_path, put, key):
    put(tmp_path, "MMCube/1", **{key: ramp()})
    put_mask(tmp_path, "MMCube/1_00", blob())
    [lesion], aside = only(tmp_path)
    assert aside == []
    np.testing.assert_array_equal(lesion.cube.reflectance, ramp()[6:18, 8:20])


def test_other_variables_beside_the_cube_are_passed_over(tmp_path):
    extra = {"note": "text", "info": {"a": 1}, "flat": np.ones((3, 4)), "phase": np.ones((2, 2, 2)) * 1j}
    put_v5(tmp_path, "MMCube/1", cube=ramp(), flags=np.ones((2, 2, 2), bool), **extra)
    path = put_v73(tmp_path, "MMCube/2", cube=ramp(), flat=np.ones((3, 4)))
    with h5py.File(path, "a") as file:
        file.create_group("#refs#")
        file.create_group("info")
        file.create_dataset("text", data=np.ones((2, 2, 2), np.uint16)).attrs["MATLAB_class"] = np.bytes_("char")
        file.create_dataset("phase", data=np.zeros((2, 2, 2), [("real", "f8"), ("imag", "f8")]))
    for name in ("MMCube/1", "MMCube/2"):
        put_mask(tmp_path, f"{name}_00", blob())
        [lesion], aside = only(tmp_path, name)
        assert aside == []
        np.testing.assert_array_equal(lesion.cube.reflectance, ramp()[6:18, 8:20])


@pytest.mark.parametrize(("h", "w"), [(16, 16), (40, 20), (17, 53)])
def test_any_height_and_width(tmp_path, h, w):
    put_v73(tmp_path, "DNCube/3", cube=ramp(h, w))
    put_mask(tmp_path, "DNCube/3_00", blob(h, w, (4, 4, 12, 12)))
    [lesion], _ = only(tmp_path, "DNCube/3")
    np.testing.assert_array_equal(lesion.cube.reflectance, ramp(h, w)[2:14, 2:14])
    assert lesion.diagnosis == "dysplastic_nevus"


def test_integer_counts_are_read_as_float32(tmp_path):
    put_v5(tmp_path, "MMCube/1", cube=ramp().astype(np.uint16))
    put_mask(tmp_path, "MMCube/1_00", blob())
    [lesion], _ = only(tmp_path)
    assert lesion.cube.reflectance.dtype == np.float32
    np.testing.assert_array_equal(lesion.cube.reflectance, ramp().astype(np.uint16)[6:18, 8:20])


@pytest.mark.parametrize("form", ["0/1", "bool", "16 bit", "rgb", "rgba"])
def test_masks_in_other_picture_forms(root, form):
    mask = blob()
    rgb = np.repeat(mask[..., None], 3, axis=2)
    other = {
        "0/1": mask // 255,
        "bool": mask > 0,
        "16 bit": mask.astype(np.uint16) * 257,
        "rgb": rgb,
        "rgba": np.dstack([rgb, np.full_like(mask, 255)]),
    }
    put_mask(root, "MMCube/1_00", other[form])
    [lesion], aside = only(root)
    assert aside == []
    np.testing.assert_array_equal(lesion.mask, mask[6:18, 8:20] > 0)


@pytest.mark.parametrize(
    ("name", "diagnosis"),
    [
        ("IEC_1", "intraepidermal_carcinoma"),
        ("12lentigo", "solar_lentigo"),
        ("NV7", "nevus"),
        ("sk_3", "seborrhoeic_keratosis"),
        ("Melt004", "melanocytic_lesion"),
    ],
)
def test_class_of_other_cubes_is_in_the_file_name(tmp_path, name, diagnosis):
    put_v5(tmp_path, f"OtherCube/{name}", cube=ramp())
    put_mask(tmp_path, f"OtherCube/{name}_00", blob())
    [lesion], aside = only(tmp_path, f"OtherCube/{name}")
    assert (lesion.diagnosis, lesion.lesion_id, aside) == (diagnosis, f"OtherCube/{name}_00", [])


def test_scan_is_in_natural_order_and_gives_each_cube_its_own_masks(tmp_path):
    for n in (10, 2, 1):
        put_v5(tmp_path, f"MMCube/{n}", cube=ramp())
        put_mask(tmp_path, f"MMCube/{n}_01", blob())
        put_mask(tmp_path, f"MMCube/{n}_00", blob())
    put_v5(tmp_path, "OtherCube/Nv_1", cube=ramp())
    put_mask(tmp_path, "OtherCube/Nv_1_00", blob())
    (tmp_path / "images/MMCube/._1.mat").write_bytes(b"left behind by a Mac")
    sources = scan(tmp_path)
    assert [s.image_id for s in sources] == ["MMCube/1", "MMCube/2", "MMCube/10", "OtherCube/Nv_1"]
    assert [m.name for m in sources[1].masks] == ["2_00.png", "2_01.png"]
    assert [m.name for m in sources[3].masks] == ["Nv_1_00.png"]
    assert isinstance(sources[0], Source)
    assert orphans(tmp_path, sources) == []
    ids = [lesion.lesion_id for s in sources for lesion in read_one("hsidermoscopy", s, tmp_path, CropOptions(8))[0]]
    assert len(set(ids)) == len(ids) == 7


# --- what is set aside ---


@pytest.mark.parametrize("put", [put_v5, put_v73])
def test_no_cube_or_several_cubes(tmp_path, put):
    put_mask(tmp_path, "MMCube/1_00", blob())
    put(tmp_path, "MMCube/1", flat=np.ones((3, 4)))
    assert reason(tmp_path) == "no real numeric array with three axes; the file holds flat (3, 4)"
    put(tmp_path, "MMCube/1", b=ramp(), a=ramp(4, 5))
    what = "2 numeric arrays with three axes, one expected: a (4, 5, 16), b (24, 32, 16)"
    assert reason(tmp_path) == f"{what}. Leave one of them in the file, or give --layout scenes and name it with --key."


def test_complex_cube_is_none(root):
    put_v5(root, "MMCube/1", cube=ramp() * 1j)
    assert reason(root) == "no real numeric array with three axes; the file holds cube (24, 32, 16) complex"


@pytest.mark.parametrize("put", [put_v5, put_v73])
def test_wrong_band_count_names_both(root, put):
    put(root, "MMCube/1", cube=ramp(b=15))
    said = "15 bands but 16 wavelengths (its array is 24 x 32 x 15). Give as many --wavelengths as it has bands."
    assert reason(root) == said


def test_bands_on_another_axis_are_found_by_their_number(root):
    put_v5(root, "MMCube/1", cube=ramp())
    [straight], _ = read_one("hsidermoscopy", scan(root)[0], root, CropOptions(None))
    put_v5(root, "MMCube/1", cube=ramp().transpose(2, 0, 1))
    [turned], _ = read_one("hsidermoscopy", scan(root)[0], root, CropOptions(None))
    np.testing.assert_array_equal(turned.cube.reflectance, straight.cube.reflectance)
    assert turned.origin["axes"] == "BHW"


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
def test_values_that_are_not_finite(root, bad):
    cube = ramp().astype(np.float64)
    [before], _ = read_one("hsidermoscopy", scan(root)[0], root, CropOptions(None))
    top, left, _, _ = before.origin["crop"]
    cube[top, left : left + 3, 5] = bad  # 1e300 is finite until it becomes float32
    put_v5(root, "MMCube/1", cube=cube)
    _, [aside] = read_one("hsidermoscopy", scan(root)[0], root, CropOptions(None))
    assert "3 of" in aside.reason
    assert "values inside the crop are missing" in aside.reason


@pytest.mark.parametrize("put", [put_v5, put_v73])
@pytest.mark.parametrize("keep", [0.0, 0.02, 0.5, 0.97])
def test_truncated_file(root, put, keep):
    path = put(root, "MMCube/1", cube=np.random.default_rng(0).random((H, W, B)).astype(np.float32))
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    assert "damaged or truncated" in reason(root)
    assert "\n" not in reason(root)


@pytest.mark.parametrize("put", [put_v5, put_v73])
def test_flipped_bytes_never_raise(root, put):
    rng = np.random.default_rng(1)
    good = put(root, "MMCube/1", cube=ramp(6, 7), note=np.ones((2, 3))).read_bytes()
    [source] = scan(root)
    damaged = 0
    for _ in range(120):
        data = bytearray(good)
        for at in rng.integers(0, min(len(good), 2500), 6):
            data[at] = rng.integers(256)
        source.path.write_bytes(data)
        lesions, aside = read_one("hsidermoscopy", source, root, CropOptions(4))
        assert not lesions  # the mask has another size than 6 x 7
        damaged += "damaged" in aside[0].reason
    assert damaged > 20


@pytest.mark.parametrize(("at", "good", "bad"), [(185, 0, 0x5A), (184, 7, 14), (145, 0, 8)])
def test_damaged_element_tags_are_a_reason_and_no_crash(root, at, good, bad):
    """The type of the values, and the flag for complex ones: scipy 1.17 ends the process on such files."""
    path = root / "images/MMCube/1.mat"
    extra = {"more": {"a": [1, 2]}, "text": "x", "c": np.array([[1, "a"]], object), "z": np.ones((2, 3)) * 1j}
    scipy.io.savemat(path, {"cube": ramp(), **extra})
    assert not only(root)[1]
    data = bytearray(path.read_bytes())
    assert data[at] == good
    data[at] = bad
    path.write_bytes(data)
    assert "damaged or truncated (a variable is made of elements" in reason(root)


def test_file_that_is_no_matlab_file(root):
    (root / "images/MMCube/1.mat").write_text("Not Found")
    assert "cannot be read as a MATLAB file" in reason(root)


def test_broken_link_is_set_aside_without_its_absolute_path(root):
    (root / "images/MMCube/1.mat").unlink()
    (root / "images/MMCube/1.mat").symlink_to(root / "gone")
    assert "cannot be read" in reason(root)
    assert str(root) not in reason(root)


def test_mask_of_another_size(root):
    put_mask(root, "MMCube/1_00", blob(h=25))
    assert reason(root) == "the mask has 25 x 32 pixels, its image 24 x 32"


def test_one_bad_mask_keeps_the_other_lesion(root):
    put_mask(root, "MMCube/1_01", blob() * 0)
    [lesion], [aside] = only(root)
    assert lesion.lesion_id == "MMCube/1_00"
    assert aside == SetAside("masks/MMCube/1_01.png", "the mask is empty: no pixel of it is marked")


@pytest.mark.parametrize("keep", [0, 20, 60, -40])
def test_mask_that_is_no_image(root, keep):
    path = root / "masks/MMCube/1_00.png"
    path.write_bytes(path.read_bytes()[:keep])
    assert reason(root) == "the mask is not a readable image"


def test_mask_with_a_broken_checksum_or_text(root):
    path = root / "masks/MMCube/1_00.png"
    data = bytearray(path.read_bytes())
    data[18] ^= 255  # inside the header, whose checksum no longer fits
    for bad in (bytes(data), b"<html>"):
        path.write_bytes(bad)
        assert reason(root) == "the mask is not a readable image"


def test_mask_whose_middle_is_bare_is_lost_by_the_centre_crop(tmp_path):
    mask = np.zeros((16, 64), np.uint8)
    mask[:, :4] = mask[:, -4:] = 255
    put_v5(tmp_path, "MMCube/1", cube=ramp(16, 64))
    put_mask(tmp_path, "MMCube/1_00", mask)
    assert reason(tmp_path) == "the mask has no pixel left after the centre crop to 12 x 12"


def test_no_mask(root):
    put_v5(root, "MMCube/2", cube=ramp())
    assert reason(root, "MMCube/2") == "no mask: masks/MMCube/2_00.png is expected"


@pytest.mark.parametrize("name", ["17", "Nv_or_SK"])
def test_unknown_or_ambiguous_name_in_other_cubes(root, name):
    put_v5(root, f"OtherCube/{name}", cube=ramp())
    put_mask(root, f"OtherCube/{name}_00", blob())
    assert reason(root, f"OtherCube/{name}").startswith("the file name names no single class: exactly one of IEC, Len")


def test_orphans_lists_what_nothing_uses(root):
    put_mask(root, "MMCube/7_00", blob())
    put_mask(root, "MMCube/1", blob())
    put_v5(root, "NewCube/1", cube=ramp())
    (root / "images/MMCube/notes.txt").write_text("x")
    (root / "masks/stray.png").write_bytes(b"x")
    found = {o.file: o.reason for o in orphans(root, scan(root))}
    assert found == {
        "masks/MMCube/7_00.png": "mask without a cube: there is no images/MMCube/7.mat",
        "masks/MMCube/1.png": "mask without a cube: its name is not <cube>_<two digits>.png",
        "images/NewCube/1.mat": "not in one of the folders DNCube, MMCube, OtherCube, so its class is unknown",
        "images/MMCube/notes.txt": "not a .mat file",
        "masks/stray.png": "not in one of the folders DNCube, MMCube, OtherCube, so its class is unknown",
    }


# --- what is no data set at all ---


def test_scan_refuses_what_is_not_this_layout(root, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    with pytest.raises(CubeError, match=r"nowhere does not exist\. Expected images/"):
        scan(other / "nowhere")
    with pytest.raises(CubeError, match="is empty"):
        scan(other)
    (other / "a.mat").write_bytes(b"x")
    with pytest.raises(CubeError, match="is a file, not a folder"):
        scan(other / "a.mat")
    with pytest.raises(CubeError, match=r"no images/\{DNCube,MMCube,OtherCube\} or masks/.*; found a\.mat\. Expected"):
        scan(other)
    (other / "images/MMCube").mkdir(parents=True)
    with pytest.raises(CubeError, match=r"no masks/\{DNCube.*; found a\.mat, images/"):
        scan(other)
    (other / "masks/MMCube").mkdir(parents=True)
    with pytest.raises(CubeError, match=r"no \.mat file"):
        scan(other)


def test_scan_names_the_folder_that_was_meant(tmp_path):
    root = tmp_path / "hsi"
    put_v5(root, "MMCube/1", cube=ramp())
    put_mask(root, "MMCube/1_00", blob())
    with pytest.raises(CubeError) as caught:
        scan(root / "images")
    assert caught.value.remedy == f"Name the folder above it: {root}"
    with pytest.raises(CubeError) as caught:
        scan(root.parent)
    assert caught.value.remedy == f"Name the folder inside it: {root}"


# --- the stand-in cubes ---


def test_stand_in_cubes(tmp_path):
    photos = STAND_IN.parents[1] / "data" / "ph2"
    if not (STAND_IN.exists() and photos.is_dir()):
        pytest.skip("the stand-in script and its photographs are not beside this repository")
    command = [sys.executable, STAND_IN, "--photos", photos, "--out", tmp_path, "--limit", "4", "--size", "68", "128"]
    subprocess.run(list(map(str, command)), check=True, capture_output=True)
    sources = scan(tmp_path)
    assert len(sources) == 4
    assert orphans(tmp_path, sources) == []
    for source in sources:
        [lesion], aside = read_one("hsidermoscopy", source, tmp_path, CropOptions(32))
        assert aside == []
        assert lesion.cube.shape == (32, 32, 16)
        assert lesion.mask.mean() > 0.1
        inside, outside = lesion.cube.reflectance[lesion.mask], lesion.cube.reflectance[~lesion.mask]
        if outside.size:
            assert inside.mean() < outside.mean()  # lesions are darker than skin
