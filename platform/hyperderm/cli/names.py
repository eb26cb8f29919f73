"""Names that are not UTF-8, as a disk may hold them: neither a tracking server, a manifest nor a terminal can write them."""

import os
from collections.abc import Iterable, Sequence

from hyperderm.errors import ConfigError


def check(words: Sequence[str]) -> None:
    """Refuse arguments or a working folder whose name is not UTF-8, where they enter.

    Args:
        words: the arguments.

    Raises:
        ConfigError: naming it and the remedy.
    """
    for what, value in _given(words):
        check_text(what, value)
    check_text("the working folder ", _here())


def check_text(what: str, value: str) -> None:
    """Refuse a text that is not UTF-8.

    Args:
        what: stands before it, as the user wrote it.
        value: the text.

    Raises:
        ConfigError: naming it and the remedy.
    """
    try:
        (what + value).encode()
    except UnicodeEncodeError:
        raise ConfigError(f"{_plain(what + value)}: its name is not UTF-8", "Rename it.") from None


def _given(words: Sequence[str]) -> Iterable[tuple[str, str]]:
    """Yield every value with the option it was given to."""
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


def _plain(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _here() -> str:
    try:
        return os.getcwd()  # noqa: PTH109 - as text
    except OSError:  # it was removed; whoever needs it says so
        return ""
