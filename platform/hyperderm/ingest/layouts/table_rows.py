"""Read the rows of a table: the diagnosis, patient and lesion of each image, for all known column layouts.

The layouts, which may occur together, are: a column of words (`label`, `diagnosis`, `dx`); the ISIC archive's `diagnosis_1`
… `diagnosis_5`, of which the most specific word with a diagnosis of ours is used; one column per diagnosis with 0 and 1 or
an X (the challenges of 2017-2019, PH2's spreadsheet); `target` of the challenge of 2020; PH2's coded `clinical diagnosis`. A
row is unusable if its columns contradict each other.
"""

import re
from dataclasses import dataclass, field

from hyperderm.cubes.diagnosis import DIAGNOSES
from hyperderm.ingest.layouts.diagnosis_words import LABELS, is_unknown, known
from hyperderm.ingest.layouts.tables import IMAGE_COLUMNS, LESION_COLUMNS, PATIENT_COLUMNS, Table, squashed

WORD_COLUMNS = ("label", "diagnosis", "dx", "diagnostic")
_OTHER_MARKS = {"bcc", "akiec", "ak", "bkl", "df", "vasc", "scc", "unk"}
"""Columns of the challenges that are not diagnoses of ours."""
TWO_MARKS = {"melanoma", "seborrheic_keratosis"}
_LEVEL = re.compile(r"(?:diagnosis|iddx)(\d)")
_CODED = {"0": "nevus", "1": "dysplastic_nevus", "2": "melanoma"}
"""PH2's codes of the clinical diagnosis: common nevus, atypical nevus, melanoma."""
_YES, _NO = {"x", "true", "yes", "1"}, {"", "false", "no", "0", "nan", "-"}
_BENIGN = {"nevus", "dysplastic_nevus", "solar_lentigo", "seborrhoeic_keratosis"}


@dataclass(frozen=True)
class Columns:
    """The meaning of a table's columns, given by their places.

    Attributes:
        image: the column of image names.
        words: the columns with a word for the diagnosis.
        levels: ISIC's columns of levels, the most specific first.
        marks: the columns that each stand for one diagnosis.
        coded: the column of PH2's clinical diagnosis.
        target: the column that is 1 for a melanoma, else 0.
        kinds: the columns that say benign or malignant.
        patient: the column of patients.
        lesion: the column of lesions.
    """

    image: int | None
    words: dict[str, int] = field(default_factory=dict)
    levels: dict[str, int] = field(default_factory=dict)
    marks: dict[str, int] = field(default_factory=dict)
    coded: int | None = None
    target: int | None = None
    kinds: tuple[int, ...] = ()
    patient: int | None = None
    lesion: int | None = None

    @property
    def diagnoses(self) -> list[int]:
        """Return the places of all columns that give a diagnosis."""
        some = [*self.words.values(), *self.levels.values(), *self.marks.values()]
        return sorted(some + [place for place in (self.coded, self.target) if place is not None])

    @property
    def groups(self) -> list[int]:
        """Return the places of the columns that say which images belong together."""
        return [place for place in (self.patient, self.lesion) if place is not None]


@dataclass(frozen=True)
class Row:
    """The statements of one row.

    Attributes:
        line: the line number in the file.
        image: the image's name in the table, with forward slashes.
        diagnosis: one of `DIAGNOSES`, or None if the table says that it is unknown.
        problem: why the diagnosis cannot be used, "" if it can.
        said: the original words, for messages.
        patient: the patient's id, "" if none is named.
        lesion: the lesion's id, "" if none is named.
    """

    line: int
    image: str
    diagnosis: str | None
    problem: str
    said: str
    patient: str
    lesion: str


def columns_of(table: Table) -> Columns:
    """Return the meaning of a table's columns."""
    at: dict[str, int] = {}
    for place, name in enumerate(table.columns):
        if name:
            at.setdefault(squashed(name), place)
    image = table.column(IMAGE_COLUMNS)
    levels = sorted((int(match[1]), name) for name in at if (match := _LEVEL.fullmatch(name)))
    names = {squashed(name): name for name in (*_OTHER_MARKS, *reversed(LABELS))}
    marks = {names[name]: place for name, place in at.items() if place != image and name in names}
    if len(marks) < 2 and list(marks) != ["melanoma"]:
        marks = {}
    ph2 = "clinicaldiagnosis" in at and "asymmetry" in at
    return Columns(
        image,
        {name: at[name] for name in WORD_COLUMNS if name in at},
        {name: at[name] for _, name in reversed(levels)},
        marks,
        at["clinicaldiagnosis"] if ph2 else None,
        at["target"] if "target" in at and "imagename" in at else None,  # elsewhere it means malignant, not melanoma
        tuple(at[name] for name in ("benignmalignant", "diagnosis1", "iddx1") if name in at),
        table.column(PATIENT_COLUMNS),
        table.column(LESION_COLUMNS),
    )


