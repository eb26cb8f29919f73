"""Keep Ray's output and logs away from the terminal, so that a sentence of hyperderm can tell the important part."""

import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

STDERR = 2
DRIVER_LOG = "hyperderm-driver.log"
"""Name of the log, beside those of the workers, for the messages of Ray's libraries in the driver."""
LIBRARIES = ("ray.tune", "ray.train", "ray.data", "ray.air")


@contextmanager
def captured_stderr() -> Iterator[Callable[[], str]]:
    """Capture the output of Ray's C++ core on standard error, and yield a function that returns the output so far.

    Python's own exceptions tell everything that a user must know. If standard error is closed, nothing is captured.
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
    """A log file that is opened for its first line. If the disk refuses a line, the line is dropped: work must go on."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, delay=True, encoding="utf-8")
        self.setLevel(logging.ERROR)
        self.setFormatter(logging.Formatter("%(asctime)s %(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError):
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Ignore errors of the log itself."""


@contextmanager
def quiet_loggers(path: Path) -> Iterator[None]:
    """Send errors that Ray's libraries log, with tracebacks, to the file `path` and not over the progress line.

    The code that runs on the cluster tells the important part in a sentence.
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
