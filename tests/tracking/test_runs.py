"""The run tree in a local SQLite tracking database."""

import json
import sqlite3
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from mlflow import MlflowClient

from hyperderm.errors import TrackingError
from hyperderm.tracking.event_log import EventLog
from hyperderm.tracking.runs import Tracker, check_server


@pytest.fixture(scope="module")
def uri(tmp_path_factory):
    uri = f"sqlite:///{tmp_path_factory.mktemp('tracking')}/mlflow.db"
    check_server(uri)
    return uri


@pytest.fixture
def place(uri, tmp_path, request):
    return RunLocation(uri, tmp_path, request.node.name)


class RunLocation:
    """One experiment; trackers on it, and what MLflow then holds."""

    def __init__(self, uri: str, folder: Path, experiment: str) -> None:
        self.uri, self.folder, self.experiment = uri, folder, experiment
        self.warnings: list[str] = []
        self.client = MlflowClient(tracking_uri=uri)

    def tracker(self, event_log: str = "event log.db") -> Tracker:
        artifacts = self.folder / "the artifacts"
        return Tracker(self.uri, self.experiment, self.folder / event_log, artifacts, self.warnings.append)

    def run(self, key: str):
        experiment = self.client.get_experiment_by_name(self.experiment)
        runs = [r for r in self.client.search_runs([experiment.experiment_id]) if r.data.tags["hyperderm.key"] == key]
        assert len(runs) == 1, f"{len(runs)} runs have the key {key!r}"
        return runs[0]

    def history(self, key: str, metric: str) -> list[tuple[int, float]]:
        points = self.client.get_metric_history(self.run(key).info.run_id, metric)
        return sorted((point.step, point.value) for point in points)

    def artifact(self, key: str, path: str) -> str:
        return Path(self.client.download_artifacts(self.run(key).info.run_id, path, str(self.folder))).read_text()


def finish(tracker: Tracker) -> None:
    assert tracker.flush(20) == 0
    tracker.close()


def test_tree_params_tags_metrics_and_end(place):
    tracker = place.tracker()
    tracker.open_run("sweep", "Sweep of it", tags={"fold": "2"}, params={"lr": 0.1, "deep": True})
    tracker.open_run("sweep/it's 1", "trial 1", parent="sweep")
    for step in range(3):
        tracker.log_metrics("sweep/it's 1", {"loss": 1.0 / (step + 1)}, step)
    tracker.close_run("sweep/it's 1", "KILLED", reason="pruned at step 2")
    tracker.close_run("sweep", "FINISHED")
    assert tracker.flush(20) == 0
    parent, child = place.run("sweep"), place.run("sweep/it's 1")
    assert tracker._event_log.known_run("sweep")[0] == parent.info.run_id
    assert tracker._event_log.known_run("never") is None
    assert tracker.ui_address("sweep") is None
    assert tracker.charts_below("never", "loss") is None
    asked = parse_qs(tracker.charts_below("sweep", "validation/best_it").partition("?")[2])
    assert asked["orderByKey"] == ["metrics.`validation/best_it`"]
    below = place.client.search_runs([parent.info.experiment_id], asked["searchFilter"][0])
    assert [run.info.run_id for run in below] == [child.info.run_id]
    tracker.close()
    assert tracker._event_log.known_run("sweep")[0] == parent.info.run_id

    assert (parent.info.run_name, parent.info.status) == ("Sweep of it", "FINISHED")
    assert parent.data.params == {"lr": "0.1", "deep": "True"}
    assert parent.data.tags["fold"] == "2"
    assert {"mlflow.user", "mlflow.source.name", "mlflow.runName"} <= set(parent.data.tags)
    assert "mlflow.parentRunId" not in parent.data.tags
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert child.info.status == "KILLED"
    assert child.data.tags["hyperderm.reason"] == "pruned at step 2"
    assert child.info.end_time >= child.info.start_time
    assert place.history("sweep/it's 1", "loss") == [(0, 1.0), (1, 0.5), (2, 1 / 3)]
    assert place.warnings == []
    assert tracker.refused == []


def test_a_run_is_found_again_by_its_key_and_its_first_params_stay(place):
    tracker = place.tracker()
    tracker.open_run("a", "first", params={"lr": 1})
    for step in range(5):
        tracker.log_metrics("a", {"loss": float(step)}, step)
    tracker.close_run("a", "FAILED")
    finish(tracker)
    first = place.run("a").info.run_id

    tracker = place.tracker()
    tracker.open_run("a", "again", params={"lr": 2, "new": "x"})
    for step in range(3, 8):  # resumed from a checkpoint at step 3
        tracker.log_metrics("a", {"loss": float(step)}, step)
    finish(tracker)
    run = place.run("a")
    assert (run.info.run_id, run.info.status) == (first, "RUNNING")
    assert run.data.params == {"lr": "1", "new": "x"}
    assert place.history("a", "loss") == [(step, float(step)) for step in range(8)]
    assert len(place.warnings) == 1
    assert "'lr'" in place.warnings[0]


