"""`hyperderm audit leaks` on a project of a training and a set that our verbs refuse to join, and on mistakes."""

import csv
import io
import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient

from hyperderm.errors import ConfigError
from hyperderm.store.reader import open_store
from hyperderm.tracking.runs import Tracker
from hyperderm.workflows import audit_leaks
from tests.studies.grids import store, synthetic_set

CONFIG = {
    "learner": {"kind": "classifier"},
    "data": {"fold": 0, "diagnoses": ["melanoma"]},
    "task": {"negatives": "dysplastic_nevus"},
}
GENERATOR = {"learner": {"kind": "shsgan"}, "data": {"diagnoses": "all"}, "task": None}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Two classifiers of fold 0, one with a set of its own fold, one with a set of fold 1; both generators are tracked."""
    place = tmp_path_factory.mktemp("leaky")
    real = store(place / "stores" / "real")
    tracker = Tracker(f"sqlite:///{place / 'mlflow.db'}", "x", place / "event log.db", place / "artifacts", print)
    manifest = {"hyperderm.manifest": real.manifest.fingerprint, "hyperderm.store": real.location.uri}
    for fold in (0, 1):
        uri = synthetic_set(place / f"made{fold}", real, fold, {"melanoma": 4}, run=f"gan-{fold}")
        made = open_store(uri).manifest.fingerprint
        for key, config, more in (
            (f"gan-{fold}", GENERATOR, {"hyperderm.fold": str(fold)}),
            (f"cnn-{fold}", {**CONFIG, "synthetic": {"store": uri}}, {"hyperderm.fold": "0", "hyperderm.synthetic": made}),
        ):
            tracker.open_run(key, key, tags={**manifest, **more, "hyperderm.trial": "0"})
            tracker.log_json(key, config, "config.json")
            tracker.close_run(key, "FINISHED")
    assert tracker.flush(60) == 0
    tracker.close()
    return place


@pytest.fixture
def run(project, monkeypatch, command):
    monkeypatch.chdir(project)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments, uri=f"sqlite:///{project / 'mlflow.db'}") -> tuple[int, str, str]:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        done = command("audit", *arguments)
        return done.returncode, done.stdout, done.stderr

    return run


def rows(said):
    return list(csv.DictReader(io.StringIO(said)))


def test_a_set_of_another_fold_is_found_with_its_generator_and_nothing_else(project, run):
    """Fold 0's test role is in fold 1's train role, with all of its 8 lesions."""
    code, said, _ = run("leaks", "--format", "csv")
    assert code == 1
    found = rows(said)
    assert [(row["kind"], row["users"]) for row in found] == [("generator", "cnn-1"), ("set", "cnn-1")]
    assert [row["touched_by"] for row in found] == ["gan-1", str(project / "made1")]
    assert {(row["lesions"], row["of"], row["how"], row["opened"]) for row in found} == {("8", "8", "same lesion 8", "0")}


def test_from_python_it_finds_the_same(project, run):
    run("leaks")  # sets the place and the server
    verdict = audit_leaks(cubes=False)
    assert [(one.kind, one.by) for one in verdict.findings] == [("generator", "gan-1"), ("set", str(project / "made1"))]
    assert ("all stores", "cubes were not compared (--no-cubes)") in verdict.unknown


@pytest.mark.parametrize("form", ["text", "markdown"])
def test_people_read_the_same(run, form):
    code, said, _ = run("leaks", "--format", form)
    assert code == 1
    assert "Generators whose training saw the test role: 1" in said
    assert "2 generators, 2 synthetic sets, 2 classifiers; 0 test roles opened 0 times; 3 stores read: 2 leaks" in said


def test_a_set_that_nothing_was_trained_with_yet_is_counted_too(project, run):
    drawn, experiments = project / "stores" / "drawn", project / "experiments"
    experiments.mkdir()
    (experiments / "__init__.py").touch()  # what makes a folder a project's root
    synthetic_set(drawn, open_store(str(project / "stores" / "real")), 0, {"melanoma": 3}, run="gan-0", seed=9)
    try:
        assert "2 generators, 3 synthetic sets, 2 classifiers" in run("leaks")[1]
    finally:
        shutil.rmtree(drawn)
        shutil.rmtree(experiments)


def test_a_store_that_moved_is_unknown_until_it_is_named(project, run):
    moved, was = project / "elsewhere", project / "stores" / "real"
    shutil.move(was, moved)
    try:
        code, said, _ = run("leaks", "--format", "csv")
        assert code == 1
        kinds = {row["kind"]: row for row in rows(said)}
        assert kinds["set"]["lesions"] == ""
        assert kinds["set"]["how"] == "same store, another fold"
        assert any(row["touched_by"] == str(was) and "--store" in row["data"] for row in rows(said))
        code, said, _ = run("leaks", "--format", "csv", "--store", "elsewhere")
        assert {row["kind"] for row in rows(said)} == {"generator", "set"}
        assert {row["lesions"] for row in rows(said)} == {"8"}
    finally:
        shutil.move(moved, was)


def test_where_it_cannot_tell_strict_fails(run, tmp_path):
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    client = MlflowClient(uri)
    client.set_terminated(client.create_run(client.create_experiment("of others")).info.run_id)
    assert run("leaks", uri=uri)[0] == 0
    code, said, _ = run("leaks", "--strict", "--format", "csv", uri=uri)
    assert code == 1
    assert {row["kind"] for row in rows(said)} == {"unknown"}


def test_cubes_that_were_not_compared_are_said(run):
    code, said, _ = run("leaks", "--format", "csv", "--no-cubes")
    assert code == 1
    assert ("unknown", "all stores") in {(row["kind"], row["touched_by"]) for row in rows(said)}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("leaks", "--format", "pdf"), "--format 'pdf' is unknown. Use text, markdown or csv."),
        (("leaks", "--store", "nowhere"), "nowhere is not a store"),
        (("leaks", "--colour"), "No such option: --colour"),
    ],
)
def test_mistakes_get_a_sentence(run, arguments, said):
    code, _, complaint = run(*arguments)
    assert code == 2
    assert said in complaint
    assert "Traceback" not in complaint


def test_a_server_that_is_away_is_named(run, tmp_path):
    code, _, complaint = run("leaks", uri="http://127.0.0.1:9")
    assert (code, "does not answer" in complaint) == (2, True)
    code, _, complaint = run("leaks", uri=f"sqlite:///{tmp_path / 'none.db'}")
    assert (code, "nothing is tracked here" in complaint) == (2, True)


def test_without_a_verb_it_says_what_there_is(run):
    code, said, _ = run()
    assert code == 0
    assert "leaks" in said


def test_a_folder_of_runs_that_is_not_there_is_no_clean_project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="--runs nowhere is no folder"):
        audit_leaks(runs=Path("nowhere"))
