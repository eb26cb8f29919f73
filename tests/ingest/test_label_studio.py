"""Label Studio's export: brush and polygon, who counts of several annotators, names of pictures, and what is refused."""

import contextlib
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hyperderm.errors import CubeError
from hyperderm.ingest.annotations import names, rle
from hyperderm.ingest.annotations.annotation_file import read_annotations

H, W = 8, 10
POINTS = [[20, 37.5], [60, 37.5], [60, 87.5], [20, 87.5]]  # per cent: rows 3 to 6, columns 2 to 5


def square():
    mask = np.zeros((H, W), bool)
    mask[3:7, 2:6] = True
    return mask


def region(kind: str = "polygonlabels", label: str | None = "lesion", name: str = "r1", **changes: Any):
    value: dict[str, Any] = {kind: [label]} if label else {}
    if kind.startswith("brush"):
        value |= {"format": "rle", "rle": rle.brush_from_mask(square())}
    else:
        value |= {"points": POINTS, "closed": True}
    return {
        "id": name,
        "type": kind,
        "from_name": "tag",
        "to_name": "image",
        "original_width": W,
        "original_height": H,
        "image_rotation": 0,
        "value": value,
    } | changes


def annotation(*results: Any, number: int = 1, when: str | None = "2025-05-01T10:00:00.000000Z", **changes: Any):
    return {"id": number, "was_cancelled": False, "updated_at": when, "completed_by": 1, "result": list(results)} | changes


def task(*annotations: Any, image: Any = "/data/local-files/?d=set/images/a.png", number: int = 3):
    return {"id": number, "data": {"image": image}, "annotations": list(annotations), "predictions": [{"result": [5]}]}


def put(folder, *tasks):
    path = folder / "project.json"
    path.write_text(json.dumps(list(tasks)))
    return path


def one_region(folder, found):
    return read_annotations(put(folder, task(annotation(found))))


@pytest.mark.parametrize("kind", ["polygonlabels", "brushlabels"])
def test_brush_and_polygon_give_the_same_mask(tmp_path, kind):
    [one] = one_region(tmp_path, region(kind, "melanoma")).of("a")
    np.testing.assert_array_equal(one.mask, square())
    assert (one.label, one.diagnosis) == ("melanoma", "melanoma")
    assert one.facts == {
        "file": "project.json",
        "tool": "Label Studio",
        "annotation": 1,
        "updated_at": "2025-05-01T10:00:00.000000Z",
        "annotations_passed_over": [],
        "region": "r1",
        "kind": kind.removesuffix("labels"),
    }


def test_shape_and_label_may_come_apart_and_every_region_is_a_mask(tmp_path):
    label = {"id": "r1", "type": "labels", "value": {"labels": ["Nevus"]}}
    results = (label, region("brush", None), region(name="r2"), {"id": "c", "type": "choices", "value": {"choices": ["ok"]}})
    first, second = read_annotations(put(tmp_path, task(annotation(*results)))).of("a.png")
    assert (first.label, first.diagnosis) == ("Nevus", "nevus")
    assert (second.label, second.diagnosis) == ("lesion", None)
    np.testing.assert_array_equal(first.mask, square())


def test_a_region_without_label(tmp_path):
    [one] = one_region(tmp_path, region(label=None)).of("a")
    assert (one.label, one.diagnosis) == (None, None)


def test_of_several_annotators_the_latest_counts_and_is_recorded(tmp_path):
    annotations = [
        annotation(region(label="nevus"), number=1, when="2025-05-01T12:00:00Z"),
        annotation(region(label="melanoma"), number=2, when="2025-05-01T11:00:00-05:00"),  # 16:00 UTC
        annotation(region(label="nevus"), number=3, when="2025-05-01T15:59:59.9Z"),
        annotation(region(label="nevus"), number=4, when="2025-06-01T00:00:00Z", was_cancelled=True),
    ]
    [one] = read_annotations(put(tmp_path, task(*annotations))).of("a")
    assert one.diagnosis == "melanoma"
    assert (one.facts["annotation"], one.facts["annotations_passed_over"]) == (2, [1, 3])


