"""`hyperderm ingest` and `annotate-export` as a user types them: what is reported, refused, interrupted and shared out."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import tifffile
from PIL import Image

from hyperderm.store.export import export_store
from hyperderm.store.reader import open_store
from tests.cli.test_bad_input import HYPERDERM, project, refused, run, spawn  # noqa: F401 - fixtures
from tests.ingest.test_ingest import fifteen_bands, three_of_each
from tests.ingest.test_scenes import NM, H, W, cube, mask, npz

INTO = ("--store", "s")


def save_envi(root, name, data, **changes):
    from spectral.io import envi

    root.mkdir(parents=True, exist_ok=True)
    nm = changes.pop("wavelength", list(NM))
    metadata = {"wavelength": nm, "wavelength units": "nm"}
    envi.save_image(str(root / f"{name}.hdr"), data, ext="img", metadata=metadata, **changes)
    return root / f"{name}.hdr"


def frame(path, rows=24, columns=32):
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, np.random.default_rng(0).integers(1, 900, (rows, columns)).astype(np.uint16))


def photograph(root, name):
    (root / "images").mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(len(name))
    Image.fromarray(rng.integers(0, 255, (H, W, 3)).astype(np.uint8)).save(root / "images" / f"{name}.png")


# --- what a dry run tells ---


def told(done) -> list[str]:
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_check_of_hsidermoscopy(project, run):  # noqa: F811
    three_of_each(project / "raw")
    fifteen_bands(project / "raw")
    said = told(run("ingest", "raw", "--check", "--size", "16", "--folds", "3"))
    assert said[0] == "layout hsidermoscopy: 9 lesions would be stored, cubes of 16 x 16 x 16 (9)"
    assert said[2:5] == ["  dysplastic_nevus: 3", "  melanoma: 3", "  nevus: 3"]
    assert said[5].startswith("9 files: 24 x 32 x 16, float32, 465 … 620 nm; values ")
    assert said[5].endswith("; 9 masks, 8.33% … 8.33% of the frame, median 8.33%")
    reason = "15 bands but 16 wavelengths (its array is 24 x 32 x 15). Give as many --wavelengths as it has bands."
    assert said[6:] == ["1 file set aside:", f"  images/MMCube/bad.mat: {reason}"]
    assert {path.name for path in project.iterdir()} == {"raw", "experiments", "search_spaces"}


def test_check_of_scenes_gives_shapes_and_the_range(project, run):  # noqa: F811
    raw = project / "raw"
    np.savez(raw.with_suffix(".npz"), cube=np.linspace(0.25, 0.75, H * W * 4, dtype=np.float32).reshape(H, W, 4), wavelengths_nm=NM)  # fmt: skip # noqa: E501
    raw.mkdir()
    raw.with_suffix(".npz").rename(raw / "a.npz")
    np.savez(raw / "b.npz", cube=np.full((20, 18, 4), 0.5, np.float32), wavelengths_nm=NM)
    (raw / "notes.doc").write_text("x")
    done = run("ingest", "raw", "--check", "--size", "native")
    assert done.stdout.splitlines() == [
        "layout scenes: 2 lesions read, none would be stored (the error says why), cubes of 20 x 18 x 4 (1), "
        "24 x 30 x 4 (1)",
        "values 0.25 … 0.75",
        "  unknown: 2",
        "1 file: numpy, 24 x 30 x 4, float32, 460 … 580 nm; values 0.25 … 0.75, median 0.5; unknown 1; no masks",
        "1 file: numpy, 20 x 18 x 4, float32, 460 … 580 nm; values 0.5 … 0.5, median 0.5; unknown 1; no masks",
        "1 file set aside:",
        "  notes.doc: no format reads .doc",
    ]
    ingested = run("ingest", "raw", *INTO, "--size", "native")
    assert (done.returncode, done.stderr) == (ingested.returncode, ingested.stderr)
    assert done.stderr.startswith("error: cubes of 24 x 30 x 4 and 20 x 18 x 4 (lesion b): a store has one shape.")


def test_check_of_raw_frames_of_photographs_and_of_an_export(project, run):  # noqa: F811
    frame(project / "frames" / "f.tif")
    centres = {"CentralWavelength": np.arange(465.0, 625, 10)[None]}
    scipy.io.savemat(project / "frames" / "x_responses.mat", centres)
    said = told(run("ingest", "frames", "--check", "--layout", "mosaic", "--size", "native"))
    assert said[0] == "layout mosaic: 1 lesion would be stored, cubes of 6 x 8 x 16 (1)"
    photograph(project / "pictures", "one")
    (project / "pictures" / "labels.csv").write_text("image,label\none,mel\n")
    said = told(run("ingest", "pictures", "--check", "--folds", "0"))
    assert said[0] == "layout photographs: 1 lesion would be stored, cubes of 64 x 64 x 3 (1)"
    assert said[2] == "  melanoma: 1"
    assert "note: labels.csv: diagnoses of 1 of 1 images, from label" in said
    npz(project / "raw", "a", 1)
    assert run("ingest", "raw", *INTO, "--size", "native").returncode == 0
    export_store(open_store("s"), Path("out"), "envi")
    said = told(run("ingest", "out", "--check"))
    assert said[0] == f"layout exported: 1 lesion would be stored, cubes of {H} x {W} x 4 (1)"
    done = run("ingest", "out", "--check", "--size", "32")
    assert done.returncode == 2
    assert "--size 32 is not for what was exported" in done.stderr


def test_check_of_files_that_cannot_be_used_ends_as_the_ingest_does(project, run):  # noqa: F811
    (project / "raw").mkdir()
    (project / "raw" / "a.npy").write_bytes(b"x")
    done, ingested = run("ingest", "raw", "--check"), run("ingest", "raw", *INTO)
    said = done.stdout.splitlines()
    assert said[0] == "layout scenes: 0 lesions read, none would be stored (the error says why), cubes of no size"
    assert said[2].startswith("  a.npy: cannot be read as a NumPy file")
    assert (done.returncode, done.stderr) == (2, ingested.stderr)
    assert ingested.stderr.startswith("error: the one image in raw cannot be used (a.npy: cannot be read")


def ends_alike(command, *words):
    """What the ingest says on standard error; `--check` must end with it, and leave nothing behind."""
    before = {path.name for path in Path().iterdir()}
    checked = command("ingest", *words, "--check")
    assert {path.name for path in Path().iterdir()} == before
    done = command("ingest", *words, *INTO)
    assert (checked.returncode, checked.stderr) == (done.returncode, done.stderr)
    return checked


def test_check_of_two_units_shows_both_and_ends_as_the_ingest_does(project, run):  # noqa: F811
    (project / "raw").mkdir()
    for i, factor in enumerate((1, 1, 10000)):
        np.savez(project / "raw" / f"a{i}.npz", cube=cube(i) * factor, wavelengths_nm=NM)
    done = ends_alike(run, "raw", "--size", "native")
    assert done.returncode == 2
    assert done.stderr.startswith("error: the files are in 2 units: 2 files with median")
    kinds = [line for line in done.stdout.splitlines() if ": numpy, 24 x 30 x 4, float32, 460 … 580 nm; values " in line]
    assert [line.split(":")[0] for line in kinds] == ["2 files", "1 file"]


def test_check_tells_the_diagnoses_of_each_kind_of_file_and_every_reason(project, run):  # noqa: F811
    (project / "raw").mkdir()
    for i in range(4):
        np.savez(project / "raw" / f"a{i}.npz", cube=cube(i)[: 20 + i // 2], wavelengths_nm=NM)
    (project / "raw" / "t.csv").write_text("image,diagnosis\na0,mel\na1,nevus\na2,nevus\na3,unknown\n")
    for i in range(30):
        (project / "raw" / f"x{i}.odd{i}").write_text("x")
    done = run("ingest", "raw", "--check", "--size", "16", "--folds", "0")
    assert done.returncode == 0
    kinds = [line for line in done.stdout.splitlines() if line.startswith("2 files: numpy")]
    assert [line.rpartition("; ")[0].rpartition("; ")[2] for line in kinds] == ["melanoma 1, nevus 1", "nevus 1, unknown 1"]
    assert sum(": no format reads .odd" in line for line in done.stdout.splitlines()) == 30
    assert "in the manifest" not in done.stdout


@pytest.mark.parametrize("place", ["afile/s", "afile/deep/er/s", "fresh/deep/s", "/proc/nowhere/s"])
def test_check_of_a_place_ends_as_the_ingest_does(project, run, place):  # noqa: F811
    (project / "raw").mkdir()
    np.savez(project / "raw" / "a.npz", cube=cube(0), wavelengths_nm=NM)
    (project / "afile").write_text("x")
    words = ("ingest", "raw", "--store", place, "--size", "native", "--folds", "0")
    checked = run(*words, "--check")
    assert {path.name for path in project.rglob("*")} >= {"raw", "afile"}
    assert not (project / "fresh").exists()
    done = run(*words)
    assert (checked.returncode, checked.stderr) == (done.returncode, done.stderr)
    assert done.returncode == (0 if place.startswith("fresh") else 2)


def test_check_of_folds_that_cannot_be_filled(project, run):  # noqa: F811
    three_of_each(project / "raw")
    done = ends_alike(run, "raw", "--size", "16", "--folds", "5")
    assert done.returncode == 2
    assert "melanoma has 3 groups for 5 folds" in done.stderr
    assert ends_alike(run, "raw", "--size", "16", "--folds", "2").returncode == 2
    (project / "s").mkdir()
    done = run("ingest", "raw", "--check", *INTO, "--folds", "3")
    assert (done.returncode, done.stderr) == (2, run("ingest", "raw", *INTO, "--folds", "3").stderr)


@pytest.mark.parametrize("suffix", ["tif", "png"])
@pytest.mark.parametrize("place", ["raw", "raw/images"])
def test_raw_frames_without_a_layout(project, run, suffix, place):  # noqa: F811
    for name in ("street", "chart"):
        frame(project / place / f"{name}.tif")
        if suffix == "png":
            Image.fromarray(tifffile.imread(project / place / f"{name}.tif")).save(project / place / f"{name}.png")
            (project / place / f"{name}.tif").unlink()
    scipy.io.savemat(project / "raw" / "x_responses.mat", {"CentralWavelength": np.arange(465.0, 625, 10)[None]})
    done = ends_alike(run, "raw")
    assert done.returncode == 2
    assert "--layout mosaic" in done.stderr
    assert "none of the" not in done.stderr  # no image is among them
    assert run("ingest", "raw", "--check", "--layout", "mosaic").returncode == 0


def test_files_that_can_be_no_image_are_not_counted(project, run):  # noqa: F811
    (project / "raw").mkdir()
    np.save(project / "raw" / "correction.npy", np.eye(16))
    np.save(project / "raw" / "image.npy", cube(1))
    done = ends_alike(run, "raw")
    assert done.stderr.startswith("error: the one image in raw cannot be used (")


def test_references_beside_scans_are_told(project, run):  # noqa: F811
    save_envi(project / "raw", "scan", cube(1) * 3000)
    save_envi(project / "raw", "WHITEREF_scan", np.full((5, W, 4), 3000, np.float32))
    for words in (["--check"], INTO):
        done = run("ingest", "raw", *words, "--size", "native")
        assert done.returncode == 0, done.stderr
        assert "note: 1 of 1 images become reflectance, raw / white, by the references beside each" in done.stdout
    [one] = open_store("s").lesions()
    np.testing.assert_allclose(one.cube.reflectance, cube(1), rtol=1e-5)
    done = run("ingest", "raw", "--check", "--size", "native", "--no-references")
    assert "  WHITEREF_scan.hdr: a white reference by its name, no scene: --no-references was given" in done.stdout
    assert "--scale 10000 if they are reflectance x10000" in done.stdout
    assert run("ingest", "raw", "--check", "--white-reflectance", "0.5").returncode == 0
    done = run("ingest", "raw", "--check", "--white-reflectance", "0.5", "--no-references")
    assert done.stderr == "error: --white-reflectance is of a white reference. Give --white too.\n"


# --- words that do not fit ---


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--size", "15"], "--size '15' is none. Give 16 … 1024 pixels, or native."),
        (["--size", "big"], "--size 'big' is none."),
        (["--size", "2000"], "--size '2000' is none."),
        (["--dark", "d.npy"], "--dark d.npy does not exist. Name a file."),
        (["--white", "w.tif"], "--white w.tif does not exist."),
        (["--masks", "m.json"], "--masks m.json does not exist. Name a COCO or Label Studio file, or write auto."),
        (["--layout", "scnes"], "--layout 'scnes' is unknown. Did you mean 'scenes'?"),
        (["--white-reflectance", "0.9"], "--white-reflectance is of a white reference. Give --white too."),
        (["--demosaic", "bilinear"], "--demosaic is of raw mosaic frames. Give --layout mosaic too."),
        (["--layout", "mosaic", "--rows", "3"], "--rows does not fit this source: layout mosaic knows no such thing."),
        (["--layout", "mosaic", "--key", "a"], "--key does not fit this source"),
        (["--layout", "exported", "--bands", "1:2:2"], "--bands does not fit this source: an export says all of it itself."),
        (["--groups", "g.csv"], "g.csv cannot be read as a table"),
        (["--folds", "2"], "--folds 2: train, validation and test need three. Use --folds 3 or more, or 0 for none."),
        (["--bands", "5:1:3"], "--bands '5:1:3' does not rise"),
        (["--wavelengths", "1,2"], "the one image in raw cannot be used (a.npz: 4 bands but 2 wavelengths"),
        (["--rows", "0"], "Invalid value for '--rows'"),
        (["--demosaic", "nearest"], "Invalid value for '--demosaic'"),
    ],
)
def test_options(project, refused, words, said):  # noqa: F811
    npz(project / "raw", "a", 1)
    found = refused("ingest", "raw", *INTO, *words, left=["raw"])
    assert said in found


def test_a_response_table_wants_frames(project, refused):  # noqa: F811
    npz(project / "raw", "a", 1)
    (project / "r.mat").write_bytes(b"")
    said = refused("ingest", "raw", *INTO, "--responses", "r.mat", left=["raw", "r.mat"])
    assert said == "--responses is of raw mosaic frames. Give --layout mosaic too."


def test_rows_are_nothing_to_hsidermoscopy_nor_references_to_photographs(project, refused):  # noqa: F811
    three_of_each(project / "raw")
    said = refused("ingest", "raw", *INTO, "--rows", "4", "--columns", "4", left=["raw"])
    assert said == (
        "--rows does not fit this source: layout hsidermoscopy knows no such thing. "
        "Leave --rows out, or name another --layout."
    )
    photograph(project / "pictures", "one")
    np.save(project / "d.npy", np.zeros(3))
    said = refused("ingest", "pictures", *INTO, "--dark", "d.npy", left=["raw", "pictures", "d.npy"])
    assert said.startswith("--dark does not fit this source: photographs have nominal wavelengths and no counts")


def test_groups_that_leave_images_out(project, refused):  # noqa: F811
    for name in "abc":
        npz(project / "raw", name, ord(name))
    (project / "g.csv").write_text("image,patient\na,1\n")
    said = refused("ingest", "raw", *INTO, "--groups", "g.csv", left=["raw", "g.csv"])
    assert said.startswith("--groups g.csv leaves out 2 of 3 images (b, c). Name all of them")


def test_native_sizes_that_differ(project, refused):  # noqa: F811
    npz(project / "raw", "a", 1)
    np.savez(project / "raw" / "b.npz", cube=cube(2)[:20], wavelengths_nm=NM)
    said = refused("ingest", "raw", *INTO, "--size", "native", left=["raw"])
    assert said == "cubes of 24 x 30 x 4 and 20 x 30 x 4 (lesion b): a store has one shape. Give --size, and --bands if bands differ."  # fmt: skip # noqa: E501


# --- files that cannot be used, alone in a folder and beside good ones ---


def truncated_envi(raw):
    header = save_envi(raw, "bad", cube(1))
    data = header.with_suffix(".img")
    data.write_bytes(data.read_bytes()[:-8])
    return "bad.hdr: bad.img holds 11512 bytes, its header says 11520: truncated, or the header is wrong"


def other_byte_order(raw):
    header = save_envi(raw, "bad", cube(1))
    header.write_text(header.read_text().replace("byte order = 0", "byte order = 1"))
    return "bad.hdr: the values of bad.img make sense only in the other byte order"


def data_file_that_climbs_out(raw):
    header = save_envi(raw, "bad", cube(1))
    header.with_suffix(".img").rename(raw.parent / "secret.img")
    header.write_text(header.read_text() + "data file = ../secret.img\n")
    return "bad.hdr: names the file '../secret.img', which lies outside raw/"


def pages_of_several_sizes(raw):
    raw.mkdir(exist_ok=True)
    with tifffile.TiffWriter(raw / "bad.tif") as file:
        for rows in (24, 24, 20):
            file.write(np.zeros((rows, W), np.uint16), photometric="minisblack", contiguous=False)
    return "bad.tif: its 3 pages differ in size or type: 20 x 30 uint16, 24 x 30 uint16"


def wavelengths_of_another_number(raw):
    npz(raw, "good_template", 1).unlink()
    np.savez(raw / "bad.npz", cube=cube(1), wavelengths_nm=NM[:3])
    return "bad.npz: 4 bands but 3 wavelengths"


def wavelengths_that_come_twice(raw):
    raw.mkdir(exist_ok=True)
    np.savez(raw / "bad.npz", cube=cube(1), wavelengths_nm=[*NM[:3], NM[2]])
    return "bad.npz: "


def side_file_that_lies(raw):
    raw.mkdir(exist_ok=True)
    np.save(raw / "bad.npy", cube(1))
    (raw / "bad.wavelengths.txt").write_text("0.46\n0.5\n0.54\n0.58\n")
    return "bad.npy: bad.wavelengths.txt: it holds 0.46, which cannot be nm"


BAD = [
    truncated_envi,
    other_byte_order,
    data_file_that_climbs_out,
    pages_of_several_sizes,
    wavelengths_of_another_number,
    wavelengths_that_come_twice,
    side_file_that_lies,
]


@pytest.mark.parametrize("bad", BAD)
def test_bad_files(project, run, refused, bad):  # noqa: F811
    said = bad(project / "raw")
    left = {path.name for path in project.iterdir()}
    found = refused("ingest", "raw", *INTO, left=left)
    assert found.startswith(f"the one image in raw cannot be used ({said}")
    npz(project / "raw", "good", 1)
    done = run("ingest", "raw", *INTO)
    assert done.returncode == 0, done.stderr
    assert f"1 file set aside:\n  {said}" in done.stdout
    assert [one.lesion_id for one in open_store("s").lesions()] == ["good"]


def test_a_frame_that_four_does_not_divide(project, refused):  # noqa: F811
    frame(project / "raw" / "f.png.tif", 26, 33)
    words = ["--layout", "mosaic", "--wavelengths", "465:615:16"]
    said = refused("ingest", "raw", *INTO, *words, left=["raw"])
    assert said.startswith(
        "the one image in raw cannot be used (f.png.tif: a frame of 26 x 33 pixels is no whole number of 4 x 4 blocks."
    )


def test_an_annotation_that_climbs_out(project, refused):  # noqa: F811
    npz(project / "raw", "a", 1)
    document = {"images": [{"id": 1, "file_name": "../a.png", "width": W, "height": H}], "annotations": []}
    (project / "m.json").write_text(json.dumps(document))
    said = refused("ingest", "raw", *INTO, "--masks", "m.json", left=["raw", "m.json"])
    assert said.startswith("m.json names the image '../a.png', which lies outside its folder.")


def test_one_file_that_is_no_scene(project, refused):  # noqa: F811
    (project / "notes.doc").write_text("x")
    said = refused("ingest", "notes.doc", *INTO, left=["notes.doc"])
    assert said == "notes.doc is no scene: no format reads .doc. Name a file of a scene, or a folder of them."


# --- paths that are odd, not wrong ---


def test_masks_below_a_hidden_folder_and_above_the_working_one(project, run, monkeypatch):  # noqa: F811
    raw = project / ".cache" / "raw"
    npz(raw, "a", 1)
    mask(raw, "a_00")
    mask(raw / "p", "a_00")
    (project / "here" / "deep").mkdir(parents=True)
    monkeypatch.chdir(project / "here" / "deep")
    done = run("ingest", raw, *INTO)
    assert done.returncode == 0, done.stderr
    assert "p/masks/a_00.png: mask without a scene: masks lie in masks/ of the source" in done.stdout
    assert [one.lesion_id for one in open_store("s").lesions()] == ["a_00"]
    frame(project / "frames" / "f.tif")
    done = run("ingest", "../../frames", "--store", "t", "--layout", "mosaic", "--wavelengths", "465:615:16")
    assert done.returncode == 0, done.stderr


def test_a_folder_whose_name_is_markup(project, run, monkeypatch):  # noqa: F811
    """On a terminal, where the bar is drawn."""
    npz(project / "raw[/]{x}", "a", 1)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    done = run("ingest", "raw[/]{x}", *INTO)
    assert done.returncode == 0, done.stderr
    assert run("ingest", "raw[/]{x}", "--check").returncode == 0


# --- annotate-export ---


def test_pictures_for_an_annotation_tool(project, run, refused):  # noqa: F811
    three_of_each(project / "raw")
    Image.new("L", (5, 5), 255).save(project / "raw" / "masks" / "MMCube" / "0_01.png")
    done = run("annotate-export", "raw", "--out", "out")
    assert told(done) == [
        "9 pictures in out",
        "1 file set aside:",
        "  masks/MMCube/0_01.png: the mask has 5 x 5 pixels, its image 24 x 32",
    ]
    tasks = json.loads((project / "out" / "tasks.json").read_text())
    assert {len(task["predictions"][0]["result"]) for task in tasks} == {1}
    said = refused("annotate-export", "raw", "--out", "out", left=["raw", "out"])
    assert said.startswith("out: something is already there.")
    (project / "bad").mkdir()
    (project / "bad" / "a.npy").write_bytes(b"x")
    said = refused("annotate-export", "bad", "--out", "new", left=["raw", "out", "bad"])
    assert said.startswith("the one image in bad cannot be used (a: cannot be read as a NumPy file")


# --- interrupted, and shared out ---


SLOW_READ = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs are born deaf to it
from hyperderm.ingest import source
from hyperderm.ingest.layouts import scene_folder
read = scene_folder.open_image
def slowly(*arguments):
    time.sleep(0.25)
    return read(*arguments)
scene_folder.open_image = slowly
source.PART_BYTES = 1
from hyperderm.cli import main
main()
"""


