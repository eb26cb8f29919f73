"""The tables of a source folder: their use, their statements on each image, and why other tables are not used.

Tables lie in the source folder or, as ISIC's downloader writes them, in `images/` beside the pictures. A file without suffix
is a table if its head names a column of images (`HAM10000_metadata`). One table may hold the diagnoses and one the patients
or lesions; often it is the same table. Further tables that name no image, or repeat the statements for fewer images, are not
used. Images of the same patient (without patients: of the same lesion) form one group.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from hyperderm.errors import CubeError
from hyperderm.ingest.formats.scene import SetAside
from hyperderm.ingest.formats.scene_files import WAVELENGTHS
from hyperderm.ingest.layouts.diagnosis_words import is_unknown, plain_word
from hyperderm.ingest.layouts.naming import Names, files_in, folders, same_id
from hyperderm.ingest.layouts.table_rows import TWO_MARKS, Columns, Row, columns_of, rows_of
from hyperderm.ingest.layouts.tables import IMAGE_COLUMNS, WORKBOOKS, Table, read_table, squashed
from hyperderm.ingest.layouts.unused_files import is_clutter, of_export

SUFFIXES = frozenset({".csv", ".tsv", ".tab", ".txt"}) | WORKBOOKS
_IDS = re.compile(r"(?:^|_)(?:id|ids|no|nr|number|nummer|code|case|lesion|pid|mrn)$|id$")
"""Matches the ends of column names that may say which images belong together."""
_PEEK = 4096
"""The number of bytes that are read to see whether a file without suffix is a table."""
SHOWN = 3
"""The number of names that a sentence lists."""
NOT_NAMED = "the table of diagnoses does not name it"


@dataclass(frozen=True)
class Said:
    """What the tables of a source say of one image.

    Attributes:
        diagnosis: one of `DIAGNOSES`, or None.
        problem: why the image cannot be used, "" if it can.
        remedy: how to solve the problem, "" if the problem already names the remedy.
    """

    diagnosis: str | None = None
    problem: str = ""
    remedy: str = ""

    def known(self) -> str | None:
        """Return the diagnosis, or None if it is unknown; raise CubeError if the image cannot be used."""
        if self.problem:
            raise CubeError(self.problem, self.remedy)
        return self.diagnosis

    @contextmanager
    def added(self) -> Iterator[None]:
        """Add the problem of the image's row to an error of its file, so that the user can mend both at once."""
        try:
            yield
        except CubeError as damage:
            if not self.problem:
                raise
            remedy = f"{damage.remedy} {self.remedy}".strip()
            raise type(damage)(f"{damage.what}; besides, {self.problem}", remedy) from damage


NOTHING = Said()
"""The statement on an image if no table names it and none should."""


@dataclass(frozen=True)
class Matched:
    """What the tables say of a source's images.

    Attributes:
        said: image → the statement on it; holds every image if there is a table of diagnoses, else none.
        groups: image → group, for images that belong to a patient or a lesion with an id.
        grouped: the table and columns that give the groups, "" without groups.
        used: one sentence on each table that is used.
        aside: the tables, and rows of tables, that are not used.
    """

    said: dict[str, Said] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)
    grouped: str = ""
    used: tuple[str, ...] = ()
    aside: tuple[SetAside, ...] = ()


@dataclass(frozen=True)
class _Listed:
    table: Table
    columns: Columns
    rows: tuple[Row, ...]

    def titles(self, places: Iterable[int]) -> str:
        return ", ".join(self.table.titles[place] for place in places)


_Meant = dict[str, dict[str, list[Row]]]
"""File of a table → image → its rows."""


