"""`diff` finds every kind of difference between two stores, and nothing where there is none."""

import dataclasses

import numpy as np
import pytest

from hyperderm.cubes.cube import Cube
from hyperderm.store.diff import diff_stores
from hyperderm.store.manifest import SetAsideFile
from hyperderm.store.reader import open_store
from hyperderm.store.writer import write_store
from tests.store.lesions import NM, lesion, lesions


@pytest.fixture(scope="module")
def a(tmp_path_factory):
    place = tmp_path_factory.mktemp("diff") / "a"
    write_store(str(place), lesions(70), fold_count=3, source={"verb": "test"})
    return open_store(str(place))


@pytest.fixture
def stored(tmp_path):
    def stored(rows, **options):
        write_store(str(tmp_path / "b"), rows, **{"fold_count": 3, "source": {"verb": "test"}, **options})
        return open_store(str(tmp_path / "b"))

    return stored


def changed(i, **changes):
    """The 70 lesions of `a`, one of them changed."""
    return [lesion(k, **changes) if k == i else lesion(k) for k in range(70)]


def test_a_store_and_itself(a):
    seen = []
    found = diff_stores(a, a, lambda done, total: seen.append((done, total)))
    assert found.same
    assert found.same_files
    assert found.largest() is None
    assert seen == [(i, 4) for i in range(1, 5)]


def test_the_same_lesions_in_another_order_are_the_same(a, stored):
    found = diff_stores(a, stored(reversed(list(lesions(70)))))
    assert found.same
    assert not found.same_files


def test_lesions_that_only_one_holds(a, stored):
    b = stored([lesion(i) for i in range(2, 72)])
    found = diff_stores(a, b)
    assert found.only_a == ("MMCube/0000_00", "MMCube/0001_00")
    assert found.only_b == ("MMCube/0070_00", "MMCube/0071_00")
    assert found.lesions == ()
    back = diff_stores(b, a)
    assert (back.only_a, back.only_b) == (found.only_b, found.only_a)


def test_changed_cubes_and_the_largest_difference_of_each_band(a, stored):
    """Against numbers that were put in: they lie in other parts of either store."""
    rows = list(lesions(70))
    amounts = {3: (0.25, 0.0, -2.0), 66: (0.5, 0.125, 1.0)}
    for i, by in amounts.items():
        cube = rows[i].cube.reflectance.copy()
        cube[0, 0] = i  # exact in float32
        cube[0, 0] += np.array(by, np.float32)
        rows[i] = dataclasses.replace(rows[i], cube=Cube(cube, NM))
    found = diff_stores(a, stored(reversed(rows)))
    assert [(one.lesion_id, one.aspects) for one in found.lesions] == [
        ("MMCube/0003_00", ("cube",)),
        ("MMCube/0066_00", ("cube",)),
    ]
    assert found.lesions[0].largest == (0.25, 0.0, 2.0)
    np.testing.assert_array_equal(found.largest(), [0.5, 0.125, 2.0])
    assert not found.fields


def test_one_bit_counts(a, stored):
    cube = lesion(5).cube.reflectance.copy()
    cube[2, 2, 1] = np.nextafter(cube[2, 2, 1], np.float32(9))
    found = diff_stores(a, stored(changed(5, cube=Cube(cube, NM))))
    assert [one.aspects for one in found.lesions] == [("cube",)]
    assert 0 < found.largest()[1] < 1e-6
    assert found.largest()[0] == found.largest()[2] == 0


@pytest.mark.parametrize(
    ("i", "changes", "aspects", "words"),
    [
        (1, {"mask": np.ones((8, 8), bool)}, ("mask",), ()),
        (1, {"mask": None}, ("mask",), ()),
        (5, {"mask": np.zeros((8, 8), bool)}, ("mask",), ()),  # empty is not absent
        (2, {"diagnosis": "solar_lentigo"}, ("diagnosis",), ("diagnosis: nevus -> solar_lentigo",)),
        (2, {"group": "patient 1"}, ("group",), ("group: MMCube/0002 -> patient 1",)),
        (2, {"image_id": "x"}, ("image_id",), ()),
        (2, {"origin": {"file": "2.mat"}}, ("origin",), ()),
        (2, {"mask": None, "group": "p"}, ("mask", "group"), ("group: MMCube/0002 -> p",)),
    ],
)
def test_other_aspects(a, stored, i, changes, aspects, words):
    found = diff_stores(a, stored(changed(i, **changes)))
    assert [(one.lesion_id, one.aspects, one.words) for one in found.lesions] == [(f"MMCube/{i:04d}_00", aspects, words)]
    assert found.largest() is None
    assert (found.only_a, found.only_b) == ((), ())


def test_an_unknown_diagnosis(a, stored):
    found = diff_stores(a, stored(changed(0, diagnosis=None), fold_count=0))
    assert found.lesions[0].words == ("diagnosis: melanoma -> unknown",)
    assert {one.name: (one.a, one.b) for one in found.fields}["folds"] == ("3, seed 0", "none")


def test_fields_of_the_manifest(a, stored):
    aside = [SetAsideFile(file="x.mat", reason="15 bands")]
    found = diff_stores(a, stored(lesions(70), seed=9, kind="rgb", set_aside=aside, source={"verb": "other"}))
    said = {one.name: (one.a, one.b) for one in found.fields}
    assert set(said) == {"kind", "source", "set_aside", "folds.seed", "folds.groups"}
    assert said["kind"] == ("spectral", "rgb")
    assert said["folds.seed"] == ("0", "9")
    assert said["source"] == ("verb test", "verb other")
    assert said["set_aside"] == ("0 files, none that the other lacks", "1 file, of them only here x.mat: 15 bands")
    assert "MMCube/00" in said["folds.groups"][0]
    assert not found.lesions
    assert not found.same


def test_the_number_of_folds(a, stored):
    said = {one.name: (one.a, one.b) for one in diff_stores(a, stored(lesions(70), fold_count=5)).fields}
    assert said["folds.count"] == ("3", "5")


def test_other_wavelengths_and_the_same_numbers(a, stored):
    nm = np.array([465.0, 500.5, 620.0000001])
    rows = [dataclasses.replace(one, cube=Cube(one.cube.reflectance, nm)) for one in lesions(70)]
    found = diff_stores(a, stored(rows))
    assert [(one.name, one.a, one.b) for one in found.fields] == [
        ("wavelengths_nm", "465.0, 500.5, 620.0", "465.0, 500.5, 620.0000001")
    ]
    assert found.lesions == ()


def test_cubes_of_other_shapes_and_bands_are_not_compared_by_value(a, stored):
    found = diff_stores(a, stored(lesions(70, 16)))
    assert {one.name for one in found.fields} == {"shape"}
    assert len(found.lesions) == 70
    assert all("cube" in one.aspects for one in found.lesions)
    assert found.largest() is None


def test_bands_that_mean_something_else_are_not_compared_by_value(a, stored):
    rows = [dataclasses.replace(one, cube=Cube(one.cube.reflectance + 1, NM + 1)) for one in lesions(70)]
    found = diff_stores(a, stored(rows))
    assert len(found.lesions) == 70
    assert found.largest() is None
