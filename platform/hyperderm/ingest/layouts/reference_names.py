"""Words by which a file or an array is called a white or dark reference."""

import re
import unicodedata

_SEPARATORS = re.compile(r"[ _.()\[\]-]+")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")

THING = "current|frame|panel|tile|board|target|standard|field|level|signal|noise|balance|spectralon"
WORD = "ref(?:erence)?s?|cal(?:ib(?:ration)?)?s?"
PLAIN = "white|dark|black"
_KINDS = rf"white_?(?:dark|black)|{PLAIN}"
COUNT = r"(?:_?(?:exp(?:osure)?|int(?:egration)?|t|it)?_?\d+(?:_\d+)?_?(?:[uµμ]s|m?s|m?sec))?(?:_?\d+)?"
"""An exposure, a number, or both."""
REFERENCE = re.compile(
    rf"(?<![a-z])(?:(?P<kind>{_KINDS})(?:_?(?:{THING}))?_?(?:{WORD})|(?:{WORD})_?(?P<behind>{_KINDS})(?:_?(?:{THING}))?"
    r"|(?P<short>[wd])ref)(?![a-z])"
)
"""A word for reference beside white or dark; where it stands in a name, that is one of a reference whatever else it says."""
WHOLE = re.compile(
    rf"(?:(?P<kind>{PLAIN})s?(?:_?(?:{THING})s?)?|(?:{THING})s?_?(?P<behind>{PLAIN})|flats?(?:_?field)?|spectralon)"
    rf"{COUNT}(?:[_t]?\d+)*"
)
"""A name that is one of a reference only as a whole: `white_paper` is none, `white` and `dark_current_20ms` are."""


def words_of(name: str) -> str:
    """Return a name in one Unicode form and lower case, its words parted by one underscore each."""
    return _SEPARATORS.sub("_", _CAMEL.sub("_", unicodedata.normalize("NFC", name)).lower())
