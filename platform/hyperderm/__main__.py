"""The entry point of the command line: `hyperderm` and `python -m hyperderm`.

From the first line on, Ctrl-C ends the process with exit code 130 and without a message. Until then nothing has
to be ended in order, and a traceback from an import would not help the user.
"""

import os
import signal
from types import FrameType


def _end(number: int, frame: FrameType | None) -> None:
    os._exit(128 + number)


def _catch() -> bool:
    """Let Ctrl-C end the process at once, and return True; do nothing if the parent process had Ctrl-C ignored."""
    ours = signal.getsignal(signal.SIGINT) is not signal.SIG_IGN
    if ours:
        signal.signal(signal.SIGINT, _end)
    return ours


_OURS = _catch()


def _begin() -> None:
    """Let Ctrl-C and SIGTERM raise KeyboardInterrupt from now on, so that the command ends in order."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if _OURS:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def main() -> None:
    """Run the command line in this process, with output streams that survive the loss of their readers."""
    from hyperderm.cli import main as run
    from hyperderm.cli.terminal import outlive_readers

    outlive_readers()
    try:
        run(_begin)
    finally:
        if _OURS:  # what is left is Python's own end
            signal.signal(signal.SIGINT, _end)


if __name__ == "__main__":
    main()
