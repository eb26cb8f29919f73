"""`hyperderm unmix` as a user calls it."""

import pytest

from hyperderm import workflows
from hyperderm.phantom.rendering import phantom
from hyperderm.store.writer import write_store
from tests.command import project_of
from tests.services.grids import make_project


@pytest.fixture
def here(tmp_path):
    write_store(str(tmp_path / "store"), (one.lesion for one in phantom(18, 16, 0)), fold_count=3)
    project = make_project(tmp_path / "project")
    with project_of(project, MLFLOW_TRACKING_URI=f"sqlite:///{tmp_path / 'mlflow.db'}", COLUMNS="120"):
        yield tmp_path


def test_a_page_and_its_run(here, command):
    done = command("unmix", here / "store", "--endmembers", "3", "--method", "nfindr", "--out", here / "out")
    assert done.returncode == 0, done.stderr
    assert "N-FINDR found 3 endmembers among" in done.stdout
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


def test_a_place_that_is_taken(here, command):
    (here / "taken").mkdir()
    done = command("unmix", here / "store", "--out", here / "taken")
    assert done.returncode == 2
    assert "something is already there" in done.stderr
