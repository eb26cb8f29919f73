"""Read tables as spreadsheets and data sets write them: CSV with commas, semicolons or tabs, in any common encoding.

The column names may stand below titles and on two lines, as in a spreadsheet that was saved as CSV. PH2's own text file
separates its columns by two bars.
"""

import csv
import io
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from hyperderm.errors import CubeError
from hyperderm.ingest.formats.damage import check_machine
from hyperderm.ingest.layouts.diagnosis_words import plain_word

IMAGE_COLUMNS = (
    "image", "image_id", "image_name", "isic_id", "img_id", "image_file", "file", "filename",
)  # fmt: skip
"""Names of a column of image names, in order of precedence."""
PATIENT_COLUMNS = (
    "patient_id", "patient", "patient_no", "patient_nr", "patient_number", "patient_code", "pat_id", "pat_no", "pat_nr",
    "patienten_id", "patienten_nr", "patientennummer", "subject_id", "subject", "subject_no", "subject_nr", "subject_number",
    "participant_id", "participant", "participant_no", "participant_number", "person_id", "person", "proband_id", "proband",
    "case_id", "case_no", "case_number", "group", "group_id",
)  # fmt: skip
"""Names of a column of patients, or of other units that belong together, in order of precedence."""
LESION_COLUMNS = ("lesion_id", "lesion_no", "lesion_nr", "lesion_number")
WORKBOOKS = frozenset({".xlsx", ".xls", ".xlsm", ".ods", ".numbers"})
LONGEST = 1 << 28
"""The maximum size of a table in bytes."""
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_HEAD = 60
"""The number of lines in which the column names are searched."""
_BARS = "\x1f"
_DELIMITERS = (",", ";", "\t", "|", _BARS)
_MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


@dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes:
        file: the file's name.
        columns: the names in the form of `plain_word`, without text in brackets.
        titles: the same names as the file writes them.
        rows: line number and cells (one per column); empty lines are left out.
        ragged: lines with more cells than columns, whose cells cannot be assigned to columns.
        note: a note on the decoding, "" if none is needed.
    """

    file: str
    columns: tuple[str, ...]
    titles: tuple[str, ...]
    rows: tuple[tuple[int, tuple[str, ...]], ...]
    ragged: frozenset[int] = frozenset()
    note: str = ""

    def column(self, names: Collection[str]) -> int | None:
        """Return the place of the first of `names` that is a column, whatever separates its words; None if none is."""
        return _place(self.columns, names)


def decode(path: Path) -> tuple[str, str]:
    """Read a text in UTF-8, UTF-16 with a byte order mark, or else Windows' cp1252.

    Returns:
        The text, and a sentence if it is not Unicode ("" otherwise).

    Raises:
        CubeError: the file cannot be read or is not text.
    """
    try:
        if path.stat().st_size > LONGEST:
            raise CubeError("too long for a table")
        content = path.read_bytes()
    except OSError as error:
        check_machine(error, path)
        raise CubeError(f"cannot be read ({error.strerror or error})") from error
    if content.startswith(b"PK\x03\x04") or content.startswith(b"\xd0\xcf\x11\xe0"):
        raise CubeError("a workbook of a spreadsheet", "Save it as CSV.")
    remedy = "Save it as CSV in UTF-8."
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), "utf-8")
    note = ""
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding != "utf-8":
            raise CubeError(f"cannot be decoded as {encoding}", remedy) from error
        try:
            text = content.decode("cp1252")
        except UnicodeDecodeError:
            raise CubeError("cannot be decoded, neither as UTF-8 nor as Windows' cp1252", remedy) from None
        note = "it is not UTF-8 and was read as Windows' cp1252"
    if "\0" in text:
        raise CubeError("cannot be decoded as text", remedy)
    return text, note


def read_table(path: Path) -> Table:
    """Read a table; the right separator is the one that gives a line of column names.

    Raises:
        CubeError: the file cannot be read as a table; the message is one sentence without the file's name.
    """
    text, note = decode(path)
    best: tuple[tuple[bool, int], list[tuple[int, list[str]]], int, str] | None = None
    for delimiter in _DELIMITERS:
        try:
            rows = _parsed(text, delimiter)
        except csv.Error as error:
            if delimiter == _DELIMITERS[0]:
                raise CubeError(f"cannot be read as a table ({error})", "Save it as CSV in UTF-8.") from error
            continue
        at = next((i for i, (_, cells) in enumerate(rows[:_HEAD]) if _names_images(cells, delimiter)), None)
        score = (at is not None, len(rows[at or 0][1]) if rows else 0)
        if best is None or score > best[0]:
            best = (score, rows, at or 0, delimiter)
    assert best is not None
    _, rows, at, delimiter = best
    return _table(path.name, rows, at, note, bars=delimiter == _BARS)


def _parsed(text: str, delimiter: str) -> list[tuple[int, list[str]]]:
    if delimiter == _BARS:
        text = text.replace("||", _BARS)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    return [(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]


def _names_images(cells: list[str], delimiter: str) -> bool:
    columns = [_column(cell) for cell in cells]
    return _place(columns, IMAGE_COLUMNS) is not None or (delimiter == _BARS and "name" in columns)


def _column(title: str) -> str:
    return plain_word(_CAMEL.sub("_", re.sub(r"\(.*?\)", "", title, flags=re.DOTALL)))


def squashed(name: str) -> str:
    """Return the name of a column in the form in which it is compared: `patient_no` and `patientno` are equal."""
    return name.replace("_", "")


def _place(columns: Sequence[str], names: Collection[str]) -> int | None:
    held = [squashed(column) for column in columns]
    return next((held.index(name) for name in map(squashed, names) if name in held), None)


def _table(file: str, rows: list[tuple[int, list[str]]], at: int, note: str, *, bars: bool) -> Table:
    titles = [cell.strip() for cell in rows[at][1]] if rows else []
    columns = [_column(title) for title in titles]
    if bars and "name" in columns:
        columns[columns.index("name")] = IMAGE_COLUMNS[0]
    body = rows[at + 1 :]
    image = _place(columns, IMAGE_COLUMNS)
    while body and image is not None and (more := _second_line(columns, image, body[0][1])):
        for place, title in more.items():
            titles[place], columns[place] = title, _column(title)
        body = body[1:]
    width = len(columns)
    ragged = frozenset(line for line, cells in body if any(cell.strip() for cell in cells[width:]))
    found = tuple(
        (line, tuple([cell.strip() for cell in cells[:width]] + [""] * (width - len(cells)))) for line, cells in body
    )
    return Table(file, tuple(columns), tuple(titles), found, ragged, note)


def _second_line(columns: list[str], image: int, cells: list[str]) -> dict[int, str]:
    """Return the column names below merged cells: they stand in a line without an image where the first line has no name.

    A merged cell keeps its text above the first column that it spans; the text below is the name of that column.
    """
    if image < len(cells) and cells[image].strip():
        return {}
    below = {place: cell.strip() for place, cell in enumerate(cells[: len(columns)]) if cell.strip()}
    more = {place: cell for place, cell in below.items() if not columns[place]}
    heads = {place - 1 for place in more if columns[place - 1] and place > 0}
    return more | {place: below[place] for place in heads if _column(below.get(place, ""))}
