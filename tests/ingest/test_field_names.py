"""Names and side files of the field through the whole ingest: what belongs together is found, what is not used is named."""

import shutil
import unicodedata

import numpy as np
import pytest
from PIL import Image

from hyperderm.errors import CubeError, StoreError
from hyperderm.store.reader import open_store
from tests.ingest.sources import ingest_folder, job_of
from tests.ingest.test_ingest import three_of_each
from tests.ingest.test_scenes import cube, lesions, mask, npz

BOX = (6, 8, 16, 20)


def envi(root, name, seed):
    from spectral.io import envi as spy

    root.mkdir(exist_ok=True)
    meta = {"wavelength": [460, 500, 540, 580], "wavelength units": "nm"}
    spy.save_image(str(root / "x.hdr"), cube(seed), dtype=np.float32, interleave="bil", ext="bil", metadata=meta)
    (root / "x.bil").rename(root / f"{name}.bil")
    (root / "x.hdr").rename(root / f"{name}.bil.hdr")


def photographs(root, *names):
    (root / "images").mkdir(parents=True)
    for n, name in enumerate(names):
        pixels = np.random.default_rng(n).integers(0, 256, (24, 30, 3), np.uint8)
        Image.fromarray(pixels).save(root / "images" / name)


def aside(manifest):
    return {one.file: one.reason for one in manifest.set_aside}


@pytest.mark.parametrize("said", ["arm0_00", "arm0.bil_00", "ARM0_mask", "arm0"])
@pytest.mark.parametrize("suffix", [".png", ".PNG", ".tif", ".bmp", ".gif"])
def test_double_suffixes_with_masks_and_labels(tmp_path, said, suffix):
    root = tmp_path / "raw"
    envi(root, "arm0", 1)
    mask(root, "m")
    with Image.open(root / "masks/m.png") as picture:
        picture.save(root / "masks" / f"{said}{suffix}")
    (root / "masks/m.png").unlink()
    (root / "labels.csv").write_text("image;diagnosis\nArm0;mel\n")
    manifest = ingest_folder(root, str(tmp_path / "s"), folds=0)
    assert (manifest.diagnoses, manifest.set_aside) == ({"melanoma": 1}, ())
    [lesion] = lesions(tmp_path / "s").values()
    assert (lesion.lesion_id, lesion.image_id) == ("arm0.bil_00", "arm0.bil")
    assert lesion.origin["crop"] == [3, 5, 19, 23]


def test_hsidermoscopy_in_other_case(tmp_path):
    root = tmp_path / "raw"
    three_of_each(root)
    plain = ingest_folder(root, str(tmp_path / "plain"), folds=0)
    (root / "images/MMCube/1.mat").rename(root / "images/MMCube/1.MAT")
    (root / "masks/MMCube/1_00.png").rename(root / "masks/MMCube/1_00.PNG")
    (root / "images/DNCube").rename(root / "images/dncube")
    (root / "masks").rename(root / "Masks")
    manifest = ingest_folder(root, str(tmp_path / "s"), folds=0)
    assert (manifest.diagnoses, manifest.set_aside) == (plain.diagnoses, ())
    before, after = (list(open_store(str(tmp_path / name)).index()["lesion_id"]) for name in ("plain", "s"))
    assert before == after


@pytest.mark.parametrize("layout", ["hsidermoscopy", "photographs", "scenes"])
def test_names_that_only_differ_so_stay_two_or_are_refused_with_both(tmp_path, layout):
    root = tmp_path / "raw"
    if layout == "hsidermoscopy":
        three_of_each(root)
        shutil.copy(root / "images/MMCube/1.mat", root / "images/MMCube/1.MAT")
        said = aside(ingest_folder(root, str(tmp_path / "s"), folds=0))
        both = {"images/MMCube/1.mat", "images/MMCube/1.MAT"}
        assert said.keys() == both
        assert all(name in said["images/MMCube/1.mat"] for name in both)
    elif layout == "photographs":
        photographs(root, "a.png", "a.jpg", "A.png")
        said = aside(ingest_folder(root, str(tmp_path / "s"), folds=0))
        assert said == dict.fromkeys(
            ("images/a.jpg", "images/a.png"), "a.jpg and a.png are called alike. Rename one of them."
        )
        assert lesions(tmp_path / "s").keys() == {"photograph/A"}
    else:
        npz(root, "a", 1)
        npz(root, "A", 2)
        mask(root, "A_00")
        (root / "labels.csv").write_text("image,diagnosis\na,mel\nA,nv\n")
        ingest_folder(root, str(tmp_path / "s"), folds=0)
        assert {name: one.diagnosis for name, one in lesions(tmp_path / "s").items()} == {"a": "melanoma", "A_00": "nevus"}


