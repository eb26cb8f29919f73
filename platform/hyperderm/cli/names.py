"""Names that are not UTF-8, as a disk may hold them: neither a tracking server, a manifest nor a terminal can write them."""

import os
from collections.abc import Iterable, Sequence

from hyperderm.strict import check_text


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


def _here() -> str:
    try:
        return os.getcwd()  # noqa: PTH109 - as text
    except OSError:  # it was removed; whoever needs it says so
        return ""
