"""List every unused file of a source with the reason, because a file in the source was meant for something.

Ignored as clutter are names that begin with a dot, files of file managers (`Thumbs.db`, `desktop.ini`), texts for people
(`README`, `LICENSE`, `CITATION`, `ATTRIBUTION`, …, in any case, as plain text, Markdown, HTML or PDF, and a folder
`licenses/`), and the two description files of an export of ours.
"""

import fnmatch
from collections.abc import Collection, Mapping
from pathlib import Path

from hyperderm.ingest.formats.scene import SetAside
from hyperderm.ingest.formats.scene_files import WAVELENGTHS
from hyperderm.ingest.layouts.naming import files_below
from hyperderm.store.export_format import SIDECAR, TABLE, is_export

_LEFT = {"thumbs.db", "ehthumbs.db", "desktop.ini"}
_FOR_PEOPLE = ("readme", "license", "licence", "copying", "citation", "attribution", "notice", "changelog", "changes")
_TEXTS = {"", ".txt", ".md", ".rst", ".html", ".htm", ".pdf", ".cff"}
_TABLES = {".csv", ".tsv", ".tab", ".xlsx", ".xls", ".xlsm", ".ods", ".numbers"}
_ELSEWHERE = "a table is read where it lies in the source folder itself: move it there"


def is_clutter(path: Path) -> bool:
    """Return whether a file is clutter, as defined in the module docstring, and so says nothing about images."""
    name = path.name.lower()
    if name in _LEFT or path.parent.name.lower() == "licenses":
        return True
    return name.startswith(_FOR_PEOPLE) and path.suffix.lower() in _TEXTS


def of_export(base: Path) -> set[Path]:
    """Return the files that describe an export of ours, if `base` is one; its cubes may also be read as plain files."""
    return {base / SIDECAR, base / TABLE} if is_export(base) else set()


def leftovers(base: Path, used: Collection[Path], reasons: Mapping[Path, str], layout: str) -> list[SetAside]:
    """List every visible file below `base` that is not in `used`.

    Args:
        base: the source folder.
        used: the used files, and folders all of whose files are used.
        reasons: file → the reason, if the layout knows more than the file's name tells.
        layout: the layout's name for the messages.
    """
    taken = set(used) | of_export(base)
    followed = {folder for path in (*taken, *reasons) for folder in path.parents}  # links to folders that were read
    listed = [path for path in dict.fromkeys([*reasons, *files_below(base)]) if path not in followed]
    left = [path for path in listed if path not in taken and not taken.intersection(path.parents) and not is_clutter(path)]
    return [
        SetAside(path.relative_to(base).as_posix(), reasons.get(path) or why_unused(path, base, layout)) for path in left
    ]


def why_unused(path: Path, base: Path, layout: str) -> str:
    """Return why no reader uses a file, judged by its name."""
    name, suffix = path.name.lower(), path.suffix.lower()
    if path.is_symlink() and not path.exists():
        return "a link that leads nowhere"
    if path.is_symlink() and path.is_dir():
        return "a link to a folder, which is not followed"
    if suffix == ".json":
        return f"annotations are read where they are named: --masks {path.name}"
    if name.endswith(WAVELENGTHS):
        return {
            "photographs": "photographs have nominal wavelengths",
            "mosaic": "raw frames have those of their sensor: give --wavelengths, or its *responses*.mat",
        }.get(layout, "no scene lies beside it that it belongs to")
    if fnmatch.fnmatchcase(name, "*responses*.mat"):
        return "a response table is of raw mosaic frames: --layout mosaic" if layout != "mosaic" else "no frame uses it"
    if suffix in _TABLES:
        return _ELSEWHERE if path.parent != base else "a table that is not used"
    if suffix == ".txt":
        return "a text that is no table of images"
    return f"no file of the layout {layout}"
