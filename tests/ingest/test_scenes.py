"""Folders of scenes through the whole ingest: formats mixed, bands, masks, diagnoses, references, raw frames."""

import json
import shutil

import numpy as np
import pytest
import tifffile
from PIL import Image

from hyperderm.cubes.bands import to_bands
from hyperderm.errors import CubeError, StoreError
from hyperderm.ingest.dry_run import check, described
from hyperderm.ingest.formats.mosaic import Mosaic
from hyperderm.ingest.formats.scene import ReadOptions
from hyperderm.ingest.layouts.scene_folder import Camera
from hyperderm.ingest.pipeline import ingest
from hyperderm.ingest.source import make_job
from hyperderm.store.reader import open_store
from tests.ingest.sources import CropOptions, ingest_folder, job_of

H, W = 24, 30
NM = (460.0, 500.0, 540.0, 580.0)


def cube(seed: int, bands: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).random((H, W, bands), np.float32)


def npz(folder, name, seed, nm=NM):
    path = folder / f"{name}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, cube=cube(seed, len(nm)), wavelengths_nm=np.array(nm))
    return path


def mask(folder, name, box=(6, 8, 16, 20)):
    path = folder / "masks" / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = np.zeros((H, W), np.uint8)
    picture[box[0] : box[2], box[1] : box[3]] = 255
    Image.fromarray(picture).save(path)


def lesions(uri):
    return {one.lesion_id: one for one in open_store(str(uri)).lesions()}


def test_formats_mixed_come_to_one_grid(tmp_path):
    from spectral.io import envi

    root, target = tmp_path / "raw", (470.0, 510.0, 550.0)
    npz(root, "a/one", 1)
    envi.save_image(str(root / "two.hdr"), cube(2, 6), dtype=np.float32, interleave="bil", ext="img",
                    metadata={"wavelength": [450, 480, 510, 540, 570, 600], "wavelength units": "nm"})  # fmt: skip
    tifffile.imwrite(root / "three.tif", np.moveaxis(cube(3), 2, 0), photometric="minisblack",
                     description=json.dumps({"wavelengths_nm": NM}))  # fmt: skip
    manifest = ingest_folder(root, str(tmp_path / "store"), size=None, bands_nm=target)
    assert (manifest.wavelengths_nm, manifest.shape, manifest.folds) == (target, (H, W, 3), None)
    assert (manifest.lesions, manifest.set_aside) == (3, ())
    assert manifest.source["bands_nm"] == list(target)
    held = lesions(tmp_path / "store")
    assert held.keys() == {"a/one", "two", "three"}
    np.testing.assert_allclose(held["a/one"].cube.reflectance, to_bands(cube(1), np.array(NM), target), rtol=1e-6)
    assert held["two"].origin["format"] == "envi"
    assert len(held["two"].origin["sha256"]) == 64
    assert held["three"].origin["bands_from_nm"] == list(NM)
    assert held["two"].mask is None


def test_bands_that_differ_want_a_grid(tmp_path):
    npz(tmp_path / "raw", "a", 1)
    npz(tmp_path / "raw", "b", 2, (470.0, 500.0, 540.0, 580.0))
    with pytest.raises(StoreError, match=r"has other wavelengths than the first.*--bands"):
        ingest_folder(tmp_path / "raw", str(tmp_path / "store"))
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


def test_masks_and_a_table_make_training_roles(tmp_path):
    root = tmp_path / "raw"
    rows = ["image,label"]
    for i in range(6):
        npz(root, f"s{i}", i)
        mask(root, f"s{i}_00")
        rows.append(f"s{i},{('mel', 'nv')[i % 2]}")
    mask(root, "s0_01", (0, 0, 8, 8))
    mask(root, "nobody")
    (root / "labels.csv").write_text("\n".join(rows) + "\n")
    manifest = ingest_folder(root, str(tmp_path / "store"))
    assert manifest.diagnoses == {"melanoma": 4, "nevus": 3}
    assert manifest.folds.count == 3
    [one] = manifest.set_aside
    assert one.file == "masks/nobody.png"
    assert one.reason == "mask without a scene: call it <scene>_00.png, in the scene's folder below masks/"
    held = lesions(tmp_path / "store")
    assert {held[name].group for name in ("s0_00", "s0_01")} == {"s0"}
    assert held["s0_00"].origin["mask_file"] == "masks/s0_00.png"
    assert held["s0_00"].origin["crop"] == [3, 5, 19, 23]


