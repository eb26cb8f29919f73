"""The SQLite file that MLflow keeps: made aside and renamed, completed or migrated in a copy, never touched half.

MLflow's schema is made by some sixty steps that each write to the disk, so a file that is made in place stays half-made when
its maker is killed, and MLflow refuses such a file for good.
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
"""What the first step makes, before there is a version."""
OWN_ROWS = {VERSION_TABLE: "0", "workspaces": "name <> 'default'", "experiments": "experiment_id <> 0"}
"""Which rows of these tables are somebody's work; of all others every row is."""
DAMAGED = (
    "Restore it from a backup, or move it away and repeat the command: runs that go on are recorded anew, "
    "checkpoints and results lie in runs/ and stay."
)

Say = Callable[[str], None]


@dataclass(frozen=True)
class _Found:
    """What a file holds.

    Attributes:
        tables: all of them.
        version: of the schema, "" none.
        work: somebody's rows are in it.
    """

    tables: frozenset[str]
    version: str
    work: bool


def sqlite_path(uri: str) -> Path | None:
    """Return the file that `sqlite:///path` names, None for any other address."""
    return Path(unquote(uri.removeprefix("sqlite:///").partition("?")[0])) if uri.startswith("sqlite:///") else None


def ready(path: Path, say: Say, *, write: bool = True) -> bool:
    """Make the database at `path`, or prove that it is whole and of this MLflow's schema; an older one is migrated.

    Args:
        path: of the file.
        say: told what is done and waited for.
        write: it will be written; a reader is content with one that only can be read.

    Returns:
        Whether it can be written.

    Raises:
        TrackingError: it stays locked, is damaged, is not MLflow's, is of a newer MLflow, or cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with telling(path), _alone(path, say):
            return _ready(path, say, write)
    except OSError as error:
        raise TrackingError(
            f"The tracking database {path} cannot be written ({error.strerror or error})",
            "Give MLFLOW_TRACKING_URI=sqlite:///path/mlflow.db a path you may write, on a disk with space",
        ) from error


@contextmanager
def telling(path: Path) -> Iterator[None]:
    """Turn what SQLite says of the tracking database into a sentence that names it.

    Raises:
        TrackingError: it is locked, damaged, or cannot be written.
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
    """Return whether the file can be written, unless it `must`; to try also takes back what a killed writer left."""
    try:
        databases.writable(path)
    except sqlite3.Error as error:
        if must or databases.trouble(error) not in ("refused", "full"):
            raise
        return False
    return True


def _look(path: Path) -> _Found:
    """Read what the file holds.

    Raises:
        TrackingError: it is not MLflow's.
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
    """Return whether the file has this MLflow's schema, whole.

    Raises:
        TrackingError: it has a schema that this MLflow does not know.
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
    """Make the database in a room of its own; where another program was faster, its one stays."""
    with room(path) as place:
        made = place / path.name
        engine = _engine(made, aside=True)
        try:
            _utils()._initialize_tables(engine)
        finally:
            engine.dispose()
        with suppress(FileExistsError):
            publish(made, path, over=over)


def _migrate(path: Path, version: str) -> None:
    """Migrate a copy, keep the original beside it, and put the copy in its place; nobody writes meanwhile."""
    with room(path) as place, closing(sqlite3.connect(path, timeout=1, isolation_level=None)) as original:
        original.execute("BEGIN IMMEDIATE")
        copy = place / path.name
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
        engine = _engine(copy, aside=True)
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
    """Give the original a second name; a disk without links gets a copy."""
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


def _engine(path: Path, aside: bool) -> Any:  # noqa: ANN401 - SQLAlchemy's
    import sqlalchemy

    engine = sqlalchemy.create_engine(sqlalchemy.URL.create("sqlite", database=str(path)))
    if aside:  # nothing is read from it before it is whole: it is brought to the disk once, at the end

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
    """Hold the folder of the database: of commands that start together, one makes it and the others wait."""
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
