"""`hyperderm unmix` as a user calls it."""

import csv
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from experiments import unmixer
from hyperderm import workflows
from hyperderm.cubes.cube import Cube
from hyperderm.phantom.rendering import phantom
from hyperderm.reports.unmixing.sections import ABUNDANCES
from hyperderm.reports.unmixing.write import write_unmixing
from hyperderm.store.reader import open_store
from hyperderm.store.writer import write_store
from hyperderm.studies.abundance_store import write_abundances
from hyperderm.studies.photograph_unmixing import colour_net
from hyperderm.studies.unmixing import Request, unmix_store
from hyperderm.training.named_checkpoints import read_checkpoint
from tests.command import project_of
from tests.services.grids import make_project
from tests.training.test_photographs import pictures


@pytest.fixture
def here(tmp_path):
    write_store(str(tmp_path / "store"), (one.lesion for one in phantom(18, 16, 0)), fold_count=3)
    project = make_project(tmp_path / "project")
    shutil.copy(Path(unmixer.__file__), project / "experiments" / "unmixer.py")
    with project_of(project, MLFLOW_TRACKING_URI=f"sqlite:///{tmp_path / 'mlflow.db'}", COLUMNS="120"):
        yield tmp_path


def test_a_page_and_its_run(here, command):
    done = command("unmix", here / "store", "--endmembers", "3", "--method", "nfindr", "--out", here / "out")
    assert done.returncode == 0, done.stderr
    assert "N-FINDR found 3 endmembers among pixels" in done.stdout
    assert "of the train role of fold 0" in done.stdout
    assert (here / "out" / "report.html").is_file()
    verdict = workflows.audit_leaks()
    assert (verdict.counts["unmixer"], verdict.openings, verdict.findings, verdict.unknown) == (1, 0, (), ())


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--endmembers", "many"), "--endmembers many. Give a whole number from 2, or auto."),
        (("--endmembers", "1"), "--endmembers 1. Give a whole number from 2 to 64, or auto."),
        (("--endmembers", "17"), "--endmembers 17: the pixels have 16 bands"),
        (("--method", "vcaa"), "--method vcaa is unknown. Did you mean 'vca'?"),
        (("--seed", "-1"), "--seed -1. Give 0 or more."),
        (("--fold", "9"), "fold 9"),
    ],
)
def test_what_is_refused(here, command, flags, said):
    done = command("unmix", here / "store", *flags)
    assert done.returncode == 2
    assert said in done.stderr
    assert not list((here / "project").glob("runs/*/report"))


def test_the_endmembers_of_a_trained_net(here, command):
    net = ("learner.endmembers=3", "learner.width=4", "learner.stages=0", "data.size=16", "training.images=32")
    sets = [
        word
        for each in (*net, "training.validate_every=16", "training.batch_size=4", "data.fold=1")
        for word in ("--set", each)
    ]
    done = command("train", "unmixer", "--store", here / "store", "--name", "net", "--profile", "small", *sets)
    assert done.returncode == 0, done.stdout + done.stderr
    done = command("unmix", here / "store", "--run", "net", "--out", here / "out")
    assert done.returncode == 0, done.stderr
    assert "The unmixing net found 3 endmembers among pixels of the train role of fold 1" in done.stdout
    (path,) = (here / "project" / "runs" / "net").rglob("best.pt")
    state, _ = read_checkpoint(path)
    with (here / "out" / "endmembers.csv").open() as file:
        rows = list(csv.DictReader(file))
    learnt = state["learner"]["network"]["endmembers"].tolist()
    np.testing.assert_allclose([[float(row[f"endmember_{k}"]) for row in rows] for k in (1, 2, 3)], learnt)
    beside = command("unmix", here / "store", "--run", "net", "--method", "vca")
    assert beside.returncode == 2
    assert "--run is given beside --endmembers, --method, --fold or --unit-length" in beside.stderr
    write_store(str(here / "other"), (one.lesion for one in phantom(18, 16, 1)), fold_count=3)
    other = command("unmix", here / "other", "--run", "net")
    assert other.returncode == 2
    assert "this net was trained on store" in other.stderr
    verdict = workflows.audit_leaks()
    assert (verdict.counts["unmixer"], verdict.findings) == (2, ())


def test_abundances_as_a_store(here, command):
    made = here / "abundances"
    done = command(
        "unmix", here / "store", "--endmembers", "3", "--method", "nfindr", "--store", made, "--out", here / "out"
    )
    assert done.returncode == 0, done.stderr
    cubes, kept = open_store(str(here / "store")), open_store(str(made))
    seen = {*cubes.select("train", 0, "all"), *cubes.select("validation", 0, "all")}
    assert f"{len(seen)} lesions as abundances in {made}" in done.stdout
    assert (kept.manifest.kind, kept.manifest.shape, kept.manifest.folds) == ("abundances", (16, 16, 3), None)
    assert kept.manifest.source["manifest"] == cubes.manifest.fingerprint
    ends = np.array(kept.manifest.source["endmembers"])
    with (here / "out" / "lesions.csv").open() as file:
        told = {row["lesion_id"]: float(row["rmse"]) for row in csv.DictReader(file)}
    originals = {lesion.lesion_id: lesion for lesion in cubes.lesions()}
    for lesion in kept.lesions():
        original = originals[lesion.lesion_id]
        assert (lesion.diagnosis, lesion.group) == (original.diagnosis, original.group)
        assert np.array_equal(lesion.mask, original.mask)
        shares = lesion.cube.reflectance
        assert shares.min() >= 0
        np.testing.assert_allclose(shares.sum(2), 1, atol=1e-5)
        rmse = np.sqrt(np.square(shares @ ends - original.cube.reflectance).mean())
        assert rmse == pytest.approx(told[lesion.lesion_id], rel=1e-4)
        seen.remove(lesion.lesion_id)
    assert not seen
    again = command("unmix", here / "store", "--store", made)
    assert (again.returncode, "something is already there" in again.stderr) == (2, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("store", "export", "{}", "--out", "files"), "holds abundances, which are no images"),
        (("describe", "{}"), "holds abundances, not spectra"),
        (("unmix", "{}"), "holds abundances, made by `hyperderm unmix` for other programs"),
        (("train", "unmixer", "--store", "{}"), "holds abundances, made by `hyperderm unmix` for other programs"),
    ],
)
def test_a_store_of_abundances_is_no_store_of_cubes(tmp_path, here, command, words, said):
    lesion = next(iter(phantom(1, 16, 0))).lesion
    shares = Cube(np.full((16, 16, 3), 1 / 3, np.float32), np.arange(1.0, 4.0))
    write_store(str(tmp_path / "shares"), [replace(lesion, cube=shares)], fold_count=0, kind="abundances")
    done = command(*(word.format(tmp_path / "shares") for word in words))
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr


