"""Photographs into a store of kind rgb: layouts told apart, folds only where there are diagnoses."""

import shutil

import pytest

from hyperderm.errors import CubeError
from hyperderm.ingest.source import find_layout
from hyperderm.store.reader import open_store
from tests.ingest.sources import ingest_folder
from tests.ingest.test_ingest import good
from tests.ingest.test_photographs import picture, put, table


@pytest.fixture
def root(tmp_path):
    for i in range(6):
        put(tmp_path / "raw", f"{i}.png", picture(i))
    return tmp_path / "raw"


def take(root, **options):
    place = root.parent / "store"
    settings = {"size": 16, "wavelengths": None, "folds": 3, "seed": 0, "progress": lambda *at: None}
    ingest_folder(root, str(place), **{**settings, **options})
    return open_store(str(place))


def test_without_a_table_there_are_no_diagnoses_and_no_folds(root):
    (root / "images" / "bad.jpg").write_bytes(b"no picture")
    manifest = take(root).manifest
    assert (manifest.kind, manifest.wavelengths_nm, manifest.shape) == ("rgb", (465, 545, 610), (16, 16, 3))
    assert (manifest.diagnoses, manifest.folds) == ({"unknown": 6}, None)
    assert [one.file for one in manifest.set_aside] == ["images/bad.jpg"]
    assert manifest.source == {"verb": "ingest", "layout": "photographs", "size": 16, "files": 7}


def test_with_a_table_there_are(root):
    table(root, "image,label\n" + "".join(f"{i},{('melanoma', 'nevus')[i % 2]}\n" for i in range(6)))
    manifest = take(root).manifest
    assert manifest.diagnoses == {"melanoma": 3, "nevus": 3}
    assert manifest.folds is not None


def test_layouts_are_told_apart(tmp_path, root):
    good(tmp_path / "cubes", "MMCube/1")
    assert find_layout(root, "auto") == "photographs"
    assert find_layout(tmp_path / "cubes", "auto") == "hsidermoscopy"
    assert find_layout(tmp_path / "nowhere", "auto") == "hsidermoscopy"
    put(tmp_path / "cubes", "stray.png")  # the folders decide
    assert find_layout(tmp_path / "cubes", "auto") == "hsidermoscopy"
    assert find_layout(tmp_path / "cubes", "photographs") == "photographs"


def test_wrong_words(root):
    with pytest.raises(CubeError, match=r"--layout 'photos' is unknown.*photographs"):
        take(root, layout="photos")
    with pytest.raises(CubeError, match="nominal wavelengths"):
        take(root, wavelengths=[1.0, 2.0, 3.0])
    with pytest.raises(CubeError, match="not in the layout of HSIDermoscopy"):
        take(root, layout="hsidermoscopy")
    shutil.rmtree(root / "images")
    with pytest.raises(CubeError, match="holds no photographs"):
        take(root, layout="photographs")
