"""One unit per store: files in another one are refused with a remedy that works, and natural variation is not."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import scipy.io
from PIL import Image

from hyperderm.errors import ConfigError, CubeError, StoreError
from hyperderm.ingest.layouts.scene_folder import Camera
from hyperderm.ingest.lesions import CropOptions
from hyperderm.ingest.pipeline import ingest
from hyperderm.ingest.source import make_job
from hyperderm.ingest.units import File, check_units, parse_scale, unit_groups
from hyperderm.store.reader import open_store

NM = np.linspace(460.0, 620.0, 4)


def cube(seed: int, factor: float = 1.0, dtype=np.float32) -> np.ndarray:
    return (np.random.default_rng(seed).uniform(0.2, 0.8, (16, 18, 4)) * factor).astype(dtype)


def folder(root, factors, dtypes=None):
    root.mkdir(parents=True)
    for i, factor in enumerate(factors):
        np.savez(root / f"a{i}.npz", cube=cube(i, factor, (dtypes or {}).get(i, np.float32)), wavelengths_nm=NM)
    return root


def stored(root, place, *scale):
    how = CropOptions(None, scale=parse_scale(scale))
    return ingest(make_job(root, "auto", how, Camera()), str(place), folds=0, seed=0)


@pytest.mark.parametrize(
    ("factor", "dtype", "limit"),
    [(10000, np.uint16, 10000), (255, np.uint8, 255), (100, np.float32, 100), (4095, np.uint16, 4095)],
)
def test_two_units_are_refused_and_the_remedy_works(tmp_path, factor, dtype, limit):
    root = folder(tmp_path / "raw", [1, 1, 1, factor, factor], {3: dtype, 4: dtype})
    with pytest.raises(StoreError) as caught:
        stored(root, tmp_path / "s")
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]
    what, remedy = caught.value.what, caught.value.remedy
    assert what.startswith("the files are in 2 units: 3 files with medians 0.")
    assert "(a0.npz, a1.npz, a2.npz); 2 files with median" in what
    assert "(a3.npz, a4.npz)" in what
    given = remedy.split("--scale ")[1].split()[0]
    assert given.startswith("above:")
    assert given.endswith(f"={limit}")
    for scale in ([given], [f"a[34]*={limit}"], [f"{limit}", "a[0-2].npz=1"]):
        manifest = stored(root, tmp_path / "s", *scale)
        assert manifest.source["scale"] == scale
        held = {one.lesion_id: one for one in open_store(str(tmp_path / "s")).lesions()}
        np.testing.assert_allclose(held["a3"].cube.reflectance, cube(3, factor, dtype) / limit, rtol=1e-5)
        np.testing.assert_array_equal(held["a0"].cube.reflectance, cube(0))
        assert held["a3"].origin["scale"] == limit
        shutil.rmtree(tmp_path / "s")


def test_one_scale_for_all_does_not_hide_two_units(tmp_path):
    root = folder(tmp_path / "raw", [1, 1, 10000])
    with pytest.raises(StoreError, match="2 units") as caught:
        stored(root, tmp_path / "s", "10000")
    assert "--scale above:" in caught.value.remedy  # by the numbers of the files, not by those already divided
    limit = float(caught.value.remedy.split("above:")[1].split("=")[0])
    assert 0.8 < limit < 2000
    with pytest.raises(StoreError, match="Without --scale they are in one"):
        stored(folder(tmp_path / "same", [1, 1, 1]), tmp_path / "s", "a1*=100")
    manifest = stored(root, tmp_path / "s", "1")
    assert any(text.startswith("taken for one unit, as --scale 1 says: 2 files") for text in manifest.warnings)


def test_a_whole_store_of_counts_is_one_unit_and_told(tmp_path):
    manifest = stored(folder(tmp_path / "raw", [10000] * 3), tmp_path / "s")
    [said] = manifest.warnings
    assert said.startswith("the numbers are no reflectance (about 0 … 2): 3 files with medians ")
    assert said.endswith("--scale 10000 if they are reflectance x10000")
    assert stored(folder(tmp_path / "mended", [10000] * 3), tmp_path / "t", "10000").warnings == ()
    assert stored(folder(tmp_path / "cent", [100] * 2), tmp_path / "u").warnings[0].endswith("reflectance in per cent")


def test_hsidermoscopy_is_looked_at_too(tmp_path):
    root = tmp_path / "raw"
    for i in range(4):
        kind = ("DNCube", "MMCube")[i % 2]
        for part in ("images", "masks"):
            (root / part / kind).mkdir(parents=True, exist_ok=True)
        numbers = np.random.default_rng(i).uniform(0.2, 0.8, (16, 18, 16)) * (1 if i < 2 else 10000)
        scipy.io.savemat(root / "images" / kind / f"{i}.mat", {"cube": numbers.astype(np.float32)})
        mask = np.zeros((16, 18), np.uint8)
        mask[4:12, 4:12] = 255
        Image.fromarray(mask).save(root / "masks" / kind / f"{i}_00.png")
    with pytest.raises(StoreError, match=r"2 files .*\(images/DNCube/2.mat, images/MMCube/3.mat\): a store has one"):
        stored(root, tmp_path / "s")
    how = CropOptions(8, scale=parse_scale(["images/*/2.mat=10000", "mmcube/3=10000"]))
    ingest(make_job(root, "auto", how, Camera()), str(tmp_path / "s"), folds=0, seed=0)
    assert {one.image_id: one.origin.get("scale") for one in open_store(str(tmp_path / "s")).lesions()} == {
        "DNCube/0": None,
        "MMCube/1": None,
        "DNCube/2": 10000,
        "MMCube/3": 10000,
    }


def files(*medians: float, dtype: str = "float32") -> list[File]:
    return [File(f"{dtype}{i}", median, 2 * median, dtype) for i, median in enumerate(medians)]


def test_natural_variation_is_one_unit():
    """Medians of real lesions lie between a tenth of the brightest and it, and are dense; so do vignetted frames."""
    assert check_units(files(*np.geomspace(0.06, 1.2, 40)), ()) == []
    assert check_units(files(0.06, 0.5), ()) == []
    assert check_units(files(0.0, -0.01, 0.5), ()) == []  # nothing but noise: no unit to be told
    assert len(unit_groups(files(0.05, 0.51))) == 2


@pytest.mark.parametrize(
    "medians",
    [
        np.array([0.2, 0.5, 0.95]) * 0.3,  # exposures
        np.concatenate([np.array([0.2, 0.5, 0.95]) * share for share in (0.3, 0.42, 0.55)]),
        [0.06, 0.3, 0.6, 1.0, 1.5],  # a dark lesion beside a white panel
        [0.9, 1.6, 2.4],  # a white reference that was taken too dark
    ],
)
def test_exposures_and_dark_and_bright_lesions_are_one_unit(medians):
    assert check_units(files(*medians), ()) == []
    for unit in (100, 255, 10000):
        [note] = check_units(files(*np.asarray(medians) * unit), ())
        assert note.startswith("the numbers are no reflectance")


@pytest.mark.parametrize(
    ("low", "high", "factor"),
    [
        ((0.195, 0.5, 0.946), (7.23, 22.3, 50.1), 100),  # sevenfold between neighbours, 257-fold over all
        ((0.5, 0.9), (9.0, 16.0, 31.0), 100),
        ((0.556, 0.556), (5.56, 5.56), 10),
        ((0.05, 0.2, 0.5, 1.0, 1.6, 2.6), (4.0, 7.0, 20.0, 50.0), 100),  # no gap at all
        ((0.2, 0.6), (4.0, 30.0, 120.0), 100),
        ((0.2, 1.6), (15.0, 100.0, 180.0), 100),
    ],
)
def test_files_on_both_sides_of_reflectance_are_refused_and_the_remedy_works(low, high, factor):
    known = files(*low, *high)
    with pytest.raises(StoreError) as caught:
        check_units(known, ())
    first, last = (", ".join(f"float32{i}" for i in places) for places in ((0, 1), (len(low), len(low) + 1)))
    assert f"2 units: {len(low)} files with median" in caught.value.what
    assert f"({first}" in caught.value.what
    assert f"({last}" in caught.value.what
    assert f"={factor} (divides" in caught.value.remedy
    limit = float(caught.value.remedy.split("above:")[1].split("=")[0])
    assert low[-1] < limit < high[0]
    mended = [replace(one, median=one.median / factor, factor=factor) if one.median > limit else one for one in known]
    assert check_units(mended, parse_scale([f"above:{limit}={factor}"])) == []
    divided = [replace(one, median=one.median / 100, high=one.high / 100, factor=100.0) for one in known]
    [note] = check_units(divided, parse_scale(["100"]))  # one factor for all hides nothing
    assert note.startswith(f"--scale divided all of these by 100, which seem to be in 2 units: {len(low)} files with median")


def test_files_that_lead_over_the_edge_of_reflectance_are_told():
    [note] = check_units(files(1.2, 2.0, 2.8, 3.4, 5.0), ())
    assert note.startswith(
        "2 files with medians 3.4 … 5, values up to 10 (float323, float324): no reflectance (about 0 … 2)"
    )
    assert "100" not in note


def test_counts_of_two_types_are_told_apart_at_threefold():
    low, high = files(90, 100, dtype="uint8"), files(350, 420, dtype="uint16")
    with pytest.raises(StoreError, match="in 2 units"):
        check_units([*low, *high], ())
    assert len(check_units(files(90, 100, 350, 420, dtype="uint16"), ())) == 1  # of one camera: dark and bright
    assert check_units([*files(0.1, 0.12), *files(0.5, dtype="float64")], ()) == []  # reflectance either way


@pytest.mark.parametrize(
    ("low", "high", "factor"),
    [
        ([0.195, 0.5, 0.946], [7.23, 22.3, 50.1], 100),  # per cent: no neighbours differ tenfold
        ([0.278, 0.529], [2.78, 5.29], 10),
    ],
)
def test_both_sides_of_what_reflectance_can_be_are_two_units(low, high, factor):
    files = [File(f"{name}{i}", each, each) for name, medians in (("a", low), ("b", high)) for i, each in enumerate(medians)]
    assert [[file.median for file in group] for group in unit_groups(files)] == [low, high]
    with pytest.raises(StoreError, match="the files are in 2 units") as caught:
        check_units(files, ())
    assert f"={factor} (divides" in caught.value.remedy


@pytest.mark.parametrize(
    "medians",
    [
        (0.07, 0.2, 0.45, 0.9),  # reflectance, as far apart as real lesions are
        (0.4, 0.9, 1.5),  # a bright panel beside them
        (7.0, 22.0, 50.0),  # per cent
        (30.0, 120.0, 900.0, 1200.0),  # counts
    ],
)
def test_one_unit_however_its_lesions_differ(medians):
    assert len(unit_groups([File(str(each), each, each) for each in medians])) == 1


def test_three_units():
    with pytest.raises(StoreError, match="in 3 units") as caught:
        check_units([*files(0.4, 0.5), *files(40, 50), *files(4000, 5000)], ())
    assert "--scale above:4.47=100 --scale above:447=10000 (divides" in caught.value.remedy


@pytest.mark.parametrize("word", ["x", "0", "-1", "a=", "a=b", "above:x=3", "inf", "nan", "a*=0"])
def test_words_that_are_no_scale(word):
    with pytest.raises(ConfigError, match=r"--scale .* is none. Give N, PATTERN=N or above:MEDIAN=N"):
        parse_scale([word])


def test_a_pattern_that_means_no_file_and_sources_without_units(tmp_path):
    root = folder(tmp_path / "raw", [1])
    with pytest.raises(ConfigError, match=r"--scale b\*=3: no file is called so. The files are called a0.npz"):
        stored(root, tmp_path / "s", "b*=3")
    (tmp_path / "p" / "images").mkdir(parents=True)
    Image.new("RGB", (20, 20), (9, 8, 7)).save(tmp_path / "p" / "images" / "a.png")
    with pytest.raises(CubeError, match="--scale does not fit this source: photographs"):
        stored(tmp_path / "p", tmp_path / "s", "2")