def test_lesions_with_masked_pixels_are_set_aside(tmp_path):
    lesions = [one.lesion for one in phantom(6, 16, 0)]
    broken = lesions[2].cube.reflectance.copy()
    broken[3, 7] = 0  # black: no length to divide by
    lesions[2] = replace(lesions[2], cube=Cube(broken, lesions[2].cube.wavelengths_nm))
    write_store(str(tmp_path / "broken"), lesions, fold_count=0)
    request = Request(open_store(str(tmp_path / "broken")), "nfindr", 3, None, unit=True)
    found, _ = write_unmixing(tmp_path / "out", lambda keep: unmix_store(request, keep), {})
    manifest = write_abundances(str(tmp_path / "shares"), found, tmp_path / "out" / ABUNDANCES)
    assert manifest.lesions == 5
    (aside,) = manifest.set_aside
    assert (aside.file, aside.reason) == (lesions[2].lesion_id, "1 pixels without a finite spectrum have no abundances")


def test_a_place_that_is_taken(here, command):
    (here / "taken").mkdir()
    done = command("unmix", here / "store", "--out", here / "taken")
    assert done.returncode == 2
    assert "something is already there" in done.stderr


@pytest.mark.slow  # its short form is test_a_store_of_photographs_is_unmixed_by_the_net (tests/training/test_photographs.py)
def test_photographs_by_a_net_that_sees_their_colours(here, command):
    """Photographs of the phantom: the net trained on cubes gives maps of its endmembers; other nets and ways are refused."""
    seen = {"learner.endmembers": 3, "learner.width": 8, "learner.stages": 0, "data.size": 16, "training.images": 64}
    seen |= {"training.validate_every": 32, "training.batch_size": 4, "data.fold": 1, "learner.lr": 1e-2}
    for name, bands in (("colours", "rgb"), ("bands", "all")):
        sets = [w for path, value in {**seen, "learner.bands": bands}.items() for w in ("--set", f"{path}={value}")]
        done = command("train", "unmixer", "--store", here / "store", "--name", name, "--profile", "small", *sets)
        assert done.returncode == 0, done.stdout + done.stderr
    rgb = pictures((one.lesion for one in phantom(6, 16, 7)), here / "rgb")
    done = command("unmix", here / "rgb", "--run", "colours", "--out", here / "out", "--store", here / "maps")
    assert done.returncode == 0, done.stderr
    assert "The unmixing net found 3 endmembers among pixels of cubes of " in done.stdout
    assert "(linear colour, matched, median" in done.stdout
    assert "three colours do not say how much" in (here / "out" / "report.md").read_text()
    with (here / "out" / "endmembers.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 16  # endmembers keep the bands of the cubes
    maps = {lesion.lesion_id: lesion.cube.reflectance for lesion in open_store(str(here / "maps")).lesions()}
    assert maps.keys() == {lesion.lesion_id for lesion in rgb.lesions()}
    state, _ = read_checkpoint(next((here / "project" / "runs" / "colours").rglob("best.pt")))
    net = colour_net(state, rgb, open_store(str(here / "store")))
    pixels = {diagnosis: [] for diagnosis in net.means}
    for lesion in rgb.lesions():
        matched = net.colours(lesion.cube.reflectance, lesion.diagnosis)
        pixels[lesion.diagnosis].append(matched)
        np.testing.assert_allclose(maps[lesion.lesion_id].reshape(-1, 3), net.abundances(matched, 16, 16), atol=1e-6)
        np.testing.assert_allclose(maps[lesion.lesion_id].sum(2), 1, atol=1e-5)
    for diagnosis, rows in pixels.items():  # matched: their mean is that of the train cubes of the same diagnosis
        np.testing.assert_allclose(np.concatenate(rows).mean(0), net.known_means[diagnosis], atol=1e-6)
    for flags, said in (
        ((here / "rgb",), "holds photographs, whose three colours have no endmembers of their own"),
        ((here / "rgb", "--run", "bands"), "this net sees all bands, and photographs have three colours"),
        ((here / "store", "--run", "colours", "--source-store", here / "store"), "--source-store"),
    ):
        refused = command("unmix", *flags)
        assert refused.returncode == 2, refused.stdout
        assert said in refused.stderr
    (here / "store").rename(here / "moved")
    assert "Say where: --source-store URI." in command("unmix", here / "rgb", "--run", "colours").stderr
    found = command("unmix", here / "rgb", "--run", "colours", "--source-store", here / "moved", "--out", here / "again")
    assert found.returncode == 0, found.stderr
