"""From tiny HSIDermoscopy folders to a store: good files go in, each kind of bad one is set aside with its reason."""

import shutil

import numpy as np
import pytest
import scipy.io
from PIL import Image

from hyperderm.cubes.bands import parse_nm
from hyperderm.cubes.cube import HSIDERMOSCOPY_NM
from hyperderm.errors import CubeError, StoreError
from hyperderm.ingest import pipeline as ingest_module
from hyperderm.store.reader import open_store
from tests.ingest.sources import ingest_folder

H, W, B = 24, 32, 16


def cube(seed=0, bands=B):
    return np.random.default_rng(seed).random((H, W, bands), np.float32)


def put(root, name, **arrays):
    path = root / "images" / f"{name}.mat"
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(path, arrays, do_compression=True)
    return path


def put_mask(root, name, mask=None):
    if mask is None:
        mask = np.zeros((H, W), np.uint8)
        mask[8:16, 10:18] = 255
    path = root / "masks" / f"{name}_00.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask).save(path)


def good(root, name, seed=0):
    put(root, name, DataCubeC=cube(seed))
    put_mask(root, name)


def three_of_each(root):
    for i in range(3):
        good(root, f"MMCube/{i}", i)
        good(root, f"DNCube/{i}", 10 + i)
        good(root, f"OtherCube/Nv{i}", 20 + i)


def no_array(root):
    put(root, "MMCube/bad", note=np.ones((3, 4)))
    put_mask(root, "MMCube/bad")
    return "images/MMCube/bad.mat", "no real numeric array with three axes"


def two_arrays(root):
    put(root, "MMCube/bad", first=cube(), second=cube())
    put_mask(root, "MMCube/bad")
    return "images/MMCube/bad.mat", "2 numeric arrays with three axes"


def fifteen_bands(root):
    put(root, "MMCube/bad", cube=cube(bands=15))
    put_mask(root, "MMCube/bad")
    return "images/MMCube/bad.mat", "15 bands but 16 wavelengths"


