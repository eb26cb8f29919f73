"""Pictures for Label Studio, and the way back to the scenes."""

import json
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hyperderm.cubes.diagnosis import DIAGNOSES
from hyperderm.errors import CubeError
from hyperderm.ingest.annotations.annotation_file import read_annotations
from hyperderm.ingest.annotations.export import LABELS, annotation_png, export_annotation_images
from hyperderm.ingest.annotations.names import bare, picture_name
from hyperderm.ingest.annotations.region import LESION

H, W, B = 12, 9, 4


def cube(seed=0):
    return np.random.default_rng(seed).random((H, W, B)).astype(np.float32)


def lesion(seed=0):
    mask = np.zeros((H, W), bool)
    mask[2 + seed : 8, 3:7] = True
    return mask


def tasks(folder):
    return json.loads((folder / "tasks.json").read_text())


def annotated(folder, change=None):
    """What Label Studio exports once every prediction was accepted as it is."""
    done = []
    for number, task in enumerate(tasks(folder)):
        result = task.pop("predictions")[0]["result"]
        if change:
            task["data"]["image"] = change(task["data"]["image"])
        made = {"id": 100 + number, "result": result, "was_cancelled": False, "updated_at": "2025-01-01T00:00:00Z"}
        done.append(task | {"id": number, "annotations": [made]})
    path = folder.with_name("export.json")
    path.write_text(json.dumps(done))
    return read_annotations(path)


def test_the_picture_is_the_mean_of_the_bands_stretched_without_its_tails():
    ramp = np.linspace(0, 1, 1001)
    x = np.stack([ramp - 0.3, ramp + 0.3], axis=1)[None]  # mean: the ramp
    picture = annotation_png(x)
    expected = np.round(np.clip((ramp - 0.005) / 0.99, 0, 1) * 255)
    np.testing.assert_allclose(picture, np.repeat(expected[None, :, None], 3, axis=2), atol=1)  # halves may round either way
    assert (picture[0, :6] == 0).all()
    assert (picture[0, -6:] == 255).all()


def test_gain_and_offset_change_nothing_and_one_reflex_does_not_darken_the_rest():
    x = cube().astype(np.float64)
    np.testing.assert_array_equal(annotation_png(4 * x + 0.5), annotation_png(x))
    flash = np.tile(x, (20, 20, 1))
    flash[0, 0] = 1000
    assert abs(annotation_png(flash).mean() - annotation_png(np.tile(x, (20, 20, 1))).mean()) < 1


def test_constant_and_nearly_constant_images():
    assert not annotation_png(np.full((H, W, B), 0.4)).any()
    point = np.zeros((50, 50, 1))
    point[3, 4] = 1  # both percentiles are 0
    assert annotation_png(point)[3, 4].tolist() == [255, 255, 255]
    assert annotation_png(point).sum() == 3 * 255


