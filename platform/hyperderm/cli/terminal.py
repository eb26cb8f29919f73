"""Standard output and error: what they cannot show is written in what they can, and readers that are gone end no work.

A pipe whose reader has gone (`| head`), a terminal that was closed, a file that takes no more: what is printed from then on
goes nowhere. It stands below Python's text streams, so it holds for whoever prints: Rich, typer, Ray.
"""

import codecs
import errno
import io
import os
import stat
import sys
from typing import TYPE_CHECKING, TextIO

from hyperderm.errors import MachineTrouble

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

HANDLER = "hyperderm.plain"
PLAIN = {
    "…": "...", "×": "x", "−": "-", "–": "-", "—": "-", "±": "+/-", "→": "->", "≥": ">=", "≤": "<=", "·": "*",
    "«": '"', "»": '"', "“": '"', "”": '"', "’": "'", "µ": "u", "μ": "u", "¼": "1/4", "½": "1/2",
    "λ": "lambda", "σ": "sigma",
    "━": "-", "╸": "-", "╺": "-", "─": "-", "│": "|", "┃": "|", "•": "*", "✓": "ok", "°": " degrees",
}  # fmt: skip
"""Signs of our own texts, and what stands for them; any other letter becomes a question mark."""


def print_what_it_can(*streams: TextIO) -> None:
    """Let no sign that a terminal's encoding lacks end a command: a store may have been written when it is printed.

    Args:
        streams: standard output and error; what is no file of text with an encoding, as tests put there, stays as it is.
    """
    codecs.register_error(HANDLER, _plain)
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=HANDLER)


def _plain(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    signs = "".join(PLAIN.get(sign, "?") for sign in error.object[error.start : error.end])
    return signs, error.end


OUTPUT, ERROR = 1, 2
GONE = {errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN, errno.ESHUTDOWN}


class Unread(io.FileIO):
    """A descriptor that is written to for as long as it takes anything, and from then on is /dev/null.

    Attributes:
        lost: why standard output took no more, where it had a reader.
        aside: what is printed is not what the command is for, so it is told at once and is no failure of the command.
    """

    lost: OSError | None = None
    aside = False

    def __init__(self, number: int) -> None:
        super().__init__(number, "wb", closefd=False)

    def write(self, data: "ReadableBuffer", /) -> int:
        """Write what there is room for."""
        try:
            return super().write(data)
        except BlockingIOError:
            raise
        except OSError as error:
            self._lose(error)
            return memoryview(data).nbytes

    def _lose(self, error: OSError) -> None:
        number = self.fileno()
        gone = error.errno in GONE or (error.errno == errno.EIO and stat.S_ISCHR(os.fstat(number).st_mode))
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, number)
        os.close(nowhere)
        if gone or number != OUTPUT:
            return
        Unread.lost = OSError(error.errno, error.strerror, "standard output")
        if Unread.aside:
            print(f"standard output: {error.strerror}; the work goes on, and nothing more is printed", file=sys.stderr)


def outlive_readers() -> None:
    """Put such streams in the places of standard output and error; one that was closed is /dev/null from the start."""
    for number in (0, OUTPUT, ERROR):
        try:
            os.fstat(number)
        except OSError:  # the next file that is opened would be taken for it
            os.open(os.devnull, os.O_RDWR)
    sys.stdout, sys.stderr = _stream(sys.stdout, OUTPUT), _stream(sys.stderr, ERROR)


def print_aside() -> None:
    """Say of this command that its work counts, not what it prints."""
    Unread.aside = True


def check_printed() -> None:
    """Refuse to call a command done whose output is not.

    Raises:
        MachineTrouble: standard output took no more, and what was printed is what the command is for.
    """
    sys.stdout.flush()
    if Unread.lost and not Unread.aside:
        raise MachineTrouble(
            f"standard output: {Unread.lost.strerror}: what the command prints is not whole",
            "Give it a place that takes it, then repeat the command.",
        )


def _stream(stream: TextIO | None, number: int) -> TextIO:
    raw = Unread(number)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=getattr(stream, "encoding", None) or "utf-8",
        errors=getattr(stream, "errors", None) or "backslashreplace",
        line_buffering=number == ERROR or raw.isatty(),
        write_through=bool(getattr(stream, "write_through", False)),
    )