def not_finite(root):
    x = cube()
    x[H // 2, W // 2, 0], x[H // 2, W // 2, 1] = np.nan, np.inf
    put(root, "MMCube/bad", cube=x)
    put_mask(root, "MMCube/bad")
    return "masks/MMCube/bad_00.png", "values inside the crop are missing"


def truncated(root):
    path = put(root, "MMCube/bad", cube=cube())
    path.write_bytes(path.read_bytes()[:-1000])
    put_mask(root, "MMCube/bad")
    return "images/MMCube/bad.mat", "damaged or truncated"


def mask_of_other_size(root):
    put(root, "MMCube/bad", cube=cube())
    put_mask(root, "MMCube/bad", np.full((H, W + 1), 255, np.uint8))
    return "masks/MMCube/bad_00.png", f"the mask has {H} x {W + 1} pixels, its image {H} x {W}"


def empty_mask(root):
    put(root, "MMCube/bad", cube=cube())
    put_mask(root, "MMCube/bad", np.zeros((H, W), np.uint8))
    return "masks/MMCube/bad_00.png", "the mask is empty"


def no_mask(root):
    put(root, "MMCube/bad", cube=cube())
    return "images/MMCube/bad.mat", "no mask: masks/MMCube/bad_00.png is expected"


def no_class(root):
    good(root, "OtherCube/bad")
    return "images/OtherCube/bad.mat", "names no single class"


def mask_alone(root):
    put_mask(root, "MMCube/bad")
    return "masks/MMCube/bad_00.png", "mask without a cube"


BAD = [no_array, two_arrays, fifteen_bands, not_finite, truncated, mask_of_other_size, empty_mask, no_mask, no_class]


@pytest.fixture
def root(tmp_path):
    three_of_each(tmp_path / "raw")
    return tmp_path / "raw"


def take(root, **options):
    place = root.parent / "store"
    seen: list[tuple[int, int]] = []
    settings = {"size": 16, "wavelengths": None, "folds": 3, "seed": 0}
    ingest_folder(root, str(place), progress=lambda *at: seen.append(at), **{**settings, **options})
    return open_store(place), seen


def refused(root, kind, **options):
    with pytest.raises(kind) as caught:
        take(root, **options)
    assert sorted(p.name for p in root.parent.iterdir()) == ["raw"], "something half-written"
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_good_files(root):
    store, seen = take(root)
    assert store.manifest.diagnoses == {"dysplastic_nevus": 3, "melanoma": 3, "nevus": 3}
    assert store.manifest.shape == (16, 16, 16)
    assert store.manifest.wavelengths_nm == HSIDERMOSCOPY_NM
    assert store.manifest.set_aside == ()
    assert store.manifest.folds is not None
    assert store.manifest.folds.count == 3
    assert store.manifest.source == {"verb": "ingest", "layout": "hsidermoscopy", "size": 16, "files": 9}
    assert seen == [(0, 9), (9, 9)]  # one part
    for name in ("train", "validation"):
        assert len(store.select(name, 0, ["melanoma"])) == 1


@pytest.mark.parametrize("bad", [*BAD, mask_alone])
def test_bad_file_is_set_aside_and_the_rest_goes_in(root, bad):
    file, reason = bad(root)
    store, _ = take(root)
    assert store.manifest.lesions == 9
    [aside] = store.manifest.set_aside
    assert aside.file == file
    assert reason in aside.reason
    assert "bad" not in str(store.index()["lesion_id"].to_pylist())


def test_all_kinds_of_bad_at_once_each_with_its_reason(root):
    for i, bad in enumerate(BAD):
        bad(root)
        for kind, ending in (("images", "bad.mat"), ("masks", "bad_00.png")):
            for path in list((root / kind).glob(f"*/{ending}")):
                path.rename(path.with_name(path.name.replace("bad", f"bad{i}")))
    store, _ = take(root)
    assert store.manifest.lesions == 9
    assert len(store.manifest.set_aside) == len(BAD)
    assert len({aside.reason for aside in store.manifest.set_aside}) == len(BAD)


def test_the_same_folder_gives_the_same_store_again(root):
    no_array(root)
    first, _ = take(root)
    shutil.rmtree(root.parent / "store")
    second, _ = take(root)
    assert first.manifest == second.manifest


def test_nothing_usable(tmp_path):
    root = tmp_path / "raw"
    fifteen_bands(root)
    text = refused(root, CubeError)
    assert "the one image" in text
    assert "images/MMCube/bad.mat: 15 bands but 16 wavelengths" in text
    assert "check --wavelengths" in text


def test_other_wavelengths(root):
    assert "none of the 9 images" in refused(root, CubeError, wavelengths=[500.0, 510.0, 520.0])
    fifteen = [400.0 + i for i in range(16)]
    store, _ = take(root, wavelengths=fifteen)
    assert store.manifest.wavelengths_nm == tuple(fifteen)


def test_fewer_groups_than_folds(root):
    assert "9 groups of source images cannot fill 10 folds. Use --folds 3" in refused(root, StoreError, folds=10)
    assert "melanoma has 3 groups for 5 folds" in refused(root, StoreError, folds=5)
    store, _ = take(root, folds=0)
    assert store.manifest.folds is None


def test_too_few_folds_are_refused_before_anything_is_read(root, monkeypatch):
    monkeypatch.setattr(ingest_module, "make_part", lambda *arguments: pytest.fail("it was read"))
    assert "--folds 2: train, validation and test need three" in refused(root, StoreError, folds=2)


def test_what_is_no_data_set(tmp_path):
    root = tmp_path / "raw"
    assert "does not exist" in refused_at(root)
    root.mkdir()
    assert "is empty" in refused_at(root)
    (root / "pictures").mkdir()
    assert "not in the layout of HSIDermoscopy" in refused_at(root)


def refused_at(root):
    with pytest.raises(CubeError) as caught:
        take(root)
    assert not (root.parent / "store").exists()
    assert "images/{DNCube,MMCube,OtherCube}" in caught.value.remedy
    return str(caught.value)


def test_parse_wavelengths():
    assert parse_nm("--bands", "465:630:16") == pytest.approx(np.linspace(465, 630, 16))
    assert parse_nm("--bands", "465,470.5, 482") == (465.0, 470.5, 482.0)
    assert parse_nm("--bands", "500") == (500.0,)


@pytest.mark.parametrize("text", ["abc", "465:630", "465:630:x", "465:630:1", "a,b", "465,", ":::"])
def test_wavelengths_of_another_form(text):
    with pytest.raises(CubeError, match=r"is neither A:B:N nor a list.*465:630:16"):
        parse_nm("--wavelengths", text)


@pytest.mark.parametrize("text", ["465:630:0", "465:630:-3", "nan", "465,inf", "-5,5"])
def test_wavelengths_that_are_none(text):
    with pytest.raises(CubeError, match=r"holds what is no wavelength.*465:630:16"):
        parse_nm("--wavelengths", text, rising=False)


@pytest.mark.parametrize("text", ["630:465:16", "470,465", "465,465"])
def test_bands_that_do_not_rise(text):
    with pytest.raises(CubeError, match=r"--bands .* does not rise.*465:630:16"):
        parse_nm("--bands", text)


def test_wavelengths_may_fall_but_none_comes_twice():
    assert parse_nm("--wavelengths", "630:465:16", rising=False) == tuple(np.linspace(630, 465, 16))
    assert parse_nm("--wavelengths", "470,465,480.5", rising=False) == (470, 465, 480.5)
    with pytest.raises(CubeError, match="holds 465 nm twice"):
        parse_nm("--wavelengths", "465,470,465", rising=False)
