"""One comparison of names: case, Unicode forms, suffixes, and what differs only so."""

import unicodedata

import pytest

from hyperderm.cubes.annotations import names as annotated
from hyperderm.cubes.readers.naming import Names, shorter

NFD = unicodedata.normalize("NFD", "Läsion1")


@pytest.mark.parametrize(
    ("said", "image"),
    [
        ("1", "1"),
        ("1.MAT", "1"),
        ("ARM0.BIL.HDR", "arm0.bil"),
        ("arm0", "arm0.bil"),
        ("Arm0.png", "arm0.bil"),
        ("Läsion1", NFD),
        ("LÄSION1.npy", NFD),
        ("stack", "stack.ome"),
        ("stack.OME.TIF", "stack.ome"),
        ("p7/Leg.npy", "P7/leg"),
        ("arm.v1.npy", "arm.v1"),
    ],
)
def test_a_name_means_its_image(said, image):
    assert Names(["1", "arm0.bil", NFD, "stack.ome", "P7/leg", "arm.v1", "arm.v2"]).whole(said) == [image]


def test_names_that_differ_only_so_stay_apart():
    names = Names(["a", "A", "arm.npy", "arm.mat"])
    assert (names.whole("a.png"), names.whole("A.png")) == (["a"], ["A"])
    assert names.whole("arm.MAT") == ["arm.mat"]
    assert sorted(names.whole("arm")) == ["arm.mat", "arm.npy"]
    assert sorted(Names(["ab", "AB"]).whole("Ab")) == ["AB", "ab"]
    assert Names(["arm"]).whole("arm.v1") == []


def test_ends_of_paths():
    names = Names(["MMCube/1", "DNCube/1", "DNCube/7"])
    assert names.ending("mmcube/1.mat") == ["MMCube/1"]
    assert names.ending("images/DNCube/7.png") == names.ending("7") == ["DNCube/7"]
    assert len(names.ending("1")) == 2
    assert names.ending("other/7") == []
    assert names.last("other/7") == ["DNCube/7"]


def test_suffixes_come_off_one_by_one_and_only_those_of_images():
    assert shorter("a/arm.v1.BIL.hdr") == ["a/arm.v1.BIL.hdr", "a/arm.v1.BIL", "a/arm.v1"]
    assert shorter("a/.png") == ["a/.png"]


def test_annotation_tools_names_are_compared_likewise():
    index = annotated.by_last_part(["arm0.bil", "Läsion", "DNCube/12"])
    assert annotated.candidates(annotated.bare("ARM0.png"), index) == ["arm0.bil"]
    assert annotated.candidates(annotated.bare(unicodedata.normalize("NFD", "LÄSION.JPG")), index) == ["Läsion"]
    assert annotated.candidates(annotated.bare(annotated.picture_name("DNCube/12")), index) == ["DNCube/12"]
