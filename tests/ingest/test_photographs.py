"""Photographs become linear three-band cubes; tables, masks, and everything that can be wrong with them."""

import hashlib

import numpy as np
import pytest
from PIL import Image

from hyperderm.cubes.pseudo_rgb import srgb_decode
from hyperderm.errors import CubeError
from hyperderm.ingest.layouts.photographs import orphans, scan
from hyperderm.ingest.lesions import CropOptions
from tests.ingest.sources import read_one

H, W = 24, 36


def picture(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (H, W, 3), dtype=np.uint8)


def put(root, name, pixels=None):
    path = root / "images" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture() if pixels is None else pixels).save(path)
    return path


def put_mask(root, name, box=(8, 10, 16, 18), shape=(H, W)):
    mask = np.zeros(shape, np.uint8)
    mask[box[0] : box[2], box[1] : box[3]] = 255
    (root / "masks").mkdir(exist_ok=True)
    Image.fromarray(mask).save(root / "masks" / name)
    return mask > 0


def table(root, text, name="labels.csv"):
    (root / name).write_text(text, encoding="utf-8-sig")


def everything(root, size=12):
    sources = scan(root)
    lesions, aside = [], orphans(root, sources)
    for source in sources:
        found, bad = read_one("photographs", source, root, CropOptions(size))
        lesions += found
        aside += bad
    return lesions, {a.file: a.reason for a in aside}


def test_a_photograph_is_linear_light_around_its_mask_blue_first(tmp_path):
    path = put(tmp_path, "a.png")
    mask = put_mask(tmp_path, "a.png")
    [lesion], aside = everything(tmp_path)
    assert aside == {}
    # rows 8..16 and columns 10..18 grow by a quarter a side to 6..18 and 8..20: 12 x 12, so nothing is resized
    expected = srgb_decode(picture()[6:18, 8:20, ::-1] / 255)
    np.testing.assert_allclose(lesion.cube.reflectance, expected, rtol=1e-6)
    np.testing.assert_array_equal(lesion.cube.wavelengths_nm, [465, 545, 610])
    np.testing.assert_array_equal(lesion.mask, mask[6:18, 8:20])
    assert (lesion.lesion_id, lesion.group, lesion.diagnosis) == ("photograph/a", "photograph/a", None)
    assert lesion.origin == {
        "file": "images/a.png",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "linearised": "sRGB, IEC 61966-2-1",
        "mask_file": "masks/a.png",
        "mask_share": 0.0741,  # 8 x 8 of 24 x 36
        "frame": [24, 36],
        "crop": [6, 8, 18, 20],
        "stored": [6, 8, 18, 20],
        "mask_stored": 1.0,
    }


def test_light_is_averaged_not_srgb_values(tmp_path):
    checker = np.zeros((H, W, 3), np.uint8)
    checker[::2, ::2] = checker[1::2, 1::2] = 255
    put(tmp_path, "a.png", checker)
    [lesion], _ = everything(tmp_path)
    np.testing.assert_allclose(lesion.cube.reflectance, 0.5, atol=1e-6)  # 0.21 were the values averaged first


def test_without_a_mask_the_centre_is_taken(tmp_path):
    put(tmp_path, "a.png")
    [lesion], _ = everything(tmp_path, size=H)
    np.testing.assert_allclose(lesion.cube.reflectance, srgb_decode(picture()[:, 6:30, ::-1] / 255), rtol=1e-6)
    assert lesion.mask is None
    assert lesion.origin["crop"] == [0, 0, H, W]


@pytest.mark.parametrize("head", ["image,label", "isic_id,age,diagnosis", "image_id,dx,x"])
def test_tables_and_their_words(tmp_path, head):
    words = {
        "a": ("melanoma", "melanoma"),
        "b": ("atypical_nevus", "dysplastic_nevus"),
        "c": ("Common nevus", "nevus"),
        "d": ("seborrheic_keratosis", "seborrhoeic_keratosis"),
        "e": ("mel", "melanoma"),
    }
    columns = head.split(",")
    rows = [head]
    for name, (word, _) in words.items():
        put(tmp_path, f"{name}.jpg")
        cells = {"image": f"{name}.jpg", "isic_id": name, "image_id": name, "age": "3", "x": "y"}
        rows.append(",".join(cells.get(c, word) for c in columns))
    table(tmp_path, "\n".join(rows))
    lesions, aside = everything(tmp_path)
    assert aside == {}
    assert {one.lesion_id[-1]: one.diagnosis for one in lesions} == {n: ours for n, (_, ours) in words.items()}


