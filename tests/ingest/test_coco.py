"""COCO files: masks by hand, names of images, and everything that can be wrong with them."""

import contextlib
import json
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hyperderm.errors import CubeError
from hyperderm.ingest.annotations.annotation_file import read_annotations

H, W = 8, 10
SQUARE = [2, 3, 6, 3, 6, 7, 2, 7]  # rows 3 to 6, columns 2 to 5
COUNTS = [2 * H + 3, 4, 4, 4, 4, 4, 4, 4, 4 * H + 1]  # the same, column by column


def square():
    mask = np.zeros((H, W), bool)
    mask[3:7, 2:6] = True
    return mask


def document(*segmentations: Any, image: Any = "a.png", **changes: Any):
    annotations = [
        {"id": 10 + i, "image_id": 1, "category_id": 1, "iscrowd": 0, "segmentation": s} for i, s in enumerate(segmentations)
    ]
    return {
        "images": [{"id": 1, "file_name": image, "height": H, "width": W}],
        "categories": [{"id": 1, "name": "melanoma"}],
        "annotations": annotations,
    } | changes


def put(folder, content):
    path = folder / "masks.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def names(*files):
    images = [{"id": i, "file_name": file, "height": H, "width": W} for i, file in enumerate(files)]
    return document(images=images)


def test_polygons_run_lengths_and_strings_give_the_same_mask(tmp_path):
    # the first three numbers as they are, then differences to the number two before; groups of 5 bits from "0"
    string = "c0" + "4" + "4" + "0" * 5 + "m0"
    forms = [[SQUARE], {"size": [H, W], "counts": COUNTS}, {"size": [H, W], "counts": string}]
    found = read_annotations(put(tmp_path, document(*forms))).of("a.png")
    assert len(found) == 3
    for one in found:
        np.testing.assert_array_equal(one.mask, square())
    assert [one.facts["kind"] for one in found] == ["polygon", "run lengths", "run lengths"]


def test_an_annotation_says_where_it_came_from(tmp_path):
    content = document([SQUARE], image="./set\\a.png")
    content["annotations"][0]["iscrowd"] = 1
    [one] = read_annotations(put(tmp_path, content)).of("set/a")
    assert (one.label, one.diagnosis) == ("melanoma", "melanoma")
    facts = {"file": "masks.json", "tool": "COCO", "annotation": 10, "kind": "polygon", "iscrowd": True}
    assert one.facts == facts
    json.dumps(one.facts)


@pytest.mark.parametrize(
    ("label", "diagnosis"),
    [
        ("lesion", None),
        ("Lesion", None),
        ("Solar lentigo", "solar_lentigo"),
        ("atypical_nevus", "dysplastic_nevus"),
        ("melanoma", "melanoma"),
    ],
)
def test_categories_are_diagnoses_or_lesion(tmp_path, label, diagnosis):
    content = document([SQUARE], categories=[{"id": 1, "name": label}])
    [one] = read_annotations(put(tmp_path, content)).of("a.png")
    assert (one.label, one.diagnosis) == (label, diagnosis)


def test_without_category_there_is_no_label(tmp_path):
    content = document([SQUARE])
    del content["annotations"][0]["category_id"]
    [one] = read_annotations(put(tmp_path, content)).of("a.png")
    assert (one.label, one.diagnosis) == (None, None)


def test_parts_of_one_annotation_are_one_mask_and_annotations_are_masks_of_their_own(tmp_path):
    other = [7, 0, 10, 0, 10, 2, 7, 2]
    both, single = read_annotations(put(tmp_path, document([SQUARE, other], [other]))).of("a.png")
    assert both.mask.sum() == 16 + 6
    assert single.mask.sum() == 6


def test_masks_are_drawn_when_asked_for_and_travel_to_workers(tmp_path):
    content = document([SQUARE], {"size": [H, W], "counts": [5]})
    annotations = pickle.loads(pickle.dumps(read_annotations(put(tmp_path, content))))  # the bad mask hurts nobody yet
    with pytest.raises(CubeError, match=r"masks\.json, annotation 11, on 'a\.png': the run lengths add up to 5"):
        annotations.of("a.png")
    good, aside = annotations.read("a.png")
    np.testing.assert_array_equal(good[0].mask, square())
    assert [(a.file, "add up to 5 pixels" in a.reason) for a in aside] == [("a.png", True)]


