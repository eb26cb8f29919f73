"""Out to Label Studio and back in; COCO; masks that nobody drew."""

import json

import numpy as np
import pytest

from hyperderm.errors import CubeError, StoreError
from hyperderm.ingest.annotation_pictures import export_images
from hyperderm.ingest.annotations import rle
from hyperderm.ingest.layouts.scene_folder import Camera
from hyperderm.ingest.lesions import CropOptions, LesionMarks
from hyperderm.ingest.pipeline import ingest
from hyperderm.ingest.source import make_job
from hyperderm.store.reader import open_store
from tests.ingest.test_ingest import H, W, good, put, three_of_each


@pytest.fixture
def root(tmp_path):
    three_of_each(tmp_path / "raw")
    put(tmp_path / "raw", "MMCube/9", DataCubeC=np.random.default_rng(9).random((H, W, 16), np.float32))  # no mask
    return tmp_path / "raw"


def take(root, place, annotations=None, automatic=False, folds=0):
    job = make_job(root, "auto", CropOptions(None, marker=LesionMarks(automatic=automatic)), Camera(), annotations)
    manifest = ingest(job, str(place), folds=folds, seed=0)
    return manifest, {one.lesion_id: one for one in open_store(str(place)).lesions()}


def edited(tmp_path, tasks, box, label="lesion"):
    """What Label Studio exports after someone drew `box` on every task."""
    drawn = np.zeros((H, W), bool)
    drawn[box[0] : box[2], box[1] : box[3]] = True
    brush = {
        "id": "b", "type": "brushlabels", "from_name": "brush", "to_name": "image", "original_width": W,
        "original_height": H, "image_rotation": 0,
        "value": {"format": "rle", "rle": rle.brush_from_mask(drawn), "brushlabels": [label]},
    }  # fmt: skip
    done = {"id": 1, "was_cancelled": False, "updated_at": "2026-01-01T00:00:00Z", "completed_by": 1, "result": [brush]}
    path = tmp_path / "export.json"
    path.write_text(json.dumps([{"id": i, "data": each["data"], "annotations": [done]} for i, each in enumerate(tasks)]))
    return path


def test_pictures_go_out_with_the_masks_that_are_known_and_come_back_edited(tmp_path, root):
    job = make_job(root, "auto", CropOptions(None), Camera())
    found = export_images(job, tmp_path / "out")
    count, aside = found.count, list(found.aside)
    assert (count, aside) == (10, [])
    tasks = json.loads((tmp_path / "out" / "tasks.json").read_text())
    known = {task["data"]["scene"]: task.get("predictions") for task in tasks}
    assert known["MMCube/9"] is None
    assert known["MMCube/0"][0]["result"][0]["value"]["brushlabels"] == ["melanoma"]
    path = edited(tmp_path, [task for task in tasks if task["data"]["scene"] != "DNCube/1"], (4, 4, 14, 20))
    with pytest.raises(StoreError, match=r"cubes of .* a store has one shape"):
        take(root, tmp_path / "store", path)  # DNCube/1 keeps its own mask: another crop
    job = make_job(root, "auto", CropOptions(16), Camera(), path)
    ingest(job, str(tmp_path / "store"), folds=0, seed=0)
    held = {one.lesion_id: one for one in open_store(str(tmp_path / "store")).lesions()}
    assert held.keys() >= {"MMCube/9_00", "MMCube/0_00", "DNCube/1_00"}
    origin = held["MMCube/9_00"].origin
    assert (origin["mask"]["tool"], origin["mask"]["kind"], origin["crop"]) == ("Label Studio", "brush", [1, 0, 17, 24])
    assert held["DNCube/1_00"].origin["mask_file"] == "masks/DNCube/1_00.png"
    assert held["MMCube/9_00"].diagnosis == "melanoma"  # the folder says it


def test_a_label_against_the_folder_and_images_that_are_not_there_are_listed(tmp_path, root):
    good(root, "OtherCube/Nv9")
    tasks = [
        {"data": {"image": f"/data/local-files/?d=set/{name}.png", "scene": name}} for name in ("MMCube/0", "MMCube/77")
    ]
    path = edited(tmp_path, tasks, (4, 4, 14, 20), label="nevus")
    job = make_job(root, "auto", CropOptions(16), Camera(), path)
    manifest = ingest(job, str(tmp_path / "store"), folds=0, seed=0)
    said = {one.file: one.reason for one in manifest.set_aside}
    assert any("calls a lesion of MMCube/0 nevus, its source says melanoma" in reason for reason in said.values())
    assert any("MMCube/77" in file and "no such image" in reason for file, reason in said.items())


def test_labels_nobody_knows_are_refused(tmp_path, root):
    path = edited(tmp_path, [{"data": {"image": "MMCube/0.png"}}], (4, 4, 14, 20), label="melonoma")
    with pytest.raises(CubeError, match=r"the label 'melonoma' is unknown\. Did you mean 'melanoma'"):
        make_job(root, "auto", CropOptions(16), Camera(), path)