def rows_of(table: Table, columns: Columns) -> list[Row]:
    """Return the statements of every row that names an image."""
    assert columns.image is not None
    rows = []
    for line, cells in table.rows:
        image = cells[columns.image].replace("\\", "/")
        if not image:
            continue
        diagnosis, problem, said = None, "", ""
        if line in table.ragged:
            problem = f"{table.file}, line {line} has more cells than there are columns. Put words with commas into quotes."
        elif columns.diagnoses:
            diagnosis, problem, said = _Verdict(table, columns, line, cells).given()
        patient, lesion = (
            "" if place is None or line in table.ragged or is_unknown(cells[place]) else cells[place]
            for place in (columns.patient, columns.lesion)
        )
        rows.append(Row(line, image, diagnosis, problem, said, patient, lesion))
    return rows


class _Verdict:
    """The combined statement of the columns of one row."""

    def __init__(self, table: Table, columns: Columns, line: int, cells: tuple[str, ...]) -> None:
        self.where = f"{table.file}, line {line}"
        self.titles = table.titles
        self.cells = cells
        self.ours: dict[int, str] = {}
        self.others: dict[int, str] = {}
        self.unknown = False
        self.odd = ""
        self._words(columns)
        self._levels(columns)
        self._marks(columns)
        self._numbers(columns)
        kinds = {cells[place].casefold(): place for place in columns.kinds}
        self.kinds = {kind: place for kind, place in kinds.items() if kind in ("benign", "malignant")}

    def _words(self, columns: Columns) -> None:
        for place in columns.words.values():
            cell = self.cells[place]
            if is_unknown(cell):
                self.unknown = True
            elif found := known(cell):
                self.ours[place] = found
            elif cell:
                self.others[place] = cell

    def _levels(self, columns: Columns) -> None:
        written = [(place, self.cells[place]) for place in columns.levels.values() if self.cells[place]]
        for place, cell in written:
            if found := known(cell):
                self.ours[place] = found
                return
        first = columns.levels.get("diagnosis1", columns.levels.get("iddx1"))
        specific = [(place, cell) for place, cell in written if place != first and not is_unknown(cell)]
        if specific:
            self.others[specific[0][0]] = specific[0][1]
        elif written:
            self.unknown = True  # benign, malignant or indeterminate is all that is said

    def _marks(self, columns: Columns) -> None:
        marked = self._marked(columns)
        if len(marked) > 1:
            self.odd = f"{self.where} marks {' and '.join(self.titles[place] for place in marked.values())}"
        elif marked:
            self._mark(*next(iter(marked.items())))
        elif self.odd:
            return
        elif columns.marks.keys() == TWO_MARKS:  # the challenge of 2017: what is neither is a nevus
            self.ours[columns.marks["melanoma"]] = "nevus"
        elif columns.marks.keys() == {"melanoma"}:
            self.unknown = True
        elif columns.marks:
            self.odd = f"{self.where} marks no diagnosis"

    def _marked(self, columns: Columns) -> dict[str, int]:
        marked = {}
        for name, place in columns.marks.items():
            yes = _is_yes(self.cells[place])
            if yes:
                marked[name] = place
            elif yes is None:
                self.odd = f"{self.where}: {self.titles[place]} is {self.cells[place]!r}, where 0 or 1 is expected"
                return {}
        return marked

    def _mark(self, name: str, place: int) -> None:
        if name == "unk":
            self.unknown = True
        elif found := known(name):
            self.ours[place] = found
        else:
            self.others[place] = self.titles[place]

    def _numbers(self, columns: Columns) -> None:
        if columns.coded is not None and (found := _CODED.get(self.cells[columns.coded])):
            self.ours[columns.coded] = found
        if columns.target is not None:
            yes = _is_yes(self.cells[columns.target])
            if yes:
                self.ours[columns.target] = "melanoma"
            elif yes is None or not self.cells[columns.target]:
                self.odd = self.odd or f"{self.where}: target is {self.cells[columns.target]!r}, where 0 or 1 is expected"
            else:
                self.unknown = True
                if "melanoma" in self.ours.values():
                    self.others[columns.target] = "0"

    def given(self) -> tuple[str | None, str, str]:
        """Return the diagnosis, or the reason why there is none, and the words that give it."""
        said = {**self.ours, **self.others}
        words = ", ".join(f"{self.titles[place]} is {self.cells[place]!r}" for place in sorted(said))
        distinct = set(self.ours.values())
        ours = next(iter(distinct), None)
        against = self._against(ours)
        if len(distinct) > 1 or (distinct and self.others) or against:
            return None, f"{self.where} contradicts itself: {', '.join(filter(None, (words, against)))}", words
        if ours:
            return ours, "", self.cells[next(iter(self.ours))]
        if self.others:
            word = next(iter(self.others.values()))
            return None, f"the table calls it {word!r}, which is none of {', '.join(DIAGNOSES)}", word
        if self.odd or not self.unknown:
            return None, self.odd or f"{self.where} leaves its diagnosis empty. Write unknown where nobody knows it.", ""
        return None, "", "unknown"

    def _against(self, ours: str | None) -> str:
        """Return the column of benign or malignant that contradicts a diagnosis, or "" if none does."""
        wrong = "benign" if ours == "melanoma" else "malignant" if ours in _BENIGN else None
        return f"{self.titles[self.kinds[wrong]]} is {wrong!r}" if wrong in self.kinds else ""


def _is_yes(cell: str) -> bool | None:
    """Return whether a cell marks its column; None if it is neither a yes nor a no."""
    text = cell.casefold().replace(",", ".")
    text = re.sub(r"\.0*$", "", text)
    return True if text in _YES else False if text in _NO else None
