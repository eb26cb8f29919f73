"""What Ray prints and logs: kept from the terminal, so that a sentence of ours can say what matters of it."""

import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

STDERR = 2
DRIVER_LOG = "hyperderm-driver.log"
"""Beside the logs of the workers: what Ray's libraries say in the driver."""
LIBRARIES = ("ray.tune", "ray.train", "ray.data", "ray.air")


@contextmanager
def heard() -> Iterator[Callable[[], str]]:
    """Keep what Ray's core, which is C++, writes to standard error; yields a function that returns it so far.

    Python's own exceptions say what a user must know. Where standard error is closed, nothing is kept.
    """
    sys.stderr.flush()
    try:
        before = os.dup(STDERR)
    except OSError:
        yield lambda: ""
        return
    with tempfile.TemporaryFile() as kept:

        def said() -> str:
            kept.seek(0)
            return kept.read().decode("utf-8", "replace")

        os.dup2(kept.fileno(), STDERR)
        try:
            yield said
        finally:
            sys.stderr.flush()
            os.dup2(before, STDERR)
            os.close(before)


class _Log(logging.FileHandler):
    """A log that is opened with its first line, and given up where the disk refuses it: it must not stop what it is on."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, delay=True, encoding="utf-8")
        self.setLevel(logging.ERROR)
        self.setFormatter(logging.Formatter("%(asctime)s %(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError):
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Say nothing."""


@contextmanager
def quiet_loggers(path: Path) -> Iterator[None]:
    """Let what Ray's libraries log of errors, tracebacks and all, go to the file `path` and not over the progress line.

    What matters of it is told in a sentence by whoever runs on the cluster.
    """
    import ray.data  # noqa: F401 - when it is imported it makes a handler of its own, which prints tracebacks

    log = _Log(path)
    loggers = [logging.getLogger(name) for name in LIBRARIES]
    before = [(logger.level, logger.propagate, logger.handlers) for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
        logger.propagate = False
        logger.handlers = [log]
    try:
        yield
    finally:
        for logger, (level, propagate, handlers) in zip(loggers, before, strict=True):
            logger.setLevel(level)
            logger.propagate, logger.handlers = propagate, handlers
        log.close()
