"""What marks lesions, from files to a store: mask pictures of every kind, annotations that say there is no lesion."""

import json

import numpy as np
import pytest
from PIL import Image

from hyperderm.cubes.cube import NOTES
from hyperderm.errors import CubeError
from hyperderm.ingest.annotation_pictures import export_images
from hyperderm.ingest.layouts.scene_folder import Camera
from hyperderm.ingest.lesions import CropOptions
from hyperderm.ingest.pipeline import ingest
from hyperderm.ingest.source import make_job
from hyperderm.store.reader import open_store
from tests.command import command  # noqa: F401 - a fixture

H, W = 20, 24
NM = "460\n500\n540\n580"
SPOT = np.zeros((H, W), np.uint8)
SPOT[6:12, 8:16] = 255


@pytest.fixture
def root(tmp_path):
    (tmp_path / "raw" / "masks").mkdir(parents=True)
    (tmp_path / "raw" / "wavelengths.txt").write_text(NM)
    return tmp_path / "raw"


def scene(root, *names):
    for number, name in enumerate(names):
        np.save(root / f"{name}.npy", np.random.default_rng(number).random((H, W, 4), np.float32))


def take(root, annotations=None, size=16):
    job = make_job(root, "auto", CropOptions(size), Camera(), annotations)
    place = root.parent / f"store{len(list(root.parent.iterdir()))}"
    manifest = ingest(job, str(place), folds=0, seed=0)
    return manifest, {one.lesion_id: one for one in open_store(str(place)).lesions()}


def tasks(root, **results):
    """A Label Studio export: results by image, None for a skipped task, "" for one nobody opened."""
    document = []
    for number, (image, result) in enumerate(results.items(), 1):
        done = {"id": number, "result": result or [], "was_cancelled": result is None, "updated_at": "2026-01-01T00:00:00Z"}
        annotations = [] if result == "" else [done]
        document.append(
            {"id": number, "data": {"image": f"/data/upload/1/0a1b2c3d-{image}.png"}, "annotations": annotations}
        )
    path = root.parent / "ls.json"
    path.write_text(json.dumps(document))
    return path


def ellipse(label="melanoma", x=50, y=50):
    value = {"x": x, "y": y, "radiusX": 25, "radiusY": 25, "rotation": 0, "ellipselabels": [label]}
    return {"id": f"{label}{x}", "type": "ellipselabels", "original_width": W, "original_height": H, "image_rotation": 0,
            "value": value}  # fmt: skip


def test_a_picture_of_numbers_is_several_lesions_of_one_image(root):
    numbers = np.zeros((H, W), np.uint8)
    numbers[2:8, 2:8], numbers[10:18, 12:22] = 1, 2
    scene(root, "two")
    Image.fromarray(numbers).save(root / "masks" / "two_00.png")
    Image.fromarray(SPOT).save(root / "masks" / "two_01.png")
    manifest, held = take(root)
    assert manifest.set_aside == ()
    assert {name: (one.origin["crop"], one.origin.get("mask_label")) for name, one in held.items()} == {
        "two_00_label1": ([0, 0, 10, 10], "1"),
        "two_00_label2": ([8, 9, 20, 24], "2"),
        "two_01": ([4, 6, 14, 18], None),
    }
    assert {one.group for one in held.values()} == {"two"}


def test_notes_of_mask_pictures_are_told_and_kept(root):
    scene(root, "inverted", "large")
    Image.fromarray(255 - SPOT).save(root / "masks" / "inverted_00.png")
    large = np.full((H, W), 255, np.uint8)
    large[0] = 0
    Image.fromarray(large).save(root / "masks" / "large_00.png")
    manifest, held = take(root)
    assert held["inverted_00"].origin["crop"] == [4, 6, 14, 18]
    assert held["inverted_00"].origin["mask_read"] == "inverted"
    said = "its mask picture marks what lies around the lesion; it was read as inverted"
    assert held["inverted_00"].origin[NOTES] == [said]
    assert f"inverted_00: {said}" in manifest.warnings
    assert "large_00: its mask covers 95.0% of the frame" in manifest.warnings


def test_a_mask_of_everything_or_nothing_is_set_aside_and_the_rest_goes_in(root):
    scene(root, "all", "none", "good")
    Image.fromarray(np.full((H, W), 255, np.uint8)).save(root / "masks" / "all_00.png")
    Image.fromarray(np.zeros((H, W), np.uint8)).save(root / "masks" / "none_00.png")
    Image.fromarray(SPOT).save(root / "masks" / "good_00.png")
    manifest, held = take(root)
    assert held.keys() == {"good_00"}
    assert {one.file: one.reason.partition(".")[0] for one in manifest.set_aside} == {
        "masks/all_00.png": "the mask marks every pixel of its frame, which says nothing",
        "masks/none_00.png": "the mask is empty: no pixel of it is marked",
    }


def test_photographs_take_several_lesions_from_one_picture(tmp_path):
    raw = tmp_path / "raw"
    for folder in ("images", "masks"):
        (raw / folder).mkdir(parents=True)
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (H, W, 3)).astype(np.uint8)).save(raw / "images" / "p.png")
    numbers = np.zeros((H, W), np.uint8)
    numbers[2:8, 2:8], numbers[10:18, 12:22] = 1, 2
    Image.fromarray(numbers).save(raw / "masks" / "p.png")
    _, held = take(raw)
    assert {name: one.origin["crop"] for name, one in held.items()} == {
        "photograph/p_label1": [0, 0, 10, 10],
        "photograph/p_label2": [8, 9, 20, 24],
    }