def test_images_by_name_by_path_and_by_stem(tmp_path):
    annotations = read_annotations(put(tmp_path, names("DNCube/1.png", "MMCube/1.png", "MMCube/2.png")))
    assert list(annotations._stems) == ["DNCube/1.png", "MMCube/1.png", "MMCube/2.png"]
    assert annotations.of("MMCube/2") == annotations.of("2.mat") == annotations.of("nowhere") == []
    with pytest.raises(CubeError, match=r"'1\.png' may be any of DNCube/1\.png, MMCube/1\.png"):
        annotations.of("1.png")


def test_scenes_get_the_image_that_means_them_alone(tmp_path):
    annotations = read_annotations(put(tmp_path, names("DNCube/1.png", "2.png", "3.png", "4.png", "4.jpg", "x/5.png")))
    known = ["DNCube/1", "MMCube/1", "DNCube/2", "DNCube/3", "MMCube/3", "DNCube/4", "DNCube/5"]
    assert annotations.match(known) == {"DNCube/1": "DNCube/1.png", "DNCube/2": "2.png"}
    reasons = {one.file: one.reason for one in annotations.unmatched(known)}
    assert reasons == {
        "3.png": "masks.json names it, which may be any of DNCube/3, MMCube/3",
        "4.png": "masks.json means DNCube/4 by each of 4.png, 4.jpg",
        "4.jpg": "masks.json means DNCube/4 by each of 4.png, 4.jpg",
        "x/5.png": "masks.json names it, but there is no such image",
    }


def test_missing_images_are_set_aside(tmp_path):
    content = document([SQUARE])
    content["annotations"].append({"id": 7, "image_id": 99, "segmentation": [SQUARE]})
    annotations = read_annotations(put(tmp_path, content))
    [aside] = annotations.unmatched(["b"])
    assert (aside.file, aside.reason) == ("a.png", "masks.json names it, but there is no such image")
    [orphan] = annotations.aside
    assert orphan.reason == "annotation 7 is of image id 99, which the file does not list"


def test_images_without_annotations_are_without_a_lesion_unless_some_annotation_is_lost(tmp_path):
    content = names("a.png", "b.png") | {"annotations": [{"id": 7, "image_id": 0, "segmentation": [SQUARE]}]}
    found = read_annotations(put(tmp_path, content))
    assert (found.empty, found.unmarked, found.aside) == ({"b.png"}, {}, ())
    content["annotations"].append({"id": 8, "image_id": "1", "segmentation": [SQUARE]})  # of b, had its id been a number
    found = read_annotations(put(tmp_path, content))
    assert found.empty == frozenset()
    assert found.unmarked == {"b.png": "masks.json: no annotation is of it, but 1 are of images that the file does not list"}


def test_categories_that_are_no_lesion_are_passed_over_and_told(tmp_path):
    content = names("a.png", "b.png")
    content["categories"] = [{"id": i, "name": n, "supercategory": "none"} for i, n in enumerate(("lesions", "hair", "mel"))]
    marks = [(1, 0), (2, 0), (1, 1)]  # category, image
    content["annotations"] = [
        {"id": i, "image_id": im, "category_id": c, "segmentation": [SQUARE]} for i, (c, im) in enumerate(marks)
    ]
    found = read_annotations(put(tmp_path, content))
    assert [(one.facts["annotation"], one.diagnosis) for one in found.of("a.png")] == [(1, "melanoma")]
    assert found.of("b.png") == []
    assert [one.reason for one in found.aside] == [
        "the label 'hair' is no diagnosis: 2 regions passed over, on a.png, b.png"
    ]
    assert found.unmarked == {"b.png": "masks.json: it holds no lesion, only hair"}


@pytest.mark.parametrize("name", ["../a.png", "set/../../a.png", "/etc/a.png", "..\\a.png", "C:\\a.png", "..", "C:/a"])
def test_paths_that_climb_out(tmp_path, name):
    with pytest.raises(CubeError, match=r"masks\.json names the image .* lies outside its folder"):
        read_annotations(put(tmp_path, document([SQUARE], image=name)))


