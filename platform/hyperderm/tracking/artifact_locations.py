"""Keep the artifact locations of a local tracking database correct after the database was moved.

MLflow keeps artifact locations as absolute addresses; it would resolve a relative one against the folder in which its reader
was started. The addresses therefore stay absolute, and are rewritten when the database is found in another place than
before.
"""

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit

from hyperderm import databases
from hyperderm.tags import DATABASE_TAG
from hyperderm.tracking.database import sqlite_path, telling

COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""The tables and columns in which MLflow keeps the addresses of artifacts."""


def location_of(artifacts: Path, experiment: str) -> str:
    """Return the address of the folder with the artifacts of an experiment."""
    return (artifacts.resolve() / experiment).as_uri()


def standing_place(path: Path) -> str:
    """Return the value of an experiment's `DATABASE_TAG` for a database."""
    return str(path.resolve())


def follow(path: Path, say: Callable[[str], None]) -> None:
    """Rewrite the artifact locations in a moved database at `path` to match its present place, in one transaction.

    The artifacts of an experiment count as moved if they lay beside the database in its old place. The tag of the experiment
    names that place; without a tag, a folder of the same name must lie beside the database now. Artifacts that still lie in
    their old place are not moved.

    Raises:
        sqlite3.Error: the database cannot be read or written.
    """
    with closing(sqlite3.connect(path, timeout=databases.PATIENCE_S, isolation_level=None)) as database:
        moved = _moved(database, path.resolve())
        if not moved:
            return
        database.execute("BEGIN IMMEDIATE")
        moved = _moved(database, path.resolve())  # another command may have been quicker
        for old, new in moved.items():
            _rewrite(database, old, new)
        names = [row[0] for row in database.execute("SELECT experiment_id FROM experiments WHERE experiment_id <> 0")]
        values = [(DATABASE_TAG, standing_place(path), name) for name in names]
        database.executemany("INSERT OR REPLACE INTO experiment_tags (key, value, experiment_id) VALUES (?, ?, ?)", values)
        database.execute("COMMIT")
    for old, new in moved.items():
        say(f"the project was moved: pictures and files of its runs are now looked for in {new}, not in {old}")


def same_database(before: str, now: str, runs: Sequence[str]) -> bool:
    """Return whether `now` is the database that an event log knows as `before`, moved or copied together with its project.

    Args:
        before: `sqlite:///path (experiment)`, as the event log recorded it.
        now: `sqlite:///path (experiment)`, as it is today.
        runs: ids of the runs that were made in `before`.

    Raises:
        TrackingError: `now` cannot be read.
    """
    (old, experiment), (new, other) = (name.rpartition(" (")[::2] for name in (before, now))
    gone, here = sqlite_path(old), sqlite_path(new)
    if gone is None or here is None or experiment != other:
        return False
    if not gone.exists():  # there is nowhere else to deliver to
        return True
    with telling(here), closing(sqlite3.connect(here, timeout=databases.PATIENCE_S)) as database:
        known = {str(row[0]) for row in database.execute("SELECT run_uuid FROM runs")}
    return bool(known & set(runs))


def _moved(database: sqlite3.Connection, path: Path) -> dict[Path, Path]:
    """Return the artifact folders that were moved, each with its present place."""
    query = (
        "SELECT e.artifact_location, t.value FROM experiments e "
        "LEFT JOIN experiment_tags t ON t.experiment_id = e.experiment_id AND t.key = ?"
    )
    moved: dict[Path, Path] = {}
    for address, stood in database.execute(query, (DATABASE_TAG,)):
        folder = _local(str(address or ""))
        if folder is None or stood == str(path):
            continue
        new = _new_place(folder, Path(stood).parent if stood else None, path.parent)
        if new is not None and folder.resolve() != new.resolve():
            moved[folder] = new
    return moved


def _new_place(folder: Path, before: Path | None, now: Path) -> Path | None:
    """Return the present place of the artifacts in `folder`, given the earlier and present folder of the database."""
    if before is not None:
        if not folder.is_relative_to(before):
            return None
        new = now / folder.relative_to(before)
        return new if new.is_dir() or not folder.exists() else None
    if folder.is_relative_to(now):
        return None
    new = now.joinpath(*folder.parts[-2:])
    return new if len(folder.parts) > 2 and new.is_dir() else None


def _rewrite(database: sqlite3.Connection, old: Path, new: Path) -> None:
    """Replace the folder at the beginning of every address, whether the address is a `file:` URI or a path."""
    for table, column in COLUMNS:
        known = {str(row[1]) for row in database.execute(f"PRAGMA table_info({table})")}
        if column not in known:
            continue
        for before, after in ((old.as_uri(), new.as_uri()), (str(old), str(new))):
            database.execute(
                f"UPDATE {table} SET {column} = ?1 || substr({column}, length(?2) + 1) "  # noqa: S608 - names from above
                f"WHERE {column} = ?2 OR substr({column}, 1, length(?2) + 1) = ?2 || '/'",
                (after, before),
            )


def _local(address: str) -> Path | None:
    """Return the folder that an address names; None if it is not a folder of this machine."""
    parts = urlsplit(address)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    return Path(address) if address.startswith("/") else None
