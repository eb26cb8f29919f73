"""Every file of a source that nothing uses, with the reason: a file that lies there was meant for something.

Passed over as clutter: names that begin with a dot, what file managers leave (`Thumbs.db`, `desktop.ini`), and texts for
people (`README`, `LICENSE`, `CITATION`, `ATTRIBUTION`, …, in any case, as plain text, Markdown, HTML or PDF, and a folder
`licenses/`), and beside an export of ours its own two files.
"""

import fnmatch
from collections.abc import Collection, Mapping
from pathlib import Path

from hyperderm.ingest.formats.scene import SetAside
from hyperderm.ingest.layouts.naming import files_below
from hyperderm.store.export_format import SIDECAR, TABLE, is_export

_LEFT = {"thumbs.db", "ehthumbs.db", "desktop.ini"}
_FOR_PEOPLE = ("readme", "license", "licence", "copying", "citation", "attribution", "notice", "changelog", "changes")
_TEXTS = {"", ".txt", ".md", ".rst", ".html", ".htm", ".pdf", ".cff"}
_TABLES = {".csv", ".tsv", ".tab", ".xlsx", ".xls", ".xlsm", ".ods", ".numbers"}
_ELSEWHERE = "a table is read where it lies in the source folder itself: move it there"


def is_clutter(path: Path) -> bool:
    """Return whether a file says nothing about images: see the head of this module."""
    name = path.name.lower()
    if name in _LEFT or path.parent.name.lower() == "licenses":
        return True
    return name.startswith(_FOR_PEOPLE) and path.suffix.lower() in _TEXTS


def of_export(base: Path) -> set[Path]:
    """Return the files that describe an export of ours, where `base` is one: its pixels may be read as plain files too."""
    return {base / SIDECAR, base / TABLE} if is_export(base) else set()


def leftovers(base: Path, used: Collection[Path], reasons: Mapping[Path, str], layout: str) -> list[SetAside]:
    """List every visible file below `base` that is not in `used`.

    Args:
        base: the source folder.
        used: files, and folders all of whose files are.
        reasons: why, where the layout knows better than its name tells.
        layout: for the words.
    """
    taken = set(used) | of_export(base)
    followed = {folder for path in (*taken, *reasons) for folder in path.parents}  # links to folders that were read
    listed = [path for path in dict.fromkeys([*reasons, *files_below(base)]) if path not in followed]
    left = [path for path in listed if path not in taken and not taken.intersection(path.parents) and not is_clutter(path)]
    return [
        SetAside(path.relative_to(base).as_posix(), reasons.get(path) or why_unused(path, base, layout)) for path in left
    ]


def why_unused(path: Path, base: Path, layout: str) -> str:
    """Return why no reader takes a file, from its name."""
    name, suffix = path.name.lower(), path.suffix.lower()
    if path.is_symlink() and not path.exists():
        return "a link that leads nowhere"
    if path.is_symlink() and path.is_dir():
        return "a link to a folder, which is not followed"
    if suffix == ".json":
        return f"annotations are read where they are named: --masks {path.name}"
    if fnmatch.fnmatchcase(name, "*wavelengths.txt") or fnmatch.fnmatchcase(name, "*wavelengths.csv"):
        return _why_no_wavelengths(layout)
    if fnmatch.fnmatchcase(name, "*responses*.mat"):
        return "a response table is of raw mosaic frames: --layout mosaic" if layout != "mosaic" else "no frame uses it"
    if suffix in _TABLES:
        return _ELSEWHERE if path.parent != base else "a table that is not used"
    if suffix == ".txt":
        return "a text that is no table of images"
    return f"no file of the layout {layout}"


def _why_no_wavelengths(layout: str) -> str:
    return {
        "photographs": "photographs have nominal wavelengths",
        "mosaic": "raw frames have those of their sensor: give --wavelengths, or its *responses*.mat",
    }.get(layout, "no scene lies beside it that it belongs to")