def test_coco_and_a_path_that_climbs_out(tmp_path, root):
    def coco(name):
        polygon = [4.0, 4.0, 20.0, 4.0, 20.0, 14.0, 4.0, 14.0]
        document = {
            "images": [{"id": 1, "file_name": name, "width": W, "height": H}],
            "categories": [{"id": 1, "name": "melanoma"}],
            "annotations": [
                {"id": 5, "image_id": 1, "category_id": 1, "segmentation": [polygon], "area": 160, "bbox": [4, 4, 16, 10],
                 "iscrowd": 0}
            ],
        }  # fmt: skip
        path = tmp_path / "coco.json"
        path.write_text(json.dumps(document))
        return path

    job = make_job(root, "auto", CropOptions(16), Camera(), coco("MMCube/9.png"))
    ingest(job, str(tmp_path / "store"), folds=0, seed=0)
    held = {one.lesion_id: one for one in open_store(str(tmp_path / "store")).lesions()}
    assert held["MMCube/9_00"].origin["mask"]["tool"] == "COCO"
    assert held["MMCube/9_00"].origin["crop"] == [1, 0, 17, 24]
    with pytest.raises(CubeError, match="lies outside its folder"):
        make_job(root, "auto", CropOptions(16), Camera(), coco("../../MMCube/9.png"))


def test_automatic_masks_are_marked_and_counted(tmp_path, root):
    from hyperderm.phantom.rendering import render

    dark = render(0, "melanoma", 32, seed=0).lesion.cube.reflectance
    put(root, "MMCube/9", DataCubeC=dark)
    job = make_job(root, "auto", CropOptions(16, marker=LesionMarks(automatic=True)), Camera())
    manifest = ingest(job, str(tmp_path / "store"), folds=0, seed=0)
    held = {one.lesion_id: one for one in open_store(str(tmp_path / "store")).lesions()}
    assert held["MMCube/9_00"].origin["mask"] == "automatic"
    assert manifest.source["automatic_masks"] == 1
    assert "mask_file" in held["MMCube/0_00"].origin


def test_a_brush_and_a_polygon_on_one_image_are_two_lesions(tmp_path, root):
    task = {"data": {"image": "/data/upload/3/0123abcd-MMCube_x2f_0.png", "scene": "MMCube/0"}}
    path = edited(tmp_path, [task], (4, 4, 14, 20))
    document = json.loads(path.read_text())
    points = [[50.0, 50.0], [75.0, 50.0], [75.0, 100.0], [50.0, 100.0]]  # percent of width and height
    document[0]["annotations"][0]["result"].append(
        {"id": "p", "type": "polygonlabels", "original_width": W, "original_height": H, "image_rotation": 0,
         "value": {"points": points, "polygonlabels": ["melanoma"]}}
    )  # fmt: skip
    path.write_text(json.dumps(document))
    ingest(make_job(root, "auto", CropOptions(16), Camera(), path), str(tmp_path / "store"), folds=0, seed=0)
    held = {one.lesion_id: one for one in open_store(str(tmp_path / "store")).lesions()}
    kinds = {name: held[name].origin["mask"]["kind"] for name in ("MMCube/0_00", "MMCube/0_01")}
    assert kinds == {"MMCube/0_00": "brush", "MMCube/0_01": "polygon"}
    assert held["MMCube/0_01"].origin["crop"] == [9, 14, 24, 26]  # rows 12 to 24, columns 16 to 24, half as much again
    assert {held[name].group for name in kinds} == {"MMCube/0"}


def test_coco_on_photographs_and_images_that_are_missing(tmp_path):
    from PIL import Image

    raw = tmp_path / "raw"
    (raw / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (H, W, 3)).astype(np.uint8)).save(raw / "images" / "ISIC_1.png")
    document = {
        "images": [{"id": i, "file_name": f"ISIC_{i}.png", "width": W, "height": H} for i in (1, 2)],
        "annotations": [
            {"id": i, "image_id": i, "segmentation": [[4.0, 4.0, 20.0, 4.0, 20.0, 14.0, 4.0, 14.0]]} for i in (1, 2, 3)
        ],
    }
    path = tmp_path / "coco.json"
    path.write_text(json.dumps(document))
    manifest = ingest(make_job(raw, "auto", CropOptions(None), Camera(), path), str(tmp_path / "store"), folds=0, seed=0)
    assert (manifest.kind, manifest.shape, manifest.lesions) == ("rgb", (16, 24, 3), 1)
    [lesion] = open_store(str(tmp_path / "store")).lesions()
    assert lesion.mask.sum() == 16 * 10
    assert {one.file: one.reason for one in manifest.set_aside} == {
        "coco.json": "annotation 3 is of image id 3, which the file does not list",
        "ISIC_2.png": "coco.json names it, but there is no such image",
    }