@dataclass(frozen=True)
class Tables:
    """The tables of a source.

    Attributes:
        base: the path of the source folder.
        listed: the tables that describe images, by file.
        aside: every other table with the reason why it is not used.
        grouping: whether patients and lesions become groups; False if the user gives a table of groups.
    """

    base: Path = Path()
    listed: tuple[tuple[Path, _Listed], ...] = ()
    aside: tuple[tuple[Path, str], ...] = ()
    grouping: bool = True

    @property
    def paths(self) -> tuple[Path, ...]:
        """Return the files of `listed`; the result of `of` names those that are not used after all."""
        return tuple(path for path, _ in self.listed)

    def of(self, images: Sequence[str]) -> Matched:
        """Return what the tables say of `images`; a table may use the full name of an image or a shorter form.

        Raises:
            CubeError: a table contradicts itself on an image, or several tables contradict each other.
        """
        if not self.listed:
            return Matched()
        names = Names(images)
        held = [one for _, one in self.listed]
        meant = {one.table.file: _meant(one, images, names) for one in held}
        labels, surplus = self._one([one for one in held if one.columns.diagnoses], meant, "diagnoses")
        grouping, more = self._grouping(held, meant)
        surplus = more | surplus
        lists = list({one.table.file: one for one in (labels, grouping) if one}.values())
        aside = [
            SetAside(one.table.file, f"a table that is not used: {surplus.get(one.table.file, self._why())}")
            for one in held
            if one not in lists
        ]
        aside += [note for one in lists for note in _unmatched(one, names)]
        said, groups, grouped = {}, {}, ""
        used: list[str] = []
        if labels is not None:
            rows = meant[labels.table.file]
            said = {image: _said(rows.get(image), image, labels.table.file) for image in images}
            used.append(_diagnoses_used(labels, rows, images))
        if grouping is not None:
            groups = _groups(meant[grouping.table.file], images)
            grouped = f"{grouping.titles(grouping.columns.groups)} of {grouping.table.file}"
            used.append(_groups_used(grouping, groups, images))
        if self.grouping:
            used += [note for one in lists for note in _other_ids(one, meant[one.table.file], groups)]
        used += [f"{one.table.file}: {one.table.note}" for one in lists if one.table.note]
        return Matched(said, groups, grouped, tuple(used), tuple(aside))

    def _why(self) -> str:
        return "another one says what belongs together" if self.grouping else "--groups says what belongs together"

    def _grouping(self, held: Sequence[_Listed], meant: _Meant) -> tuple[_Listed | None, dict[str, str]]:
        """Return the table of patients, or else that of lesions, and why other tables of that kind are not used."""
        if not self.grouping:
            return None, {}
        kinds = {kind: [one for one in held if getattr(one.columns, kind) is not None] for kind in ("patient", "lesion")}
        known = [kind for kind, tables in kinds.items() if tables]
        kind = next((kind for kind in known if any(meant[one.table.file] for one in kinds[kind])), next(iter(known), None))
        return self._one(kinds[kind], meant, f"{kind}s") if kind else (None, {})

    def _one(self, tables: Sequence[_Listed], meant: _Meant, what: str) -> tuple[_Listed | None, dict[str, str]]:
        """Return the one of several tables that is used, and why each of the others is not needed."""
        naming = [one for one in tables if meant[one.table.file]] or list(tables[:1])
        surplus = {one.table.file: "it names no image of the source" for one in tables if one not in naming}
        if not naming:
            return None, surplus
        most = max(naming, key=lambda one: len(meant[one.table.file]))
        for one in naming:
            if one is most:
                continue
            if not _says_the_same(meant[one.table.file], meant[most.table.file], what):
                names = ", ".join(each.table.file for each in naming)
                raise CubeError(f"{self.base} holds {len(naming)} tables: {names}", f"Leave one that has {what}.")
            surplus[one.table.file] = f"{most.table.file} says the same"
        return most, surplus


def read_tables(base: Path, besides: Collection[Path] = (), *, grouping: bool = True) -> Tables:
    """Read the tables in the folder `base`, and in the folders of pictures in it.

    Args:
        base: the path of the source folder.
        besides: resolved paths of files that are not tables of the source: side files, and files that the user named.
        grouping: has the same meaning as in `Tables`.
    """
    aside: list[tuple[Path, str]] = []
    listed: list[tuple[Path, _Listed]] = []
    ours = of_export(base)
    for path in (path for folder in (base, *folders(base, "images")) for path in files_in(folder)):
        if path in ours or not _may_be_table(path) or is_clutter(path) or path.resolve() in besides:
            continue
        try:
            found = _listed(path, base)
        except CubeError as error:
            if path.suffix.lower() not in {"", ".txt"}:
                aside.append((path, f"a table that is not used: {error}"))
        else:
            listed.append((path, found))
    return Tables(base, tuple(listed), tuple(aside), grouping)


