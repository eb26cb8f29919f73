"""One comparison of names: case, Unicode forms, suffixes, and what differs only so."""

import unicodedata
from pathlib import Path

import pytest

from hyperderm.ingest.annotations import names as annotated
from hyperderm.ingest.annotations.mask_files import match_masks, number_of
from hyperderm.ingest.layouts.naming import Names, shorter

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
    index = Names(["arm0.bil", "Läsion", "DNCube/12"], annotated.bare)
    assert index.ending(annotated.bare("ARM0.png")) == ["arm0.bil"]
    assert index.ending(annotated.bare(unicodedata.normalize("NFD", "LÄSION.JPG"))) == ["Läsion"]
    assert index.ending(annotated.bare(annotated.picture_name("DNCube/12"))) == ["DNCube/12"]


def given(masks, images, **how):
    found = match_masks([(name, Path(f"masks/{name}.png")) for name in masks], images, **how)
    return {image: [path.stem for path in paths] for image, paths in found.of.items()}, found


@pytest.mark.parametrize(
    ("mask", "number"),
    [
        ("a", None), ("a_00", "00"), ("a-1", "1"), ("a_mask", None), ("a-mask", None), ("a_seg", None), ("mask_a", None),
        ("a_segmentation", None), ("a_Lesion", None), ("A.MASK", None), ("label-a", None), ("a_mask_02", "02"),
        ("a_03_mask", "03"), ("mask_a_04", "04"), ("a_mask2", "2"), ("a.bil_00", "00"), ("a_GroundTruth", None),
    ],
)  # fmt: skip
def test_a_mask_s_name_is_its_image_with_a_number_and_a_word_for_mask(mask, number):
    of, found = given([mask], ["a.bil", "b"])
    assert of == {"a.bil": [mask]}
    assert (found.faults, found.unused, found.lonely) == ({}, {}, [])
    assert number_of(Path(f"{mask}.png")) == number


@pytest.mark.parametrize(
    ("mask", "image"),
    [
        ("a_00", "p7/a"), ("p7_a_00", "p7/a"), ("p7-a_mask", "p7/a"), ("x/p7/a", "p7/a"), ("p7/b_seg", "b"),
        ("deep_p8_c", "deep/p8/c"), ("p8/c", "deep/p8/c"), ("p7/a_00", "p7/a"),
    ],
)  # fmt: skip
def test_folders_of_a_mask_may_be_left_out_or_stand_in_its_name(mask, image):
    of, found = given([mask], ["p7/a", "b", "deep/p8/c"])
    assert {each: [Path(mask).name] for each in [image]} == of
    assert found.lonely == []


def test_a_whole_name_goes_before_a_word_and_other_folders_are_no_match():
    of, found = given(
        ["a_lesion", "lesion_1", "a_1", "p9/c", "patient_7_00"], ["a", "a_lesion", "lesion_1", "p7/c", "patient"]
    )
    assert of == {"a_lesion": ["a_lesion"], "lesion_1": ["lesion_1"], "a": ["a_1"]}
    assert [path.stem for path in found.lonely] == ["c", "patient_7_00"]


def test_a_mask_that_may_be_of_several_images_spoils_those_without_one_of_their_own():
    of, found = given(["a_00", "p8/a_00"], ["p7/a", "p8/a", "p9/a"])
    assert of == {"p8/a": ["a_00"]}
    why = "may be of any of p7/a, p8/a, p9/a: call it by the whole name of one, with its folders"
    assert found.faults == dict.fromkeys(("p7/a", "p9/a"), f"the mask a_00.png {why}")
    assert found.unused == {Path("masks/a_00.png"): f"a mask that {why}"}
    assert given(["x_y_00"], ["x/y", "x-y"])[1].faults.keys() == {"x/y", "x-y"}


def test_numbered_masks_have_the_whole_name_and_a_number():
    of, found = given(["MMCube/1_00", "MMCube/1", "MMCube/2_mask", "1_01"], ["MMCube/1", "MMCube/2"], numbered=True)
    assert of == {"MMCube/1": ["1_00"]}
    assert len(found.lonely) == 3
