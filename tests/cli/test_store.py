"""`hyperderm store info|verify|diff|export` as a user types them."""

import json
import shutil

import numpy as np
import pytest

from hyperderm.cubes.cube import Cube
from hyperderm.store.writer import write_store
from tests.cli.test_bad_input import project, refused, run  # noqa: F401 - fixtures
from tests.store.lesions import NM, lesion, lesions


@pytest.fixture
def mine(project):  # noqa: F811
    """Two parts, in the folder where the commands run."""
    return write_store("mine", lesions(70), fold_count=3)


def test_the_verbs(run):  # noqa: F811
    done = run("store")
    assert done.returncode == 0
    listed = [line.split()[0] for line in done.stdout.split("Commands:\n")[1].splitlines()]
    assert listed == ["info", "verify", "diff", "export"]


# --- verify ---


def test_a_sound_store(mine, run):  # noqa: F811
    done = run("store", "verify", "mine")
    assert (done.returncode, done.stderr) == (0, "")
    size = [f"{part.bytes / 1e6:.1f}" for part in mine.parts]
    assert done.stdout.splitlines() == [
        f"lesions/part-00000.parquet: sound, 64 rows, {size[0]} MB",
        f"lesions/part-00001.parquet: sound, 6 rows, {size[1]} MB",
        f"sound: 70 lesions in 2 parts, fingerprint {mine.fingerprint}",
    ]


def test_faults_are_all_listed_and_the_first_is_the_error(project, mine, run):  # noqa: F811
    path = project / "mine" / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "lesions": 71}))
    (project / "mine" / "lesions" / "part-00001.parquet").unlink()
    shutil.copy(project / "mine" / "lesions" / "part-00000.parquet", project / "mine" / "lesions" / "more.parquet")
    done = run("store", "verify", "mine")
    assert done.returncode == 2
    assert done.stderr == (
        "error: mine: manifest.json was edited: it does not match its own fingerprint (and 3 more, listed above). "
        "Restore it, or ingest again.\n"
    )
    said = done.stdout.splitlines()
    assert said[1] == "lesions/part-00001.parquet: it is missing"
    assert said[2].startswith("note: manifest.json does not name 'lesions/more.parquet'")
    assert said[3:] == [
        "4 faults:",
        "  manifest.json was edited: it does not match its own fingerprint",
        "  manifest.json says 71 lesions, its parts 70 rows",
        "  manifest.json says 71 lesions, its diagnoses 70",
        "  part lesions/part-00001.parquet: it is missing",
    ]


def test_one_fault_and_no_store(project, mine, run, refused):  # noqa: F811
    part = project / "mine" / "lesions" / "part-00001.parquet"
    part.write_bytes(part.read_bytes()[:-1])
    done = run("store", "verify", "mine")
    assert done.returncode == 2
    assert done.stderr.startswith("error: mine: part lesions/part-00001.parquet: it is truncated or another file: ")
    assert done.stderr.endswith(". Restore it, or ingest again.\n")
    assert refused("store", "verify", "nowhere", left=["mine"]).startswith("nowhere is not a store: no manifest.json. ")


# --- diff ---


def test_the_same(project, mine, run):  # noqa: F811
    shutil.copytree(project / "mine", project / "copy")
    assert run("store", "diff", "mine", "copy").stdout == "the same\n"
    write_store("turned", reversed(list(lesions(70))), fold_count=3)
    done = run("store", "diff", "mine", "turned")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "the same: the same lesions and description, in other files\n"


def test_everything_that_differs(mine, run):  # noqa: F811
    cube = lesion(5).cube.reflectance.copy()
    cube[0, 0, 1] += 0.5
    rows = [lesion(i) for i in range(1, 71)]
    rows[4] = lesion(5, cube=Cube(cube, NM), group="p")
    rows[7] = lesion(8, mask=np.ones((8, 8), bool))
    write_store("other", rows, fold_count=3, source={"verb": "[red]test"})
    done = run("store", "diff", "mine", "other")
    assert (done.returncode, done.stderr) == (0, "")
    said = done.stdout.splitlines()
    assert "source: none -> verb [red]test" in said
    assert said[said.index("only in mine: 1 lesion") + 1] == "  MMCube/0000_00"
    assert said[said.index("only in other: 1 lesion") + 1] == "  MMCube/0070_00"
    at = said.index("in both, but different: 2 lesions")
    assert said[at + 1 :] == [
        "  MMCube/0005_00: cube, group; group: MMCube/0005 -> p",
        "  MMCube/0008_00: mask",
        "largest absolute difference of the changed cubes:",
        "  465 nm: 0",
        "  500.5 nm: 0.5",
        "  620 nm: 0",
    ]


def test_only_the_description_differs_and_long_lists_are_cut(mine, run):  # noqa: F811
    write_store("other", lesions(70), fold_count=0)
    done = run("store", "diff", "mine", "other")
    assert done.stdout == "folds: 3, seed 0 -> none\nevery lesion is the same\n"
    write_store("large", lesions(70, 16), fold_count=0)
    said = run("store", "diff", "other", "large").stdout.splitlines()
    assert said[:2] == ["shape: 8, 8, 3 -> 16, 16, 3", "in both, but different: 70 lesions"]
    assert said[22:] == ["  … 50 more", "cubes of other bands or another shape: their values are not compared"]


def test_stores_that_cannot_be_compared(project, mine, refused):  # noqa: F811
    assert refused("store", "diff", "mine", "nowhere", left=["mine"]).startswith("nowhere is not a store")
    shutil.copytree(project / "mine", project / "bad")
    (project / "bad" / "lesions" / "part-00001.parquet").unlink()
    said = refused("store", "diff", "mine", "bad", left=["mine", "bad"])
    assert said == "bad: part lesions/part-00001.parquet is missing. Restore it, or ingest again."


# --- export ---


@pytest.mark.parametrize(("format_", "file"), [("mat", ".mat"), ("envi", ".hdr"), ("npz", ".npz")])
def test_formats(project, mine, run, format_, file):  # noqa: F811
    done = run("store", "export", "mine", "--out", "out", "--format", format_)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "70 lesions in out\n")
    assert len(list((project / "out").rglob(f"*{file}"))) == 70
    assert json.loads((project / "out" / "export.json").read_text())["fingerprint"] == mine.fingerprint


def test_wrong_words(project, mine, refused):  # noqa: F811
    export = ["store", "export", "mine", "--out", "out"]
    said = refused(*export, "--format", "tiff", left=["mine"])
    assert said == "--format 'tiff' is unknown. Known: envi, mat, npz"
    (project / "out").mkdir()
    said = refused(*export, left=["mine", "out"])
    assert said == "out: something is already there. Choose another folder, or remove it first."
    write_store("rgb", lesions(3), fold_count=0, kind="rgb")
    said = refused("store", "export", "rgb", "--out", "new", left=["mine", "out", "rgb"])
    assert said.startswith("store rgb holds photographs, not cubes, for which HSIDermoscopy's layout has no place. Export ")
    assert said.endswith("or as --format npz or envi.")