def _may_be_table(path: Path) -> bool:
    """Return whether a file has a table's suffix, or no suffix and a head that names a column of images."""
    if path.suffix:
        return path.suffix.lower() in SUFFIXES and not path.name.lower().endswith(WAVELENGTHS)
    try:
        with path.open("rb") as file:
            head = file.read(_PEEK)
    except OSError:
        return False
    text = squashed(plain_word(head.decode("utf-8", "replace")))
    return b"\0" not in head and any(squashed(name) in text for name in IMAGE_COLUMNS)


def _listed(path: Path, base: Path) -> _Listed:
    """Return the table in a file; raise CubeError, without the file's name, if it does not describe images."""
    if path.suffix.lower() in WORKBOOKS:
        raise CubeError("a workbook of a spreadsheet", "Save it as CSV.")
    table = replace(read_table(path), file=path.relative_to(base).as_posix())
    columns = columns_of(table)
    if columns.image is None:
        raise CubeError("it has no column of images", "Name it image.")
    if not columns.diagnoses and not columns.groups:
        kinds = " (benign and malignant are none)" if {"target", "benign_malignant"} & set(table.columns) else ""
        raise CubeError(f"it has no column of diagnoses{kinds} and none of patients", "Name it diagnosis, or patient.")
    return _Listed(table, columns, tuple(rows_of(table, columns)))


def _meant(listed: _Listed, images: Sequence[str], names: Names) -> dict[str, list[Row]]:
    """Return image → its rows: those with its whole name, or else those with its last part if that is unique."""
    whole: dict[str, list[Row]] = {}
    last: dict[str, list[Row]] = {}
    for row in listed.rows:
        if found := names.whole(row.image):
            if len(found) == 1:
                whole.setdefault(found[0], []).append(row)
        elif len(found := names.last(row.image)) == 1:
            last.setdefault(found[0], []).append(row)
    for image, rows in whole.items():
        for row in rows[1:]:
            _check_alike(listed.table.file, image, rows[0], row)
    agreed = {image: rows for image, rows in last.items() if len({_content(row) for row in rows}) == 1}
    return {image: mine for image in images if (mine := whole.get(image) or agreed.get(image))}


def _says_the_same(less: dict[str, list[Row]], more: dict[str, list[Row]], what: str) -> bool:
    """Return whether every image of one table is also in the other, with the same diagnoses, or patients and lesions."""

    def said(row: Row) -> tuple[object, ...]:
        return _content(row)[:2] if what == "diagnoses" else _content(row)[2:]

    return less.keys() <= more.keys() and all(said(rows[0]) == said(more[image][0]) for image, rows in less.items())


def _content(row: Row) -> tuple[str | None, str, str, str]:
    return row.diagnosis, row.said if row.problem else "", same_id(row.patient), same_id(row.lesion)


def _check_alike(file: str, image: str, one: Row, other: Row) -> None:
    if (one.diagnosis, bool(one.problem)) != (other.diagnosis, bool(other.problem)):
        raise CubeError(f"{file} calls {image!r} both {one.said!r} and {other.said!r}", "Leave one of them.")
    for what in ("patient", "lesion"):
        first, second = getattr(one, what), getattr(other, what)
        if first and second and same_id(first) != same_id(second):
            raise CubeError(f"{file} gives {image!r} the {what}s {first!r} and {second!r}", "Leave one of them.")


