"""A store as files and back: every format returns the same store, and files that are not what was exported are set aside."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import spectral
from PIL import Image

from hyperderm.cubes.cube import Cube, Lesion
from hyperderm.errors import CubeError
from hyperderm.ingest.formats.scene import SetAside
from hyperderm.ingest.layouts import exported
from hyperderm.store.diff import diff_stores
from hyperderm.store.export import FORMATS, export_store
from hyperderm.store.export_format import describe, is_export
from hyperderm.store.reader import open_store
from hyperderm.store.writer import write_store
from tests.store.lesions import NM, lesion

EXTREMES = np.array([0.0, -0.0, 1e-45, -1e-38, 3.4e38, -3.4e38, 1 / 3, 7], np.float32)


def rows(count=66):
    """More than a part; a mask on some, on others none, on one an empty one; values that only an exact copy keeps."""
    for i in range(count):
        made = lesion(i, group=f"patient {i % 20}", image_id=f"image/{i}", origin={"file": f"ä {i}.mat", "nan": [i, None]})
        cube = made.cube.reflectance.copy()
        cube[1, :, 2] = EXTREMES
        mask = np.zeros((8, 8), bool) if i == 7 else made.mask
        yield dataclasses.replace(made, cube=Cube(cube, NM), mask=mask)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    place = tmp_path_factory.mktemp("exported") / "store"
    write_store(str(place), rows(), fold_count=3, seed=5)
    return open_store(str(place))


@pytest.fixture(scope="module")
def folders(store, tmp_path_factory):
    place = tmp_path_factory.mktemp("folders")
    for format_ in FORMATS:
        assert export_store(store, place / format_, format_) == 66
    return place


@pytest.fixture(params=FORMATS)
def folder(request, folders, tmp_path):
    """A copy of an export that a test may damage."""
    return shutil.copytree(folders / request.param, tmp_path / request.param)


def take_in(root: Path, uri: Path, **options) -> list[SetAside]:
    """What ingest does with an export, in short."""
    aside: list[SetAside] = []

    def lesions():
        for source in exported.scan(root):
            found, bad = exported.read(source, root)
            aside.extend(bad)
            yield from found

    write_store(str(uri), lesions(), kind=describe(root).kind, **options)
    return aside


def same(a: Lesion, b: Lesion) -> bool:
    masks = (a.mask is None) == (b.mask is None) and (a.mask is None or np.array_equal(a.mask, b.mask))
    facts = ("lesion_id", "image_id", "group", "diagnosis", "origin")
    return (
        masks
        and a.cube.reflectance.tobytes() == b.cube.reflectance.tobytes()
        and a.cube.wavelengths_nm.tobytes() == b.cube.wavelengths_nm.tobytes()
        and all(getattr(a, name) == getattr(b, name) for name in facts)
    )


# --- and back ---


def test_the_way_back_returns_the_same_store(folder, store, tmp_path):
    assert is_export(folder)
    assert take_in(folder, tmp_path / "back", fold_count=3, seed=5) == []
    back = open_store(str(tmp_path / "back"))
    assert all(same(a, b) for a, b in zip(store.lesions(), back.lesions(), strict=True))
    assert back.manifest.folds == store.manifest.folds
    assert back.manifest.diagnoses == store.manifest.diagnoses
    assert back.manifest.wavelengths_nm == store.manifest.wavelengths_nm
    assert [part.sha256 for part in back.manifest.parts] == [part.sha256 for part in store.manifest.parts]
    assert diff_stores(store, back).same
    assert exported.orphans(folder, exported.scan(folder)) == []


@pytest.mark.parametrize("format_", ["envi", "npz"])
def test_photographs_without_diagnoses(format_, tmp_path):
    write_store(str(tmp_path / "rgb"), [lesion(i, diagnosis=None) for i in range(3)], fold_count=0, kind="rgb")
    store = open_store(str(tmp_path / "rgb"))
    export_store(store, tmp_path / "out", format_)
    assert take_in(tmp_path / "out", tmp_path / "back", fold_count=0) == []
    back = open_store(str(tmp_path / "back"))
    assert back.manifest.kind == "rgb"
    assert all(source.lesion.diagnosis is None for source in exported.scan(tmp_path / "out"))
    assert all(same(a, b) for a, b in zip(store.lesions(), back.lesions(), strict=True))


def test_names_that_no_file_may_have(tmp_path):
    names = ["../../etc/passwd", "a/b", "a:b", "", "ä😀", "x" * 300, ".", "CON", "a\nb", "a.b.c", "-rf"]
    write_store(str(tmp_path / "s"), [lesion(i, lesion_id=name) for i, name in enumerate(names)], fold_count=0)
    store = open_store(str(tmp_path / "s"))
    for format_ in FORMATS:
        export_store(store, tmp_path / format_, format_)
        assert take_in(tmp_path / format_, tmp_path / f"{format_}-back", fold_count=0) == []
        assert [one.lesion_id for one in open_store(str(tmp_path / f"{format_}-back")).lesions()] == names
    assert {p.name for p in tmp_path.iterdir()} == {"s", *FORMATS, *(f"{one}-back" for one in FORMATS)}


def test_the_sidecar_says_everything(folder, store):
    said = json.loads((folder / "export.json").read_text())
    assert (said["format"], said["version"], said["kind"], said["shape"]) == (folder.name, 1, "spectral", [8, 8, 3])
    assert said["wavelengths_nm"] == NM.tolist()
    assert said["fingerprint"] == store.manifest.fingerprint
    for entry, one in zip(said["lesions"], store.lesions(), strict=True):
        assert (folder / entry["file"]).is_file()
        assert (entry["mask"] is None) == (one.mask is None or not one.mask.any())
        assert entry["mask"] is None or (folder / entry["mask"]).is_file()
        facts = ("lesion_id", "image_id", "group", "diagnosis", "origin")
        assert {name: entry[name] for name in facts} == {name: getattr(one, name) for name in facts}


# --- files that are not what was exported ---


def first(folder):
    return exported.scan(folder)[1]  # the first has no mask


def reason(folder) -> str:
    lesions, aside = exported.read(first(folder), folder)
    assert lesions == []
    assert [one.file for one in aside] == [first(folder).lesion.file]
    assert "\n" not in aside[0].reason
    return aside[0].reason


def pixels_of(folder) -> Path:
    file = folder / first(folder).lesion.file
    return file.with_suffix(".img") if folder.name == "envi" else file


def edit(folder, **changes):
    path = folder / "export.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def edit_first(folder, **changes):
    entries = json.loads((folder / "export.json").read_text())["lesions"]
    entries[1] |= changes
    edit(folder, lesions=entries)


def write_other(folder, cube):
    """Another cube in the file's own format, by the library that users would take."""
    file = folder / first(folder).lesion.file
    if folder.name == "mat":
        scipy.io.savemat(file, {"DataCubeC": cube})
    elif folder.name == "npz":
        np.savez(file, cube=cube, mask=np.ones((8, 8), bool))
    else:
        spectral.envi.save_image(str(file), cube, dtype=np.float32, ext=".img", force=True)


