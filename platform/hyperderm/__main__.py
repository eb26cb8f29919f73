"""Where the command line begins: `hyperderm` and `python -m hyperderm`.

From its first line on Ctrl-C ends the process with 130 and not a word: while packages are imported nothing is begun yet that
would have to be left in order, and a traceback out of the middle of an import helps nobody.
"""

import os
import signal
from types import FrameType


def _end(number: int, frame: FrameType | None) -> None:
    os._exit(128 + number)


def _catch() -> bool:
    """Let Ctrl-C end the process at once, unless whoever started it has it ignored."""
    ours = signal.getsignal(signal.SIGINT) is not signal.SIG_IGN
    if ours:
        signal.signal(signal.SIGINT, _end)
    return ours


_OURS = _catch()


def _begin() -> None:
    """Let Ctrl-C end in order what the command does: from here on it is KeyboardInterrupt."""
    if _OURS:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def main() -> None:
    """Run the command line in this process, with streams that outlive their readers."""
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
