"""The word that a process must leave its machine: SIGTERM, which clusters send some 30 s before they take it.

The training loop looks for it after every step, saves its state and ends with `Preempted`: no more than a step is lost.
"""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from hyperderm.errors import Preempted


class _Word:
    """Whether the word has come; one for the whole process, as signals are."""

    came = False


def listen(busy: Callable[[], bool] = lambda: True, number: int = signal.SIGTERM) -> None:
    """Take a signal as the word to leave while `busy`; at other times, and the second time, the handler before it gets it.

    Args:
        busy: returns whether this process has a state to save.
        number: the signal.

    Raises:
        ValueError: this is not the main thread of the process.
    """
    _Word.came = False
    before = signal.getsignal(number)

    def handle(number: int, frame: FrameType | None) -> None:
        if busy() and not _Word.came:
            _Word.came = True
        elif callable(before):
            before(number, frame)
        else:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    signal.signal(number, handle)


@contextmanager
def listening(busy: Callable[[], bool] = lambda: True) -> Iterator[None]:
    """Listen to SIGTERM and Ctrl-C within the block (see `listen`); then put the handlers from before it back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    for number in before:
        listen(busy, number)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _Word.came = False


def asked_to_leave() -> bool:
    """Return whether this process was told to leave its machine."""
    return _Word.came


def preempted(images: int | None = None) -> Preempted:
    """Return the trouble that ends a run which saved its state, after `images` images if they are known."""
    after = "its state" if images is None else f"the state after {images} images"
    return Preempted(
        f"it was told to leave its machine (SIGTERM); {after} is saved",
        "Run the same command again: it goes on from there.",
    )
