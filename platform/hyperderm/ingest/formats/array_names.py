"""Names of files and arrays: which ones mean a white or dark reference, and which array of a file is the image."""

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence

_SEPARATORS = re.compile(r"[ _.()\[\]-]+")


_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


THING = "current|frame|panel|tile|board|target|standard|field|level|signal|noise|balance|spectralon"


WORD = "ref(?:erence)?s?|cal(?:ib(?:ration)?)?s?"


PLAIN = "white|dark|black"


_KINDS = rf"white_?(?:dark|black)|{PLAIN}"


COUNT = r"(?:_?(?:exp(?:osure)?|int(?:egration)?|t|it)?_?\d+(?:_\d+)?_?(?:[uµμ]s|m?s|m?sec))?(?:_?\d+)?"
"""Matches an exposure, a number, or both."""


REFERENCE = re.compile(
    rf"(?<![a-z])(?:(?P<kind>{_KINDS})(?:_?(?:{THING}))?_?(?:{WORD})|(?:{WORD})_?(?P<behind>{_KINDS})(?:_?(?:{THING}))?"
    r"|(?P<short>[wd])ref)(?![a-z])"
)
"""Matches a word for reference beside "white" or "dark"; a name that contains such a match names a reference."""


WHOLE = re.compile(
    rf"(?:(?P<kind>{PLAIN})s?(?:_?(?:{THING})s?)?|(?:{THING})s?_?(?P<behind>{PLAIN})|flats?(?:_?field)?|spectralon)"
    rf"{COUNT}(?:[_t]?\d+)*"
)
"""Names a reference only if it matches the whole name: `white` and `dark_current_20ms` do, `white_paper` does not."""


def words_of(name: str) -> str:
    """Return a name in one Unicode form and lower case, its words separated by one underscore each."""
    return _SEPARATORS.sub("_", _CAMEL.sub("_", unicodedata.normalize("NFC", name)).lower())


_IDLE = {"cube", "image", "data", "mean", "raw"}
"""Words that an array's name may contain beside the word for a reference without changing its meaning."""
_ALONE = {"ref", "refs", "reference", "references"}


def is_reference(key: str) -> bool:
    """Return whether an array is a white or dark reference by its own name or that of an enclosing struct."""
    return any(_says_reference(part) for part in key.split("."))


def _says_reference(name: str) -> bool:
    text = "_".join(word for word in words_of(name).split("_") if word not in _IDLE)
    return text in _ALONE or bool(REFERENCE.fullmatch(text) or WHOLE.fullmatch(text))


def the_image(arrays: Mapping[str, Sequence[int]], fits: Callable[[str], bool]) -> tuple[list[str], list[str]]:
    """Return the arrays that may be the image, and a sentence on each array that is skipped for a reason.

    Args:
        arrays: key → shape.
        fits: tells for a key whether the number of known wavelengths equals the array's number of bands.
    """
    keys, notes = list(arrays), []
    images = [key for key in keys if not is_reference(key)]
    if len(keys) > 1 and images and len(images) < len(keys):
        others = [key for key in keys if key not in images]
        notes.append(f"{_told(others, arrays)} {_are(others)} by name, and not used: the image is {_told(images, arrays)}")
        keys = images
    fitting = [key for key in keys if fits(key)] if len(keys) > 1 else []
    if len(fitting) == 1:
        others = [key for key in keys if key not in fitting]
        verb = "does" if len(others) == 1 else "do"
        notes.append(f"{_told(others, arrays)} {verb} not fit the wavelengths, and the image is {_told(fitting, arrays)}")
        keys = fitting
    return keys, notes if len(keys) == 1 else []


def _are(keys: Sequence[str]) -> str:
    return "is a reference" if len(keys) == 1 else "are references"


def _told(keys: Sequence[str], arrays: Mapping[str, Sequence[int]]) -> str:
    return ", ".join(f"{key} {tuple(arrays[key])}" for key in sorted(keys))
