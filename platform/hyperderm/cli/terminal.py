"""Keep standard output and error working: replace signs that a terminal cannot show, and survive readers that have gone.

A pipe loses its reader (`| head`), a terminal is closed, or a file accepts no more data: from then on all output is
discarded. This happens below Python's text streams, so it holds for everything that prints: Rich, typer and Ray.
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

HANDLER = "hyperderm-plain"
PLAIN = {
    "…": "...", "×": "x", "−": "-", "–": "-", "—": "-", "±": "+/-", "→": "->", "≥": ">=", "≤": "<=", "·": "*",
    "«": '"', "»": '"', "“": '"', "”": '"', "’": "'", "µ": "u", "μ": "u", "¼": "1/4", "½": "1/2",
    "λ": "lambda", "σ": "sigma",
    "━": "-", "╸": "-", "╺": "-", "─": "-", "│": "|", "┃": "|", "•": "*", "✓": "ok", "°": " degrees",
}  # fmt: skip
"""Signs in the texts of hyperderm, with their replacements; any other letter becomes a question mark."""


def print_what_it_can(*streams: TextIO) -> None:
    """Replace signs that a terminal's encoding lacks, since printing them must not end a command that has done its work.

    Args:
        streams: standard output and error; a stream that is not a text file with an encoding, as in tests, stays unchanged.
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


class OutputFile(io.FileIO):
    """A descriptor that is written to as long as it accepts data, and that from then on is /dev/null.

    Attributes:
        lost: why standard output accepted no more data although it had a reader.
        aside: whether printing is not the purpose of the command; lost output is then reported at once and is no failure.
    """

    lost: OSError | None = None
    aside = False

    def __init__(self, number: int) -> None:
        super().__init__(number, "wb", closefd=False)

    def write(self, data: "ReadableBuffer", /) -> int:
        """Write the data, or discard them once the descriptor accepts no more."""
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
        OutputFile.lost = OSError(error.errno, error.strerror, "standard output")
        if OutputFile.aside:
            print(f"standard output: {error.strerror}; the work goes on, and nothing more is printed", file=sys.stderr)


def outlive_readers() -> None:
    """Replace standard output and error by such streams; a stream that was closed from the start is /dev/null."""
    OutputFile.lost, OutputFile.aside = None, False
    for number in (0, OUTPUT, ERROR):
        try:
            os.fstat(number)
        except OSError:  # the next file that is opened would be taken for it
            os.open(os.devnull, os.O_RDWR)
    sys.stdout, sys.stderr = _stream(sys.stdout, OUTPUT), _stream(sys.stderr, ERROR)


def print_aside() -> None:
    """Declare that the purpose of this command is its work and not its output."""
    OutputFile.aside = True


def check_printed() -> None:
    """Raise if output was lost that is the purpose of the command.

    Raises:
        MachineTrouble: standard output accepted no more data, and printing is the purpose of the command.
    """
    sys.stdout.flush()
    if OutputFile.lost and not OutputFile.aside:
        raise MachineTrouble(
            f"standard output: {OutputFile.lost.strerror}: what the command prints is not whole",
            "Give it a place that takes it, then repeat the command.",
        )


def _stream(stream: TextIO | None, number: int) -> TextIO:
    raw = OutputFile(number)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=getattr(stream, "encoding", None) or "utf-8",
        errors=getattr(stream, "errors", None) or "backslashreplace",
        line_buffering=number == ERROR or raw.isatty(),
        write_through=bool(getattr(stream, "write_through", False)),
    )
