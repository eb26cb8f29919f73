"""Names that are not UTF-8, as a disk may hold them: neither a tracking server, a manifest nor a terminal can write them."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from hyperderm.errors import ConfigError

VARIABLES = ("MLFLOW_TRACKING_URI", "RAY_ADDRESS", "RAY_TMPDIR", "AWS_ENDPOINT_URL_S3", "TMPDIR")
"""What of the environment names a place."""


def check(words: Sequence[str]) -> None:
    """Refuse arguments, a variable or a working folder whose name is not UTF-8, where they enter.

    Args:
        words: the arguments.

    Raises:
        ConfigError: naming it and the remedy.
    """
    _refuse(_given(words))
    _refuse((f"{name}=", os.environ.get(name, "")) for name in VARIABLES)
    _refuse([("the working folder ", _here())])


def check_place(what: str, place: Path) -> None:
    """Refuse a folder whose name, or that of one above it, is not UTF-8.

    Args:
        what: it is, as a sentence begins.
        place: the folder.

    Raises:
        ConfigError: naming it and the remedy.
    """
    _refuse([(f"{what} ", str(place.resolve()))])


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


def _refuse(given: Iterable[tuple[str, str]]) -> None:
    for what, value in given:
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ConfigError(f"{_plain(what)}{_plain(value)}: its name is not UTF-8", "Rename it.") from None


def _plain(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _here() -> str:
    try:
        return os.getcwd()  # noqa: PTH109 - as text
    except OSError:  # it was removed; whoever needs it says so
        return ""