def test_what_cannot_be_used_is_listed_with_its_reason(tmp_path):
    put(tmp_path, "good.png")
    put(tmp_path, "grey.png", picture()[..., 0])
    put(tmp_path, "absent.png")
    put(tmp_path, "other.png")
    put(tmp_path, "shape.png")
    put(tmp_path, "empty.png")
    path = put(tmp_path, "cut.png")
    path.write_bytes(path.read_bytes()[:200])
    put_mask(tmp_path, "shape.png", shape=(H, H))
    put_mask(tmp_path, "empty.png", box=(0, 0, 0, 0))
    put_mask(tmp_path, "nobody.png")
    (tmp_path / "images" / "notes.txt").write_text("x")
    names = ("good", "grey", "cut", "shape", "empty")
    table(tmp_path, "image,label\n" + "".join(f"{n},melanoma\n" for n in names) + "other,basal cell carcinoma\n")
    lesions, aside = everything(tmp_path)
    assert [one.lesion_id for one in lesions] == ["photograph/good"]
    assert aside.keys() == {
        "images/grey.png", "images/absent.png", "images/other.png", "masks/shape.png", "masks/empty.png", "images/cut.png",
        "masks/nobody.png", "images/notes.txt",
    }  # fmt: skip
    assert "no colours" in aside["images/grey.png"]
    assert "does not name it" in aside["images/absent.png"]
    assert "'basal cell carcinoma', which is none of melanoma" in aside["images/other.png"]
    assert f"{H} x {H} pixels, its image {H} x {W}" in aside["masks/shape.png"]
    assert "empty" in aside["masks/empty.png"]
    assert "damaged" in aside["images/cut.png"]
    assert "without a photograph" in aside["masks/nobody.png"]


def test_folders_and_tables_that_cannot_be_used(tmp_path):
    with pytest.raises(CubeError, match="holds no photographs"):
        scan(tmp_path)
    put(tmp_path, "a.png")
    table(tmp_path, "image,label\na,melanoma\n")
    table(tmp_path, "image,diagnosis\na,nevus\n", "more.csv")
    with pytest.raises(CubeError, match=r"2 tables: labels\.csv, more\.csv"):
        scan(tmp_path)
    (tmp_path / "more.csv").write_bytes(b"image,label\n\x81\x00,x\n")
    assert [source.said.diagnosis for source in scan(tmp_path)] == ["melanoma"]
    [aside] = orphans(tmp_path, scan(tmp_path))
    assert (aside.file, aside.reason) == (
        "more.csv",
        "a table that is not used: cannot be decoded, neither as UTF-8 nor as Windows' cp1252. Save it as CSV in UTF-8.",
    )
    table(tmp_path, "image,age\na,30\n", "more.csv")  # another kind of table
    assert [source.said.diagnosis for source in scan(tmp_path)] == ["melanoma"]
    [aside] = orphans(tmp_path, scan(tmp_path))
    assert "it has no column of diagnoses and none of patients" in aside.reason


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_pictures_and_masks_are_turned_as_their_exif_says(tmp_path, suffix):
    stored = np.asarray(Image.fromarray(picture()).resize((W, H)))
    exif = Image.Exif()
    exif[274] = 6  # the camera was held upright: what is stored must be turned a quarter clockwise
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    for name in ("a", "b"):
        Image.fromarray(stored).save(tmp_path / "images" / f"{name}{suffix}", exif=exif)
    with Image.open(tmp_path / "images" / f"a{suffix}") as image:
        assert image.getexif()[274] == 6
    mask = np.zeros((H, W), np.uint8)
    mask[8:16, 10:18] = 255
    Image.fromarray(mask).save(tmp_path / "masks" / "a.png", exif=exif)  # drawn on the stored pixels, with their tag
    Image.fromarray(np.rot90(mask, -1)).save(tmp_path / "masks" / "b.png")  # drawn on what a viewer shows
    lesions, aside = everything(tmp_path)
    assert aside == {}
    a, b = lesions
    np.testing.assert_array_equal(a.mask, np.rot90(mask[6:18, 8:20] > 0, -1))
    np.testing.assert_array_equal(a.mask, b.mask)
    np.testing.assert_array_equal(a.cube.reflectance, b.cube.reflectance)
    assert a.origin["crop"] == b.origin["crop"] == [8, 6, 20, 18]
    if suffix != ".jpg":
        expected = srgb_decode(np.rot90(stored, -1)[8:20, 6:18, ::-1] / 255)
        np.testing.assert_allclose(a.cube.reflectance, expected, rtol=1e-6)
    assert a.origin["exif_orientation"] == b.origin["exif_orientation"] == 6
    assert a.origin["mask_exif_orientation"] == 6
    assert "mask_exif_orientation" not in b.origin


def test_an_orientation_that_means_nothing_is_not_recorded(tmp_path):
    path = put(tmp_path, "a.png")
    for value in (1, 9):
        exif = Image.Exif()
        exif[274] = value
        Image.fromarray(picture()).save(path, exif=exif)
        [lesion], _ = everything(tmp_path, size=H)
        assert "exif_orientation" not in lesion.origin
        np.testing.assert_allclose(lesion.cube.reflectance, srgb_decode(picture()[:, 6:30, ::-1] / 255), rtol=1e-6)
