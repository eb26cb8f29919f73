"""The tracking database: whole or absent whatever happens to its maker, waited for while it is locked, told when damaged."""

import logging
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import sqlalchemy
from mlflow import MlflowClient
from mlflow.store.db import utils

from hyperderm import databases
from hyperderm.databases import sqlite_address
from hyperderm.errors import TrackingError
from hyperderm.tracking.database import ready, sqlite_path
from hyperderm.tracking.server import check_server, quiet_client
from tests.killing import in_child


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A whole database without any run."""
    path = tmp_path_factory.mktemp("made") / "mlflow.db"
    ready(path, lambda text: None)
    return path


@pytest.fixture
def quick(made, monkeypatch) -> None:
    """Making the schema costs a second or more: here it is a copy of one that was made."""

    def copied(engine: sqlalchemy.Engine) -> None:
        with closing(sqlite3.connect(made)) as source, closing(sqlite3.connect(str(engine.url.database))) as target:
            source.backup(target)

    monkeypatch.setattr(utils, "_initialize_tables", copied)


@pytest.fixture
def said() -> list[str]:
    return []


def check_whole(path: Path) -> None:
    """MLflow takes it as it is."""
    engine = utils.create_sqlalchemy_engine(f"sqlite:///{path}")
    utils._verify_schema(engine)
    assert utils._all_tables_exist(engine)
    engine.dispose()
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def change(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as database:
        for statement in statements:
            database.execute(statement)
        database.commit()


@contextmanager
def locked(path: Path, seconds: float) -> Iterator[subprocess.Popen[str]]:
    """Another process holds the file, as a viewer or a backup may."""
    code = (
        "import sqlite3, sys, time; d = sqlite3.connect(sys.argv[1], isolation_level=None); "
        "d.execute('BEGIN EXCLUSIVE'); print('held', flush=True); time.sleep(float(sys.argv[2]))"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(path), str(seconds)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    try:
        yield holder
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()


def test_a_maker_killed_at_any_step_leaves_no_half(tmp_path, made, said):
    path = tmp_path / "mlflow.db"
    for steps in (1, 4, 40, 500):
        killed = in_child(lambda: ready(path, said.append), str(tmp_path), steps)
        assert killed.signal == signal.SIGKILL, f"it is made in fewer than {steps} steps"
        assert not path.exists(), "a half of it has its name"
    ready(path, said.append)
    check_whole(path)
    assert [each.name for each in tmp_path.iterdir()] == ["mlflow.db"], "what dead makers left is removed"
    assert said == []


@pytest.mark.usefixtures("quick")
def test_two_that_begin_together_make_one(tmp_path):
    path = tmp_path / "mlflow.db"
    both = [threading.Thread(target=lambda: ready(path, lambda text: None)) for _ in range(2)]
    for each in both:
        each.start()
    for each in both:
        each.join()
    check_whole(path)
    assert [each.name for each in tmp_path.iterdir()] == ["mlflow.db"]


def test_one_that_mlflow_made_meanwhile_stays(tmp_path, made, monkeypatch):
    """`mlflow ui` knows nothing of our lock: what it has put there, perhaps with a run, is not replaced."""
    path = tmp_path / "mlflow.db"
    shutil.copyfile(made, tmp_path / "theirs")
    change(tmp_path / "theirs", "INSERT INTO experiments (name, lifecycle_stage) VALUES ('theirs', 'active')")

    def slowly(engine: sqlalchemy.Engine) -> None:
        (tmp_path / "theirs").rename(path)
        shutil.copyfile(made, str(engine.url.database))

    monkeypatch.setattr(utils, "_initialize_tables", slowly)
    ready(path, lambda text: None)
    assert "theirs" in {one.name for one in MlflowClient(f"sqlite:///{path}").search_experiments()}
    assert {each.name for each in tmp_path.iterdir()} == {"mlflow.db"}


HALVES = {
    "no bytes": lambda path: path.touch(),
    "no tables": lambda path: change(path, "VACUUM"),
    "first tables": lambda path: change(path, "CREATE TABLE experiments (experiment_id INT)", "CREATE TABLE runs (x INT)"),
    "no version": lambda path: change(path, "DELETE FROM alembic_version"),
    "a table is missing": lambda path: change(path, "DROP TABLE trace_info"),
    "version of a step before": lambda path: change(path, "UPDATE alembic_version SET version_num = '451aebb31d03'"),
}


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("half", HALVES)
def test_a_half_made_one_that_holds_nothing_is_made_anew(tmp_path, made, said, half):
    path = tmp_path / "mlflow.db"
    if half in ("no version", "a table is missing", "version of a step before"):
        shutil.copyfile(made, path)
    HALVES[half](path)
    check_server(f"sqlite:///{path}", say=said.append)
    check_whole(path)
    assert said == [] if half in ("no bytes", "no tables") else "made anew" in said[0]


def test_a_half_made_one_that_holds_a_run_is_kept_and_told(tmp_path, made):
    path = tmp_path / "mlflow.db"
    shutil.copyfile(made, path)
    change(path, "INSERT INTO experiments (name) VALUES ('mine')", "DROP TABLE trace_info")
    (tmp_path / "mlflow.db.before-451aebb31d03").touch()
    before = path.read_bytes()
    with pytest.raises(TrackingError, match=r"does not fit.*put mlflow.db.before-451aebb31d03 in its place"):
        check_server(f"sqlite:///{path}")
    assert path.read_bytes() == before


def test_a_migration_killed_at_any_step_leaves_the_original(tmp_path, said):
    from alembic import command
    from mlflow.store.tracking.dbmodels.initial_models import Base

    path = tmp_path / "mlflow.db"
    engine = utils.create_sqlalchemy_engine(f"sqlite:///{path}")
    Base.metadata.create_all(engine)
    config = utils._get_alembic_config(f"sqlite:///{path}")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "451aebb31d03")  # 2019
    engine.dispose()
    change(path, "INSERT INTO experiments (name, lifecycle_stage) VALUES ('mine', 'active')")
    before = path.read_bytes()
    for steps in (10, 300):
        killed = in_child(lambda: ready(path, said.append), str(tmp_path), steps)
        assert killed.signal == signal.SIGKILL
        assert path.read_bytes() == before
    ready(path, said.append)
    check_whole(path)
    assert "mine" in {one.name for one in MlflowClient(f"sqlite:///{path}").search_experiments()}
    assert {each.name for each in tmp_path.iterdir()} == {"mlflow.db", "mlflow.db.before-451aebb31d03"}
    assert (tmp_path / "mlflow.db.before-451aebb31d03").read_bytes() == before


def test_a_lock_is_waited_for(tmp_path, made, said, monkeypatch):
    monkeypatch.setattr(databases, "QUIET_S", 0.2)
    path = tmp_path / "mlflow.db"
    shutil.copyfile(made, path)
    with locked(path, 1.5) as holder:
        began = time.monotonic()
        check_server(f"sqlite:///{path}", say=said.append)
    assert time.monotonic() - began > 1
    assert len(said) == 1
    assert f"waiting up to 30 s for {path}, which process {holder.pid}" in said[0]


def test_a_lock_that_stays_is_called_a_lock(tmp_path, made, monkeypatch):
    monkeypatch.setattr(databases, "PATIENCE_S", 0.5)
    path = tmp_path / "mlflow.db"
    shutil.copyfile(made, path)
    with locked(path, 60) as holder, pytest.raises(TrackingError) as caught:
        check_server(f"sqlite:///{path}")
    assert f"{path} is in use by process {holder.pid}" in caught.value.what
    assert "Close that program" in caught.value.remedy
    check_server(f"sqlite:///{path}")  # and nothing is wrong with it afterwards


@pytest.mark.usefixtures("quick")
def test_a_lock_on_one_that_is_being_made(tmp_path, said):
    """Somebody holds an empty file: what an `mlflow ui` that begins now has."""
    path = tmp_path / "mlflow.db"
    path.touch()
    with locked(path, 1):
        check_server(f"sqlite:///{path}", say=said.append)
    check_whole(path)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("damage", ["text", "zeroes", "cut", "first page", "schema"])
def test_damage_is_called_damage(tmp_path, made, damage):
    path = tmp_path / "mlflow.db"
    whole = made.read_bytes()
    path.write_bytes(
        {
            "text": b"no database at all, " * 300,
            "zeroes": bytes(8192),
            "cut": whole[:5000],
            "first page": bytes(4096) + whole[4096:],
            "schema": whole[:200] + bytes(3896) + whole[4096:],
        }[damage]
    )
    before = path.read_bytes()
    with pytest.raises(TrackingError, match="is damaged, or no SQLite database") as caught:
        check_server(f"sqlite:///{path}")
    assert "move it away" in caught.value.remedy
    assert path.read_bytes() == before
    path.rename(tmp_path / "away")  # the remedy
    check_server(f"sqlite:///{path}")
    check_whole(path)


@pytest.mark.parametrize("name", ["a%20b", "what?", "50%", "{x} #1", "Läsionen"])
def test_a_project_in_any_folder_has_its_database_there(tmp_path, name):
    """SQLAlchemy decodes addresses: `%20` would be a space, and what follows `?` no part of the name."""
    path = tmp_path / name / "mlflow.db"
    path.parent.mkdir()
    uri = sqlite_address(path)
    check_server(uri)
    assert sqlite_path(uri) == path
    assert path.exists()
    made = MlflowClient(uri).create_experiment("one", artifact_location=path.parent.as_uri())
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT name FROM experiments WHERE experiment_id = ?", (made,)).fetchone() == ("one",)
    assert list(tmp_path.rglob("*.db")) == [path], "MLflow makes an empty folder of the address as it is written, no more"


def read_only(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let SQLite open a file for reading alone, as it does where the rights are missing (root has them all)."""
    connect = sqlite3.connect

    def opened(database, *args, **kwargs):
        if str(database) == str(path):
            return connect(f"{path.as_uri()}?mode=ro", *args, uri=True, **kwargs)
        return connect(database, *args, **kwargs)

    monkeypatch.setattr(sqlite3, "connect", opened)


