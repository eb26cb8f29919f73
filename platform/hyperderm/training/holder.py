"""The lock of a run's folder, and the process that holds it: the driver.

Other processes can ask for the holder without taking the lock. A holder is identified uniquely across machines.
"""

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
"""Format of the kernel's `struct flock` on 64-bit Linux: type, whence, start, length, process."""
SIGNALLED = Literal["signalled", "gone"]


@dataclass(frozen=True)
class Holder:
    """A driver, as described in the lock of its folder.

    Attributes:
        pid: process number, in the numbering of the driver's machine (or container).
        host: name of its machine, "" if an earlier version wrote the lock.
        boot: identity of the boot and of the process numbering; it tells apart machines and containers of equal names.
        started: start of the process in the kernel's ticks; it tells apart processes that had the same number.
    """

    pid: int
    host: str = ""
    boot: str = ""
    started: int = 0

    @property
    def here(self) -> bool:
        """Whether `pid` is a process number of this machine."""
        return bool(self.boot) and self.boot == _boot()

    @property
    def alive(self) -> bool:
        """Whether exactly that process still runs; False for a process of another machine, because it is unknown here."""
        return self.here and _started(self.pid) == self.started

    def __str__(self) -> str:
        where = f" on {self.host}" if self.host and not self.here else ""
        return f"process {self.pid or '(unknown)'}{where}"


def this_process() -> Holder:
    """Return the description of this process that is written into a lock."""
    return Holder(os.getpid(), socket.gethostname(), _boot(), _started(os.getpid()))


def acquire_lock(lock: IO[str], name: str) -> None:
    """Lock the open lock file of a folder for this process and write this process into it; closing the file unlocks it.

    Two locks are taken. The whole-file lock excludes other drivers, also those of earlier versions. The lock that belongs to
    the open file shows `current_holder` that there is a driver; `current_holder` can test that lock without taking it.

    Args:
        lock: the lock file, opened for appending and reading.
        name: name of the run, for the error message.

    Raises:
        StudyError: another driver holds the lock.
    """
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = _written(lock) or Holder(0)
        raise StudyError(f"{name} is being run by {holder}", "Wait for it, or stop it.") from None
    with suppress(OSError):  # unknown to some kernels and file systems; `current_holder` then checks the process
        fcntl.fcntl(lock, fcntl.F_OFD_SETLK, struct.pack(FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    with naming(Path(lock.name)):
        lock.truncate(0)
        mine = json.dumps(asdict(this_process()))
        os.write(lock.fileno(), mine.encode())  # unbuffered: a buffer would be written once more on close


def current_holder(folder: Path) -> Holder | None:
    """Return the driver that holds the folder, or None. Nothing is locked meanwhile: a driver may start at any moment.

    The file system may not know the answer: it has no such locks, or a driver of an earlier version holds the folder. Then
    the process that is written in the lock counts as the holder while it runs. A process of another machine always counts,
    because it cannot be checked.
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


def terminate(folder: Path, holder: Holder, elsewhere: str = "") -> SIGNALLED:
    """Ask the driver to end, as Ctrl-C does; signal only the process that wrote the lock, and only on this machine.

    Args:
        folder: the folder of the run.
        holder: the result of `current_holder`.
        elsewhere: text that is added to the remedy if the driver runs on another machine.

    Raises:
        StudyError: the driver runs on another machine, the lock does not name the machine, or the process that wrote the
            lock has ended while another process still holds it.
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
        process = os.pidfd_open(holder.pid)  # from here on, a later process with the same number is not meant
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
    """Return "gone" if the driver has just ended.

    Raises:
        StudyError: the driver has ended, but its lock is still held by an unknown process.
    """
    if current_holder(folder) != holder:
        return "gone"
    raise StudyError(
        f"{folder.name} was begun by process {holder.pid}, which has ended, but its lock is still held: nobody is signalled",
        f"A process that it left behind has the lock open; `fuser {folder / LOCK}` names it.",
    )


def _written(lock: IO[str]) -> Holder | None:
    """Return the driver that a lock file names, or None if the file is empty or half-written.

    Earlier versions wrote only a process number.
    """
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
    """Return boot id and process namespace, which differ between machines, between containers, and between restarts."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return socket.gethostname()


def _started(pid: int) -> int:
    """Return the start of a process of this machine, in ticks since boot, or 0 if there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("utf-8", errors="replace")
    except OSError:
        return 0
    fields = stat.rpartition(")")[2].split()  # the name of the process, in parentheses, may contain spaces
    return 0 if fields[0] == "Z" else int(fields[19])
