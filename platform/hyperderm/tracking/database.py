"""The SQLite file of MLflow, which is created aside and renamed, and completed or migrated in a copy, so it is always whole.

MLflow creates its schema in about sixty steps, and each step writes to the disk. A file that is created in place stays
incomplete if its maker is killed, and MLflow then refuses this file for good.
"""

import fcntl
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from hyperderm import databases
from hyperderm.durable import publish, room, whole
from hyperderm.errors import TrackingError

VERSION_TABLE = "alembic_version"
FIRST_TABLES = {"experiments", "runs", "tags", "metrics", "params"}
"""The tables that MLflow's first step creates, before the schema has a version."""
OWN_ROWS = {VERSION_TABLE: "0", "workspaces": "name <> 'default'", "experiments": "experiment_id <> 0"}
"""Table to the condition for rows that a user made; in all other tables every row counts."""
DAMAGED = (
    "Restore it from a backup, or move it away and repeat the command: runs that go on are recorded anew, "
    "checkpoints and results lie in runs/ and stay."
)

Say = Callable[[str], None]


@dataclass(frozen=True)
class _Found:
    """The content of a database file.

    Attributes:
        tables: the names of all tables.
        version: the version of the schema; "" if there is none.
        work: whether the file holds rows that a user made.
    """

    tables: frozenset[str]
    version: str
    work: bool


def sqlite_path(uri: str) -> Path | None:
    """Return the file that `sqlite:///path` names; None for any other address."""
    return Path(unquote(uri.removeprefix("sqlite:///").partition("?")[0])) if uri.startswith("sqlite:///") else None


def ready(path: Path, say: Say, *, write: bool = True) -> bool:
    """Create the database at `path`, or prove that it is whole and has the schema of this MLflow; migrate an older schema.

    Args:
        path: the database file.
        say: is called with a sentence about each action and each wait.
        write: whether the caller will write to the database; for readers, a read-only file is enough.

    Returns:
        Whether the database can be written.

    Raises:
        TrackingError: the file stays locked, is damaged, is not MLflow's, is of a newer MLflow, or cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with telling(path), _alone(path, say):
            return _ready(path, say, write)
    except OSError as error:
        raise _unwritable(path, error) from error


def look(path: Path, patience_s: float = 2.0) -> str:
    """Return in words what `ready` would find and do at `path`; nothing is created or changed.

    Args:
        path: the database file.
        patience_s: seconds to wait for another program's lock.

    Raises:
        TrackingError: for the same reasons as in `ready`.
    """
    try:
        if not path.exists():
            folder = next(each for each in path.absolute().parents if each.exists())
            with room(folder / path.name):
                return "will be created by the first run"
        databases.patiently(lambda: _may_write(path, True), path, patience_s=patience_s)
        found = _look(path)
        if found.version and _complete(path, found):
            return "can be written"
        return "has an older schema: the next run migrates a copy of it" if found.work else "is made anew by the next run"
    except OSError as error:
        raise _unwritable(path, error) from error
    except Exception as error:
        if isinstance(error, TrackingError) or not databases.trouble(error):
            raise
        raise TrackingError(*databases.told(path, error, DAMAGED, patience_s)) from error


def _unwritable(path: Path, error: OSError) -> TrackingError:
    return TrackingError(
        f"The tracking database {path} cannot be written ({error.strerror or error})",
        "Give MLFLOW_TRACKING_URI=sqlite:///path/mlflow.db a path you may write, on a disk with space",
    )


@contextmanager
def telling(path: Path) -> Iterator[None]:
    """Turn an SQLite error about the tracking database into a sentence that names the database.

    Raises:
        TrackingError: the database is locked, damaged, or cannot be written.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, TrackingError) or not databases.trouble(error):
            raise
        raise TrackingError(*databases.told(path, error, DAMAGED)) from error


def _ready(path: Path, say: Say, write: bool) -> bool:
    deadline = time.monotonic() + databases.PATIENCE_S
    while path.exists():
        may = databases.patiently(lambda: _may_write(path, write), path, say)
        found = _look(path)
        if found.version and _complete(path, found):
            return may
        if not may:
            databases.writable(path)  # raises: what is unfinished or older cannot be read as it is
        if not databases.users(path):
            break
        if time.monotonic() > deadline:
            raise TrackingError(
                f"{path} has an older or unfinished schema, and {databases.holder(path)} has it open",
                "Wait until that program has made it, or stop it; then repeat the command",
            )
        time.sleep(databases.PAUSE_S)
    else:
        _make(path, over=False)
        return True
    if found.work or found.version:
        try:
            _migrate(path, found.version)
            return True
        except TrackingError:
            if found.work:
                raise
    if found.tables:
        say(f"{path} was left half-made and holds nothing: it is made anew")
    _make(path, over=True)
    return True


def _may_write(path: Path, must: bool) -> bool:
    """Return whether the file can be written; raise if it `must` be. The attempt also undoes a killed writer's changes."""
    try:
        databases.writable(path)
    except sqlite3.Error as error:
        if must or databases.trouble(error) not in ("refused", "full"):
            raise
        return False
    return True