def test_no_lesion_skipped_and_unnamed_images_are_not_stored_and_told_once(root):
    scene(root, "ell", "empty", "skipped", "open", "unnamed", "hairy", "drawn")
    Image.fromarray(SPOT).save(root / "masks" / "drawn_00.png")
    path = tasks(root, ell=[ellipse(), ellipse("hair", 10)], empty=[], skipped=None, open="", hairy=[ellipse("hair")])
    manifest, held = take(root, path)
    assert held.keys() == {"ell_00", "drawn_00"}  # what the file does not name has its mask picture
    assert held["ell_00"].diagnosis == "melanoma"
    assert held["ell_00"].origin["crop"] == [2, 3, 18, 21]
    assert manifest.source["without_lesion"] == 1
    assert "1 image is marked in ls.json as without a lesion: empty" in manifest.warnings
    assert [(one.file, one.reason) for one in manifest.set_aside] == [
        ("ls.json", "the label 'hair' is no diagnosis: 2 regions passed over, on ell.png, hairy.png"),
        ("hairy.npy", "ls.json, task 5, annotation 5: it holds no lesion, only hair"),
        ("open.npy", "ls.json, task 4: nobody annotated it"),
        ("skipped.npy", "ls.json, task 3: it was skipped (1 annotation cancelled)"),
        ("unnamed.npy", "ls.json does not name it"),
    ]


def test_mask_pictures_give_way_to_the_file_and_that_is_said(root):
    scene(root, "empty", "marked", "skipped")
    for name in ("empty", "marked", "skipped"):
        Image.fromarray(SPOT).save(root / "masks" / f"{name}_00.png")
    manifest, held = take(root, tasks(root, empty=[], marked=[ellipse()], skipped=None))
    assert held.keys() == {"marked_00", "skipped_00"}
    assert held["skipped_00"].origin["mask_file"] == "masks/skipped_00.png"  # nobody said anything else
    assert [(one.file, one.reason) for one in manifest.set_aside] == [
        ("masks/empty_00.png", "ls.json says that there is no lesion on empty")
    ]
    assert "the mask pictures of 1 image are not used, ls.json marks them: marked" in manifest.warnings
    found = export_images(make_job(root, "auto", CropOptions(None), Camera(), root.parent / "ls.json"), root.parent / "out")
    count, aside = found.count, list(found.aside)
    known = {t["data"]["scene"]: t.get("predictions") for t in json.loads((root.parent / "out/tasks.json").read_text())}
    assert (count, aside) == (3, [(one.file, one.reason) for one in manifest.set_aside])
    assert known["empty"] is None
    assert known["marked"][0]["result"][0]["value"]["brushlabels"] == ["melanoma"]


def test_nothing_but_images_without_a_lesion(root):
    scene(root, "a", "b")
    with pytest.raises(CubeError, match=r"none of the 2 images .*2 images are marked in ls\.json as without a lesion: a, b"):
        take(root, tasks(root, a=[], b=[]))


def test_images_that_a_file_does_not_tell_apart_are_not_stored_whole(root):
    scene(root, "a")
    for folder in ("x", "y"):
        (root / folder).mkdir()
        (root / folder / "wavelengths.txt").write_text(NM)
        scene(root, f"{folder}/b")
    manifest, held = take(root, tasks(root, a=[ellipse()], b=[ellipse()]))
    assert held.keys() == {"a_00"}
    said = {one.file: one.reason for one in manifest.set_aside}
    assert said["x/b.npy"] == said["y/b.npy"] == "ls.json does not say which image it means"


def test_the_check_says_what_the_ingest_says(root, command):  # noqa: F811
    scene(root, "ell", "empty", "skipped")
    path = tasks(root, ell=[ellipse()], empty=[], skipped=None)
    checked = command("ingest", str(root), "--masks", str(path), "--folds", "0", "--check")
    stored = command("ingest", str(root), "--masks", str(path), "--store", str(root.parent / "s"), "--folds", "0")
    for done in (checked, stored):
        assert done.returncode == 0
        assert "note: 1 image is marked in ls.json as without a lesion: empty" in done.stdout
        assert (done.stdout + done.stderr).count(
            "skipped.npy: ls.json, task 3: it was skipped (1 annotation cancelled)"
        ) == 1
    assert "1 lesion would be stored" in checked.stdout


def test_annotate_export_says_what_the_ingest_says(root, command):  # noqa: F811
    scene(root, "a", "b")
    Image.fromarray(255 - SPOT).save(root / "masks" / "a_00.png")
    Image.fromarray(SPOT).save(root / "masks" / "nobody_00.png")
    (root / "ages.csv").write_text("image,age\na,3\n")
    (root / "labels.csv").write_text("image,diagnosis\na,mel\nb,nevus\n")
    answers = [
        command("ingest", root, "--check", "--size", "native", "--folds", 0),
        command("annotate-export", root, "--out", root.parent / "out"),
    ]
    told = [
        [line for line in answer.stdout.splitlines() if line.startswith(("note: ", "  ", "2 files set"))]
        for answer in answers
    ]
    ingests = ("  nevus", "  melanoma", "note: 1 image without a mask is stored as a whole frame: b")
    assert [line for line in told[0] if not line.startswith(ingests)] == told[1]
    for words in ("labels.csv: diagnoses of 2 of 2 images", "inverted", "masks/nobody_00.png", "ages.csv: a table"):
        assert any(words in line for line in told[1]), words