def test_a_missing_file_and_the_others_go_on(folder, tmp_path):
    pixels_of(folder).unlink()
    assert "missing" in reason(folder)
    aside = take_in(folder, tmp_path / "back", fold_count=0)
    assert len(aside) == 1
    assert open_store(str(tmp_path / "back")).manifest.lesions == 65


def test_a_truncated_file(folder):
    path = pixels_of(folder)
    path.write_bytes(path.read_bytes()[:200])
    assert "damaged or truncated" in reason(folder)


def test_another_shape(folder):
    write_other(folder, np.ones((8, 9, 3), np.float32))
    assert reason(folder) == "its cube is 8 x 9 x 3, export.json says 8 x 8 x 3. Export the store again."


def test_a_file_that_was_changed(folder):
    write_other(folder, np.ones((8, 8, 3), np.float32))
    assert reason(folder).startswith("its cube was changed after the export: it does not match cube_sha256 in export.json")


def test_one_changed_bit(folders, tmp_path):
    """Of a format that has no checksums of its own."""
    folder = shutil.copytree(folders / "envi", tmp_path / "envi")
    content = bytearray(pixels_of(folder).read_bytes())
    content[100] ^= 1
    pixels_of(folder).write_bytes(content)
    assert reason(folder).startswith("its cube was changed after the export")