def test_an_interrupt_and_the_same_command_again(project, run):  # noqa: F811
    for i in range(12):
        npz(project / "raw", f"s{i}", i)
    words = ["ingest", "raw", *INTO, "--size", "16", "--folds", "0"]
    started = subprocess.Popen(
        [sys.executable, "-c", SLOW_READ, *words], cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    until = time.monotonic() + 60
    while len(list(project.glob("s.partial-*/lesions/*.json"))) < 3:
        assert started.poll() is None, started.stderr.read()
        assert time.monotonic() < until
        time.sleep(0.02)
    os.kill(started.pid, signal.SIGINT)
    _, err = started.communicate(timeout=30)
    assert started.returncode == 130, err
    assert "Traceback" not in err
    [staging] = project.glob("s.partial-*")
    kept = {path.name: path.stat().st_mtime_ns for path in staging.glob("lesions/*.parquet")}
    assert not (project / "s").exists()
    done = subprocess.run(
        [sys.executable, "-c", SLOW_READ.replace("0.25", "0"), *words],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert not list(project.glob("s.partial-*"))
    now = {path.name: path.stat().st_mtime_ns for path in (project / "s").glob("lesions/*.parquet")}
    assert len(now) == 12
    reported = sorted(kept)[:3]
    assert {name: now[name] for name in reported} == {name: kept[name] for name in reported}, "finished parts are not redone"
    assert open_store("s").manifest.lesions == 12


@pytest.mark.slow
def test_two_workers_make_the_store_that_one_makes(project):  # noqa: F811
    for i in range(70):
        npz(project / "raw", f"s{i}", i)
    found = []
    for workers in (1, 2):
        place = f"s{workers}"
        done = spawn(project, "ingest", "raw", "--store", place, "--workers", str(workers), seconds=200)
        assert done.returncode == 0, done.stderr
        found.append(open_store(str(project / place)).manifest)
    assert len(found[0].parts) == 2
    assert found[0] == found[1]
    assert HYPERDERM.exists()