def test_of_two_tasks_with_one_picture_the_latest_counts(tmp_path):
    late = task(annotation(region(label="melanoma"), number=5, when="2025-05-02T00:00:00Z"), number=1)
    early = task(annotation(region(label="nevus"), number=6), number=2)
    [one] = read_annotations(put(tmp_path, late, early)).of("a")
    assert (one.diagnosis, one.facts["annotations_passed_over"]) == ("melanoma", [6])


def test_cancelled_empty_and_missing_annotations(tmp_path):
    path = put(
        tmp_path,
        task(annotation(region(), was_cancelled=True), image="a.png", number=1),
        task(image="b.png", number=2),
        task(annotation(), image="c.png", number=3),
    )
    annotations = read_annotations(path)
    assert list(annotations._stems) == ["a.png", "b.png", "c.png"]
    assert [annotations.of(image) for image in "abc"] == [[], [], []]
    assert annotations.unmarked == {
        "a.png": "project.json, task 1: it was skipped (1 annotation cancelled)",
        "b.png": "project.json, task 2: nobody annotated it, there are only predictions",
    }
    assert annotations.empty == {"c.png"}  # someone looked, and there is nothing
    assert annotations.aside == ()


@pytest.mark.parametrize(
    ("said", "path"),
    [
        ("/data/local-files/?d=set/images/a%20b.png", "set/images/a b.png"),
        ("https://ls.example/data/local-files/?d=set%5Ca.png&x=1", "set/a.png"),
        ("/data/upload/7/0123abcd-IMD002.png", "IMD002.png"),
        ("/data/upload/7/IMD002.png", "IMD002.png"),
        ("http://host:8080/data/upload/7/0123abcd-0123abcd-x.png", "0123abcd-x.png"),
        ("https://host/set/a%20b.png?token=1/2", "set/a b.png"),
        ("s3://bucket/set/a.png", "set/a.png"),
        ("/srv/pictures/a.png", "srv/pictures/a.png"),
        ("set/a#1?.png", "set/a#1?.png"),
        ("0123abcd-x.png", "0123abcd-x.png"),
    ],
)
def test_pictures_by_address(said, path):
    assert names.served(said) == path


@pytest.mark.parametrize(
    "image",
    ["../a.png", "/data/local-files/?d=../a.png", "s3://bucket/../../a.png", "https://h/%2e%2e/a.png", "/../a.png"],
)
def test_paths_that_climb_out(tmp_path, image):
    with pytest.raises(CubeError, match=r"project\.json, task 3 names the image .* outside its folder"):
        read_annotations(put(tmp_path, task(annotation(region()), image=image)))


@pytest.mark.parametrize("image", ["", "/data/local-files/?x=a.png", "/data/upload/", "http://[x/a.png", "s3://bucket"])
def test_addresses_of_nothing(tmp_path, image):
    with pytest.raises(CubeError, match=r"project\.json, task 3 names the image .*, which is no"):
        read_annotations(put(tmp_path, task(image=image)))


def test_unknown_labels(tmp_path):
    with pytest.raises(
        CubeError, match=r"task 3, annotation 1, region r1: the label 'nevis' is unknown\. Did you mean 'nevus'"
    ):
        one_region(tmp_path, region(label="nevis"))
    with pytest.raises(CubeError, match="has 2 labels: nevus, melanoma"):
        one_region(tmp_path, region(value={"polygonlabels": ["nevus", "melanoma"], "points": POINTS}))


@pytest.mark.parametrize(
    "label", ["melonoma", "Nevuss", "naevus", "lesions", "region", "melanoma in situ", "lesion_2", "seborrheic"]
)
def test_words_that_are_nearly_a_diagnosis_are_refused(tmp_path, label):
    with pytest.raises(CubeError, match=f"task 3, annotation 1, region r1: the label {label!r} is unknown. Did you mean"):
        one_region(tmp_path, region(label=label))


@pytest.mark.parametrize("label", ["hair", "Ruler", "ink", "air bubble", "reflection", "Car", "skin"])
def test_regions_that_are_no_lesion_are_passed_over_and_told(tmp_path, label):
    other = task(annotation(region(label=label, name="r3"), region(label=label, name="r4")), image="b.png")
    found = read_annotations(put(tmp_path, task(annotation(region(), region(label=label, name="r2"))), other))
    assert [one.facts["region"] for one in found.of("a")] == ["r1"]
    assert found.of("b") == []
    [told] = found.aside
    reason = f"the label {label!r} is no diagnosis: 3 regions passed over, on set/images/a.png, b.png"
    assert (told.file, told.reason) == ("project.json", reason)
    assert found.unmarked == {"b.png": f"project.json, task 3, annotation 1: it holds no lesion, only {label}"}
    assert found.empty == frozenset()