def _unmatched(listed: _Listed, names: Names) -> list[SetAside]:
    """Return the reports on rows that match no image, and on rows that may match several."""
    nobody: list[str] = []
    several: list[tuple[Row, list[str]]] = []
    for row in listed.rows:
        found = names.whole(row.image) or names.last(row.image)
        if not found:
            nobody.append(row.image)
        elif len(found) > 1:
            several.append((row, found))
    file, total = listed.table.file, len(listed.rows)
    aside = []
    if nobody:
        verb = "names" if len(nobody) == 1 else "name"
        aside.append(SetAside(file, f"{len(nobody)} of {total} rows {verb} no image of the source: {_few(nobody)}"))
    if several:
        row, found = several[0]
        more = f", and {len(several) - 1} rows more" if len(several) > 1 else ""
        aside.append(SetAside(file, f"line {row.line}: {row.image!r} may be any of {_few(found)}{more}. Write whole names."))
    return aside


def _said(rows: list[Row] | None, image: str, file: str) -> Said:
    if not rows:
        return Said(None, NOT_NAMED, f"Add a row called {image} to {file}, or leave the image out.")
    return Said(rows[0].diagnosis, rows[0].problem)


def _groups(rows: dict[str, list[Row]], images: Sequence[str]) -> dict[str, str]:
    """Return image → patient, or → lesion if the image has no patient; ids are compared like names."""
    flat = [row for several in rows.values() for row in several]
    spelled: dict[str, str] = {}
    patient_of: dict[str, str] = {}
    for row in flat:
        for name in (row.patient, row.lesion):
            spelled.setdefault(same_id(name), name)
        if row.patient and row.lesion:
            patient_of.setdefault(same_id(row.lesion), row.patient)
    found: dict[str, str] = {}
    for image, several in rows.items():
        patient = next((row.patient for row in several if row.patient), "")
        lesion = next((row.lesion for row in several if row.lesion), "")
        if group := patient or patient_of.get(same_id(lesion), lesion):
            found[image] = spelled[same_id(group)]
    taken = set(found.values())
    return found | {image: f"image {image}" for image in images if image not in found and image in taken}


def _diagnoses_used(listed: _Listed, rows: dict[str, list[Row]], images: Sequence[str]) -> str:
    columns = listed.titles(listed.columns.diagnoses)
    named = f"{listed.table.file}: diagnoses of {len(rows)} of {len(images)} images, from {columns}"
    unknown = sum(1 for several in rows.values() if several[0].diagnosis is None and not several[0].problem)
    two = listed.columns.marks.keys() == TWO_MARKS
    return (
        named
        + (f"; unknown for {unknown} of them" if unknown else "")
        + ("; what is neither is a nevus, as in the challenge of 2017" if two else "")
    )


def _groups_used(listed: _Listed, groups: dict[str, str], images: Sequence[str]) -> str:
    own = [image for image in images if image not in groups or groups[image] == f"image {image}"]
    count = len({group for image, group in groups.items() if image not in own})
    many = f"{count} group{'s' * (count != 1)}"
    said = f"{listed.table.file}: {many} of images, from {listed.titles(listed.columns.groups)}"
    return said + (f"; {_alone(len(own))}" if own else "")


def _alone(count: int) -> str:
    if count == 1:
        return "1 image without one is a group of its own"
    return f"{count} images without one are groups of their own"


def _other_ids(listed: _Listed, rows: dict[str, list[Row]], groups: dict[str, str]) -> list[str]:
    """Return a sentence on every unused column that looks like ids and has one value for images of several groups."""
    table, columns = listed.table, listed.columns
    taken = {columns.image, columns.patient, columns.lesion, *columns.diagnoses, *columns.kinds}
    cells = dict(table.rows)
    notes = []
    for place, name in enumerate(table.columns):
        if place in taken or not _IDS.search(name):
            continue
        of: dict[str, set[str]] = {}
        for image, mine in rows.items():
            if not is_unknown(cell := cells[mine[0].line][place]) and cell:
                of.setdefault(same_id(cell), set()).add(groups.get(image, image))
        if len(of) > 1 and (shared := sum(1 for held in of.values() if len(held) > 1)):
            many = f"{shared} of its {len(of)} values stand{'s' * (shared == 1)} at several images"
            title = table.titles[place]
            notes.append(
                f"{table.file}: {title} is not used: {many}. If it says what belongs together, call it patient, or give "
                "--groups with a table of these"
            )
    return notes


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