@pytest.mark.parametrize("name", ["", " ", ".", "a\0.png"])
def test_names_that_are_none(tmp_path, name):
    with pytest.raises(CubeError, match="is no file name"):
        read_annotations(put(tmp_path, document([SQUARE], image=name)))


BAD_MASKS = {
    "no pixel is marked": [[2, 3, 2, 3, 2, 3]],
    "no pixel is marked ": {"size": [H, W], "counts": [H * W]},
    "no pixel is marked  ": [[50, 50, 60, 50, 60, 60]],
    r"the mask's size is \[10, 8\], its image's \[8, 10\]": {"size": [W, H], "counts": COUNTS},
    r"the mask's size is None": {"counts": COUNTS},
    "there is no segmentation": [],
    "there is no segmentation ": None,
    "at least three points": [[1, 2, 3, 4]],
    "at least three points ": [[1, 2, 3, 4, 5, 6, 7]],
    "at least three points  ": [SQUARE, "x"],
    "not all numbers": [[1, 2, 3, 4, 5, "6"]],
    "neither a list": {"size": [H, W]},
}


@pytest.mark.parametrize("words", BAD_MASKS)
def test_masks_that_cannot_be_used(tmp_path, words):
    annotations = read_annotations(put(tmp_path, document(BAD_MASKS[words])))
    with pytest.raises(CubeError, match=f"annotation 10, on 'a.png': .*{words.strip()}"):
        annotations.of("a.png")


@pytest.mark.parametrize(("height", "width"), [(None, W), (0, W), ("8", W), (10**9, 10**9)])
def test_images_without_a_usable_size(tmp_path, height, width):
    content = document([SQUARE])
    content["images"][0].update(height=height, width=width)
    with pytest.raises(CubeError, match="height and width are stated as"):
        read_annotations(put(tmp_path, content)).of("a.png")


BAD_FILES = {
    "is no JSON": "{",
    "is no JSON ": "[" * 100_000,
    "no annotations. Expected COCO": {"images": []},
    "no annotations. Expected COCO ": [],
    "no annotations. Expected COCO  ": 5,
    "record 0 of `images` has no id": {"images": [{"file_name": "a"}], "annotations": []},
    "record 0 of `images` has no id ": {"images": [5], "annotations": []},
    "record 0 of `categories` has no id": document([SQUARE], categories=[{"name": 5, "id": 1}]),
    "category id 1 is none of": document([SQUARE], categories=[]),
    "annotation 0 is not an object": document(annotations=[5]),
    "image id 1 is that of 'a.png' and 'b.png'": document(
        images=[{"id": 1, "file_name": "a.png"}, {"id": 1, "file_name": "b.png"}]
    ),
    "annotation 10: the label 'melanomma' is unknown. Did you mean 'melanoma'": document(
        [SQUARE], categories=[{"id": 1, "name": "melanomma"}]
    ),
}


@pytest.mark.parametrize("words", BAD_FILES)
def test_files_that_cannot_be_used(tmp_path, words):
    with pytest.raises(CubeError, match=words.strip()):
        read_annotations(put(tmp_path, BAD_FILES[words]))


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(CubeError, match="cannot be read: No such file"):
        read_annotations(tmp_path / "none.json")
    with pytest.raises(CubeError, match="cannot be read"):
        read_annotations(tmp_path)
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CubeError, match=r"binary\.json is no JSON"):
        read_annotations(tmp_path / "binary.json")


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 2**40)
    | st.floats()
    | st.sampled_from(["a.png", "../b", "0PP1", "", "lesion"]),
    lambda inner: st.lists(inner, max_size=7) | st.dictionaries(st.sampled_from(["size", "counts", "id"]), inner),
    max_leaves=8,
)


fields = st.sampled_from(
    ["id", "file_name", "height", "width", "image_id", "category_id", "segmentation", "name", "iscrowd"]
)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["images", "annotations", "categories"]), st.dictionaries(fields, anything), anything)
def test_no_file_crashes(tmp_path, part, changes, other):
    content = document([SQUARE])
    content[part] = [content[part][0] | changes]
    for damaged in (content, content | {part: other}):
        with contextlib.suppress(CubeError):
            annotations = read_annotations(put(tmp_path, damaged))
            for image in annotations._stems:
                annotations.of(image)
            annotations.match(["a", "b/a"])