def test_composed_and_decomposed_letters_are_one_name(tmp_path):
    root = tmp_path / "raw"
    name = unicodedata.normalize("NFD", "Läsion")
    npz(root, name, 1)
    mask(root, "Läsion_00")
    (root / "labels.csv").write_text("image,diagnosis\nLÄSION,mel\n", encoding="cp1252")
    groups = tmp_path / "g.csv"
    groups.write_text("Image;Patient\nläsion.npz;p\n", encoding="utf-16")
    manifest = ingest_folder(root, str(tmp_path / "s"), folds=0, groups=groups)
    [lesion] = lesions(tmp_path / "s").values()
    assert (lesion.lesion_id, lesion.diagnosis, lesion.group) == (f"{name}_00", "melanoma", "p")
    assert manifest.set_aside == ()


def test_masks_that_may_mark_one_lesion_twice_are_refused(tmp_path):
    root = tmp_path / "raw"
    npz(root, "a", 1)
    npz(root, "b", 2)
    mask(root, "a_00")
    mask(root, "A_mask")
    said = aside(ingest_folder(root, str(tmp_path / "s"), folds=0))
    assert "may mark one lesion several times. Leave one, or number" in said["a.npz"]
    assert lesions(tmp_path / "s").keys() == {"b"}


def test_everything_that_is_not_used_is_named(tmp_path):
    root = tmp_path / "raw"
    npz(root, "a", 1)
    mask(root, "nobody_00")
    (root / "masks/a.mat").write_bytes(b"x")
    (root / "masks/gone_00.png").symlink_to(root / "nothing.png")
    (root / "deep").mkdir()
    for name in (
        "export.json", "deep/wavelengths.txt", "x_responses.mat", "deep/labels.csv", "numbers.xlsx", "notes.txt",
        "README.md", "Thumbs.db", "LICENSE", "metadata.csv",
    ):  # fmt: skip
        (root / name).write_text("x,y\n1,2\n")
    (root / "wavelengths.txt").write_text("460\n500\n540\n580\n")
    manifest = ingest_folder(root, str(tmp_path / "s"), folds=0)
    said = aside(manifest)
    assert said.keys() == {
        "masks/nobody_00.png", "masks/a.mat", "masks/gone_00.png", "export.json", "deep/wavelengths.txt",
        "x_responses.mat", "deep/labels.csv", "numbers.xlsx", "notes.txt", "metadata.csv",
    }  # fmt: skip
    assert said["export.json"] == "annotations are read where they are named: --masks export.json"
    assert "--layout mosaic" in said["x_responses.mat"]
    assert "no column of images" in said["metadata.csv"]
    assert "Save it as CSV" in said["numbers.xlsx"]
    assert "the source folder itself" in said["deep/labels.csv"]
    assert manifest.warnings == (
        "1 image without a mask is stored as a whole frame: a; --masks auto finds a lesion in it",
        "a: wavelengths.txt was not used: wavelengths from the file",
    )


