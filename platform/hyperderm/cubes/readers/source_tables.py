"""The tables of a source folder: which are used for what, what they say of each image, and why the others are not used.

Tables lie in the source folder itself. One of them may hold the diagnoses, one the patients or lesions; often it is the same
one. Images that share a patient (without patients: a lesion) are one group.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hyperderm.cubes.readers.leftovers import is_clutter, of_export
from hyperderm.cubes.readers.naming import Names, files_in, same_id
from hyperderm.cubes.readers.scene import SetAside
from hyperderm.cubes.readers.table_rows import TWO_MARKS, Columns, Row, columns_of, rows_of
from hyperderm.cubes.readers.tables import WORKBOOKS, Table, read_table
from hyperderm.errors import CubeError

SUFFIXES = frozenset({".csv", ".tsv", ".tab", ".txt"}) | WORKBOOKS
WAVELENGTHS = ("wavelengths.txt", "wavelengths.csv")
"""Side files of scenes, that bring no images."""
SHOWN = 3
"""Names that a sentence lists."""
NOT_NAMED = "the table of diagnoses does not name it"


@dataclass(frozen=True)
class Said:
    """What the tables of a source say of one image.

    Attributes:
        diagnosis: one of `DIAGNOSES`, or None.
        problem: why the image cannot be used, "" where it can.
    """

    diagnosis: str | None = None
    problem: str = ""

    def known(self) -> str | None:
        """Return the diagnosis, None where it is not known; CubeError where the image cannot be used."""
        if self.problem:
            raise CubeError(self.problem)
        return self.diagnosis


NOTHING = Said()
"""No table names the image, and none should."""


@dataclass(frozen=True)
class Matched:
    """What the tables say of a source's images.

    Attributes:
        said: image to what is said of it; every image where there is a table of diagnoses, else none.
        groups: image to group, of images that belong to a patient or a lesion with an id.
        grouped: which table and columns say so, "" without groups.
        used: a sentence on each table that is used.
        aside: tables, and rows of them, that are not used.
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


@dataclass(frozen=True)
class Tables:
    """The tables in a source folder.

    Attributes:
        labels: of diagnoses.
        groups: of patients or lesions; may be the same table.
        paths: of both.
        aside: file to why it is not used.
    """

    labels: _Listed | None = None
    groups: _Listed | None = None
    paths: tuple[Path, ...] = ()
    aside: tuple[tuple[Path, str], ...] = ()

    def of(self, images: Sequence[str]) -> Matched:
        """Return what is said of `images`; they are called so in the tables, or more shortly.

        Raises:
            CubeError: a table that says two things of one image.
        """
        if self.labels is None and self.groups is None:
            return Matched()
        names = Names(images)
        lists = list({id(one): one for one in (self.labels, self.groups) if one}.values())
        meant = {id(one): _meant(one, images, names) for one in lists}
        said, groups, grouped = {}, {}, ""
        used: list[str] = []
        aside = [note for one in lists for note in _unmatched(one, names)]
        if self.labels is not None:
            rows = meant[id(self.labels)]
            said = {image: _said(rows.get(image)) for image in images}
            used.append(_diagnoses_used(self.labels, rows, images))
        if self.groups is not None:
            groups = _groups(meant[id(self.groups)], images)
            grouped = f"{self.groups.titles(self.groups.columns.groups)} of {self.groups.table.file}"
            used.append(_groups_used(self.groups, groups, images))
        used += [f"{one.table.file}: {one.table.note}" for one in lists if one.table.note]
        return Matched(said, groups, grouped, tuple(used), tuple(aside))


def read_tables(base: Path, besides: Collection[Path] = (), *, grouping: bool = True) -> Tables:
    """Read the tables in the folder `base`.

    Args:
        base: the source folder.
        besides: files that are no tables of the source, resolved: side files, and what the user named.
        grouping: whether patients and lesions of the tables become groups; False where the user gives a table of groups.

    Raises:
        CubeError: several tables of diagnoses, or several of patients.
    """
    aside: list[tuple[Path, str]] = []
    listed: dict[Path, _Listed] = {}
    ours = of_export(base)
    for path in files_in(base):
        if path in ours or path.suffix.lower() not in SUFFIXES or _is_no_table(path) or path.resolve() in besides:
            continue
        try:
            found = _listed(path)
        except CubeError as error:
            if path.suffix.lower() != ".txt":
                aside.append((path, f"a table that is not used: {error}"))
        else:
            listed[path] = found
    labels = _only([path for path, one in listed.items() if one.columns.diagnoses], base, "diagnoses")
    groups = _grouping(listed, base) if grouping else None
    why = "another one says what belongs together" if grouping else "--groups says what belongs together"
    for path in listed:
        if path not in (labels, groups):
            aside.append((path, f"a table that is not used: {why}"))
    paths = tuple(dict.fromkeys(path for path in (labels, groups) if path))
    return Tables(listed[labels] if labels else None, listed[groups] if groups else None, paths, tuple(aside))


def _is_no_table(path: Path) -> bool:
    return is_clutter(path) or path.name.lower().endswith(WAVELENGTHS)


def _listed(path: Path) -> _Listed:
    """The table in a file; CubeError, without the file's name, where it says nothing of images."""
    if path.suffix.lower() in WORKBOOKS:
        raise CubeError("a workbook of a spreadsheet", "Save it as CSV.")
    table = read_table(path)
    columns = columns_of(table)
    if columns.image is None:
        raise CubeError("it has no column of images", "Name it image.")
    if not columns.diagnoses and not columns.groups:
        kinds = " (benign and malignant are none)" if {"target", "benign_malignant"} & set(table.columns) else ""
        raise CubeError(f"it has no column of diagnoses{kinds} and none of patients", "Name it diagnosis, or patient.")
    return _Listed(table, columns, tuple(rows_of(table, columns)))


def _only(paths: Sequence[Path], base: Path, what: str) -> Path | None:
    if len(paths) > 1:
        names = ", ".join(path.name for path in paths)
        raise CubeError(f"{base} holds {len(paths)} tables: {names}", f"Leave one that has {what}.")
    return paths[0] if paths else None


def _grouping(listed: dict[Path, _Listed], base: Path) -> Path | None:
    """The table of patients; without one, that of lesions."""
    patients = [path for path, one in listed.items() if one.columns.patient is not None]
    lesions = [path for path, one in listed.items() if one.columns.lesion is not None]
    return _only(patients, base, "patients") or _only(lesions, base, "lesions")


def _meant(listed: _Listed, images: Sequence[str], names: Names) -> dict[str, list[Row]]:
    """Image to its rows: those of its whole name, or else those of its last part where no other image is called so."""
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
    """What is told of rows that mean no image, and of those that may mean several."""
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


def _said(rows: list[Row] | None) -> Said:
    if not rows:
        return Said(None, NOT_NAMED)
    return Said(rows[0].diagnosis, rows[0].problem)


def _groups(rows: dict[str, list[Row]], images: Sequence[str]) -> dict[str, str]:
    """Image to patient, or to its lesion where that has no patient; ids are compared as names are."""
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
    return said + (f"; {len(own)} images without one are groups of their own" if own else "")


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
