"""A project that is moved or copied: its runs keep their pictures, and new ones lie where the project is now."""

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.tracking._tracking_service.utils import _artifact_repos_cache

from hyperderm.errors import TrackingError
from hyperderm.tags import DATABASE_TAG
from hyperderm.tracking.database import ready
from hyperderm.tracking.fetch import fetch
from hyperderm.tracking.requests import MlflowRequests
from hyperderm.tracking.runs import Tracker
from hyperderm.tracking.server import check_server


@pytest.fixture(scope="module")
def schema(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("schema") / "mlflow.db"
    ready(path, lambda text: None)
    return path


class Project:
    """A folder with a tracking database, its pictures, and one run's event log."""

    def __init__(self, root: Path) -> None:
        self.root, self.uri, self.said = root, f"sqlite:///{root / 'mlflow.db'}", list[str]()

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(self.uri)

    def tracker(self) -> Tracker:
        event_log = self.root / "runs" / "one" / "outbox.db"
        return Tracker(self.uri, "my experiment", event_log, self.root / "mlartifacts", self.said.append)

    def log(self, name: str, *, deliver: bool = True) -> None:
        tracker = self.tracker()
        tracker.open_run("one", "one")
        tracker.log_json("one", {"learner": {"lr": 1}}, "config.json")
        tracker.log_text("one", name, f"{name}.txt")
        if deliver:
            tracker.close_run("one", "FINISHED")
            assert tracker.flush(20) == 0
        tracker.close()
        assert tracker.refused == []

    def text(self, name: str) -> str:
        [run] = self.runs()
        return Path(self.client.download_artifacts(run.info.run_id, f"{name}.txt")).read_text()

    def runs(self) -> list:
        known = [each.experiment_id for each in self.client.search_experiments()]
        return list(self.client.search_runs(known))

    def begin(self) -> None:
        """Begin as a command does, in a process of its own: MLflow remembers where the artifacts of a run were."""
        _artifact_repos_cache.clear()
        check_server(self.uri, say=self.said.append)


@pytest.fixture
def project(tmp_path, schema) -> Project:
    root = tmp_path / "the project"
    root.mkdir()
    shutil.copyfile(schema, root / "mlflow.db")
    made = Project(root)
    made.begin()
    made.log("first")
    return made


def out_of_reach(self, batch) -> None:
    raise ConnectionError("away")


def without_tag(project: Project) -> None:
    """Make the database one of a version that wrote no tag."""
    with closing(sqlite3.connect(project.root / "mlflow.db")) as database:
        database.execute("DELETE FROM experiment_tags WHERE key = ?", (DATABASE_TAG,))
        database.commit()


@pytest.mark.parametrize("tagged", [True, False])
def test_pictures_follow_a_moved_project(project, tmp_path, tagged):
    if not tagged:
        without_tag(project)
    moved = Project(project.root.rename(tmp_path / "elsewhere"))
    moved.begin()
    assert len(moved.said) == 1
    assert f"looked for in {moved.root / 'mlartifacts' / 'my_experiment'}, not in {project.root}" in moved.said[0]
    assert moved.text("first") == "first"
    moved.log("second")
    assert moved.text("second") == "second"
    assert len(list(moved.root.glob("mlartifacts/my_experiment/*/artifacts/second.txt"))) == 1
    assert not project.root.exists(), "something was made at the old place"
    [[run]] = fetch(moved.uri, ["one"])
    assert run.whole
    assert run.settings == {"learner.lr": 1}
    moved.said.clear()
    moved.begin()
    assert moved.said == [], "it is said once"


def test_a_copy_keeps_its_own_pictures_and_the_original_its(project, tmp_path):
    copy = Project(Path(shutil.copytree(project.root, tmp_path / "copy")))
    copy.begin()
    copy.log("in the copy")
    assert (copy.text("first"), copy.text("in the copy")) == ("first", "in the copy")
    assert not list(project.root.rglob("in the copy.txt"))
    shutil.rmtree(copy.root)
    project.begin()
    assert project.text("first") == "first"
    assert project.said == []


def test_a_move_where_the_old_place_cannot_be_made(project, tmp_path):
    """There the runs stayed RUNNING, and the backlog grew."""
    moved = Project(project.root.rename(tmp_path / "elsewhere"))
    project.root.write_text("in the way")
    moved.begin()
    moved.log("second")
    assert [run.info.status for run in moved.runs()] == ["FINISHED"]
    assert moved.text("second") == "second"


def test_pictures_that_stayed_where_they_were_are_left_there(project, tmp_path):
    """The database alone was copied: nobody has moved the pictures."""
    alone = Project(tmp_path / "alone")
    alone.root.mkdir()
    shutil.copyfile(project.root / "mlflow.db", alone.root / "mlflow.db")
    alone.begin()
    assert alone.said == []
    assert alone.text("first") == "first"


def test_a_database_that_several_projects_share_is_not_touched(project, tmp_path):
    """Its pictures never lay beside it; another project that has a folder of that name changes nothing."""
    shared = tmp_path / "shared" / "mlflow.db"
    shared.parent.mkdir()
    (project.root / "mlflow.db").rename(shared)
    with closing(sqlite3.connect(shared)) as database:
        database.execute("UPDATE experiment_tags SET value = ? WHERE key = ?", (str(shared), DATABASE_TAG))
        database.commit()
    (shared.parent / "mlartifacts" / "my_experiment").mkdir(parents=True)
    said: list[str] = []
    check_server(f"sqlite:///{shared}", say=said.append)
    assert said == []
    [experiment] = [one for one in MlflowClient(f"sqlite:///{shared}").search_experiments() if one.name != "Default"]
    assert experiment.artifact_location == (project.root / "mlartifacts" / "my_experiment").as_uri()


@pytest.mark.parametrize("copied", [False, True])
def test_what_was_owed_is_delivered_from_the_new_place(project, tmp_path, monkeypatch, copied):
    """The event log named its copies of files, and the database, by absolute paths."""
    monkeypatch.setattr(MlflowRequests, "deliver", out_of_reach)
    tracker = project.tracker()
    tracker.open_run("one", "one")
    tracker.log_text("one", "owed", "owed.txt")
    tracker.close_run("one", "FINISHED")
    tracker.flush(0.3)
    tracker.close()
    assert tracker.pending > 0
    monkeypatch.undo()
    moved = Project(
        Path(shutil.copytree(project.root, tmp_path / "new")) if copied else project.root.rename(tmp_path / "new")
    )
    moved.begin()
    tracker = moved.tracker()
    assert tracker.flush(20) == 0
    tracker.close()
    assert tracker.refused == []
    assert moved.text("owed") == "owed"


def test_what_is_owed_to_another_database_is_not_delivered_here(project, tmp_path, monkeypatch, schema):
    monkeypatch.setattr(MlflowRequests, "deliver", out_of_reach)
    tracker = project.tracker()
    tracker.set_tags("one", {"a": "b"})
    tracker.close()
    shutil.copyfile(schema, tmp_path / "other.db")
    with pytest.raises(TrackingError, match="still owes"):
        Tracker(
            f"sqlite:///{tmp_path / 'other.db'}", "my experiment", project.root / "runs" / "one" / "outbox.db", None, print
        )


@pytest.fixture
def refusing(project, monkeypatch):
    """Let the folder of the pictures refuse; root may write anywhere, so the kernel is played by a patch where need be."""
    folder = project.root / "mlartifacts" / "my_experiment"

    def refuse(how: str) -> None:
        shutil.rmtree(folder)
        if how == "a file in its place":
            folder.write_text("in the way")
        elif how == "no folder above":
            shutil.rmtree(folder.parent)
            folder.parent.write_text("in the way")
        elif how == "read-only":
            real = os.makedirs

            def makedirs(name, *args, **kwargs):
                if str(name).startswith(str(folder)):
                    raise OSError(30, "Read-only file system", str(name))
                return real(name, *args, **kwargs)

            monkeypatch.setattr(os, "makedirs", makedirs)

    return refuse


@pytest.mark.parametrize("how", ["a file in its place", "no folder above", "read-only", "the copy is gone"])
def test_a_picture_that_can_never_be_kept_blocks_nothing(project, refusing, how):
    refusing(how)
    tracker = project.tracker()
    tracker.open_run("one", "one")
    if how == "the copy is gone":
        tracker._delivery.put("one", "file", {"artifact_path": "figures"}, tracker._spool / "x" / "lesions.png")
    else:
        tracker.log_text("one", "a picture", "figures/lesions.png")
    tracker.log_metrics("one", {"loss": 1.0}, 7)
    tracker.close_run("one", "FINISHED")
    assert tracker.flush(10) == 0, "what comes behind goes on at once"
    tracker.close()
    [run] = project.runs()
    assert run.info.status == "FINISHED"
    assert run.data.metrics == {"loss": 1.0}
    assert [row[:2] for row in tracker.refused] == [("one", "file")]
    assert "lesions.png" in tracker.refused[0][2]
    assert sum("refused file of run 'one'" in said and "lesions.png" in said for said in project.said) == 1


def test_a_full_disk_is_waited_for(project, monkeypatch):
    """It is mended by making room: nothing is given up, however often it fails."""
    from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

    monkeypatch.setattr("hyperderm.tracking.delivery.BACKOFF_S", (0.01, 0.01))
    log, full = LocalArtifactRepository.log_artifact, [True]
    tries: list[int] = []

    def log_artifact(self, *args):
        tries.append(1)
        if full[0]:
            raise OSError(28, "No space left on device", "/full/lesions.png")
        log(self, *args)

    monkeypatch.setattr(LocalArtifactRepository, "log_artifact", log_artifact)
    tracker = project.tracker()
    tracker.open_run("one", "one")
    tracker.log_text("one", "late", "late.txt")
    tracker.close_run("one", "FINISHED")
    tracker.flush(1.5)
    assert len(tries) > 12, "more often than a batch is tried that the server cannot digest"
    assert tracker.pending == 2
    assert tracker.refused == []
    full[0] = False
    assert tracker.flush(10) == 0
    tracker.close()
    assert project.text("late") == "late"
