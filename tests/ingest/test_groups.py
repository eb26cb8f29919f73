"""What folds may not split: patients from a table, and pictures that lie in a source twice."""

import shutil

import pytest

from hyperderm.errors import CubeError
from hyperderm.ingest.groups import merged, read_groups
from hyperderm.store.reader import open_store
from tests.ingest.sources import ingest_folder
from tests.ingest.test_ingest import good, three_of_each

IMAGES = ["MMCube/1", "MMCube/2", "DNCube/1", "DNCube/7"]


@pytest.fixture
def root(tmp_path):
    three_of_each(tmp_path / "raw")
    return tmp_path / "raw"


def table(tmp_path, text):
    path = tmp_path / "patients.csv"
    path.write_text(text)
    return path


def test_names_of_every_form(tmp_path):
    path = table(tmp_path, "file,patient_id\nMMCube/1.mat,a\nimages/MMCube/2,a\nDNCube/1,b\n7,c\n".replace("images/", ""))
    assert read_groups(path, IMAGES) == {"MMCube/1": "a", "MMCube/2": "a", "DNCube/1": "b", "DNCube/7": "c"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("picture,patient\nx,1\n", "has no column of images. Name it image"),
        ("image,who\nx,1\n", "has no column of groups. Name it group or patient"),
        ("image,patient\nMMCube/9,1\n", "line 2: 'MMCube/9' is no image of the source. Did you mean 'MMCube/"),
        ("image,patient\n1,1\n", "line 2: '1' may be any of MMCube/1, DNCube/1"),
        ("image,patient\nMMCube/1,\n", "line 2: 'MMCube/1' has no group"),
        ("image,patient\nMMCube/1,a\nMMCube/1,b\n", "line 3: MMCube/1 has two groups"),
        ("image,patient\nMMCube/1,a\n", "leaves out 3 of 4 images (MMCube/2, DNCube/1, DNCube/7)"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path, text, said):
    with pytest.raises(CubeError) as caught:
        read_groups(table(tmp_path, text), IMAGES)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_patients_stay_together(tmp_path, root):
    rows = [f"{folder}/{i},{patient}" for i, patient in enumerate("aab") for folder in ("MMCube", "DNCube")]
    rows += [f"OtherCube/Nv{i},c{i}" for i in range(3)]
    path = table(tmp_path, "image,patient\n" + "\n".join(rows) + "\n")
    store_uri = str(tmp_path / "store")
    manifest = ingest_folder(root, store_uri, groups=path, folds=0)
    assert manifest.source["groups"] == "of a table"
    held = {row["lesion_id"]: row["group"] for row in open_store(store_uri).index().to_pylist()}
    assert held["MMCube/0_00"] == held["MMCube/1_00"] == held["DNCube/0_00"] == "a"
    assert held["OtherCube/Nv2_00"] == "c2"


def test_the_same_file_twice_is_one_group_and_is_reported(tmp_path, root):
    for kind, ending in (("images", ".mat"), ("masks", "_00.png")):
        shutil.copy(root / kind / f"MMCube/0{ending}", root / kind / f"DNCube/9{ending}")
    found = ingest_folder(root, str(tmp_path / "store"), folds=0)
    [said] = [text for text in found.warnings if "same picture" in text]
    assert said == (
        "the same picture, now one group: DNCube/9_00 = MMCube/0_00, under several diagnoses: dysplastic_nevus, melanoma"
    )
    rows = {row["lesion_id"]: row["group"] for row in open_store(str(tmp_path / "store")).index().to_pylist()}
    assert rows["DNCube/9_00"] == rows["MMCube/0_00"]
    assert len(set(rows.values())) == 9
    ingest_folder(root, str(tmp_path / "again"), folds=0)
    assert open_store(str(tmp_path / "again")).manifest == found


def test_the_same_pixels_under_another_file_are_found_too(tmp_path, root):
    good(root, "OtherCube/Nv7", 0)  # the pixels of MMCube/0, written anew under another name
    path = root / "images/OtherCube/Nv7.mat"
    import scipy.io

    array = scipy.io.loadmat(path)["DataCubeC"]
    scipy.io.savemat(path, {"other_key": array}, do_compression=False)
    found = ingest_folder(root, str(tmp_path / "store"), folds=0)
    assert any("MMCube/0_00 = OtherCube/Nv7_00" in text for text in found.warnings)


def test_merging_is_transitive_and_does_not_depend_on_order():
    assert merged(["d", "c", "b", "a"], [(0, 1), (1, 2)]) == ["b", "b", "b", "a"]
    assert merged(["d", "c", "b", "a"], [(1, 2), (0, 1)]) == ["b", "b", "b", "a"]
