"""SQLite files that other programs may hold or that a disk may have damaged: waited for, and told for what it is."""

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Literal, TypeVar

PATIENCE_S = 30.0
"""How long a lock of another program is waited for."""
QUIET_S = 2.0
"""After how long the waiting is told."""
PAUSE_S = 0.1

Trouble = Literal["locked", "damaged", "full", "refused", ""]
"""What is wrong with the file; "": the error is about something else."""

_TROUBLES: dict[int, Trouble] = {
    **dict.fromkeys((sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL), "locked"),
    **dict.fromkeys((sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB), "damaged"),
    sqlite3.SQLITE_FULL: "full",
    **dict.fromkeys(
        (
            sqlite3.SQLITE_READONLY,
            sqlite3.SQLITE_CANTOPEN,
            sqlite3.SQLITE_IOERR,
            sqlite3.SQLITE_PERM,
            sqlite3.SQLITE_AUTH,
        ),
        "refused",
    ),
}

T = TypeVar("T")


def sqlite_address(path: Path) -> str:
    """Return the address by which SQLAlchemy, and so MLflow and Optuna, find a file; `%` and `?` mean something in it."""
    return f"sqlite:///{str(path).replace('%', '%25').replace('?', '%3F')}"


def trouble(error: BaseException) -> Trouble:
    """Return what is wrong with an SQLite file, whoever wrapped SQLite's own error."""
    for each in _causes(error):
        if isinstance(each, sqlite3.Error):
            return _TROUBLES.get(getattr(each, "sqlite_errorcode", 0) & 0xFF, "")
    return ""


def writable(path: Path, timeout_s: float = 1.0) -> None:
    """Prove that the database can be written now.

    Raises:
        sqlite3.Error: it cannot.
    """
    with closing(sqlite3.connect(path, timeout=timeout_s, isolation_level=None)) as database:
        prove(database)


def prove(database: sqlite3.Connection) -> None:
    """Prove that an open database can be written now: something is written and taken back.

    To begin a transaction proves nothing: of a file that may only be read SQLite begins one for reading. A disk that is
    full passes: what waits to be written is not lost, and the run's own files tell of it.

    Raises:
        sqlite3.Error: it cannot.
    """
    database.execute("BEGIN IMMEDIATE")
    try:
        number = int(database.execute("PRAGMA user_version").fetchone()[0])
        database.execute(f"PRAGMA user_version = {number}")
    except sqlite3.Error as error:
        if trouble(error) != "full" and getattr(error, "sqlite_errorcode", 0) != sqlite3.SQLITE_IOERR_WRITE:
            raise
    finally:
        if database.in_transaction:
            database.execute("ROLLBACK")


def patiently(
    call: Callable[[], T], path: Path, say: Callable[[str], None] = lambda text: None, patience_s: float | None = None
) -> T:
    """Return `call()`, tried again for `patience_s` (`PATIENCE_S`) while another program holds a lock on the file.

    Args:
        call: may be done twice; it should not wait long itself.
        path: the file.
        say: told once that it is waited for, and for whom.
        patience_s: seconds.

    Raises:
        Exception: what `call` raised last.
    """
    began, told = time.monotonic(), False
    patience = PATIENCE_S if patience_s is None else patience_s
    while True:
        try:
            return call()
        except Exception as error:
            waited = time.monotonic() - began
            if trouble(error) != "locked" or waited >= patience:
                raise
        if waited >= QUIET_S and not told:
            told = True
            say(f"waiting up to {patience:.0f} s for {path}, which {holder(path)} has locked")
        time.sleep(PAUSE_S)


def told(path: Path, error: BaseException, remedy: str) -> tuple[str, str]:
    """Return in words what is wrong with an SQLite file, and what to do.

    Args:
        path: the file.
        error: what `trouble` knows.
        remedy: what to do with a damaged file.
    """
    reason = _reason(error)
    match trouble(error):
        case "locked":
            return (
                f"{path} is in use by {holder(path)}, which has kept it locked for {PATIENCE_S:.0f} s ({reason})",
                "Close that program (a database viewer, a backup, another run), then repeat the command.",
            )
        case "damaged":
            return f"{path} is damaged, or no SQLite database ({reason})", remedy
        case "full":
            return f"{path} cannot be written ({reason})", "Free some space on its disk, then repeat the command."
        case _:
            return (
                f"{path} cannot be written ({reason})",
                "Give this user the right to write the file and its folder (chmod u+w), or check its disk; then repeat the "
                "command.",
            )


def holder(path: Path) -> str:
    """Return who has the file open, where that can be seen."""
    names = [f"process {number} ({name})" for number, name in users(path)]
    return " and ".join(names[:3]) if names else "another program"


def users(path: Path) -> list[tuple[int, str]]:
    """Return the other processes of this machine that have the file open, as (process id, name); Linux alone tells."""
    try:
        file = path.stat()
    except OSError:
        return []
    return [
        (number, _name(number))
        for number in _processes()
        if number != os.getpid() and any((s.st_dev, s.st_ino) == (file.st_dev, file.st_ino) for s in _open_files(number))
    ]


def _processes() -> list[int]:
    try:
        return sorted(int(each.name) for each in Path("/proc").iterdir() if each.name.isdigit())
    except OSError:
        return []


def _open_files(number: int) -> Iterator[os.stat_result]:
    try:
        for each in os.scandir(f"/proc/{number}/fd"):
            try:
                yield each.stat()
            except OSError:
                continue
    except OSError:  # another user's, or it has ended
        return


def _name(number: int) -> str:
    try:
        words = Path(f"/proc/{number}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return "ended since"
    program = Path(words[0]).name
    script = next((Path(word).name for word in words[1:] if word and not word.startswith("-")), "")
    return script if program.startswith("python") and script and "\n" not in script else program


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, and what it was raised for: SQLAlchemy keeps that in `orig`, MLflow in `__cause__`."""
    seen: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop(0)
        if isinstance(each, BaseException) and all(each is not one for one in seen):
            seen.append(each)
            yield each
            waiting += [getattr(each, "orig", None), each.__cause__, each.__context__]


def _reason(error: BaseException) -> str:
    said = next((str(each) for each in _causes(error) if isinstance(each, sqlite3.Error)), str(error))
    return (said.splitlines() or [type(error).__name__])[0][:200]
