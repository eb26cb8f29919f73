"""The SQLite file of a sweep's study: written aside and then renamed, waited for while locked, reported when damaged."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import optuna

from hyperderm import databases
from hyperderm.durable import publish, room
from hyperderm.errors import StudyError

KNOWN_TABLES = {"studies", "trials", "version_info", "alembic_version"}
"""Some of the tables that Optuna creates."""
DAMAGED = (
    "Restore it from a backup; or begin a new search beside it: --name NAME (make: NAME=…). The checkpoints in trials/ are "
    "kept: hyperderm generate --checkpoint …/trials/0000/best.pt."
)


def open_study(
    path: Path,
    name: str,
    pruner: optuna.pruners.BasePruner | None = None,
    say: Callable[[str], None] = lambda text: None,
    objectives: int = 1,
) -> optuna.Study:
    """Open the study in `path`, which minimises; create the study if there is none or if it was left half-made.

    Args:
        path: the SQLite file.
        name: the name of a new study; an existing study keeps its name.
        pruner: the pruner of the study.
        say: is called with a sentence when a lock must be waited for.
        objectives: the number of objectives of a new study; an existing study keeps its own.

    Raises:
        StudyError: the file stays locked, is damaged, holds something else, or cannot be written.
    """
    with telling(path):
        if not databases.patiently(lambda: _begun(path, write=True), path, say):
            _make(path, name, objectives)
        return _load(path, pruner)


def read_study(path: Path, say: Callable[[str], None] = lambda text: None) -> optuna.Study:
    """Open an existing study.

    Raises:
        StudyError: for the same reasons as `open_study`, or the file holds no study.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with telling(path):
        if not path.is_file() or not databases.patiently(lambda: _begun(path), path, say):
            raise StudyError(f"{path} holds no study yet", "Let the sweep go on.")
        return _load(path, None)


@contextmanager
def telling(path: Path) -> Iterator[None]:
    """Turn an error that SQLite raises about a file into a StudyError.

    Raises:
        StudyError: the file is locked, damaged, or cannot be written.
    """
    try:
        yield
    except StudyError:
        raise
    except Exception as error:
        if not databases.trouble(error):
            raise
        raise StudyError(*databases.told(path, error, DAMAGED)) from error


def _begun(path: Path, write: bool = False) -> bool:
    """Return whether the file exists and holds a study; with `write`, raise if the file cannot be written."""
    if not path.exists():
        return False
    with closing(sqlite3.connect(path, timeout=1, isolation_level=None)) as database:
        if write:
            databases.prove(database)
        else:  # readers wait for a writer too
            database.execute("BEGIN IMMEDIATE")
            database.execute("ROLLBACK")
        tables = {str(row[0]) for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if tables and not tables & KNOWN_TABLES:
            raise StudyError(f"{path} is an SQLite file, but not a study of Optuna's", "Move it away.")
        return "studies" in tables and database.execute("SELECT 1 FROM studies LIMIT 1").fetchone() is not None


def _make(path: Path, name: str, objectives: int) -> None:
    with room(path) as place:
        storage = _storage(place / path.name)
        try:
            optuna.create_study(storage=storage, study_name=name, directions=["minimize"] * objectives)
        finally:
            storage.engine.dispose()
        publish(place / path.name, path)


def _load(path: Path, pruner: optuna.pruners.BasePruner | None) -> optuna.Study:
    """Load the study whatever its name is: the folder of the sweep may have been renamed since."""
    try:
        return optuna.load_study(study_name=None, storage=_storage(path), pruner=pruner)
    except RuntimeError as error:  # the error of Optuna for the schema of another version
        raise StudyError(
            f"{path} was written by another version of Optuna ({str(error).splitlines()[0][:200]})",
            "Use that version, or `optuna storage upgrade` on a copy.",
        ) from error


def _storage(path: Path) -> optuna.storages.RDBStorage:
    plain = databases.sqlite_address(path).replace("{", "{{").replace("}", "}}")  # Optuna takes it for a template
    return optuna.storages.RDBStorage(plain, engine_kwargs={"connect_args": {"timeout": databases.PATIENCE_S}})