@pytest.mark.parametrize("layout", ["hsidermoscopy", "photographs"])
def test_other_layouts_name_what_they_do_not_use(tmp_path, layout):
    root = tmp_path / "raw"
    if layout == "photographs":
        photographs(root, "a.JPG")
        (root / "images/deep").mkdir()
        shutil.copy(root / "images/a.JPG", root / "images/deep/b.jpg")
    else:
        three_of_each(root)
    names = {"coco.json", "ages.csv", "r_responses.mat"} | ({"wavelengths.txt"} if layout == "photographs" else set())
    for name in names:
        (root / name).write_text("image,age\na,3\n")
    said = aside(ingest_folder(root, str(tmp_path / "s"), folds=0))
    assert said.keys() == names | ({"images/deep/b.jpg"} if layout == "photographs" else set())
    assert "--masks coco.json" in said["coco.json"]
    assert "no column of diagnoses" in said["ages.csv"]


def test_patients_of_a_table_are_groups_and_part_of_the_job(tmp_path):
    root = tmp_path / "raw"
    photographs(root, *(f"i{n}.png" for n in range(6)))
    rows = [
        f"i{n},IP_{n // 2},{('melanoma', 'unknown')[n % 2]},{('malignant', 'benign')[n % 2]},{(n + 1) % 2}" for n in range(6)
    ]
    table = root / "train.csv"
    table.write_text("image_name,patient_id,diagnosis,benign_malignant,target\n" + "\n".join(rows) + "\n")
    manifest = ingest_folder(root, str(tmp_path / "s"), folds=0)
    assert manifest.diagnoses == {"melanoma": 3, "unknown": 3}
    assert manifest.source["groups"] == "patient_id of train.csv"
    held = {row["image_id"]: row["group"] for row in open_store(str(tmp_path / "s")).index().to_pylist()}
    assert held == {f"photograph/i{n}": f"IP_{n // 2}" for n in range(6)}
    first = job_of(root)
    assert "train.csv: 3 groups of images, from patient_id" in first.used
    with pytest.raises(StoreError, match="diagnosis"):
        ingest_folder(root, str(tmp_path / "folds"), folds=3)
    mine = tmp_path / "mine.csv"
    mine.write_text("image,group\n" + "".join(f"i{n}.PNG,g\n" for n in range(6)))
    other = job_of(root, groups=mine)
    assert set(other.how.groups.values()) == {"g"}
    assert other.digest != first.digest


def test_a_table_beside_hsidermoscopy_groups_and_must_not_contradict(tmp_path):
    root = tmp_path / "raw"
    three_of_each(root)
    (root / "patients.csv").write_text("image,patient,diagnosis\nMMCube/0,P,mel\nMMCube/1,P,mel\nMMCube/2,Q,nevus\n")
    manifest = ingest_folder(root, str(tmp_path / "s"), folds=0)
    held = {row["lesion_id"]: row["group"] for row in open_store(str(tmp_path / "s")).index().to_pylist()}
    assert held["MMCube/0_00"] == held["MMCube/1_00"] == "P"
    assert held["DNCube/0_00"] == "DNCube/0"
    assert aside(manifest) == {
        "images/MMCube/2.mat": "the table calls it nevus, its folder or name melanoma. Correct one of them."
    }


@pytest.mark.parametrize("other", ["image,diagnosis\na,nevus\n", "image,diagnosis\na,mel\nb,mel\n"])
def test_two_tables_of_diagnoses_that_differ_are_refused_with_both(tmp_path, other):
    root = tmp_path / "raw"
    photographs(root, "a.png", "b.png", "c.png")
    (root / "one.csv").write_text("image,diagnosis\na,mel\nc,mel\n")
    (root / "two.csv").write_text(other)
    with pytest.raises(CubeError, match=r"holds 2 tables: one\.csv, two\.csv\. Leave one that has diagnoses"):
        ingest_folder(root, str(tmp_path / "s"), folds=0)