def test_counts_become_reflectance_by_the_references(tmp_path):
    root = tmp_path / "raw"
    npz(root, "a", 1)
    np.save(tmp_path / "dark.npy", np.full(4, 0.1))
    np.save(tmp_path / "white.npy", np.full(4, 2.1))
    camera = Camera(dark=tmp_path / "dark.npy", white=tmp_path / "white.npy", white_reflectance=0.5)
    ingest(make_job(root, "auto", CropOptions(None), camera), str(tmp_path / "store"), folds=0, seed=0)
    found = lesions(tmp_path / "store")["a"]
    np.testing.assert_allclose(found.cube.reflectance, (cube(1) - 0.1) / 4, rtol=1e-5, atol=1e-6)
    assert found.origin["calibrated"] == "(raw - dark) / (white - dark)"


@pytest.mark.parametrize(("how", "shape"), [("superpixel", (6, 8, 16)), ("bilinear", (24, 32, 16))])
def test_raw_frames_with_sorted_bands(tmp_path, how, shape):
    import scipy.io

    root = tmp_path / "raw"
    root.mkdir()
    centres = np.array([620.0 - 10 * k for k in range(16)])  # the pattern falls
    scipy.io.savemat(root / "camera_responses.mat", {"CentralWavelength": centres[None]})
    rows, columns = np.meshgrid(np.arange(24), np.arange(32), indexing="ij")
    band = (rows % 4) * 4 + columns % 4
    tifffile.imwrite(root / "frame.tif", (100 * band + 7).astype(np.uint16))
    job = make_job(root, "mosaic", CropOptions(None), Camera(ReadOptions(), Mosaic(how=how)))
    manifest = ingest(job, str(tmp_path / "store"), folds=0, seed=0)
    assert manifest.shape == shape
    assert manifest.wavelengths_nm == tuple(sorted(centres))
    found = lesions(tmp_path / "store")["frame"]
    np.testing.assert_allclose(found.cube.reflectance[3, 3], 100 * np.arange(15, -1, -1) + 7)
    assert manifest.source["layout"] == "mosaic"


def test_one_file_is_a_source(tmp_path):
    npz(tmp_path / "raw", "a", 1)
    path = npz(tmp_path / "raw", "b", 2)
    manifest = ingest_folder(path, str(tmp_path / "store"), size=16)
    assert lesions(tmp_path / "store").keys() == {"b"}
    assert manifest.set_aside == ()


def test_wavelengths_of_the_user_and_none_at_all(tmp_path):
    (tmp_path / "raw").mkdir()
    np.save(tmp_path / "raw" / "a.npy", cube(1))
    with pytest.raises(CubeError, match=r"nothing says the wavelengths of its 4 bands.*--wavelengths"):
        ingest_folder(tmp_path / "raw", str(tmp_path / "store"))
    with pytest.raises(CubeError, match="4 bands but 3 wavelengths"):
        ingest_folder(tmp_path / "raw", str(tmp_path / "store"), wavelengths=(1.0, 2.0, 3.0))
    assert ingest_folder(tmp_path / "raw", str(tmp_path / "store"), wavelengths=NM).wavelengths_nm == NM