def test_masks_that_are_missing_changed_or_no_picture(folder):
    if folder.name == "npz":
        with np.load(folder / first(folder).lesion.file) as found:
            np.savez(folder / first(folder).lesion.file, cube=found["cube"])
        assert "damaged or truncated" in reason(folder)
        return
    path = folder / first(folder).lesion.mask
    mask = np.asarray(Image.open(path)).copy()
    mask[0, 0] = 255 - mask[0, 0]
    Image.fromarray(mask).save(path)
    assert reason(folder).startswith("its mask was changed after the export")
    Image.fromarray(mask[:-1]).save(path)
    assert reason(folder).startswith("its mask is 7 x 8, export.json says 8 x 8")
    path.write_text("no picture")
    assert "the mask is not a readable image" in reason(folder)
    path.unlink()
    assert f"export.json names {first(folder).lesion.mask}, which is missing" in reason(folder)


def test_files_saved_anew_with_the_same_numbers_are_the_same(folder):
    one, _ = exported.read(first(folder), folder)
    cube = one[0].cube.reflectance
    if folder.name == "npz":
        np.savez(folder / first(folder).lesion.file, cube=cube.astype(np.float64), mask=one[0].mask)
    else:
        write_other(folder, cube)
    again, aside = exported.read(first(folder), folder)
    assert aside == []
    assert same(one[0], again[0])


@pytest.mark.parametrize("name", ["../outside.npz", "/etc/passwd", "cubes/../../outside.npz", "a\0b", "x" * 5000, "", "."])
def test_names_that_climb_out_of_the_folder_or_are_none(folder, name):
    shutil.copy(pixels_of(folder), folder.parent / "outside.npz")
    edit_first(folder, file=name)
    lesions, aside = exported.read(first(folder), folder)
    assert lesions == []
    assert any(word in aside[0].reason for word in ("lies outside", "is no name of a file", "which is missing"))
    exported.orphans(folder, exported.scan(folder))


def test_a_mask_that_climbs_out_and_a_link_that_does(folder):
    edit_first(folder, mask="../mask.png")
    assert reason(folder).startswith("names the file '../mask.png', which lies outside ")
    edit_first(folder, mask="link.png")
    (folder.parent / "mask.png").write_bytes(b"")
    (folder / "link.png").symlink_to(folder.parent / "mask.png")
    assert "lies outside" in reason(folder)


def test_a_diagnosis_nobody_knows(folder):
    edit_first(folder, diagnosis="wart")
    assert reason(folder).startswith("diagnosis 'wart' is not one of melanoma")


def test_files_the_sidecar_does_not_name(folder):
    (folder / "cubes2").mkdir()
    (folder / "cubes2" / "mine.mat").write_bytes(b"")
    (folder / ".DS_Store").write_bytes(b"")
    aside = exported.orphans(folder, exported.scan(folder))
    assert [(one.file, one.reason) for one in aside] == [("cubes2/mine.mat", "export.json does not name it")]


# --- side-cars ---


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"version": 2}, "has version 2, this hyperderm reads up to 1. Update"),
        ({"version": "1"}, "it names no version"),
        ({"format": "tiff"}, "is damaged: format: Input should be 'mat', 'envi' or 'npz'"),
        ({"wavelengths_nm": [465.0]}, "3 bands but 1 wavelengths_nm"),
        ({"lesions": []}, "names no lesion"),
        ({"more": 1}, "is damaged: more: Extra inputs"),
    ],
)
def test_sidecars_that_cannot_be_used(folder, changes, said):
    edit(folder, **changes)
    assert is_export(folder)
    for ask in (exported.scan, describe):
        with pytest.raises(CubeError) as caught:
            ask(folder)
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("field", ["file", "lesion_id"])
def test_a_sidecar_that_names_one_twice(folder, field):
    edit_first(folder, **{field: getattr(exported.scan(folder)[5].lesion, field)})
    with pytest.raises(CubeError, match=f"names the {field} '.*' twice"):
        exported.scan(folder)


def test_a_truncated_sidecar_is_still_ours(folder):
    """Else the files would be read as raw ones, and cropped again."""
    path = folder / "export.json"
    path.write_text(path.read_text()[:-100])
    assert is_export(folder)
    with pytest.raises(CubeError, match=r"export\.json is damaged"):
        exported.scan(folder)


def test_other_folders_are_no_export(tmp_path):
    assert not is_export(tmp_path)
    assert not is_export(tmp_path / "nowhere")
    (tmp_path / "export.json").write_text('[{"id": 1, "annotations": []}]')  # of Label Studio, say
    assert not is_export(tmp_path)