def _look(path: Path) -> _Found:
    """Read what the database file holds.

    Raises:
        TrackingError: the file is not MLflow's.
    """
    with closing(sqlite3.connect(path, timeout=1, isolation_level=None)) as database:
        tables = {str(row[0]) for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        query = f"SELECT version_num FROM {VERSION_TABLE}"  # noqa: S608 - the name from above
        versions = database.execute(query).fetchall() if VERSION_TABLE in tables else []
        work = any(_holds_work(database, table) for table in tables)
    if tables and VERSION_TABLE not in tables and not tables & FIRST_TABLES:
        raise TrackingError(f"{path} is an SQLite file, but not MLflow's", "Give MLFLOW_TRACKING_URI another file")
    return _Found(frozenset(tables), str(versions[0][0]) if versions else "", work)


def _holds_work(database: sqlite3.Connection, table: str) -> bool:
    if table.startswith("sqlite_"):
        return False
    name = table.replace('"', '""')
    query = f'SELECT 1 FROM "{name}" WHERE {OWN_ROWS.get(table, "1")} LIMIT 1'  # noqa: S608 - names from the file itself
    return database.execute(query).fetchone() is not None


def _complete(path: Path, found: _Found) -> bool:
    """Return whether the file has the complete schema of this MLflow.

    Raises:
        TrackingError: the file has a schema that this MLflow does not know.
    """
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    utils = _utils()
    steps = ScriptDirectory.from_config(utils._get_alembic_config(""))
    try:
        steps.get_revision(found.version)
    except CommandError as error:
        raise _foreign_schema(path, error) from error
    return found.version in steps.get_heads() and set(utils.Base.metadata.tables) <= found.tables


def _make(path: Path, over: bool) -> None:
    """Create the database in a folder of its own and publish it; if another program was faster, keep that program's file."""
    with room(path) as place:
        made = place / path.name
        engine = _engine(made)
        try:
            _utils()._initialize_tables(engine)
        finally:
            engine.dispose()
        with suppress(FileExistsError):
            publish(made, path, over=over)


def _migrate(path: Path, version: str) -> None:
    """Migrate a copy, keep the original beside it, and put the copy in its place, while other writers are locked out."""
    with room(path) as place, closing(sqlite3.connect(path, timeout=1, isolation_level=None)) as original:
        original.execute("BEGIN IMMEDIATE")
        copy = place / path.name
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
        engine = _engine(copy)
        try:
            _utils()._upgrade_db(engine)
        except Exception as error:
            raise _foreign_schema(path, error) from error
        finally:
            engine.dispose()
        if not _complete(path, _look(copy)):
            raise _foreign_schema(path, ValueError("tables are missing"))
        _keep(path, version)
        publish(copy, path)


def _keep(path: Path, version: str) -> None:
    """Give the original file a second name, or copy it on a disk without links."""
    first = path.with_name(f"{path.name}.before-{version or 'the-first'}")
    names = [first, *(first.with_name(f"{first.name}-{number}") for number in range(2, 100))]
    kept = next(name for name in names if not name.exists())
    try:
        os.link(path, kept)
    except OSError:
        with whole(kept) as copy:
            shutil.copyfile(path, copy)


def _foreign_schema(path: Path, error: Exception) -> TrackingError:
    what = f"The tracking database {path} does not fit this MLflow's schema ({str(error).splitlines()[0][:200]})"
    older = sorted(path.parent.glob(f"{path.name}.before-*"), key=lambda file: file.stat().st_mtime)
    if older:
        return TrackingError(
            what, f"Move it away and put {older[-1].name} in its place, which was kept before it was migrated"
        )
    return TrackingError(what, "Use the MLflow that wrote it (`mlflow --version` there), or another file")


def _engine(path: Path) -> Any:  # noqa: ANN401 - SQLAlchemy's
    """Open a file that nobody reads before it is whole: it is brought to the disk once, at the end."""
    import sqlalchemy

    engine = sqlalchemy.create_engine(sqlalchemy.URL.create("sqlite", database=str(path)))

    @sqlalchemy.event.listens_for(engine, "connect")
    def quick(connection: sqlite3.Connection, record: object) -> None:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA journal_mode = MEMORY")

    return engine


def _utils() -> Any:  # noqa: ANN401 - mlflow's own, untyped
    from mlflow.store.db import utils

    return utils


@contextmanager
def _alone(path: Path, say: Say) -> Iterator[None]:
    """Lock the folder of the database, so that only one of several commands creates the database and the others wait."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        deadline, told = time.monotonic() + 2 * databases.PATIENCE_S, time.monotonic() + databases.QUIET_S
        while not _locked(folder) and time.monotonic() < deadline:
            if time.monotonic() > told:
                say(f"waiting for another command that is making {path}")
                told = deadline
            time.sleep(databases.PAUSE_S)
        yield
    finally:
        os.close(folder)


def _locked(folder: int) -> bool:
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True  # a file system without such locks: the last rename then decides
    return True