@pytest.mark.parametrize(
    ("layout", "camera", "more", "said"),
    [
        (
            "photographs",
            Camera(ReadOptions((1.0, 2.0, 3.0))),
            {},
            "--wavelengths does not fit this source: photographs have nominal",
        ),
        (
            "hsidermoscopy",
            Camera(ReadOptions(rows=3)),
            {},
            "--rows does not fit this source: layout hsidermoscopy knows no such",
        ),
        ("exported", Camera(), {"groups": "x.csv"}, "--groups does not fit this source: an export says all of it itself"),
        ("mosaic", Camera(ReadOptions(key="a")), {}, "--key does not fit this source"),
        ("scene", Camera(), {}, "--layout 'scene' is unknown. Did you mean 'scenes'"),
    ],
)
def test_options_that_do_not_fit(tmp_path, layout, camera, more, said):
    with pytest.raises(CubeError) as caught:
        make_job(tmp_path, layout, CropOptions(), camera, **more)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_table_may_say_whole_paths_and_names_with_dots(tmp_path):
    root = tmp_path / "raw"
    for i, name in enumerate(("left/1", "right/1", "arm.v1", "arm.v2", "leg", "foot/1")):
        npz(root, name, i)
    rows = ["image,label", "left/1,mel", "right/1.npz,nv", "arm.v1,mel", "arm.v2.npz,nv", "skin/leg,mel"]
    (root / "labels.csv").write_text("\n".join(rows) + "\n")
    manifest = ingest_folder(root, str(tmp_path / "store"), folds=0)
    said = {name: one.diagnosis for name, one in lesions(tmp_path / "store").items()}
    assert said == {
        "left/1": "melanoma", "right/1": "nevus", "arm.v1": "melanoma", "arm.v2": "nevus", "leg": "melanoma",
    }  # fmt: skip
    [aside] = manifest.set_aside
    remedy = "Add a row called foot/1 to labels.csv, or leave the image out."
    assert (aside.file, aside.reason) == ("foot/1.npz", f"the table of diagnoses does not name it. {remedy}")


def test_a_table_that_contradicts_itself(tmp_path):
    npz(tmp_path / "raw", "a", 1)
    (tmp_path / "raw" / "labels.csv").write_text("image,label\na,mel\na,nv\n")
    with pytest.raises(CubeError, match=r"labels\.csv calls 'a' both 'mel' and 'nv'\. Leave one of them"):
        ingest_folder(tmp_path / "raw", str(tmp_path / "store"))


def test_a_short_name_of_several_scenes_is_given_to_none(tmp_path):
    for folder in "ab":
        npz(tmp_path / "raw", f"{folder}/1", ord(folder))
    npz(tmp_path / "raw", "c", 3)
    (tmp_path / "raw" / "labels.csv").write_text("image,label\n1,mel\nc,nv\n")
    manifest = ingest_folder(tmp_path / "raw", str(tmp_path / "store"), folds=0)
    assert manifest.diagnoses == {"nevus": 1}
    assert [one.file for one in manifest.set_aside] == ["labels.csv", "a/1.npz", "b/1.npz"]
    assert manifest.set_aside[0].reason == "line 2: '1' may be any of a/1, b/1. Write whole names."


def test_a_scene_at_the_root_takes_no_row_of_one_in_a_folder(tmp_path):
    npz(tmp_path / "raw", "1", 1)
    npz(tmp_path / "raw", "deep/1", 2)
    table = tmp_path / "raw" / "labels.csv"
    table.write_text("image,label\ndeep/1,mel\n")
    manifest = ingest_folder(tmp_path / "raw", str(tmp_path / "store"), folds=0)
    assert list(lesions(tmp_path / "store")) == ["deep/1"]
    remedy = "Add a row called 1 to labels.csv, or leave the image out."
    assert [(one.file, one.reason) for one in manifest.set_aside] == [
        ("1.npz", f"the table of diagnoses does not name it. {remedy}")
    ]
    table.write_text("image,label\ndeep/1,mel\n1.npz,nv\n")
    ingest_folder(tmp_path / "raw", str(tmp_path / "both"), folds=0)
    assert {name: one.diagnosis for name, one in lesions(tmp_path / "both").items()} == {"1": "nevus", "deep/1": "melanoma"}
    shutil.rmtree(tmp_path / "raw" / "deep")
    (tmp_path / "raw" / "1.npz").unlink()
    npz(tmp_path / "raw", "renamed/1", 2)
    with pytest.raises(CubeError, match="the table of diagnoses does not name it"):  # two rows end so, and disagree
        ingest_folder(tmp_path / "raw", str(tmp_path / "third"), folds=0)


def test_a_store_below_its_own_source_is_refused(tmp_path):
    npz(tmp_path / "raw", "1", 1)
    for place in ("raw/store", "raw/deep/store", "raw"):
        with pytest.raises(StoreError, match=r"lies in the source .*raw: what is written there would be read"):
            ingest_folder(tmp_path / "raw", str(tmp_path / place), folds=0)
    assert [path.name for path in (tmp_path / "raw").iterdir()] == ["1.npz"]
    ingest_folder(tmp_path / "raw" / "1.npz", str(tmp_path / "raw" / "store"), folds=0)