def test_a_lost_journal_duplicates_nothing(place):
    for event_log in ("one.db", "two.db"):
        tracker = place.tracker(event_log)
        tracker.open_run("a", "a")
        for step in range(4 if event_log == "one.db" else 6):
            tracker.log_metrics("a", {"loss": float(step)}, step)
        tracker.log_metrics("a", {f"only {event_log}": 1.0}, 0)
        finish(tracker)
    assert place.history("a", "loss") == [(step, float(step)) for step in range(6)]
    assert set(place.run("a").data.metrics) == {"loss", "only one.db", "only two.db"}


def test_a_run_deleted_in_the_ui_starts_anew(place):
    for _ in range(2):
        tracker = place.tracker()
        tracker.open_run("a", "a")
        assert tracker.flush(20) == 0
        for step in range(3):
            tracker.log_metrics("a", {"loss": float(step)}, step)
        finish(tracker)
        assert place.history("a", "loss") == [(0, 0.0), (1, 1.0), (2, 2.0)]
        place.client.delete_run(place.run("a").info.run_id)
    assert len(place.warnings) == 1
    assert "was deleted" in place.warnings[0]


def test_every_delivery_done_twice_changes_nothing(place, monkeypatch):
    """The driver dies between the server's answer and the event log's: each operation is delivered again."""
    remove_delivered = EventLog.remove_delivered
    crashed: set[int] = set()

    def remove_second_time(self, batch, *rest):
        if batch[0].id not in crashed:
            crashed.add(batch[0].id)
            raise sqlite3.OperationalError("killed here")
        remove_delivered(self, batch, *rest)

    monkeypatch.setattr(EventLog, "remove_delivered", remove_second_time)
    monkeypatch.setattr("hyperderm.tracking.delivery.BACKOFF_S", (0.01, 0.01))
    tracker = place.tracker()
    tracker.open_run("a", "a", params={"lr": 1}, tags={"t": "1"})
    tracker.open_run("a/b", "b", parent="a")
    for step in range(50):
        tracker.log_metrics("a/b", {"loss": float(step), "acc": 0.5}, step)
    tracker.log_text("a/b", "hello", "notes/hello.txt")
    tracker.close_run("a/b", "FINISHED")
    finish(tracker)
    assert len(crashed) >= 6
    assert place.history("a/b", "loss") == [(step, float(step)) for step in range(50)]
    assert place.run("a").data.params == {"lr": "1"}
    assert place.run("a/b").info.status == "FINISHED"
    assert place.artifact("a/b", "notes/hello.txt") == "hello"


def test_twins_of_a_create_that_was_sent_twice_are_removed(place, monkeypatch):
    create = MlflowClient.create_run

    def create_twice(self, *args, **kwargs):
        create(self, *args, **kwargs)
        return create(self, *args, **kwargs)

    monkeypatch.setattr(MlflowClient, "create_run", create_twice)
    tracker = place.tracker()
    tracker.open_run("a", "a", params={"x": 1})
    finish(tracker)
    assert place.run("a").data.params == {"x": "1"}
    assert tracker._event_log.known_run("a")[0] == place.run("a").info.run_id


def test_values_mlflow_cannot_keep(place):
    tracker = place.tracker()
    long, value = "x" * 7000, {"blocks": list(range(3000))}
    tracker.open_run("a", "a", params={"long": long, "structure": value, "short": None}, tags={"big": "y" * 9000})
    for step, number in enumerate([1.0, float("inf"), float("nan"), float("-inf"), 2.0]):
        tracker.log_metrics("a", {"loss": number, "fine": float(step)}, step)
    tracker.log_metrics("a", {"word": "no number", "bad(name)": 1.0, "good": 3.0}, 9)
    finish(tracker)

    run = place.run("a")
    assert place.history("a", "loss") == [(0, 1.0), (4, 2.0)]
    assert len(place.history("a", "fine")) == 5
    assert run.data.metrics["good"] == 3.0, "a refused name takes no other metric with it"
    assert run.data.tags["hyperderm.nonfinite.loss"] == "inf at step 1"
    assert run.data.params["short"] == "None"
    assert "7000 characters" in run.data.params["long"]
    for name, whole in {"long": long, "structure": str(value)}.items():
        file = run.data.params[name].removesuffix(")").split()[-1]
        assert file in run.data.tags["hyperderm.long_params"]
        assert json.loads(place.artifact("a", file)) == {name: whole}
    assert place.artifact("a", "hyperderm/long_tags/big.txt") == "y" * 9000
    assert len(run.data.tags["big"]) <= 8000
    assert [warning.split()[0] for warning in place.warnings] == ["Metric", "Metric", "MLflow"]
    assert [row[:2] for row in tracker.refused] == [("a", "metrics")]