def test_files_tasks_and_labels(tmp_path):
    names = ["DNCube/12", "plain"]
    folder = tmp_path / "to annotate"
    assert export_annotation_images(((n, cube(i)) for i, n in enumerate(names)), folder) == 2
    assert sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()) == [
        "images/DNCube_x2f_12.png", "images/plain.png", "labeling_config.xml", "tasks.json",
    ]  # fmt: skip
    with Image.open(folder / "images" / "DNCube_x2f_12.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), annotation_png(cube(0)))
    assert tasks(folder) == [
        {"data": {"image": "/data/local-files/?d=to%20annotate/images/DNCube_x2f_12.png", "scene": "DNCube/12"}},
        {"data": {"image": "/data/local-files/?d=to%20annotate/images/plain.png", "scene": "plain"}},
    ]
    config = ElementTree.parse(folder / "labeling_config.xml").getroot()
    assert config.find("Image").attrib["value"] == "$image"
    for kind in ("BrushLabels", "PolygonLabels"):
        control = config.find(kind)
        assert control.attrib["toName"] == config.find("Image").attrib["name"]
        assert [label.attrib["value"] for label in control] == [LESION, *DIAGNOSES] == list(LABELS)
    assert list(tmp_path.iterdir()) == [folder]


def test_the_document_root_may_lie_higher(tmp_path):
    folder = tmp_path / "project" / "pictures"
    folder.parent.mkdir()
    export_annotation_images([("a", cube())], folder, document_root=tmp_path)
    assert tasks(folder)[0]["data"]["image"] == "/data/local-files/?d=project/pictures/images/a.png"
    with pytest.raises(CubeError, match="lies outside Label Studio's document root"):
        export_annotation_images([("a", cube())], tmp_path / "b", document_root=folder)


def by_hand(address):
    """The address of the same picture, had it been uploaded."""
    return "/data/upload/7/0123abcd-" + address.rpartition("/")[2]


@pytest.mark.parametrize("change", [None, by_hand], ids=["local files", "uploads"])
def test_what_label_studio_exports_leads_back_to_the_scenes(tmp_path, change):
    known = {"DNCube/1": [("melanoma", lesion(0)), (LESION, lesion(2))], "MMCube/1": [("nevus", lesion(1))], "a_x b/é": []}
    folder = tmp_path / "out"
    export_annotation_images(((name, cube()) for name in known), folder, lambda name: known[name] or [(LESION, lesion(3))])
    found = annotated(folder, change)
    pairs = found.match([*known, "other"])
    assert pairs.keys() == known.keys()
    assert found.unmatched(known) == []
    for name, masks in known.items():
        back = found.of(pairs[name])
        for one, (label, mask) in zip(back, masks or [(LESION, lesion(3))], strict=True):
            assert one.label == label
            np.testing.assert_array_equal(one.mask, mask)


def test_predictions_are_no_annotations(tmp_path):
    export_annotation_images([("a", cube())], tmp_path / "out", lambda _: [(LESION, lesion())])
    tasks_only = read_annotations(tmp_path / "out" / "tasks.json")
    assert tasks_only.of("a") == []
    [reason] = tasks_only.unmarked.values()
    assert reason == "tasks.json, task 0: nobody annotated it, there are only predictions"


@given(st.text(min_size=1))
def test_names_of_pictures_lead_back_to_any_scene(scene):
    name = picture_name(scene)
    assert bare(name) == scene
    assert "/" not in name
    assert not name.startswith(".")
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


@given(st.text("_x2f/ab.", min_size=1))
def test_names_that_look_escaped_lead_back_too(scene):
    assert bare(picture_name(scene)) == scene


def test_ordinary_names_stay_as_they_are():
    for name in ("phantom-0-00012", "IMD_002", "scan.v2"):
        assert picture_name(name) == name + ".png"


def test_a_folder_that_is_there(tmp_path):
    with pytest.raises(CubeError, match="already there"):
        export_annotation_images([("a", cube())], tmp_path)


def broken_scenes():
    yield "a", cube()
    raise CubeError("the second cannot be read")


FAILURES = {
    "there are no scenes": ([], None),
    "two scenes are called 'a'": ([("a", cube()), ("a", cube(1))], None),
    "a scene has no name": ([("", cube())], None),
    "12 x 9 pixels, a mask of it 9 x 12": ([("a", cube())], lambda _: [(LESION, lesion().T)]),
    "the label 'car' is unknown": ([("a", cube())], lambda _: [("car", lesion())]),
    "the second cannot be read": (broken_scenes(), None),
    "cannot be written: .*name too long": ([("a" * 300, cube())], None),
}


@pytest.mark.parametrize("words", FAILURES)
def test_nothing_is_left_of_an_export_that_fails(tmp_path, words):
    scenes, masks = FAILURES[words]
    with pytest.raises(CubeError, match=f"(?i){words}"):
        export_annotation_images(scenes, tmp_path / "out", masks)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CubeError, match="cannot be written"):
        export_annotation_images([("a", cube())], tmp_path / "file" / "out")


def test_an_export_that_got_there_first_wins(tmp_path):
    def scenes():
        yield "a", cube()
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "theirs").write_text("")

    with pytest.raises(CubeError, match="cannot be written"):
        export_annotation_images(scenes(), tmp_path / "out")
    assert [p.name for p in tmp_path.rglob("*")] == ["out", "theirs"]
