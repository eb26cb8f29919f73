"""Who holds a run's folder: the lock of its driver, looked at without being taken, and the driver's name across machines."""

import fcntl
import json
import os
import signal
import socket
import struct
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Literal

from hyperderm.durable import naming
from hyperderm.errors import StudyError
from hyperderm.strict import json_of

LOCK = ".lock"
FLOCK = "hhqqi4x"
"""The kernel's `struct flock` on 64-bit Linux: type, whence, start, length, process."""
SIGNALLED = Literal["signalled", "gone"]


@dataclass(frozen=True)
class Holder:
    """A driver, as it wrote itself into the lock of its folder.

    Attributes:
        pid: of the process, in its machine's (or container's) own counting.
        host: name of its machine, "" where an earlier version wrote the lock.
        boot: what tells machines and containers apart, also two of one name: the boot and the process numbering.
        started: when the process began, in the kernel's ticks: a number that is used again has another.
    """

    pid: int
    host: str = ""
    boot: str = ""
    started: int = 0

    @property
    def here(self) -> bool:
        """Whether `pid` counts processes of this machine."""
        return bool(self.boot) and self.boot == _boot()

    @property
    def alive(self) -> bool:
        """Whether that very process still runs; of another machine's nobody here knows, and it is False."""
        return self.here and _started(self.pid) == self.started

    def __str__(self) -> str:
        where = f" on {self.host}" if self.host and not self.here else ""
        return f"process {self.pid or '(unknown)'}{where}"


def this_process() -> Holder:
    """Return what this process writes into a lock."""
    return Holder(os.getpid(), socket.gethostname(), _boot(), _started(os.getpid()))


def take(lock: IO[str], name: str) -> None:
    """Take the open lock file of a folder for this process, and write down who holds it; closing the file gives it back.

    Two locks are held: the whole-file one excludes other drivers, also earlier versions', and the one that belongs to the
    open file shows `look` that somebody is there, without being taken by whoever looks.

    Args:
        lock: opened for appending and reading.
        name: of the run, for the sentence.

    Raises:
        StudyError: another driver holds it.
    """
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = _written(lock) or Holder(0)
        raise StudyError(f"{name} is being run by {holder}", "Wait for it, or stop it.") from None
    with suppress(OSError):  # not every kernel and file system knows it; `look` then asks for the process
        fcntl.fcntl(lock, fcntl.F_OFD_SETLK, struct.pack(FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    with naming(Path(lock.name)):
        lock.truncate(0)
        mine = json.dumps(asdict(this_process()))
        os.write(lock.fileno(), mine.encode())  # a buffer would be written again when it closes


def look(folder: Path) -> Holder | None:
    """Return who holds the folder, None where nobody does. Nothing is locked meanwhile: a driver may start at any moment.

    Where the file system cannot say (it knows no such locks, or an earlier version's driver holds it), whoever is written
    in the lock counts as its holder while that process runs; another machine's does in any case, for it cannot be looked at.
    """
    try:
        lock = (folder / LOCK).open("r", encoding="utf-8")
    except FileNotFoundError:
        return None
    with lock:
        written = _written(lock)
        try:
            asked = struct.pack(FLOCK, fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0)
            kind = struct.unpack(FLOCK, fcntl.fcntl(lock, fcntl.F_OFD_GETLK, asked))[0]
        except OSError:
            kind = None
    if kind not in (None, fcntl.F_UNLCK):
        return written or Holder(0)
    if written is None:
        return None
    if not written.boot:
        return written if _started(written.pid) else None
    if kind is None and (written.alive or not written.here):
        return written
    return None


def end(folder: Path, holder: Holder, elsewhere: str = "") -> SIGNALLED:
    """Ask the driver to end as Ctrl-C does; only the very process that wrote the lock, on this machine, is signalled.

    Args:
        folder: of the run.
        holder: as `look` said.
        elsewhere: added to the remedy where the driver is another machine's.

    Raises:
        StudyError: it is another machine's, or the lock does not tell whose it is.
    """
    if holder.boot and not holder.here:
        raise StudyError(
            f"{folder.name} is being run by process {holder.pid} on machine {holder.host}, and this is "
            f"{socket.gethostname()}",
            f"Give the same command with --stop on {holder.host}.{elsewhere}",
        )
    if not holder.pid or not holder.boot:
        raise StudyError(
            f"the lock {folder / LOCK} does not say on which machine process {holder.pid or '(unknown)'} runs",
            "An earlier version wrote it: end that process where it was started, with Ctrl-C or kill -TERM.",
        )
    try:
        process = os.pidfd_open(holder.pid)  # from here on the number means this process and no later one
    except ProcessLookupError:
        return _lost(folder, holder)
    try:
        if not holder.alive:
            return _lost(folder, holder)
        signal.pidfd_send_signal(process, signal.SIGTERM)
    except ProcessLookupError:
        return "gone"
    finally:
        os.close(process)
    return "signalled"


def _lost(folder: Path, holder: Holder) -> SIGNALLED:
    """Return that a driver ended a moment ago, or refuse to guess who else holds its lock."""
    if look(folder) != holder:
        return "gone"
    raise StudyError(
        f"{folder.name} was begun by process {holder.pid}, which has ended, but its lock is still held: nobody is signalled",
        f"A process that it left behind has the lock open; `fuser {folder / LOCK}` names it.",
    )


def _written(lock: IO[str]) -> Holder | None:
    """Return who is written in a lock file, None where it is empty or half-written; earlier versions wrote a bare number."""
    lock.seek(0)
    text = lock.read().strip()
    if text.isdecimal():
        return Holder(int(text))
    try:
        facts: dict[str, Any] = json_of(text)
        return Holder(int(facts["pid"]), str(facts["host"]), str(facts["boot"]), int(facts["started"]))
    except (ValueError, KeyError, TypeError):
        return None


def _boot() -> str:
    """Return what no two machines or containers share, and no two starts of one: boot id and namespace of processes."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return socket.gethostname()


def _started(pid: int) -> int:
    """Return when a process of this machine began, in ticks since its boot; 0 where there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("utf-8", errors="replace")
    except OSError:
        return 0
    fields = stat.rpartition(")")[2].split()  # the name before it may hold anything
    return 0 if fields[0] == "Z" else int(fields[19])