def test_a_single_file_is_the_same_job_whatever_lies_beside_it(tmp_path):
    path = npz(tmp_path / "raw", "a", 1)
    first = job_of(path).digest
    (tmp_path / "raw" / "mlflow.db").write_bytes(b"x")
    (tmp_path / "raw" / "deep").mkdir()
    (tmp_path / "raw" / "deep" / "more.npy").write_bytes(b"x")
    assert job_of(path).digest == first
    mask(tmp_path / "raw", "a_00")
    assert job_of(path).digest != first
    folder = job_of(tmp_path / "raw").digest
    (tmp_path / "raw" / "mlflow.db").write_bytes(b"xy")
    assert job_of(tmp_path / "raw").digest != folder


def test_other_references_are_another_job(tmp_path):
    """They lie outside the source: parts made with the old ones must not be taken for those of the new."""
    npz(tmp_path / "raw", "a", 1)
    camera = Camera(dark=tmp_path / "dark.npy")
    np.save(tmp_path / "dark.npy", np.full(4, 0.1))
    first = make_job(tmp_path / "raw", "auto", CropOptions(None), camera).digest
    assert make_job(tmp_path / "raw", "auto", CropOptions(None), camera).digest == first
    np.save(tmp_path / "dark.npy", np.full(40, 0.1))
    assert make_job(tmp_path / "raw", "auto", CropOptions(None), camera).digest != first


def test_a_name_that_is_no_text_is_set_aside(tmp_path):
    root = tmp_path / "raw"
    npz(root, "good", 1)
    try:
        npz(root, "b\udcffd", 2)
    except (OSError, UnicodeEncodeError):
        pytest.skip("this file system wants UTF-8")
    (root / "stray\udcff.doc").write_bytes(b"")
    manifest = ingest_folder(root, str(tmp_path / "store"))
    assert {one.file: one.reason for one in manifest.set_aside} == {
        "b\\udcffd": "a name of it is not UTF-8; rename it",
        "stray\\udcff.doc": "no format reads .doc",
    }


