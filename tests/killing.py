"""Processes that kill themselves at a given step, for the tests of what a kill leaves behind.

A step is an SQL statement on a database, or a call that makes, renames, links or removes a file: both are counted where the
path holds a given text, so that an instant is the same in every run.
"""

import os
import signal
import sqlite3
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

EVENTS = {"open", "os.rename", "os.link", "os.mkdir", "os.remove", "os.rmdir"}


@dataclass(frozen=True)
class Ended:
    """How a process ended.

    Attributes:
        signal: that killed it, 0 none.
        code: its exit code, -1 where it was killed.
        steps: it went through, where it was not killed.
    """

    signal: int
    code: int
    steps: int


class Counter:
    """Counts steps on paths that hold `place`, and kills this process and its group at the step `last`."""

    def __init__(self, place: str, last: int) -> None:
        self.place, self.last, self.steps = place, last, 0

    def arm(self) -> None:
        """Begin to count, in this process and for good."""
        connect = sqlite3.connect

        def traced(database: Any, *args: Any, **kwargs: Any) -> sqlite3.Connection:
            made = connect(database, *args, **kwargs)
            if self.place in os.fspath(database):
                made.set_trace_callback(lambda statement: self.step())
            return made

        sqlite3.connect = sqlite3.dbapi2.connect = traced  # type: ignore[assignment,attr-defined]
        sys.addaudithook(self._audit)

    def step(self) -> None:
        self.steps += 1
        if self.steps == self.last:
            os.killpg(0, signal.SIGKILL)

    def _audit(self, event: str, args: tuple[Any, ...]) -> None:
        if event not in EVENTS or (event == "open" and not _writes(args)):
            return
        if any(self.place in os.fspath(each) for each in args if isinstance(each, str | os.PathLike)):
            self.step()


def _writes(args: tuple[Any, ...]) -> bool:
    return len(args) > 2 and isinstance(args[2], int) and bool(args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))


def in_child(call: Callable[[], object], place: str = "", last: int = 0) -> Ended:
    """Do `call` in a forked process of a group of its own, which is killed at the step `last` (0: never)."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.setpgrp()
        code = 1
        counter = Counter(place, last)
        try:
            counter.arm()
            done = call()
            code = done if isinstance(done, int) else 0
        except SystemExit as end:
            code = int(end.code or 0)
        except BaseException:
            traceback.print_exc()
        finally:
            os.write(writer, str(counter.steps).encode())
            os._exit(code)
    os.close(writer)
    _, status = os.waitpid(child, 0)
    with os.fdopen(reader) as pipe:
        steps = pipe.read()
    return Ended(os.WTERMSIG(status), -1, 0) if os.WIFSIGNALED(status) else Ended(0, os.WEXITSTATUS(status), int(steps or 0))


if __name__ == "__main__":  # python -m tests.killing PLACE LAST command of hyperderm …
    os.setpgrp()
    Counter(sys.argv[1], int(sys.argv[2])).arm()
    sys.argv = ["hyperderm", *sys.argv[3:]]
    from hyperderm.cli import main

    main()
