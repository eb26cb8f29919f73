"""`hyperderm evaluate`: a report, numbers in MLflow, and an opening of the test role that `audit leaks` knows."""

import json
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from matplotlib.figure import Figure
from mlflow import MlflowClient

from hyperderm import workflows
from hyperderm.metrics import feature_spaces
from hyperderm.reports import report_folder
from hyperderm.reports.document import Image
from hyperderm.reports.evaluation import sections
from hyperderm.reports.evaluation.figures import drawings
from hyperderm.store.reader import open_store
from hyperderm.workflows.evaluated_run import last_sweep
from tests.command import project_of
from tests.evaluations import SPACES, lesions, write_set
from tests.reports.reading import Page
from tests.services.grids import make_project
from tests.studies.test_synthesis import train

FOLD = 1


@pytest.fixture(scope="module")
def stores(phantom_store, tmp_path_factory):
    real = open_store(str(phantom_store))
    cubes, kinds, _ = lesions(60, seed=3)
    fresh = cubes[[i for i, kind in enumerate(kinds) if kind == "melanoma"]]
    folder = tmp_path_factory.mktemp("sets")
    first, second = (
        write_set(folder / name, real, fresh[rows], FOLD) for name, rows in (("a", slice(12)), ("b", slice(12, 22)))
    )
    return SimpleNamespace(
        real=real.location.uri, a=first.location.uri, b=second.location.uri, manifest=real.manifest.fingerprint
    )


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A project with a database of its own, and networks that cost nothing."""
    monkeypatch.setattr(feature_spaces, "available_spaces", lambda: (list(SPACES), []))
    with project_of(make_project(tmp_path), MLFLOW_TRACKING_URI=f"sqlite:///{tmp_path / 'mlflow.db'}"):
        yield tmp_path


@pytest.fixture
def plain(monkeypatch):
    """Figures are tested elsewhere; drawing them takes most of the time."""
    monkeypatch.setattr(report_folder, "image", lambda figure: Image(b"<svg/>", b"png", 1.0))
    monkeypatch.setattr(
        sections, "drawings", lambda found, how, prefix: [replace(one, draw=Figure) for one in drawings(found, how, prefix)]
    )


def runs(folder):
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    (experiment,) = [each for each in client.search_experiments() if each.name == "evaluation"]
    return client, client.search_runs([experiment.experiment_id])


def test_a_report_its_numbers_and_its_run(here, stores, command):
    done = command(
        "evaluate", "--real", stores.real, "--synthetic", stores.a, "--synthetic", stores.b, "--out", here / "out"
    )
    assert done.returncode == 0, done.stderr
    assert "no copies of train lesions were found" in done.stdout
    out = here / "out"
    assert {"report.html", "report.md", "metrics.json", "scores.csv", "bands.csv", "nearest.csv", "copies.csv"} <= {
        path.name for path in out.iterdir()
    }
    source = (out / "report.html").read_text()
    page = Page(source)
    assert 'src="http' not in source
    assert {link.removeprefix("#") for link in page.links} <= set(page.ids)
    numbers = json.loads((out / "metrics.json").read_text())
    assert set(numbers["sets"]) == {"a", "b"}
    assert numbers["test_opened"] is None
    client, (run,) = runs(here)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["a/level/variance"] == numbers["sets"]["a"]["scores"]["level/variance"]["value"]
    assert run.data.tags["hyperderm.stage"] == "evaluation"
    assert {"report.html", "metrics.json"} <= {file.path for file in client.list_artifacts(run.info.run_id)}
    verdict = workflows.audit_leaks(stores=[stores.a, stores.b])
    assert (verdict.counts["evaluation"], verdict.openings, verdict.findings) == (1, 0, ())


@pytest.mark.slow  # a second report of what the first test evaluates
def test_the_same_evaluation_again_is_a_new_run_and_replaces_the_report(here, stores, command, plain):
    words = ("evaluate", "--real", stores.real, "--synthetic", stores.a)
    assert [command(*words).returncode for _ in range(2)] == [0, 0]
    assert len(runs(here)[1]) == 2
    (folder,) = (here / "runs").glob("evaluate-*")
    first, second = (each.data.metrics for each in runs(here)[1])
    assert first == second
    assert (folder / "report" / "report.html").is_file()


def test_a_final_evaluation_is_recorded_before_the_test_role_is_read(here, stores, command, plain):
    done = command("evaluate", "--real", stores.real, "--synthetic", stores.a, "--final", "--out", here / "out")
    assert done.returncode == 0, done.stderr
    numbers = json.loads((here / "out" / "metrics.json").read_text())
    assert numbers["real"]["role"] == "test"
    assert numbers["test_opened"]["manifest"] == stores.manifest
    assert "was opened at" in (here / "out" / "report.md").read_text()
    _, (run,) = runs(here)
    assert json.loads(run.data.tags["hyperderm.test_opened"]) == numbers["test_opened"]
    verdict = workflows.audit_leaks(stores=[stores.real, stores.a])
    assert (verdict.openings, verdict.findings) == (1, ())


def test_the_test_role_stays_shut_where_its_opening_cannot_be_recorded(here, stores, command, monkeypatch):
    from hyperderm.store.reader import Store
    from hyperderm.workflows import run_tracking

    monkeypatch.setattr(run_tracking, "AWAY_S", 0.5)
    monkeypatch.setattr(run_tracking, "FLUSH_S", 1.0)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    read = []
    role_of = Store._role
    monkeypatch.setattr(Store, "_role", lambda self, role, *rest: read.append(role) or role_of(self, role, *rest))
    done = command("evaluate", "--real", stores.real, "--synthetic", stores.a, "--final", "--out", here / "out")
    assert done.returncode == 2
    assert "the test role was not opened" in done.stderr
    assert "test" not in read
    assert not (here / "out").exists()


def test_a_run_is_evaluated_by_a_set_that_is_made_once(here, phantom_store, command, plain):
    train(open_store(str(phantom_store)), here / "runs" / "rgb")
    first = command("evaluate", "--run", "rgb", "--count", 9)
    assert first.returncode == 0, first.stderr
    assert "evaluating run rgb" in first.stdout
    assert "9 melanoma in" in first.stdout
    numbers = json.loads(next((here / "runs").glob("evaluate-*/report/metrics.json")).read_text())
    assert next(iter(numbers["sets"].values()))["recorded_audit"]["derived"] is True
    other = command("evaluate", "--run", "rgb", "--count", 5, "--fold", 0)
    assert (other.returncode, len(list((here / "stores").iterdir()))) == (2, 1)
    assert "was trained for fold 1. Leave --fold out" in other.stderr
    again = command("evaluate", "--run", "rgb", "--count", 9)
    assert again.returncode == 0
    assert "is there from an earlier evaluation" in again.stdout


def test_the_last_sweep_is_the_one_that_was_written_to_last(tmp_path):
    for age, name in enumerate(("new", "old")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "study.db").touch()
        os.utime(tmp_path / name / "study.db", (1e9 - age, 1e9 - age))
    assert last_sweep(tmp_path) == "new"


def test_what_can_be_refused_is_refused_before_the_test_role_opens(here, stores, command, plain):
    real = open_store(stores.real)
    percent = write_set(here / "percent", real, lesions(8, seed=4)[0] * 100, FOLD)
    done = command("evaluate", "--real", stores.real, "--synthetic", percent.location.uri, "--final", "--out", here / "out")
    assert done.returncode == 2
    assert "another unit" in done.stderr
    (run,) = runs(here)[1]
    assert run.info.status == "FAILED"
    assert "hyperderm.test_opened" not in run.data.tags
    blocked = command("evaluate", "--real", stores.real, "--synthetic", stores.a, "--final", "--out", "/proc/x")
    assert blocked.returncode == 2
    assert "cannot be written" in blocked.stderr
    assert len(runs(here)[1]) == 1


@pytest.mark.slow  # a second evaluation; one function writes the reports of all kinds
def test_files_of_others_beside_a_report_stay_and_are_not_uploaded(here, stores, command, plain):
    words = ("evaluate", "--real", stores.real, "--synthetic", stores.a, "--out", here / "out")
    assert command(*words).returncode == 0
    (here / "out" / "diary.txt").write_text("mine")
    assert command(*words).returncode == 0
    assert (here / "out" / "diary.txt").read_text() == "mine"
    client, found = runs(here)
    assert all("diary.txt" not in {file.path for file in client.list_artifacts(run.info.run_id)} for run in found)


@pytest.mark.parametrize(
    ("words", "match"),
    [
        ((), "one of --synthetic and --run is needed"),
        (("--synthetic", "a", "--run", "last"), "one of --synthetic and --run is needed"),
        (("--synthetic", "a"), "no real store is given"),
        (("--run", "last"), "holds no sweep"),
        (("--run", "nothing"), "nothing is no run"),
        (("--real", "r", "--synthetic", "a", "--count", "3"), "--count 3 without --run"),
        (("--real", "r", "--synthetic", "a", "--synthetic", "a"), "given twice"),
        (("--real", "nowhere", "--synthetic", "a"), "nowhere is not a store"),
    ],
)
def test_requests_that_say_too_little_or_too_much(here, command, words, match):
    done = command("evaluate", *words)
    assert done.returncode == 2
    assert match in done.stderr


def test_a_place_that_holds_other_things_is_refused_before_anything_is_read(here, stores, command):
    place = here / "mine"
    place.mkdir()
    (place / "thesis.tex").write_text("x")
    done = command("evaluate", "--real", stores.real, "--synthetic", stores.a, "--out", place)
    assert done.returncode == 2
    assert "something other than a report" in done.stderr
    assert [path.name for path in place.iterdir()] == ["thesis.tex"]
    assert not list(Path("runs").glob("evaluate-*"))


def test_missing_weights_leave_out_their_space_and_are_told(here, stores, command, monkeypatch, plain):
    monkeypatch.setattr(
        feature_spaces, "available_spaces", lambda: ([SPACES[1]], ["No features of inception: run make setup."])
    )
    done = command("evaluate", "--real", stores.real, "--synthetic", stores.a, "--out", here / "out")
    assert done.returncode == 0
    text = (here / "out" / "report.md").read_text()
    assert "No features of inception" in text
    assert "held_out/inception" not in (here / "out" / "scores.csv").read_text()
