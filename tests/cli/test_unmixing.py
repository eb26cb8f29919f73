"""`hyperderm unmix` as a user calls it."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest

from experiments import unmixer
from hyperderm import workflows
from hyperderm.phantom.rendering import phantom
from hyperderm.store.writer import write_store
from hyperderm.training.named_checkpoints import read_checkpoint
from tests.command import project_of
from tests.services.grids import make_project


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


def test_a_place_that_is_taken(here, command):
    (here / "taken").mkdir()
    done = command("unmix", here / "store", "--out", here / "taken")
    assert done.returncode == 2
    assert "something is already there" in done.stderr
