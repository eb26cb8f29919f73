"""What Ray's core, which is C++, prints to standard error while it starts: heard, for a sentence to say what it means."""

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager

STDERR = 2


@contextmanager
def heard() -> Iterator[Callable[[], str]]:
    """Keep what is written to the file descriptor of standard error; yields a function that returns it so far.

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