def test_one_that_only_can_be_read_is_refused_by_name_to_who_writes(tmp_path, made, monkeypatch):
    path = tmp_path / "mlflow.db"
    shutil.copyfile(made, path)
    before = path.read_bytes()
    databases.writable(path)
    assert path.read_bytes() == before
    read_only(path, monkeypatch)
    with pytest.raises(TrackingError, match=r"cannot be written \(attempt to write a readonly database\)") as caught:
        check_server(f"sqlite:///{path}")
    assert caught.value.what.startswith(f"{path} ")
    assert "right to write the file and its folder" in caught.value.remedy
    check_server(f"sqlite:///{path}", write=False)


def test_one_that_became_read_only_is_named_where_it_is_moved(tmp_path, made, monkeypatch):
    """It was proven writable; what fails afterwards still names the file."""
    path = tmp_path / "mlflow.db"
    shutil.copyfile(made, path)
    change(
        path, "INSERT INTO experiments (name, lifecycle_stage, artifact_location) VALUES ('x', 'active', 'file:///o/a/x')"
    )
    (tmp_path / "a" / "x").mkdir(parents=True)
    monkeypatch.setattr(databases, "writable", lambda path: None)
    read_only(path, monkeypatch)
    with pytest.raises(TrackingError, match=r"cannot be written \(attempt to write a readonly database\)") as caught:
        check_server(f"sqlite:///{path}")
    assert caught.value.what.startswith(f"{path} ")


def test_mlflow_prints_no_tracebacks_of_its_database(made, capfd):
    quiet_client()
    logging.getLogger("mlflow.store.db.utils").error("SQLAlchemy database error")
    assert capfd.readouterr().err == ""
