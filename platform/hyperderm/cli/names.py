"""Check names that are not UTF-8: a disk may hold them, but no tracking server, manifest or terminal can write them."""

import os
from collections.abc import Iterable, Sequence

from hyperderm.strict import check_text


def check(words: Sequence[str]) -> None:
    """Refuse arguments, and a working folder, whose name is not UTF-8, before the command begins.

    Args:
        words: the arguments of the command line.

    Raises:
        ConfigError: the message names the argument or folder and the remedy.
    """
    for what, value in _given(words):
        check_text(what, value)
    check_text("the working folder ", _here())


def _given(words: Sequence[str]) -> Iterable[tuple[str, str]]:
    """Yield every argument value with the option that it belongs to."""
    option = ""
    for word in words:
        name, equals, value = word.partition("=")
        if word.startswith("--") and equals:
            yield f"{name}=", value
        elif word.startswith("-"):
            option = f"{word} "
            yield "", word
            continue
        else:
            yield option, word
        option = ""


def _here() -> str:
    try:
        return os.getcwd()  # noqa: PTH109 - as text
    except OSError:  # it was removed; whoever needs it says so
        return ""
