"""Diagnoses as tables and annotation tools call them, and the table of a folder of images."""

import csv
import posixpath
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

from hyperderm.cubes.cube import DIAGNOSES
from hyperderm.errors import CubeError

NAME_COLUMNS = ("image", "image_id", "image_name", "isic_id")
LABEL_COLUMNS = ("label", "diagnosis", "dx")
LABELS: dict[str, str] = {
    **{name: name for name in DIAGNOSES},
    "mel": "melanoma",
    "atypical_nevus": "dysplastic_nevus",
    "common_nevus": "nevus",
    "nv": "nevus",
    "seborrheic_keratosis": "seborrhoeic_keratosis",
}
"""What tables call a diagnosis, in lower case and with underscores, to ours."""


def diagnosis_of(label: str | None) -> str | None:
    """Return the diagnosis a table's word means; None where there is no table.

    Raises:
        CubeError: the table leaves the image out (""), or uses another word.
    """
    if label is None:
        return None
    if not label:
        raise CubeError("the table of diagnoses does not name it")
    found = LABELS.get(label.strip().lower().replace(" ", "_"))
    if found is None:
        raise CubeError(f"the table calls it {label!r}, which is none of {', '.join(DIAGNOSES)}")
    return found


class Labels(dict[str, str]):
    """Image name to label.

    Attributes:
        rows: the names as rows have them, with and without suffix; the other keys are shorter ways to call a row's image.
        last: the last parts of paths, with and without suffix, to the label that all rows that end so give it.
    """

    rows: frozenset[str] = frozenset()
    last: Mapping[str, str] = MappingProxyType({})


def read_labels(root: Path) -> Labels | None:
    """Return image name to label from the one table in `root` that has both columns; None without one.

    An image is found by its name as the table writes it, without its suffix, and without its folders; by a shorter name only
    where all rows that are then called alike say the same.

    Raises:
        CubeError: a table that cannot be read or calls one image two things, or several tables.
    """
    tables = []
    paths = sorted(p for p in root.iterdir() if not p.name.startswith(".") and not p.is_dir())
    for path in [p for p in paths if p.suffix.lower() == ".csv"]:
        rows = read_rows(path)
        columns = {name.strip().lower(): name for name in (rows[0] if rows else {}) if name}
        name = next((columns[c] for c in NAME_COLUMNS if c in columns), None)
        label = next((columns[c] for c in LABEL_COLUMNS if c in columns), None)
        if name and label:
            said = ((r[name] or "", (r[label] or "").strip()) for r in rows)
            tables.append((path.name, _by_name(said, path.name)))
    if len(tables) > 1:
        raise CubeError(f"{root} holds {len(tables)} tables: {', '.join(t for t, _ in tables)}", "Leave one of them.")
    return tables[0][1] if tables else None


def _by_name(rows: Iterable[tuple[str, str]], file: str) -> Labels:
    whole: dict[str, str] = {}
    for image, label in rows:
        name = image.strip().replace("\\", "/")
        if whole.setdefault(name, label) != label:
            raise CubeError(f"{file} calls {name!r} both {whole[name]!r} and {label!r}", "Leave one of them.")
    bare, last = defaultdict[str, set[str]](set), defaultdict[str, set[str]](set)
    for name, label in whole.items():
        stem = posixpath.splitext(name)[0]
        bare[stem].add(label)
        for key in (posixpath.basename(name), posixpath.basename(stem)):
            last[key].add(label)
    found = Labels({**_agreed({**last, **bare}), **whole})  # a row called so outranks one whose file is, in some folder
    found.last = _agreed(last)
    found.rows = frozenset(whole) | {posixpath.splitext(name)[0] for name in whole}
    return found


def _agreed(said: Mapping[str, set[str]]) -> dict[str, str]:
    return {key: next(iter(labels)) for key, labels in said.items() if len(labels) == 1}


def read_rows(path: Path) -> list[dict[str, str | None]]:
    """Return the rows of a CSV file in UTF-8 with a line of column names.

    Raises:
        CubeError: it is none.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            return list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CubeError(f"{path.name} cannot be read as a table ({error})", "Save it as CSV in UTF-8.") from error