def test_what_no_reader_foresaw_names_the_image(tmp_path, monkeypatch):
    from hyperderm.ingest.layouts import scene_folder

    npz(tmp_path / "raw", "patient7", 1)

    def broken(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(scene_folder, "open_image", broken)
    with pytest.raises(ZeroDivisionError) as caught:
        ingest_folder(tmp_path / "raw", str(tmp_path / "store"))
    assert caught.value.__notes__ == [f"while reading patient7 of {tmp_path / 'raw'}"]


def test_an_image_without_a_mask_beside_others_with_one_is_told(tmp_path):
    root = tmp_path / "raw"
    for seed, name in enumerate(("a", "b", "c", "d")):
        npz(root, name, seed)
    for name in ("a_00", "b_00", "cc_00"):  # that of c is misspelt
        mask(root, name)
    for place, names, said in (
        (
            "some",
            ("c", "d"),
            "2 images without a mask are stored as whole frames: c, d; --masks auto finds a lesion in them",
        ),
        ("one", ("c",), "1 image without a mask is stored as a whole frame: c; --masks auto finds a lesion in it"),
    ):
        if place == "one":
            mask(root, "d_00")
        manifest = ingest_folder(root, str(tmp_path / place), folds=0)
        assert said in manifest.warnings
        held = lesions(tmp_path / place)
        assert {name for name, one in held.items() if one.origin.get("mask") == "none: the whole frame"} == set(names)
        found = check(job_of(root), "", 0, 0, lambda done, total: None)
        assert said in found.manifest.warnings
        assert any(f"{4 - len(names)} masks" in line for line in described(found.rows))
        assert any(line.endswith(f"; {len(names)} without a mask, whole") for line in described(found.rows))
    shutil.rmtree(root / "masks")
    assert ingest_folder(root, str(tmp_path / "none"), folds=0).warnings == ()


def test_a_folder_of_masks_none_of_which_fits_is_told(tmp_path):
    npz(tmp_path / "raw", "a", 1)
    mask(tmp_path / "raw", "aa_00")
    manifest = ingest_folder(tmp_path / "raw", str(tmp_path / "s"), folds=0)
    assert manifest.warnings == ("1 image without a mask is stored as a whole frame: a; --masks auto finds a lesion in it",)


def test_a_lesion_that_an_oblong_crop_loses_the_ends_of_is_told(tmp_path):
    root = tmp_path / "raw"
    boxes = {"square": (6, 8, 16, 18), "long": (10, 3, 14, 27), "tall": (2, 10, 22, 14)}
    for seed, (name, box) in enumerate(boxes.items()):
        npz(root, name, seed)
        mask(root, f"{name}_00", box)
    manifest = ingest_folder(root, str(tmp_path / "s"), folds=0)
    held = {name: one.origin for name, one in lesions(tmp_path / "s").items()}
    assert (held["square_00"]["stored"], held["square_00"]["mask_stored"]) == (held["square_00"]["crop"], 1)
    # 24 columns of the mask grow to the frame's 30, 4 rows to 6: six columns in the middle are stored
    assert (held["long_00"]["crop"], held["long_00"]["stored"]) == ([9, 0, 15, 30], [9, 12, 15, 18])
    assert held["long_00"]["mask_stored"] == 0.25
    assert held["tall_00"]["stored"] == [9, 9, 15, 15]
    assert held["tall_00"]["mask_stored"] == 0.3
    said = (
        "2 lesions are cut at the edge: long_00, tall_00; of an oblong crop the central square is stored, here with "
        "25.0% or more of the mask"
    )
    assert said in manifest.warnings
    assert said in check(job_of(root), "", 0, 0, lambda done, total: None).manifest.warnings
    (root / "masks/tall_00.png").unlink()
    (root / "tall.npz").unlink()
    manifest = ingest_folder(root, str(tmp_path / "t"), folds=0)
    assert any(one.startswith("1 lesion is cut at the edge: long_00; ") for one in manifest.warnings)
    (root / "square.npz").unlink()
    (root / "masks/square_00.png").unlink()
    assert ingest_folder(root, str(tmp_path / "u"), folds=0, size=None).warnings == ()
    assert lesions(tmp_path / "u")["long_00"].origin["stored"] == [9, 0, 15, 30]


@pytest.mark.parametrize("layout", ["scenes", "photographs"])
def test_a_damaged_file_that_no_row_names_is_called_damaged_first(tmp_path, layout):
    root = tmp_path / "raw"
    if layout == "scenes":
        npz(root, "good", 1)
        broken = root / "broken.mat"
        shown = "broken.mat"
    else:
        (root / "images").mkdir(parents=True)
        (root / "masks").mkdir()
        Image.fromarray(np.full((H, W, 3), 90, np.uint8)).save(root / "images" / "good.png")
        broken = root / "images" / "broken.png"
        shown = "images/broken.png"
    broken.write_bytes(b"damaged")
    (root / "labels.csv").write_text("image,label\ngood,mel\n")
    manifest = ingest_folder(root, str(tmp_path / "s"), folds=0)
    [aside] = manifest.set_aside
    assert aside.file == shown
    first, second = aside.reason.split("; besides, ")
    assert "damaged" in first or "truncated" in first
    assert second.startswith("the table of diagnoses does not name it. ")
    assert second.endswith("Add a row called broken to labels.csv, or leave the image out.")
    if layout == "scenes":
        with pytest.raises(CubeError) as caught:
            ingest_folder(broken, str(tmp_path / "t"), folds=0)
        said = str(caught.value)
        assert said.startswith(f"the one image in {broken} cannot be used (broken.mat: cannot be read as a MATLAB file")
        assert "Add a row called broken to labels.csv" in said
        assert "--wavelengths" not in said


def test_too_few_lesions_for_folds_are_told_after_what_set_the_others_aside(tmp_path):
    root = tmp_path / "raw"
    npz(root, "a", 1)
    for seed, name in enumerate("bcd"):
        npz(root, name, seed)
    rows = [f"{name},mel" for name in "abcd"]
    (root / "labels.csv").write_text("\n".join(["image,label", *rows]) + "\n")
    for name in "bcd":
        with np.load(root / f"{name}.npz") as held:
            np.savez(root / f"{name}.npz", cube=held["cube"], wavelengths_nm=np.array(NM[:3]))
    with pytest.raises(StoreError) as caught:
        ingest_folder(root, str(tmp_path / "s"), folds=5)
    assert str(caught.value).startswith("3 of 4 images are set aside (b.npz: 4 bands but 3 wavelengths")
    assert "; of the others: 1 group of source images cannot fill 5 folds. " in str(caught.value)