def test_an_annotation_that_draws_nothing_but_says_something_is_not_empty(tmp_path):
    choice = {"id": "c", "type": "choices", "value": {"choices": ["blurred"]}}
    found = read_annotations(put(tmp_path, task(annotation(choice))))
    assert found.empty == frozenset()
    assert list(found.unmarked.values()) == ["project.json, task 3, annotation 1: it holds no lesion, only choices"]


@pytest.mark.parametrize("kind", ["keypointlabels", "keypoint"])
def test_what_is_no_mask_is_refused_by_name(tmp_path, kind):
    annotations = one_region(tmp_path, region(kind, name="k9"))
    with pytest.raises(CubeError, match=f"task 3, annotation 1, region k9.*: a {kind.removesuffix('labels')} is no mask"):
        annotations.of("a")


BRUSH = rle.brush_from_mask(square())
BAD_REGIONS = {
    "no pixel is marked": region(value={"points": [[1, 1], [1, 1], [1, 1]]}),
    "no pixel is marked ": region("brushlabels", value={"rle": rle.brush_from_mask(np.zeros((H, W), bool))}),
    "height and width are stated as None and 10": region(original_height=None),
    "brush holds 320 values, 324 belong": region("brushlabels", original_width=9, original_height=9),
    "turned by 90 degrees": region(image_rotation=90),
    "ends early": region("brushlabels", value={"rle": BRUSH[:9]}),
    "no `rle` of whole numbers": region("brushlabels", value={"rle": [*BRUSH, 256]}),
    "no `rle` of whole numbers ": region("brushlabels", value={"rle": "AAAA"}),
    "no `rle` of whole numbers  ": region("brushlabels", value=None),
    "at least three points": region(value={"points": POINTS[:2]}),
    "at least three points ": region(value={"points": [1, 2, 3]}),
    "not all numbers": region(value={"points": [[1, 2], [3, 4], [5, None]]}),
}


@pytest.mark.parametrize("words", BAD_REGIONS)
def test_regions_that_cannot_be_used(tmp_path, words):
    annotations = read_annotations(put(tmp_path, task(annotation(BAD_REGIONS[words], region(name="good")))))
    with pytest.raises(CubeError, match=f"task 3, annotation 1, region r1, on .*{words.strip()}"):
        annotations.of("a")
    [good], [aside] = annotations.read("a")
    assert good.facts["region"] == "good"
    assert words.strip() in aside.reason


BAD_TASKS = {
    "no annotations. Expected COCO": {"id": 1, "image": "a.png", "tag": []},  # JSON-MIN
    "task 3 has no `image`": task() | {"data": {"picture": "a.png"}},
    "annotation 0 is not an object": task(5),
    "updated_at is 'yesterday', which is no time": task(annotation(when="yesterday")),
    "its result is not a list of regions": task(annotation(result=None)),
    "its result is not a list of regions ": task(annotation("x")),
}


@pytest.mark.parametrize("words", BAD_TASKS)
def test_exports_that_cannot_be_used(tmp_path, words):
    with pytest.raises(CubeError, match=words.strip()):
        read_annotations(put(tmp_path, BAD_TASKS[words]))


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 2**40)
    | st.floats()
    | st.sampled_from(["a.png", "/data/upload/x", "lesion"]),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.sampled_from(["rle", "points", "brushlabels", "labels", "image"]), inner)
    ),
    max_leaves=8,
)
keys = [
    "id",
    "type",
    "value",
    "original_width",
    "image_rotation",
    "updated_at",
    "was_cancelled",
    "result",
    "data",
    "annotations",
]


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(keys), anything), st.sampled_from(["brushlabels", "polygonlabels"]))
def test_no_export_crashes(tmp_path, changes, kind):
    damaged = [
        task(annotation(region(kind) | changes)),
        task(annotation(region(kind)) | changes),
        task(annotation(region(kind))) | changes,
    ]
    for one in damaged:
        with contextlib.suppress(CubeError):
            annotations = read_annotations(put(tmp_path, one))
            for image in annotations._stems:
                annotations.of(image)
