"""`hyperderm describe`, and the description on the first run of an ingested store."""

import shutil
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from mlflow import MlflowClient

from hyperderm import workflows
from hyperderm.phantom.rendering import phantom
from hyperderm.reports import report_folder
from hyperderm.reports.description import sections
from hyperderm.reports.document import Image
from hyperderm.store.reader import open_store
from hyperderm.store.writer import write_store
from hyperderm.tags import DESCRIBED_TAG, UNDESCRIBED_TAG
from hyperderm.tracking.server import check_server
from hyperderm.workflows import first_description
from tests.command import project_of
from tests.services.grids import make_project

TRAIN = ("train", "tiny", "--profile", "small")


@pytest.fixture(scope="module")
def ingested(tmp_path_factory):
    """A store that says that an ingest made it."""
    place = tmp_path_factory.mktemp("stores") / "mine"
    source = {"verb": "ingest", "layout": "hsidermoscopy"}
    write_store(str(place), (one.lesion for one in phantom(30, 16, 0)), fold_count=3, source=source)
    return place


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """A tracking database as an earlier run leaves it: making one takes seconds."""
    path = tmp_path_factory.mktemp("tracking") / "mlflow.db"
    check_server(f"sqlite:///{path}")
    return path


@pytest.fixture
def here(tmp_path, database, monkeypatch):
    """A project with a database of its own; figures are drawn in other tests."""
    shutil.copy(database, tmp_path)
    monkeypatch.setattr(report_folder, "image", lambda figure: Image(b"<svg/>", b"png", 1.0))
    for name in ("contact_sheet", "curves", "by_diagnosis", "band_values"):
        monkeypatch.setattr(sections.figures, name, lambda found: Figure())
    with project_of(make_project(tmp_path), MLFLOW_TRACKING_URI=f"sqlite:///{tmp_path / 'mlflow.db'}"):
        yield tmp_path


def runs(folder):
    """Every run as (name, tags, files below description/), the first first."""
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    found = client.search_runs([each.experiment_id for each in client.search_experiments()], order_by=["start_time ASC"])
    files = ({Path(file.path).name for file in client.list_artifacts(run.info.run_id, "description")} for run in found)
    return [(run.info.run_name, run.data.tags, held) for run, held in zip(found, files, strict=True)]


def test_a_page_and_its_run(here, ingested, command):
    fingerprint = open_store(str(ingested)).manifest.fingerprint
    done = command("describe", ingested, "--out", here / "out")
    assert done.returncode == 0, done.stderr
    assert "30 lesions from 30 source images in 30 groups" in done.stdout
    files = {path.name for path in (here / "out").iterdir()}
    assert {"report.html", "report.md", "counts.csv", "bands.csv", "spectra.csv", "folds.csv", "cubes.png"} <= files
    ((name, tags, held),) = runs(here)
    assert name == f"describe-{fingerprint[:8]}"
    assert tags["hyperderm.stage"] == "description"
    assert tags["hyperderm.manifest"] == tags[DESCRIBED_TAG] == fingerprint
    assert held == files
    verdict = workflows.audit_leaks()
    assert (verdict.counts["description"], verdict.openings, verdict.findings, verdict.unknown) == (1, 0, (), ())


def test_the_report_below_runs_is_replaced_and_one_elsewhere_is_not(here, ingested, command):
    assert [command("describe", ingested).returncode for _ in range(2)] == [0, 0]
    (page,) = (here / "runs").glob("describe-*/report/report.html")
    before = page.read_bytes()
    done = command("describe", ingested, "--out", page.parent)
    assert done.returncode == 2
    assert (
        done.stderr
        == f"error: --out {page.parent}: something is already there. Choose another folder, or remove it first.\n"
    )
    assert page.read_bytes() == before


def test_what_cannot_be_described(here, ingested, command):
    done = command("describe", "nowhere")
    assert done.returncode == 2
    assert done.stderr.startswith("error: nowhere is not a store: no manifest.json. Make one with ")
    done = command("describe", ingested, "--data", here)
    assert done.returncode == 2
    assert "--store and --data are both given" in done.stderr
    (here / "empty").mkdir()
    manifest = open_store(str(ingested)).manifest
    none = {"lesions": 0, "parts": (), "diagnoses": {}, "folds": None}
    (here / "empty" / "manifest.json").write_text(manifest.model_copy(update=none).sealed().model_dump_json())
    done = command("describe", "empty")
    assert done.returncode == 2
    assert done.stderr == "error: store empty holds no lesion. Describe one that holds some, or ingest it again.\n"
    assert not (here / "runs").exists()


def test_the_first_run_on_an_ingested_store_holds_its_description(here, ingested, command):
    for name in ("one", "two"):
        assert command(*TRAIN, "--store", ingested, "--name", name).returncode == 0
    (_, first, held), (_, second, none) = runs(here)
    assert first[DESCRIBED_TAG] == first["hyperderm.manifest"]
    assert {"report.html", "spectra.csv", "cubes.png"} <= held
    assert DESCRIBED_TAG not in second
    assert none == set()
    assert {"lesions.png"} <= {file.path for file in _files(here, "one")}  # its own pictures too


def _files(folder, name):
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiments = [each.experiment_id for each in client.search_experiments()]
    (run,) = client.search_runs(experiments, f"attributes.run_name = '{name}'")
    return client.list_artifacts(run.info.run_id)


def test_a_store_that_was_described_or_that_no_ingest_made_is_left_alone(here, ingested, command, tmp_path):
    assert command("describe", ingested).returncode == 0
    assert command(*TRAIN, "--store", ingested, "--name", "one").returncode == 0
    drawn = tmp_path / "drawn"
    write_store(str(drawn), (one.lesion for one in phantom(30, 16, 1)), fold_count=3, source={"verb": "phantom"})
    assert command(*TRAIN, "--store", drawn, "--name", "two").returncode == 0
    assert [bool(held) for _, _, held in runs(here)] == [True, False, False]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (("describe_store", lambda store: 1 / 0), "ZeroDivisionError: division by zero"),
        (("MOST_BYTES", 10), "it is large (0.0 GB); `hyperderm describe"),
    ],
)
def test_trouble_with_a_description_ends_no_run(here, ingested, command, monkeypatch, changed, said):
    monkeypatch.setattr(first_description, *changed)
    done = command(*TRAIN, "--store", ingested, "--name", "one")
    assert done.returncode == 0, done.stderr
    assert f"the store is not described on this run: {said}" in done.stdout
    ((_, tags, held),) = runs(here)
    assert said in tags[UNDESCRIBED_TAG]
    assert DESCRIBED_TAG not in tags
    assert held == set()