def test_refused_operations_do_not_block(place):
    tracker = place.tracker()
    tracker.log_metrics("never opened", {"loss": 1.0}, 0)
    tracker.open_run("orphan", "orphan", parent="nobody")
    tracker.open_run("a", "a", params={"bad(": 1, "good": 2})
    tracker.set_tags("a", {"": "no name", "t": "1"})
    tracker.log_text("a", "x", "../out.txt")
    tracker.log_metrics("a", {"loss": 1.0}, 0)
    finish(tracker)
    assert place.run("a").data.params == {"good": "2"}
    assert place.run("a").data.metrics == {"loss": 1.0}
    assert place.run("a").data.tags["t"] == "1"
    assert place.run("orphan").info.status == "RUNNING"
    assert [row[:2] for row in tracker.refused] == [
        ("never opened", "metrics"),
        ("a", "open"),
        ("a", "tags"),
    ]
    assert any("without its parent" in warning for warning in place.warnings)
    assert any("'../out.txt'" in warning for warning in place.warnings)


def test_files_are_copied_at_once_and_the_copies_removed(place, tmp_path):
    tracker = place.tracker()
    tracker.open_run("a", "a")
    source = tmp_path / "figure one.svg"
    source.write_text("<svg/>")
    tracker.log_file("a", source, "figures/losses")
    source.unlink()
    tracker.log_file("a", tmp_path / "missing.png")
    tracker.log_json("a", {"path": Path("x"), "n": 1}, "config.json")
    finish(tracker)
    assert place.artifact("a", "figures/losses/figure one.svg") == "<svg/>"
    assert json.loads(place.artifact("a", "config.json")) == {"path": "x", "n": 1}
    assert list((tmp_path / "event log.db.spool").iterdir()) == []
    assert list((tmp_path / "the artifacts").iterdir()), "artifacts lie under artifact_root"
    assert len(place.warnings) == 1
    assert "missing.png" in place.warnings[0]

    orphan = tmp_path / "event log.db.spool" / "orphan"
    orphan.mkdir()
    (orphan / "half").write_text("")
    place.tracker().close()
    assert not orphan.exists()


def test_wrong_keys_and_states_are_named(place):
    tracker = place.tracker()
    with pytest.raises(TrackingError, match="cannot be searched"):
        tracker.open_run('a"b', "a")
    with pytest.raises(TrackingError, match="DONE"):
        tracker.close_run("a", "DONE")
    tracker.close()


@pytest.mark.parametrize(
    "uri", ["mlruns", "file:///tmp/mlruns", "postgresql://u:secret@h/db", "sqlite://", "http://", "databricks", ""]
)
def test_addresses_that_cannot_be_used(uri):
    with pytest.raises(TrackingError, match="sqlite:///path") as caught:
        check_server(uri)
    assert "secret" not in str(caught.value)


def test_an_address_with_a_wrong_port():
    with pytest.raises(TrackingError, match="no address"):
        check_server("http://localhost:port")


def test_sqlite_files_that_cannot_be_used(tmp_path):
    (tmp_path / "file").write_text("no database, but long enough to be taken for one" * 100)
    sqlite3.connect(tmp_path / "other.db").execute("CREATE TABLE mine (x)").connection.close()
    for path in ("file", "file/mlflow.db", "other.db"):
        with pytest.raises(TrackingError):
            check_server(f"sqlite:///{tmp_path / path}")


def test_sqlite_of_another_mlflow(uri, tmp_path, capfd):
    path = tmp_path / "deep" / "mlflow.db"
    path.parent.mkdir()
    source = sqlite3.connect(uri.removeprefix("sqlite:///"))
    with sqlite3.connect(path) as copy:
        source.backup(copy)
        copy.execute("UPDATE alembic_version SET version_num = 'ffffffffffff'")
    with pytest.raises(TrackingError, match="schema"):
        check_server(f"sqlite:///{path}")
    assert capfd.readouterr().err == ""


def test_an_older_sqlite_database_is_copied_and_migrated(tmp_path):
    from alembic import command
    from mlflow.store.db import utils
    from mlflow.store.tracking.dbmodels.initial_models import Base

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    engine = utils.create_sqlalchemy_engine(uri)
    Base.metadata.create_all(engine)
    config = utils._get_alembic_config(uri)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "451aebb31d03")  # 2019: metric steps
    engine.dispose()
    check_server(uri)
    assert MlflowClient(tracking_uri=uri).search_experiments()[0].name == "Default"
    assert (tmp_path / "mlflow.db.before-451aebb31d03").exists()
