"""SQLite files that other programs may lock or a disk may damage: wait for locks, and report what is wrong."""

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Literal, TypeVar

PATIENCE_S = 30.0
"""Seconds to wait for another program's lock."""
QUIET_S = 2.0
"""Seconds of waiting after which the wait is reported."""
PAUSE_S = 0.1

Trouble = Literal["locked", "damaged", "full", "refused", ""]
"""What is wrong with the file; "" if the error is about something else."""

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
    """Return the address of a file for SQLAlchemy, and so for MLflow and Optuna, with the signs `%` and `?` escaped."""
    return f"sqlite:///{str(path).replace('%', '%25').replace('?', '%3F')}"


def trouble(error: BaseException) -> Trouble:
    """Return what is wrong with an SQLite file, also if another package has wrapped SQLite's error."""
    for each in _causes(error):
        if isinstance(each, sqlite3.Error):
            return _TROUBLES.get(getattr(each, "sqlite_errorcode", 0) & 0xFF, "")
    return ""


def writable(path: Path, timeout_s: float = 1.0) -> None:
    """Prove that the database can be written now.

    Raises:
        sqlite3.Error: the database cannot be written.
    """
    with closing(sqlite3.connect(path, timeout=timeout_s, isolation_level=None)) as database:
        prove(database)


def prove(database: sqlite3.Connection) -> None:
    """Prove that an open database can be written now, by a change that is rolled back.

    Beginning a transaction is no proof, because SQLite begins one for reading on a read-only file. A full disk passes the
    test: data that wait to be written are not lost, and the run's own files report the full disk.

    Raises:
        sqlite3.Error: the database cannot be written.
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
    """Return `call()`, repeated for up to `patience_s` seconds (`PATIENCE_S`) while another program locks the file.

    Args:
        call: a function that may run twice, and that should not wait long itself.
        path: the file.
        say: is called once with a sentence on the wait and on the program that holds the lock.
        patience_s: the longest wait in seconds.

    Raises:
        Exception: the last exception that `call` raised.
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


def told(path: Path, error: BaseException, remedy: str, patience_s: float = PATIENCE_S) -> tuple[str, str]:
    """Return two sentences: what is wrong with an SQLite file, and what to do.

    Args:
        path: the file.
        error: an error that `trouble` recognises.
        remedy: the instruction for a damaged file.
        patience_s: how many seconds were waited for a lock.
    """
    reason = _reason(error)
    match trouble(error):
        case "locked":
            return (
                f"{path} is in use by {holder(path)}, which has kept it locked for {patience_s:.0f} s ({reason})",
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
    """Return the programs that have the file open, if this can be found out."""
    names = [f"process {number} ({name})" for number, name in users(path)]
    return " and ".join(names[:3]) if names else "another program"


def users(path: Path) -> list[tuple[int, str]]:
    """Return the other processes of this machine that have the file open, as (process id, name); works only on Linux."""
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
    """Yield an error and its causes; SQLAlchemy keeps the cause in `orig`, MLflow in `__cause__`."""
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
