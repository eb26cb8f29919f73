"""Printing on terminals that do not speak UTF-8: what they cannot show is written in what they can."""

import codecs
import io
from typing import TextIO

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