def test_further_tables_that_say_nothing_else_are_named_and_not_used(tmp_path):
    root = tmp_path / "raw"
    photographs(root, "a.png", "b.png")
    (root / "one.csv").write_text("image,diagnosis\na,mel\nb,nevus\n")
    (root / "copy.csv").write_text("image;diagnosis\na.png;melanoma\n")
    (root / "test.csv").write_text("image,diagnosis,patient\nx,mel,P\n")
    (root / "patients.csv").write_text("image,patient\na,P\nb,P\n")
    (root / "more.csv").write_text("image,patient,lesion_id\na,p,\n")
    manifest = ingest_folder(root, str(tmp_path / "s"), folds=0)
    assert manifest.diagnoses == {"melanoma": 1, "nevus": 1}
    assert {row["group"] for row in open_store(str(tmp_path / "s")).index().to_pylist()} == {"P"}
    assert aside(manifest) == {
        "copy.csv": "a table that is not used: one.csv says the same",
        "test.csv": "a table that is not used: it names no image of the source",
        "more.csv": "a table that is not used: patients.csv says the same",
    }


@pytest.mark.parametrize(
    ("name", "delimiter"),
    [("images/metadata.csv", ","), ("HAM10000_metadata", ","), ("HAM10000_metadata.tab", "\t"), ("IMAGES.CSV", ";")],
)
def test_tables_are_read_where_and_as_they_are_published(tmp_path, name, delimiter):
    root = tmp_path / "raw"
    photographs(root, "a.png", "b.png")
    rows = ["lesion_id,image_id,dx", "H1,a,mel", "H1,b,nv"]
    (root / name).write_text("\n".join(rows).replace(",", delimiter))
    (root / "notes").write_text("the image was blurred")
    manifest = ingest_folder(root, str(tmp_path / "s"), folds=0)
    assert manifest.diagnoses == {"melanoma": 1, "nevus": 1}
    assert {row["group"] for row in open_store(str(tmp_path / "s")).index().to_pylist()} == {"H1"}
    assert aside(manifest).keys() == {"notes"}
    assert f"{name}: diagnoses of 2 of 2 images, from dx" in manifest.source["used"]


@pytest.mark.parametrize("called", ["arm_00", "p7_arm_00", "arm-mask", "mask_arm", "p7/arm_seg"])
def test_a_mask_finds_its_scene_below_folders_as_tables_do(tmp_path, called):
    root = tmp_path / "raw"
    (root / "p7").mkdir(parents=True)
    npz(root / "p7", "arm", 1)
    npz(root, "leg", 2)
    (root / "masks/p7").mkdir(parents=True)
    mask(root, called)
    mask(root, "leg_00")
    (root / "labels.csv").write_text("image,diagnosis\narm,mel\nleg,nv\n")
    manifest = ingest_folder(root, str(tmp_path / "s"), folds=0)
    held = lesions(tmp_path / "s")
    assert manifest.set_aside == ()
    assert held["p7/arm_00"].origin["crop"] == held["leg_00"].origin["crop"] == [3, 5, 19, 23]
    assert held["p7/arm_00"].diagnosis == "melanoma"


def test_a_mask_in_a_linked_folder_that_means_no_scene_is_named(tmp_path):
    root = tmp_path / "raw"
    npz(root, "a", 1)
    mask(tmp_path / "elsewhere", "a_00")
    mask(tmp_path / "elsewhere", "nobody_00")
    (root / "masks").symlink_to(tmp_path / "elsewhere/masks")
    manifest = ingest_folder(root, str(tmp_path / "s"), folds=0)
    assert lesions(tmp_path / "s").keys() == {"a_00"}
    assert aside(manifest) == {
        "masks/nobody_00.png": "mask without a scene: call it <scene>_00.png, in the scene's folder below masks/"
    }


@pytest.mark.parametrize("linked", ["images/MMCube", "masks/MMCube", "images", "masks"])
def test_a_linked_folder_that_is_read_is_not_said_to_be_passed_over(tmp_path, linked):
    root = tmp_path / "raw"
    three_of_each(root)
    plain = ingest_folder(root, str(tmp_path / "plain"), folds=0)
    (root / linked).rename(tmp_path / "elsewhere")
    (root / linked).symlink_to(tmp_path / "elsewhere")
    (root / "strange").symlink_to(tmp_path / "elsewhere")
    manifest = ingest_folder(root, str(tmp_path / "s"), folds=0)
    assert manifest.diagnoses == plain.diagnoses
    assert aside(manifest) == {"strange": "a link to a folder, which is not followed"}
